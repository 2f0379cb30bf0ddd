//! Instructions by chance: of every encoding that the interpreter knows, with operands
//! that it may have.

use iced_x86::{
    Code, CodeSize, Decoder, DecoderOptions, Encoder, Instruction, Mnemonic,
    OpCodeOperandKind as Kind, OpKind, Register,
};
use looptop_interpret::{Coverage, Extended, Flags, Floats, State};

use crate::processor::{DATA, DATA_SIZE, STACK, STACK_SIZE};
use crate::random::Random;

/// An instruction's bytes, and registers with which its memory is that of the test.
pub(crate) struct Case {
    pub(crate) instruction: Instruction,
    pub(crate) bytes: Vec<u8>,
    pub(crate) state: State,
    /// Memory begins at a multiple of 64.
    pub(crate) aligned: bool,
}

/// Those that a test of one instruction cannot run: they go elsewhere, end the program,
/// ask for what differs, or change how the processor works.
fn is_left_out(mnemonic: Mnemonic) -> bool {
    use Mnemonic as M;
    let by_name = [
        M::Jmp,
        M::Call,
        M::Ret,
        M::Jrcxz,
        M::Jecxz,
        M::Syscall,
        M::Ud2,
        M::Int3,
        M::Hlt,
        M::Cpuid,
        M::Rdtsc,
        M::Rdtscp,
        M::Xgetbv,
        M::Popfq,
        M::Pushfq,
        M::Ldmxcsr,
        M::Vldmxcsr,
        M::Stmxcsr,
        M::Vstmxcsr,
    ];
    by_name.contains(&mnemonic)
}

/// Every encoding of 64-bit code that this test can make and the interpreter knows, in
/// one form at least.
pub(crate) fn encodings() -> Vec<Code> {
    let mut random = Random::new(7);
    let makes = |code: &Code| {
        let of_64_bits = code.op_code().mode64() && code.op_code().is_instruction();
        of_64_bits
            && !is_left_out(code.mnemonic())
            && (0..8).any(|_| make(*code, &mut random, false).is_some())
    };
    Code::values().filter(makes).collect()
}

fn vector(random: &mut Random, first: Register, count: u64) -> Register {
    first + random.below(count) as u32
}

/// An instruction of this encoding; `None` where these operands make none that the
/// interpreter knows. `absolute`: memory without registers.
pub(crate) fn make(code: Code, random: &mut Random, absolute: bool) -> Option<Case> {
    let op_code = code.op_code();
    let mut i = Instruction::default();
    i.set_code(code);
    i.set_code_size(CodeSize::Code64);
    let aligned = !random.one_in(4);
    let mut state = State::default();
    for general in &mut state.general {
        *general = random.word();
    }
    for mask in &mut state.mask {
        *mask = random.word();
    }
    for vector in &mut state.vector {
        *vector = random.vector();
    }
    state.float = floats(random);
    state.flags = Flags::from_bits(random.next() & !u64::from(Flags::DF));
    if random.one_in(8) && op_code.can_use_rep_prefix() {
        state.flags = Flags::from_bits(random.next());
    }
    state.general[4] = STACK + STACK_SIZE as u64 / 2 + 8 * random.below(16);
    if code.mnemonic() == Mnemonic::Leave {
        state.general[5] = STACK + 8 * random.below(64);
    }
    let mut has_memory = false;
    for operand in 0..op_code.op_count() {
        place(
            &mut i,
            operand,
            op_code.op_kind(operand),
            random,
            &mut has_memory,
        )?;
    }
    decorate(&mut i, random, has_memory);
    if i.is_vsib() && absolute {
        return None;
    }
    if i.is_vsib() {
        let by_four = i.is_vsib32();
        scatter(&mut i, &mut state, random, by_four)?;
    } else if has_memory {
        locate(&mut i, &mut state, random, aligned, absolute);
    }
    let mut encoder = Encoder::new(64);
    encoder.encode(&i, 0x1000_0000).ok()?;
    let bytes = encoder.take_buffer();
    let decoded = Decoder::with_ip(64, &bytes, 0x1000_0000, DecoderOptions::NONE).decode();
    (decoded.code() == code && Coverage::knows(&decoded)).then_some(Case {
        instruction: decoded,
        bytes,
        state,
        aligned,
    })
}

fn general(random: &mut Random, size: u32) -> Register {
    let number = random.below(16) as u32;
    match size {
        1 if random.one_in(6) => Register::AH + random.below(4) as u32,
        // AH to BH come between the first four and the others.
        1 if number < 4 => Register::AL + number,
        1 => Register::SPL + (number - 4),
        2 => Register::AX + number,
        4 => Register::EAX + number,
        _ => Register::RAX + number,
    }
}

