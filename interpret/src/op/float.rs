//! What an instruction of the x87 unit does.

use iced_x86::{Instruction, Mnemonic as M};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Float {
    Load,
    /// A whole number.
    LoadNumber,
    LoadOne,
    LoadZero,
    Store {
        pop: bool,
    },
    /// As a whole number, by rounding or without what is behind the point.
    StoreNumber {
        pop: bool,
        cut: bool,
    },
    /// With a whole number, or one with a point.
    Binary {
        what: FloatBinary,
        number: bool,
        pop: bool,
    },
    Exchange,
    /// Into the flags.
    Compare {
        pop: bool,
    },
    Negate,
    Absolute,
    /// Without what is behind the point.
    Whole,
    StoreControl,
    LoadControl,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum FloatBinary {
    Add,
    Subtract,
    /// The first from the second.
    SubtractFrom,
    Multiply,
    Divide,
    /// The second by the first.
    DivideBy,
}

pub(super) fn of(instruction: &Instruction) -> Option<Float> {
    use FloatBinary as B;
    let binary = |what, number, pop| Float::Binary { what, number, pop };
    Some(match instruction.mnemonic() {
        M::Fld => Float::Load,
        M::Fild => Float::LoadNumber,
        M::Fld1 => Float::LoadOne,
        M::Fldz => Float::LoadZero,
        M::Fst => Float::Store { pop: false },
        M::Fstp => Float::Store { pop: true },
        M::Fist => Float::StoreNumber {
            pop: false,
            cut: false,
        },
        M::Fistp => Float::StoreNumber {
            pop: true,
            cut: false,
        },
        M::Fisttp => Float::StoreNumber {
            pop: true,
            cut: true,
        },
        M::Fadd => binary(B::Add, false, false),
        M::Faddp => binary(B::Add, false, true),
        M::Fiadd => binary(B::Add, true, false),
        M::Fsub => binary(B::Subtract, false, false),
        M::Fsubp => binary(B::Subtract, false, true),
        M::Fisub => binary(B::Subtract, true, false),
        M::Fsubr => binary(B::SubtractFrom, false, false),
        M::Fsubrp => binary(B::SubtractFrom, false, true),
        M::Fisubr => binary(B::SubtractFrom, true, false),
        M::Fmul => binary(B::Multiply, false, false),
        M::Fmulp => binary(B::Multiply, false, true),
        M::Fimul => binary(B::Multiply, true, false),
        M::Fdiv => binary(B::Divide, false, false),
        M::Fdivp => binary(B::Divide, false, true),
        M::Fidiv => binary(B::Divide, true, false),
        M::Fdivr => binary(B::DivideBy, false, false),
        M::Fdivrp => binary(B::DivideBy, false, true),
        M::Fidivr => binary(B::DivideBy, true, false),
        M::Fxch => Float::Exchange,
        M::Fcomi | M::Fucomi => Float::Compare { pop: false },
        M::Fcomip | M::Fucomip => Float::Compare { pop: true },
        M::Fchs => Float::Negate,
        M::Fabs => Float::Absolute,
        M::Frndint => Float::Whole,
        M::Fnstcw => Float::StoreControl,
        M::Fldcw => Float::LoadControl,
        _ => return None,
    })
}
