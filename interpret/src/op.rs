//! What an instruction does. Which ones there are is decided here alone: an instruction
//! without an [`Op`] is unknown, one with an [`Op`] is executed in all its forms.

mod float;
mod vector;

use iced_x86::{Code, ConditionCode, EncodingKind, Instruction, Mnemonic as M, OpKind, Register};

pub(crate) use float::{Float, FloatBinary};
pub(crate) use vector::{
    Arithmetic, Cipher, Compare, Convert, Edge, Fused, Half, Lane, Mask, Shuffle, Test, Unary,
    VectorOp, Wide,
};

/// What an instruction does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Op {
    /// Nothing that is seen: also hints and fences.
    Nothing,
    Move,
    MoveSigned,
    MoveSwapped,
    Address,
    Push,
    Pop,
    PushFlags,
    PopFlags,
    Leave,
    Exchange,
    CompareExchange,
    CompareExchangeWide,
    ExchangeAdd,
    Binary(Binary),
    /// Addition with one flag for the carry alone.
    AddWithFlag(u32),
    Increment,
    Decrement,
    Not,
    Negate,
    Shift(Shift),
    ShiftDouble {
        left: bool,
    },
    /// A shift that leaves the flags alone.
    ShiftQuiet(Shift),
    /// To half of the destination's size, with its sign.
    MultiplySigned,
    /// AX, or the pair of registers.
    MultiplyWide {
        signed: bool,
    },
    MultiplyQuiet,
    Divide {
        signed: bool,
    },
    Bit(Bit),
    Scan(Scan),
    Manipulate(Manipulate),
    SwapBytes,
    /// The accumulator to twice its size, in place.
    Widen,
    /// The accumulator's sign into all of RDX.
    WidenPair,
    Set,
    MoveIf,
    JumpIf,
    JumpIfCounter,
    Jump,
    Call,
    Return,
    String(Text),
    Flag(u32, Option<bool>),
    LoadFlags,
    StoreFlags,
    ProcessorKind,
    Counter,
    SavedStates,
    SystemCall,
    Trap,
    /// The register of vector arithmetic's control: as it is at first.
    StoreControl,
    LoadControl,
    Vector(VectorOp),
    /// Elements of so many bytes, at addresses of indices of so many bytes.
    Gather {
        by: u8,
        size: u8,
    },
    /// Of the x87 unit.
    Float(Float),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Binary {
    Add,
    AddCarry,
    Subtract,
    SubtractBorrow,
    Compare,
    And,
    Or,
    Xor,
    Test,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Shift {
    Left,
    Right,
    RightSigned,
    RotateLeft,
    RotateRight,
    CarryLeft,
    CarryRight,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Bit {
    Test,
    Set,
    Reset,
    Complement,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Scan {
    Forward,
    Reverse,
    TrailingZeros,
    LeadingZeros,
    Count,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Manipulate {
    AndNot,
    ResetLowest,
    IsolateLowest,
    MaskToLowest,
    ZeroFrom,
    Extract,
    Deposit,
    Gather,
}

/// What a string instruction does to each element.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Text {
    Move,
    Store,
    Load,
    Scan,
    Compare,
}

impl Op {
    /// What `instruction` does; `None` where this crate does not know.
    pub(crate) fn of(instruction: &Instruction) -> Option<Self> {
        if instruction.is_invalid() || !operands_are_known(instruction) {
            return None;
        }
        // Some have the names of others.
        if let Some(text) = text(instruction.code()) {
            return is_plain(instruction).then_some(Self::String(text));
        }
        if let Some(op) = control(instruction) {
            return op;
        }
        if let Some(float) = float::of(instruction) {
            return Some(Self::Float(float));
        }
        if instruction.is_vsib() {
            return gather(instruction);
        }
        if let Some(op) = general(instruction) {
            return Some(op);
        }
        vector::of(instruction).map(Self::Vector)
    }
}

/// Registers and memory of kinds that are modelled.
fn operands_are_known(instruction: &Instruction) -> bool {
    let known = |register: Register| {
        let is_number = register.is_gpr() || register.is_k() || register.is_st();
        is_number || register.is_vector_register()
    };
    let operands = (0..instruction.op_count()).all(|operand| match instruction.op_kind(operand) {
        OpKind::Register => known(instruction.op_register(operand)),
        OpKind::FarBranch16 | OpKind::FarBranch32 | OpKind::NearBranch16 | OpKind::NearBranch32 => {
            false
        }
        _ => true,
    });
    let segment = matches!(
        instruction.segment_prefix(),
        Register::None | Register::FS | Register::CS | Register::DS | Register::ES | Register::SS
    );
    operands && segment
}

/// Instructions that go elsewhere, or ask for what memory does not hold.
#[allow(clippy::option_option)]
fn control(instruction: &Instruction) -> Option<Option<Op>> {
    use M as N;
    if instruction.is_jcc_short_or_near() {
        return Some(Some(Op::JumpIf));
    }
    let near = |op| Some(op);
    Some(match instruction.mnemonic() {
        N::Jmp if is_near(instruction) => near(Op::Jump),
        N::Call if is_near(instruction) => near(Op::Call),
        N::Jmp | N::Call => None,
        N::Ret => {
            let near_return = [Code::Retnq, Code::Retnq_imm16];
            near_return
                .contains(&instruction.code())
                .then_some(Op::Return)
        }
        N::Jrcxz | N::Jecxz => Some(Op::JumpIfCounter),
        N::Syscall => Some(Op::SystemCall),
        N::Ud2 | N::Int3 | N::Hlt => Some(Op::Trap),
        N::Cpuid => Some(Op::ProcessorKind),
        N::Rdtsc | N::Rdtscp => Some(Op::Counter),
        N::Xgetbv => Some(Op::SavedStates),
        _ => return None,
    })
}

fn is_near(instruction: &Instruction) -> bool {
    match instruction.op0_kind() {
        OpKind::NearBranch64 => true,
        OpKind::Register => instruction.op0_register().is_gpr64(),
        OpKind::Memory => instruction.memory_size().size() == 8,
        _ => false,
    }
}

/// What an instruction of strings does.
fn text(code: Code) -> Option<Text> {
    Some(match code {
        Code::Movsb_m8_m8 | Code::Movsw_m16_m16 | Code::Movsd_m32_m32 | Code::Movsq_m64_m64 => {
            Text::Move
        }
        Code::Stosb_m8_AL | Code::Stosw_m16_AX | Code::Stosd_m32_EAX | Code::Stosq_m64_RAX => {
            Text::Store
        }
        Code::Lodsb_AL_m8 | Code::Lodsw_AX_m16 | Code::Lodsd_EAX_m32 | Code::Lodsq_RAX_m64 => {
            Text::Load
        }
        Code::Scasb_AL_m8 | Code::Scasw_AX_m16 | Code::Scasd_EAX_m32 | Code::Scasq_RAX_m64 => {
            Text::Scan
        }
        Code::Cmpsb_m8_m8 | Code::Cmpsw_m16_m16 | Code::Cmpsd_m32_m32 | Code::Cmpsq_m64_m64 => {
            Text::Compare
        }
        _ => return None,
    })
}

/// Without a prefix for the size of addresses, and in the usual segments.
fn is_plain(instruction: &Instruction) -> bool {
    let is_wide = (0..instruction.op_count()).all(|operand| {
        let kind = instruction.op_kind(operand);
        matches!(
            kind,
            OpKind::MemorySegRSI | OpKind::MemoryESRDI | OpKind::Register
        )
    });
    is_wide && instruction.segment_prefix() == Register::None
}

/// A vector of elements that are apart from each other in memory.
fn gather(instruction: &Instruction) -> Option<Op> {
    let (by, size) = match instruction.mnemonic() {
        M::Vpgatherdd | M::Vgatherdps => (4, 4),
        M::Vpgatherdq | M::Vgatherdpd => (4, 8),
        M::Vpgatherqd | M::Vgatherqps => (8, 4),
        M::Vpgatherqq | M::Vgatherqpd => (8, 8),
        _ => return None,
    };
    let base = instruction.memory_base();
    let is_wide = base == Register::None || base.is_gpr64();
    let to = instruction.op0_register().full_register();
    let indices = instruction.memory_index().full_register();
    // What is the same as another is no such instruction.
    let differ = if instruction.code().encoding() == EncodingKind::VEX {
        let mask = instruction.op2_register().full_register();
        to != indices && to != mask && indices != mask
    } else {
        to != indices && instruction.op_mask() != Register::None
    };
    let is_plain = is_wide && instruction.segment_prefix() == Register::None;
    (is_plain && differ && !instruction.zeroing_masking()).then_some(Op::Gather { by, size })
}

/// `prefetch` and its like with a register in place of memory: some processors execute it
/// as a `nop`, and others not at all.
fn is_prefetch_of_a_register(instruction: &Instruction) -> bool {
    matches!(
        instruction.code(),
        Code::Reservednop_rm16_r16_0F0D
            | Code::Reservednop_rm32_r32_0F0D
            | Code::Reservednop_rm64_r64_0F0D
    )
}

#[allow(clippy::too_many_lines)]
fn general(instruction: &Instruction) -> Option<Op> {
    if instruction.condition_code() != ConditionCode::None {
        // `loope`, `cmpxx` and their like have conditions too.
        return match (instruction.op_count(), instruction.op0_kind()) {
            (1, OpKind::Register | OpKind::Memory) => Some(Op::Set),
            (2, OpKind::Register) if instruction.code().encoding() == EncodingKind::Legacy => {
                Some(Op::MoveIf)
            }
            _ => None,
        };
    }
    Some(match instruction.mnemonic() {
        // One maker's processors refuse it.
        M::Reservednop if is_prefetch_of_a_register(instruction) => return None,
        M::Nop
        | M::Reservednop
        | M::Endbr64
        | M::Pause
        | M::Mfence
        | M::Lfence
        | M::Sfence
        | M::Prefetcht0
        | M::Prefetcht1
        | M::Prefetcht2
        | M::Prefetchnta
        | M::Prefetchw => Op::Nothing,
        M::Mov | M::Movnti | M::Movzx => Op::Move,
        M::Movsx | M::Movsxd => Op::MoveSigned,
        M::Movbe => Op::MoveSwapped,
        M::Lea => Op::Address,
        M::Push if pushes_eight(instruction) => Op::Push,
        M::Pop if pushes_eight(instruction) => Op::Pop,
        M::Pushfq => Op::PushFlags,
        M::Popfq => Op::PopFlags,
        M::Leave if instruction.code() == Code::Leaveq => Op::Leave,
        M::Xchg => Op::Exchange,
        M::Cmpxchg => Op::CompareExchange,
        M::Cmpxchg8b | M::Cmpxchg16b => Op::CompareExchangeWide,
        M::Xadd => Op::ExchangeAdd,
        M::Add => Op::Binary(Binary::Add),
        M::Adc => Op::Binary(Binary::AddCarry),
        M::Sub => Op::Binary(Binary::Subtract),
        M::Sbb => Op::Binary(Binary::SubtractBorrow),
        M::Cmp => Op::Binary(Binary::Compare),
        M::And => Op::Binary(Binary::And),
        M::Or => Op::Binary(Binary::Or),
        M::Xor => Op::Binary(Binary::Xor),
        M::Test => Op::Binary(Binary::Test),
        M::Adcx => Op::AddWithFlag(crate::Flags::CF),
        M::Adox => Op::AddWithFlag(crate::Flags::OF),
        M::Inc => Op::Increment,
        M::Dec => Op::Decrement,
        M::Not => Op::Not,
        M::Neg => Op::Negate,
        M::Shl | M::Sal => Op::Shift(Shift::Left),
        M::Shr => Op::Shift(Shift::Right),
        M::Sar => Op::Shift(Shift::RightSigned),
        M::Rol => Op::Shift(Shift::RotateLeft),
        M::Ror => Op::Shift(Shift::RotateRight),
        M::Rcl => Op::Shift(Shift::CarryLeft),
        M::Rcr => Op::Shift(Shift::CarryRight),
        M::Shld => Op::ShiftDouble { left: true },
        M::Shrd => Op::ShiftDouble { left: false },
        M::Shlx => Op::ShiftQuiet(Shift::Left),
        M::Shrx => Op::ShiftQuiet(Shift::Right),
        M::Sarx => Op::ShiftQuiet(Shift::RightSigned),
        M::Rorx => Op::ShiftQuiet(Shift::RotateRight),
        M::Imul if instruction.op_count() > 1 => Op::MultiplySigned,
        M::Imul => Op::MultiplyWide { signed: true },
        M::Mul => Op::MultiplyWide { signed: false },
        M::Mulx => Op::MultiplyQuiet,
        M::Div => Op::Divide { signed: false },
        M::Idiv => Op::Divide { signed: true },
        M::Bt => Op::Bit(Bit::Test),
        M::Bts => Op::Bit(Bit::Set),
        M::Btr => Op::Bit(Bit::Reset),
        M::Btc => Op::Bit(Bit::Complement),
        M::Bsf => Op::Scan(Scan::Forward),
        M::Bsr => Op::Scan(Scan::Reverse),
        M::Tzcnt => Op::Scan(Scan::TrailingZeros),
        M::Lzcnt => Op::Scan(Scan::LeadingZeros),
        M::Popcnt => Op::Scan(Scan::Count),
        M::Andn => Op::Manipulate(Manipulate::AndNot),
        M::Blsr => Op::Manipulate(Manipulate::ResetLowest),
        M::Blsi => Op::Manipulate(Manipulate::IsolateLowest),
        M::Blsmsk => Op::Manipulate(Manipulate::MaskToLowest),
        M::Bzhi => Op::Manipulate(Manipulate::ZeroFrom),
        M::Bextr if instruction.code().encoding() == EncodingKind::VEX => {
            Op::Manipulate(Manipulate::Extract)
        }
        M::Pdep => Op::Manipulate(Manipulate::Deposit),
        M::Pext => Op::Manipulate(Manipulate::Gather),
        // Of two bytes its result is undefined.
        M::Bswap if instruction.op0_register().size() > 2 => Op::SwapBytes,
        M::Cbw | M::Cwde | M::Cdqe => Op::Widen,
        M::Cwd | M::Cdq | M::Cqo => Op::WidenPair,
        M::Clc => Op::Flag(crate::Flags::CF, Some(false)),
        M::Stc => Op::Flag(crate::Flags::CF, Some(true)),
        M::Cmc => Op::Flag(crate::Flags::CF, None),
        M::Cld => Op::Flag(crate::Flags::DF, Some(false)),
        M::Std => Op::Flag(crate::Flags::DF, Some(true)),
        M::Lahf => Op::LoadFlags,
        M::Sahf => Op::StoreFlags,
        M::Stmxcsr | M::Vstmxcsr => Op::StoreControl,
        M::Ldmxcsr | M::Vldmxcsr => Op::LoadControl,
        _ => return None,
    })
}

fn pushes_eight(instruction: &Instruction) -> bool {
    match instruction.op0_kind() {
        OpKind::Register => instruction.op0_register().is_gpr64(),
        OpKind::Memory => instruction.memory_size().size() == 8,
        kind => kind != OpKind::Immediate16 && kind != OpKind::Immediate8to16,
    }
}