#[rustfmt::skip]
fn place(
    i: &mut Instruction,
    operand: u32,
    kind: Kind,
    random: &mut Random,
    has_memory: &mut bool,
) -> Option<()> {
    use Kind as K;
    let memory = random.one_in(2) && !*has_memory;
    let register = match kind {
        K::mem | K::mem_vsib32x | K::mem_vsib32y | K::mem_vsib32z | K::mem_vsib64x
        | K::mem_vsib64y | K::mem_vsib64z => None,
        K::st0 => Some(Register::ST0),
        K::sti_opcode => Some(Register::ST0 + random.below(8) as u32),
        K::r8_or_mem | K::r16_or_mem | K::r32_or_mem | K::r64_or_mem | K::xmm_or_mem
        | K::ymm_or_mem | K::zmm_or_mem | K::k_or_mem if memory => None,
        K::r8_or_mem | K::r8_reg | K::r8_opcode => Some(general(random, 1)),
        K::r16_or_mem | K::r16_reg | K::r16_rm | K::r16_opcode => Some(general(random, 2)),
        K::r32_or_mem | K::r32_reg | K::r32_rm | K::r32_opcode | K::r32_vvvv => {
            Some(general(random, 4))
        }
        K::r64_or_mem | K::r64_reg | K::r64_rm | K::r64_opcode | K::r64_vvvv => {
            Some(general(random, 8))
        }
        K::xmm_or_mem | K::xmm_reg | K::xmm_rm | K::xmm_vvvv | K::xmm_is4 => {
            let count = if i.code().op_code().encoding() == iced_x86::EncodingKind::EVEX { 32 } else { 16 };
            Some(vector(random, Register::XMM0, count))
        }
        K::ymm_or_mem | K::ymm_reg | K::ymm_rm | K::ymm_vvvv | K::ymm_is4 => {
            let count = if i.code().op_code().encoding() == iced_x86::EncodingKind::EVEX { 32 } else { 16 };
            Some(vector(random, Register::YMM0, count))
        }
        K::zmm_or_mem | K::zmm_reg | K::zmm_rm | K::zmm_vvvv => {
            Some(vector(random, Register::ZMM0, 32))
        }
        K::k_or_mem | K::k_reg | K::k_rm | K::k_vvvv => Some(vector(random, Register::K0, 8)),
        K::al => Some(Register::AL), K::cl => Some(Register::CL), K::ax => Some(Register::AX),
        K::dx => Some(Register::DX), K::eax => Some(Register::EAX), K::rax => Some(Register::RAX),
        K::seg_rSI => {
            i.set_op_kind(operand, OpKind::MemorySegRSI);
            return Some(());
        }
        K::es_rDI => {
            i.set_op_kind(operand, OpKind::MemoryESRDI);
            return Some(());
        }
        K::imm8 => {
            i.set_op_kind(operand, OpKind::Immediate8);
            i.set_immediate8(random.word() as u8);
            return Some(());
        }
        K::imm8_const_1 => {
            i.set_op_kind(operand, OpKind::Immediate8);
            i.set_immediate8(1);
            return Some(());
        }
        K::imm8sex16 => {
            i.set_op_kind(operand, OpKind::Immediate8to16);
            i.set_immediate8to16(i16::from(random.word() as i8));
            return Some(());
        }
        K::imm8sex32 => {
            i.set_op_kind(operand, OpKind::Immediate8to32);
            i.set_immediate8to32(i32::from(random.word() as i8));
            return Some(());
        }
        K::imm8sex64 => {
            i.set_op_kind(operand, OpKind::Immediate8to64);
            i.set_immediate8to64(i64::from(random.word() as i8));
            return Some(());
        }
        K::imm16 => {
            i.set_op_kind(operand, OpKind::Immediate16);
            i.set_immediate16(random.word() as u16);
            return Some(());
        }
        K::imm32 => {
            i.set_op_kind(operand, OpKind::Immediate32);
            i.set_immediate32(random.word() as u32);
            return Some(());
        }
        K::imm32sex64 => {
            i.set_op_kind(operand, OpKind::Immediate32to64);
            i.set_immediate32to64(i64::from(random.word() as i32));
            return Some(());
        }
        K::imm64 => {
            i.set_op_kind(operand, OpKind::Immediate64);
            i.set_immediate64(random.word());
            return Some(());
        }
        _ => return None,
    };
    if let Some(register) = register {
        i.set_op_kind(operand, OpKind::Register);
        i.set_op_register(operand, register);
    } else {
        *has_memory = true;
        i.set_op_kind(operand, OpKind::Memory);
    }
    Some(())
}

/// Registers of the x87 unit, of which mostly all but one are used.
fn floats(random: &mut Random) -> Floats {
    let top = random.below(8) as u8;
    let used = if random.one_in(8) {
        random.next() as u8
    } else {
        !(1 << ((top + 7) % 8))
    };
    let mut registers = [Extended::default(); 8];
    for register in &mut registers {
        *register = random.extended();
    }
    Floats {
        registers,
        top,
        used,
        control: 0x37f | (random.below(4) as u16) << 10,
    }
}

