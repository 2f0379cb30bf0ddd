//! Elements of vectors.

use crate::flags::{cut, extend, sign};
use crate::op::{Lane, Shift};
use crate::state::Vector;

use super::general::rotate;

/// Bytes within which most instructions move elements.
pub(super) const PART: usize = 16;

/// The element `at`, each of `size` bytes.
pub(super) fn lane(vector: &Vector, size: usize, at: usize) -> u64 {
    let byte = at * size;
    cut(vector[byte / 8] >> (byte % 8 * 8), size)
}

pub(super) fn set_lane(vector: &mut Vector, size: usize, at: usize, value: u64) {
    let byte = at * size;
    let shift = byte % 8 * 8;
    let word = &mut vector[byte / 8];
    *word = *word & !(cut(u64::MAX, size) << shift) | cut(value, size) << shift;
}

/// `count` elements, each made from its number.
pub(super) fn build(size: usize, count: usize, mut of: impl FnMut(usize) -> u64) -> Vector {
    let mut vector = [0; 8];
    for at in 0..count {
        set_lane(&mut vector, size, at, of(at));
    }
    vector
}

pub(super) fn bytes(vector: &Vector) -> [u8; 64] {
    let mut bytes = [0; 64];
    for (to, word) in bytes.chunks_exact_mut(8).zip(vector) {
        to.copy_from_slice(&word.to_le_bytes());
    }
    bytes
}

pub(super) fn from_bytes(bytes: &[u8; 64]) -> Vector {
    let (words, _) = bytes.as_chunks::<8>();
    std::array::from_fn(|at| u64::from_le_bytes(words[at]))
}

/// Cuts a number to the range of one with a sign, of `size` bytes.
pub(super) fn saturate_signed(value: i64, size: usize) -> u64 {
    let bits = size as u32 * 8;
    let (least, greatest) = (-1_i64 << (bits - 1), !(-1_i64 << (bits - 1)));
    cut(value.clamp(least, greatest) as u64, size)
}

/// Cuts a number to the range of one without a sign, of `size` bytes, at most four.
pub(super) fn saturate_unsigned(value: i64, size: usize) -> u64 {
    value.clamp(0, cut(u64::MAX, size) as i64) as u64
}

/// One element of two.
pub(super) fn both(lane: Lane, a: u64, b: u64, size: usize) -> u64 {
    let (signed_a, signed_b) = (extend(a, size) as i64, extend(b, size) as i64);
    let all_if = |yes: bool| if yes { cut(u64::MAX, size) } else { 0 };
    let result = match lane {
        Lane::Add => a.wrapping_add(b),
        Lane::Subtract => a.wrapping_sub(b),
        Lane::AddSigned => saturate_signed(signed_a + signed_b, size),
        Lane::AddUnsigned => saturate_unsigned((a + b) as i64, size),
        Lane::SubtractSigned => saturate_signed(signed_a - signed_b, size),
        Lane::SubtractUnsigned => a.saturating_sub(b),
        Lane::MultiplyLow => a.wrapping_mul(b),
        Lane::MultiplyHigh => ((signed_a * signed_b) >> (size * 8)) as u64,
        Lane::MultiplyHighUnsigned => (a * b) >> (size * 8),
        Lane::MultiplyEven => cut(a, 4) * cut(b, 4),
        Lane::MultiplyEvenSigned => extend(a, 4).wrapping_mul(extend(b, 4)),
        Lane::And => a & b,
        Lane::AndNot => !a & b,
        Lane::Or => a | b,
        Lane::Xor => a ^ b,
        Lane::Equal => all_if(a == b),
        Lane::Greater => all_if(signed_a > signed_b),
        Lane::Least => a.min(b),
        Lane::LeastSigned => signed_a.min(signed_b) as u64,
        Lane::Greatest => a.max(b),
        Lane::GreatestSigned => signed_a.max(signed_b) as u64,
        Lane::Average => (a + b).div_ceil(2),
        Lane::Sign => match signed_b {
            0 => 0,
            negative if negative < 0 => a.wrapping_neg(),
            _ => a,
        },
        Lane::ShiftLeft => shift(Shift::Left, a, b, size),
        Lane::ShiftRight => shift(Shift::Right, a, b, size),
        Lane::ShiftRightSigned => shift(Shift::RightSigned, a, b, size),
        Lane::RotateLeft => shift(Shift::RotateLeft, a, b, size),
        Lane::RotateRight => shift(Shift::RotateRight, a, b, size),
    };
    cut(result, size)
}

/// One element by a count, which may be larger than its bits.
pub(super) fn shift(shift: Shift, value: u64, count: u64, size: usize) -> u64 {
    let width = size as u64 * 8;
    let turn = (count % width) as u32;
    let result = match shift {
        Shift::Left if count < width => value << count,
        Shift::Right if count < width => value >> count,
        Shift::RightSigned if count < width => (extend(value, size) as i64 >> count) as u64,
        Shift::RightSigned if sign(value, size) => u64::MAX,
        Shift::RotateLeft => rotate(value, width as u32 - turn, size),
        Shift::RotateRight => rotate(value, turn, size),
        _ => 0,
    };
    cut(result, size)
}
