//! What an instruction of vectors and masks does.
//!
//! The numbers in an operation are sizes of elements in bytes. A size of elements is also
//! what an instruction's mask counts, if it has one.

mod table;

use iced_x86::{Instruction, Register, RoundingControl};

use super::Shift;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum VectorOp {
    /// All of an operand.
    Move(u8),
    /// The lowest element of one, the others of another.
    MoveScalar(u8),
    /// The lowest bytes from or to a general register, memory or a vector.
    MoveLow,
    MoveHalf(Half),
    Lanes(Lane, u8),
    Arithmetic(Arithmetic, u8),
    ArithmeticScalar(Arithmetic, u8),
    Fused(Fused, u8),
    FusedScalar(Fused, u8),
    Unary(Unary, u8),
    UnaryScalar(Unary, u8),
    /// Each element by one count: a number, or the lowest eight bytes of an operand.
    Shift(Shift, u8),
    ShiftBytes {
        left: bool,
    },
    /// Elements, compared as signed or unsigned numbers, into a mask.
    CompareInto(Compare, u8),
    CompareFloats(u8),
    CompareFloatsScalar(u8),
    /// Two numbers, into the flags.
    CompareFlags(u8),
    /// `ptest`.
    TestFlags,
    TestInto(Test, u8),
    /// The highest bit of each element.
    Signs(u8),
    Shuffle(Shuffle),
    /// An operand of so many bytes, repeated; with the size of elements.
    Broadcast(u8, u8),
    /// A part of so many bytes.
    InsertPart(u8, u8),
    ExtractPart(u8, u8),
    InsertElement(u8),
    ExtractElement(u8),
    /// Elements to larger ones.
    Extend {
        from: u8,
        to: u8,
        signed: bool,
    },
    /// Elements to smaller ones.
    Narrow {
        from: u8,
        to: u8,
        edge: Edge,
    },
    /// Elements of two operands to half of their size.
    Pack {
        from: u8,
        signed: bool,
    },
    Unpack {
        size: u8,
        high: bool,
    },
    AlignBytes,
    AlignElements(u8),
    /// By bits of a number.
    Blend(u8),
    /// By the highest bits of elements of an operand.
    BlendBySigns(u8),
    /// By the mask.
    BlendByMask(u8),
    Ternary(u8),
    Wide(Wide),
    Convert(Convert),
    MultiplyCarryless,
    ZeroUpper,
    ZeroAll,
    /// `pcmpistri` and its like: texts that end with a zero, or have a length; to an
    /// index, or to a mask.
    Text {
        explicit: bool,
        index: bool,
    },
    Cipher(Cipher),
    MaskToVector(u8),
    Mask(Mask, u8),
}

/// Which half of the lowest 16 bytes is moved: in memory, or one to the other.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Half {
    Low,
    High,
    HighToLow,
    LowToHigh,
}

/// Two elements to one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Lane {
    Add,
    Subtract,
    AddSigned,
    AddUnsigned,
    SubtractSigned,
    SubtractUnsigned,
    MultiplyLow,
    MultiplyHigh,
    MultiplyHighUnsigned,
    MultiplyEven,
    MultiplyEvenSigned,
    And,
    AndNot,
    Or,
    Xor,
    Equal,
    Greater,
    Least,
    LeastSigned,
    Greatest,
    GreatestSigned,
    Average,
    Sign,
    ShiftLeft,
    ShiftRight,
    ShiftRightSigned,
    RotateLeft,
    RotateRight,
}

/// A product and a sum that are rounded once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Fused {
    /// Which operands are multiplied with each other, and which is added.
    pub(crate) product: [u8; 2],
    pub(crate) addend: u8,
    pub(crate) negates_product: bool,
    /// The addend is subtracted from elements at even places, and from those at odd ones.
    pub(crate) subtracts: [bool; 2],
}

/// Two numbers to one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Arithmetic {
    Add,
    Subtract,
    Multiply,
    Divide,
    Least,
    Greatest,
}