/// A place from which elements are taken, and a register that says how far each is.
fn scatter(
    i: &mut Instruction,
    state: &mut State,
    random: &mut Random,
    by_four: bool,
) -> Option<()> {
    let kinds = (0..i.op_count()).map(|operand| i.code().op_code().op_kind(operand));
    let first = kinds.into_iter().find_map(|kind| match kind {
        Kind::mem_vsib32x | Kind::mem_vsib64x => Some(Register::XMM0),
        Kind::mem_vsib32y | Kind::mem_vsib64y => Some(Register::YMM0),
        Kind::mem_vsib32z | Kind::mem_vsib64z => Some(Register::ZMM0),
        _ => None,
    })?;
    let index = random.below(16) as usize;
    let far = |random: &mut Random| random.below(100).wrapping_sub(50);
    for word in &mut state.vector[index] {
        *word = far(random);
        if by_four {
            *word = *word & 0xffff_ffff | far(random) << 32;
        }
    }
    let base = random.pick(&[0, 1, 2, 3, 5, 6, 7, 8, 12, 13]);
    state.general[base] = DATA + DATA_SIZE as u64 / 2 + random.below(64);
    i.set_memory_base(Register::RAX + base as u32);
    i.set_memory_index(first + index as u32);
    i.set_memory_index_scale(random.pick(&[1, 2, 4, 8]));
    Some(())
}

/// Prefixes, masks and repeated elements.
fn decorate(i: &mut Instruction, random: &mut Random, has_memory: bool) {
    let op_code = i.code().op_code();
    let to_memory = i.op0_kind() == OpKind::Memory;
    if op_code.can_use_op_mask_register() && !random.one_in(3) {
        i.set_op_mask(Register::K1 + random.below(7) as u32);
        let zeroes = op_code.can_use_zeroing_masking() && !to_memory;
        i.set_zeroing_masking(zeroes && random.one_in(2));
    }
    if op_code.require_op_mask_register() && !i.has_op_mask() {
        i.set_op_mask(Register::K1);
    }
    i.set_is_broadcast(op_code.can_broadcast() && has_memory && random.one_in(2));
    i.set_has_lock_prefix(op_code.can_use_lock_prefix() && to_memory && random.one_in(2));
    match random.below(3) {
        0 if op_code.can_use_rep_prefix() && is_string(i) => i.set_has_rep_prefix(true),
        1 if op_code.can_use_repne_prefix() && is_string(i) => i.set_has_repne_prefix(true),
        _ => {}
    }
}

fn is_string(i: &Instruction) -> bool {
    (0..i.op_count()).any(|op| matches!(i.op_kind(op), OpKind::MemorySegRSI | OpKind::MemoryESRDI))
}

/// Chooses how memory is addressed, and registers such that it is within the data.
fn locate(
    i: &mut Instruction,
    state: &mut State,
    random: &mut Random,
    aligned: bool,
    absolute: bool,
) {
    let mut at = DATA + 64 + random.below(DATA_SIZE as u64 - 256);
    if aligned {
        at &= !63;
    }
    if absolute {
        i.set_memory_displ_size(8);
        i.set_memory_displacement64(at);
        return;
    }
    let base = random.pick(&[0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15]);
    let index = random.below(16) as usize;
    let scale = random.pick(&[1_u32, 2, 4, 8]);
    let displacement = random.pick(&[0_i64, 8, -8, 100, 1000, -70_000]);
    let has_index = index != 4 && index != base && base != 4 && random.one_in(2);
    let narrow = random.one_in(16);
    let first = if narrow { Register::EAX } else { Register::RAX };
    let mut value = at.wrapping_sub(displacement as u64);
    if has_index {
        let by = random.below(40).wrapping_sub(20);
        state.general[index] = by;
        value = value.wrapping_sub(by.wrapping_mul(u64::from(scale)));
    }
    if narrow && !random.one_in(3) {
        value |= random.next() << 32;
    }
    state.general[base] = value;
    i.set_memory_base(first + base as u32);
    if has_index {
        i.set_memory_index(first + index as u32);
        i.set_memory_index_scale(scale);
    }
    if displacement != 0 {
        i.set_memory_displ_size(if narrow { 4 } else { 8 });
        i.set_memory_displacement64(displacement as u64);
    }
}

/// For instructions of strings: within the data, and not for long.
pub(crate) fn prepare_strings(case: &mut Case, random: &mut Random) {
    if !is_string(&case.instruction) {
        return;
    }
    let middle = DATA + DATA_SIZE as u64 / 2;
    case.state.general[6] = middle + random.below(64);
    case.state.general[7] = middle + random.below(200);
    case.state.general[1] = random.below(40);
}
