//! Instructions, executed one by one.

mod answer;
mod cipher;
mod extended;
mod gather;
mod general;
mod lane;
mod mask;
mod number;
mod shuffle;
mod string;
mod text;
mod vector;
mod x87;

use iced_x86::{Instruction, OpKind, Register};

use crate::code::Decoded;
use crate::end::{Refusal, Stop};
use crate::flags::Flags;
use crate::memory::{Host, Pages};
use crate::op::{Bit, Op};
use crate::start::{Answers, Limits};
use crate::state::{RBP, RCX, RSP, State};

/// Registers and memory.
pub(crate) struct Machine<'host> {
    pub(crate) state: State,
    pub(crate) pages: Pages,
    pub(crate) host: &'host mut dyn Host,
    pub(crate) steps: u64,
    pub(crate) limits: Limits,
    /// What the instruction has read of others' memory: where, how many bytes, and what.
    pub(crate) reads: Vec<(u64, u8, u64)>,
}

/// What comes after an instruction.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Next {
    /// The one behind it.
    Through,
    /// The target of a jump or the other way of one, as the code says.
    Jumped,
    /// The target of a jump that memory or a register says.
    JumpedFar,
    Called,
    Returned,
}

impl<'host> Machine<'host> {
    pub(crate) fn new(host: &'host mut dyn Host, limits: &Limits) -> Self {
        let stack = limits.stack_end.saturating_sub(limits.stack)..limits.stack_end;
        Self {
            state: State::default(),
            pages: Pages::new(stack, limits.pages),
            host,
            steps: 0,
            limits: *limits,
            reads: Vec::new(),
        }
    }

    /// Executes an instruction. Where it cannot, nothing has changed, except what a
    /// repeated one has done before.
    pub(crate) fn step(&mut self, decoded: &Decoded, answers: &Answers) -> Result<Next, Stop> {
        let instruction = &decoded.instruction;
        let Some(op) = decoded.op else {
            let code = instruction.code();
            return Err(Stop::Refused(Refusal::Unknown(code)));
        };
        self.steps += 1;
        let next = self.execute(op, instruction, answers)?;
        if next == Next::Through {
            self.state.ip = instruction.next_ip();
        }
        Ok(next)
    }

    fn execute(
        &mut self,
        op: Op,
        instruction: &Instruction,
        answers: &Answers,
    ) -> Result<Next, Stop> {
        match op {
            Op::JumpIf => {
                let jumps = self.state.flags.hold(instruction.condition_code());
                self.jump_if(jumps, instruction);
                return Ok(Next::Jumped);
            }
            Op::JumpIfCounter => {
                let size = if instruction.mnemonic() == iced_x86::Mnemonic::Jrcxz {
                    8
                } else {
                    4
                };
                let counter = crate::flags::cut(self.state.general[RCX], size);
                self.jump_if(counter == 0, instruction);
                return Ok(Next::Jumped);
            }
            Op::Jump => {
                self.state.ip = self.get(instruction, 0)?;
                let direct = instruction.op0_kind() == OpKind::NearBranch64;
                return Ok(if direct {
                    Next::Jumped
                } else {
                    Next::JumpedFar
                });
            }
            Op::Call => {
                let target = self.get(instruction, 0)?;
                self.push(instruction.next_ip())?;
                self.state.ip = target;
                return Ok(Next::Called);
            }
            Op::Return => {
                let target = self.pop()?;
                if instruction.op_count() == 1 {
                    let more = instruction.immediate(0);
                    let stack = &mut self.state.general[RSP];
                    *stack = stack.wrapping_add(more);
                }
                self.state.ip = target;
                return Ok(Next::Returned);
            }
            Op::Trap => return Err(Stop::Refused(Refusal::Trap)),
            Op::SystemCall => self.system_call(instruction, answers)?,
            Op::ProcessorKind => self.processor_kind(answers)?,
            Op::Counter => self.counter(instruction, answers)?,
            Op::SavedStates => self.saved_states(answers)?,
            Op::String(text) => self.string(text, instruction)?,
            Op::Vector(op) => self.vector(op, instruction)?,
            Op::Gather { by, size } => self.gather(by.into(), size.into(), instruction)?,
            Op::Float(float) => self.float(float, instruction)?,
            op => self.general(op, instruction)?,
        }
        Ok(Next::Through)
    }

    fn jump_if(&mut self, jumps: bool, instruction: &Instruction) {
        self.state.ip = if jumps {
            instruction.near_branch64()
        } else {
            instruction.next_ip()
        };
    }

    /// Reads `size` bytes, at most eight.
    pub(crate) fn load(&mut self, address: u64, size: usize) -> Result<u64, Stop> {
        let mut bytes = [0; 8];
        self.read(address, &mut bytes[..size.min(8)])?;
        Ok(u64::from_le_bytes(bytes))
    }

    pub(crate) fn read(&mut self, address: u64, buffer: &mut [u8]) -> Result<(), Stop> {
        self.pages.read(self.host, address, buffer)?;
        if self.limits.reads > 0 && !self.pages.is_own(address) {
            for (number, word) in (0..).zip(buffer.chunks(8)) {
                let mut bytes = [0; 8];
                bytes[..word.len()].copy_from_slice(word);
                let at = address.wrapping_add(number * 8);
                let value = u64::from_le_bytes(bytes);
                self.reads.push((at, word.len() as u8, value));
            }
        }
        Ok(())
    }