/// One element to one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Unary {
    Root,
    Round,
    Absolute,
    CountBits,
    LeadingZeros,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Compare {
    Equal,
    Greater,
    Signed,
    Unsigned,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Test {
    Any,
    None,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Edge {
    Cut,
    Signed,
    Unsigned,
}

/// Elements to other places.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Shuffle {
    /// `pshufd`.
    Words,
    LowHalves,
    HighHalves,
    Bytes,
    /// `shufps`.
    TwoSingles,
    TwoDoubles,
    /// `vperm2i128`.
    TwoParts,
    /// `vshufi32x4`, `vshufi64x2`.
    Parts(u8),
    /// `vpermq` by a number.
    Quads,
    /// All of an operand, by an operand.
    All(u8),
    /// All of two operands, by the destination.
    TwoByDestination(u8),
    /// All of the destination and of another, by an operand.
    TwoByOperand(u8),
    /// `vpermilps`, by a number or an operand.
    Singles,
    Doubles,
    DuplicateEven(u8),
    DuplicateOdd,
}

/// Elements to larger ones.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Wide {
    /// `pmaddwd`.
    MultiplyAdd,
    /// `pmaddubsw`.
    MultiplyAddBytes,
    /// `psadbw`.
    Differences,
    /// `phaddd` and `phaddw`.
    AddNeighbours(u8),
}

/// Numbers to numbers of other kinds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Convert {
    /// A whole number of the second operand's size to one with a point, of so many bytes.
    FromWhole {
        to: u8,
        signed: bool,
    },
    /// The lowest number to a whole one.
    ToWhole {
        from: u8,
        cut: bool,
    },
    /// The lowest number, of so many bytes, to the other kind.
    Scalar {
        from: u8,
    },
    /// Whole numbers of four bytes to numbers of four.
    WholeToSingles,
    WholeToDoubles,
    SinglesToWhole {
        cut: bool,
    },
    SinglesToDoubles,
    DoublesToSingles,
    DoublesToWhole {
        cut: bool,
    },
}

/// Steps of AES and of SHA-256.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Cipher {
    Encrypt { last: bool },
    Decrypt { last: bool },
    MixInverse,
    AssistKey,
    HashRounds,
    HashFirst,
    HashSecond,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Mask {
    Move,
    And,
    AndNot,
    Or,
    Xor,
    XorNot,
    Not,
    Add,
    ShiftLeft,
    ShiftRight,
    Unpack,
    TestOr,
    Test,
}

/// What a vector instruction does, if it is known in this form.
pub(super) fn of(instruction: &Instruction) -> Option<VectorOp> {
    if instruction.rounding_control() != RoundingControl::None {
        return None;
    }
    let mnemonic = instruction.mnemonic();
    let op = table::moves(instruction)
        .or_else(|| table::compares(instruction))
        .or_else(|| table::mask(mnemonic).map(|(mask, size)| VectorOp::Mask(mask, size)))
        .or_else(|| table::lanes(mnemonic).map(|(lane, size)| VectorOp::Lanes(lane, size)))
        .or_else(|| table::numbers(mnemonic))
        .or_else(|| table::fused(mnemonic))
        .or_else(|| table::shifts(mnemonic))
        .or_else(|| table::shuffles(instruction))
        .or_else(|| table::parts(instruction))
        .or_else(|| table::sizes(mnemonic))
        .or_else(|| table::converts(mnemonic))?;
    // Of an element that is repeated it is not plain how often.
    if instruction.is_broadcast() && matches!(op, VectorOp::Convert(_)) {
        return None;
    }
    let by_mask = instruction.op_mask() != Register::None;
    (!by_mask || takes_mask(op)).then_some(op)
}

/// Is a mask of the instruction heeded?
fn takes_mask(op: VectorOp) -> bool {
    use VectorOp as V;
    !matches!(
        op,
        V::MoveScalar(_)
            | V::MoveLow
            | V::MoveHalf(_)
            | V::ArithmeticScalar(..)
            | V::FusedScalar(..)
            | V::UnaryScalar(..)
            | V::CompareFloatsScalar(_)
            | V::Convert(_)
    )
}
