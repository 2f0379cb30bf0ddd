//! The x87 unit: numbers of 80 bits on a stack of eight registers.
//!
//! Exceptions are not modelled, nor is the status word, which is why nothing that reads it
//! is known. Where a number is none, or an operation would have to say so, it is refused.

use iced_x86::{Instruction, OpKind};

use super::Machine;
use super::extended::Rounding;
use crate::end::{Refusal, Stop};
use crate::flags::{cut, extend};
use crate::op::{Float, FloatBinary};
use crate::state::Extended;

/// Of the control word: arithmetic with all digits.
const PRECISION: u16 = 3 << 8;

impl Machine<'_> {
    pub(super) fn float(&mut self, op: Float, i: &Instruction) -> Result<(), Stop> {
        let refused = || Stop::Refused(Refusal::Unknown(i.code()));
        let how = Rounding::of(self.state.float.control);
        match op {
            Float::Load => {
                let value = self.float_operand(i, 0)?.ok_or_else(refused)?;
                self.float_push(i, value)?;
            }
            Float::LoadNumber => {
                let value = self.whole_operand(i)?;
                self.float_push(i, value)?;
            }
            Float::LoadOne => self.float_push(i, Extended::ONE)?,
            Float::LoadZero => self.float_push(i, Extended::default())?,
            Float::Store { pop } => {
                let value = self.float_at(i, 0)?;
                self.float_store(i, value, how)?;
                self.float_pop(pop);
            }
            Float::StoreNumber { pop, cut: is_cut } => {
                let how = if is_cut { Rounding::Cut } else { how };
                let size = i.memory_size().size();
                let number = self.float_at(i, 0)?.to_number(size, how);
                let number = number.ok_or_else(refused)?;
                let address = self.address(i)?;
                self.write(address, &number.to_le_bytes()[..size])?;
                self.float_pop(pop);
            }
            Float::Binary { what, number, pop } => {
                if self.state.float.control & PRECISION != PRECISION {
                    return Err(refused());
                }
                let in_memory = i.op0_kind() == OpKind::Memory;
                let to = if in_memory {
                    0
                } else {
                    i.op0_register().number()
                };
                let first = self.float_at(i, to)?;
                let second = if number {
                    Some(self.whole_operand(i)?)
                } else {
                    self.float_operand(i, u32::from(!in_memory))?
                };
                let second = second.ok_or_else(refused)?;
                let result = match what {
                    FloatBinary::Add => first.sum(second, how),
                    FloatBinary::Subtract => first.sum(second.negated(), how),
                    FloatBinary::SubtractFrom => second.sum(first.negated(), how),
                    FloatBinary::Multiply => first.product(second, how),
                    FloatBinary::Divide => first.quotient(second, how),
                    FloatBinary::DivideBy => second.quotient(first, how),
                };
                *self.float_register(i, to)? = result.ok_or_else(refused)?;
                self.float_pop(pop);
            }
            Float::Exchange => {
                let with = i.op1_register().number();
                let (first, second) = (self.float_at(i, 0)?, self.float_at(i, with)?);
                *self.float_register(i, 0)? = second;
                *self.float_register(i, with)? = first;
            }
            Float::Compare { pop } => {
                let second = self.float_at(i, i.op1_register().number())?;
                let order = self.float_at(i, 0)?.order(second).ok_or_else(refused)?;
                self.state.flags.of_order(Some(order));
                self.float_pop(pop);
            }
            Float::Negate => {
                let value = self.float_at(i, 0)?.negated();
                *self.float_register(i, 0)? = value;
            }
            Float::Absolute => {
                let value = self.float_at(i, 0)?.absolute();
                *self.float_register(i, 0)? = value;
            }
            Float::Whole => {
                let value = self.float_at(i, 0)?.to_whole(how).ok_or_else(refused)?;
                *self.float_register(i, 0)? = value;
            }
            Float::StoreControl => {
                let address = self.address(i)?;
                let control = self.state.float.control.to_le_bytes();
                self.write(address, &control)?;
            }
            Float::LoadControl => {
                let address = self.address(i)?;
                let control = self.load(address, 2)? as u16;
                // Where exceptions end the program, it is not known whether one does.
                if control & 0x3f != 0x3f {
                    return Err(refused());
                }
                // Bits that there are not read as they always do.
                self.state.float.control = control & 0x1f3f | 0x40;
            }
        }
        Ok(())
    }

    /// Which of the eight registers is so far down the stack, if it is used.
    fn float_place(&self, i: &Instruction, down: usize) -> Result<usize, Stop> {
        let float = &self.state.float;
        let place = (usize::from(float.top) + down) % 8;
        if float.used >> place & 1 == 0 {
            return Err(Stop::Refused(Refusal::Unknown(i.code())));
        }
        Ok(place)
    }

    fn float_at(&self, i: &Instruction, down: usize) -> Result<Extended, Stop> {
        let place = self.float_place(i, down)?;
        Ok(self.state.float.registers[place])
    }

    fn float_register(&mut self, i: &Instruction, down: usize) -> Result<&mut Extended, Stop> {
        let place = self.float_place(i, down)?;
        Ok(&mut self.state.float.registers[place])
    }

    fn float_push(&mut self, i: &Instruction, value: Extended) -> Result<(), Stop> {
        let float = &mut self.state.float;
        let place = (usize::from(float.top) + 7) % 8;
        if float.used >> place & 1 == 1 {
            return Err(Stop::Refused(Refusal::Unknown(i.code())));
        }
        float.top = place as u8;
        float.used |= 1 << place;
        float.registers[place] = value;
        Ok(())
    }

    fn float_pop(&mut self, pop: bool) {
        if pop {
            let float = &mut self.state.float;
            float.used &= !(1 << float.top);
            float.top = (float.top + 1) % 8;
        }
    }

    /// A register or memory; `None` where that is no number that is known.
    fn float_operand(&mut self, i: &Instruction, at: u32) -> Result<Option<Extended>, Stop> {
        if i.op_kind(at) == OpKind::Register {
            return self.float_at(i, i.op_register(at).number()).map(Some);
        }
        let address = self.address(i)?;
        let size = i.memory_size().size();
        if size == 10 {
            let digits = self.load(address, 8)?;
            let head = self.load(address.wrapping_add(8), 2)? as u16;
            return Ok(Some(Extended { head, digits }));
        }
        let bits = self.load(address, size)?;
        Ok(Extended::of_float(bits, size))
    }

    fn whole_operand(&mut self, i: &Instruction) -> Result<Extended, Stop> {
        let size = i.memory_size().size();
        let address = self.address(i)?;
        let number = extend(self.load(address, size)?, size).cast_signed();
        Ok(Extended::of_number(number.into()))
    }

    fn float_store(&mut self, i: &Instruction, value: Extended, how: Rounding) -> Result<(), Stop> {
        if i.op0_kind() == OpKind::Register {
            let float = &mut self.state.float;
            let place = (usize::from(float.top) + i.op0_register().number()) % 8;
            float.used |= 1 << place;
            float.registers[place] = value;
            return Ok(());
        }
        let address = self.address(i)?;
        let size = i.memory_size().size();
        if size == 10 {
            let mut bytes = [0; 10];
            bytes[..8].copy_from_slice(&value.digits.to_le_bytes());
            bytes[8..].copy_from_slice(&value.head.to_le_bytes());
            return self.write(address, &bytes);
        }
        let bits = value.to_float(size, how);
        let bits = bits.ok_or(Stop::Refused(Refusal::Unknown(i.code())))?;
        self.write(address, &cut(bits, size).to_le_bytes()[..size])
    }
}