    /// Writes `size` bytes, at most eight.
    fn store(&mut self, address: u64, size: usize, value: u64) -> Result<(), Stop> {
        self.write(address, &value.to_le_bytes()[..size.min(8)])
    }

    pub(crate) fn write(&mut self, address: u64, bytes: &[u8]) -> Result<(), Stop> {
        self.pages.write(self.host, address, bytes)
    }

    fn push(&mut self, value: u64) -> Result<(), Stop> {
        let stack = self.state.general[RSP].wrapping_sub(8);
        self.store(stack, 8, value)?;
        self.state.general[RSP] = stack;
        Ok(())
    }

    fn pop(&mut self) -> Result<u64, Stop> {
        let stack = self.state.general[RSP];
        let value = self.load(stack, 8)?;
        self.state.general[RSP] = stack.wrapping_add(8);
        Ok(value)
    }

    fn leave(&mut self) -> Result<(), Stop> {
        let frame = self.state.general[RBP];
        let before = self.load(frame, 8)?;
        self.state.general[RSP] = frame.wrapping_add(8);
        self.state.general[RBP] = before;
        Ok(())
    }

    /// The address of the memory operand.
    pub(crate) fn address(&self, instruction: &Instruction) -> Result<u64, Stop> {
        self.address_beyond(instruction, 0)
    }

    /// So far behind the memory operand; with addresses of 32 bits it wraps within these.
    fn address_beyond(&self, instruction: &Instruction, far: u64) -> Result<u64, Stop> {
        let mut offset = self.offset(instruction).wrapping_add(far);
        if is_narrow(instruction) {
            offset &= 0xffff_ffff;
        }
        if instruction.segment_prefix() == Register::FS {
            let base = self.state.fs.ok_or(Stop::Refused(Refusal::ThreadUnknown))?;
            return Ok(base.wrapping_add(offset));
        }
        Ok(offset)
    }

    /// That address without its segment: what `lea` computes.
    fn offset(&self, instruction: &Instruction) -> u64 {
        if instruction.is_ip_rel_memory_operand() {
            return instruction.ip_rel_memory_address();
        }
        let (base, index) = (instruction.memory_base(), instruction.memory_index());
        let value = |register| match register {
            Register::None => 0,
            register => self.state.general(register),
        };
        let scaled = value(index).wrapping_mul(u64::from(instruction.memory_index_scale()));
        let sum = value(base)
            .wrapping_add(scaled)
            .wrapping_add(instruction.memory_displacement64());
        if is_narrow(instruction) {
            return sum & 0xffff_ffff;
        }
        sum
    }

    /// Bytes of an operand of general registers, memory or a number.
    fn size(instruction: &Instruction, operand: u32) -> usize {
        match instruction.op_kind(operand) {
            OpKind::Register => instruction.op_register(operand).size(),
            OpKind::Memory => instruction.memory_size().size(),
            _ => 8,
        }
    }

    /// The value of a general register, memory of at most eight bytes, or a number.
    pub(crate) fn get(&mut self, instruction: &Instruction, operand: u32) -> Result<u64, Stop> {
        match instruction.op_kind(operand) {
            OpKind::Register => {
                let register = instruction.op_register(operand);
                Ok(if register.is_gpr() {
                    self.state.general(register)
                } else if register.is_k() {
                    self.state.mask[register.number()]
                } else {
                    self.state.vector[register.number()][0]
                })
            }
            OpKind::Memory => {
                let address = self.address(instruction)?;
                self.load(address, instruction.memory_size().size())
            }
            OpKind::NearBranch64 => Ok(instruction.near_branch64()),
            _ => Ok(instruction.try_immediate(operand).unwrap_or(0)),
        }
    }

    fn set(&mut self, instruction: &Instruction, operand: u32, value: u64) -> Result<(), Stop> {
        if instruction.op_kind(operand) == OpKind::Memory {
            let address = self.address(instruction)?;
            return self.store(address, instruction.memory_size().size(), value);
        }
        let register = instruction.op_register(operand);
        self.state.set_general(register, value);
        Ok(())
    }

    /// `bt` and its like: of memory the bit may be far beyond the operand.
    fn bit(&mut self, bit: Bit, instruction: &Instruction) -> Result<(), Stop> {
        let size = Self::size(instruction, 0);
        let width = size as u64 * 8;
        let count = self.get(instruction, 1)?;
        let in_memory = instruction.op0_kind() == OpKind::Memory;
        let by_register = instruction.op1_kind() == OpKind::Register;
        let mut address = 0;
        let value = if in_memory {
            address = self.address(instruction)?;
            if by_register {
                let far = crate::flags::extend(count, size) as i64;
                let units = far.div_euclid(width as i64) as u64;
                address = self.address_beyond(instruction, units.wrapping_mul(size as u64))?;
            }
            self.load(address, size)?
        } else {
            self.get(instruction, 0)?
        };
        let one = 1 << (count % width);
        let changed = match bit {
            Bit::Test => value,
            Bit::Set => value | one,
            Bit::Reset => value & !one,
            Bit::Complement => value ^ one,
        };
        if bit != Bit::Test {
            if in_memory {
                self.store(address, size, changed)?;
            } else {
                self.set(instruction, 0, changed)?;
            }
        }
        self.state.flags.set(Flags::CF, value & one != 0);
        Ok(())
    }
}

/// Are its addresses of 32 bits?
fn is_narrow(instruction: &Instruction) -> bool {
    let (base, index) = (instruction.memory_base(), instruction.memory_index());
    base.is_gpr32() || index.is_gpr32() || base == Register::EIP
}
