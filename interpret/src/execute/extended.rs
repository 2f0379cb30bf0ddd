//! Numbers of 80 bits with a point, as the x87 unit has them: those that are normal, zero or
//! infinite. What would be another is `None`.

use std::cmp::Ordering;

use crate::state::Extended;

/// What is added to an exponent.
const BIAS: i32 = 16_383;
const HIGHEST: i32 = 0x7fff;
/// The bit before the point.
const WHOLE: u64 = 1 << 63;

/// Which way a number goes that cannot be had exactly: two bits of the control word.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Rounding {
    Nearest,
    Down,
    Up,
    Cut,
}

impl Rounding {
    pub(super) fn of(control: u16) -> Self {
        match control >> 10 & 3 {
            0 => Self::Nearest,
            1 => Self::Down,
            2 => Self::Up,
            _ => Self::Cut,
        }
    }

    /// Whether a number is one more in its last place, of which `rest` of `whole` is left.
    fn is_up(self, negative: bool, odd: bool, rest: u128, whole: u128) -> bool {
        match self {
            Self::Nearest => rest > whole / 2 || (rest == whole / 2 && odd),
            Self::Down => negative && rest > 0,
            Self::Up => !negative && rest > 0,
            Self::Cut => false,
        }
    }
}

/// What a number is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Class {
    Zero,
    Normal,
    Infinite,
    Other,
}

impl Extended {
    pub(super) const ONE: Self = Self {
        head: BIAS as u16,
        digits: WHOLE,
    };

    fn new(negative: bool, exponent: i32, digits: u64) -> Self {
        Self {
            head: u16::from(negative) << 15 | exponent as u16,
            digits,
        }
    }

    fn zero(negative: bool) -> Self {
        Self::new(negative, 0, 0)
    }

    fn is_negative(self) -> bool {
        self.head >> 15 == 1
    }

    fn exponent(self) -> i32 {
        i32::from(self.head & 0x7fff)
    }

    fn class(self) -> Class {
        match (self.exponent(), self.digits) {
            (0, 0) => Class::Zero,
            (HIGHEST, WHOLE) => Class::Infinite,
            (1..HIGHEST, WHOLE..) => Class::Normal,
            _ => Class::Other,
        }
    }

    pub(super) fn negated(self) -> Self {
        Self {
            head: self.head ^ 0x8000,
            ..self
        }
    }

    pub(super) fn absolute(self) -> Self {
        Self {
            head: self.head & 0x7fff,
            ..self
        }
    }

    /// Of digits of which the highest bit is before the point.
    fn rounded(negative: bool, exponent: i32, digits: u128, how: Rounding) -> Option<Self> {
        let (high, rest) = ((digits >> 64) as u64, digits & u128::from(u64::MAX));
        let is_up = how.is_up(negative, high & 1 == 1, rest, 1 << 64);
        let (high, carry) = high.overflowing_add(u64::from(is_up));
        let (high, exponent) = if carry {
            (WHOLE, exponent + 1)
        } else {
            (high, exponent)
        };
        let fits = (1..HIGHEST).contains(&exponent);
        fits.then(|| Self::new(negative, exponent, high))
    }

    pub(super) fn sum(self, other: Self, how: Rounding) -> Option<Self> {
        match (self.class(), other.class()) {
            (Class::Zero, Class::Zero) => {
                let (one, another) = (self.is_negative(), other.is_negative());
                return Some(Self::zero(if one == another {
                    one
                } else {
                    how == Rounding::Down
                }));
            }
            (Class::Zero, Class::Normal) => return Some(other),
            (Class::Normal, Class::Zero) => return Some(self),
            (Class::Normal, Class::Normal) => {}
            _ => return None,
        }
        let key = |of: Self| (of.exponent(), of.digits);
        let (large, small) = if key(self) >= key(other) {
            (self, other)
        } else {
            (other, self)
        };
        let far = (large.exponent() - small.exponent()) as u32;
        let a = u128::from(large.digits) << 63;
        let b = u128::from(small.digits) << 63;
        // What goes beyond the last bit is one there.
        let lost = far >= 128 || b.trailing_zeros() < far;
        let b = b.checked_shr(far).unwrap_or(0) | u128::from(lost);
        let digits = if large.is_negative() == small.is_negative() {
            a + b
        } else {
            a - b
        };
        if digits == 0 {
            return Some(Self::zero(how == Rounding::Down));
        }
        let lead = digits.leading_zeros();
        let exponent = large.exponent() + 1 - lead as i32;
        Self::rounded(large.is_negative(), exponent, digits << lead, how)
    }

    pub(super) fn product(self, other: Self, how: Rounding) -> Option<Self> {
        let negative = self.is_negative() != other.is_negative();
        match (self.class(), other.class()) {
            (Class::Zero, Class::Zero | Class::Normal) | (Class::Normal, Class::Zero) => {
                return Some(Self::zero(negative));
            }
            (Class::Normal, Class::Normal) => {}
            _ => return None,
        }
        let digits = u128::from(self.digits) * u128::from(other.digits);
        let lead = digits.leading_zeros();
        let exponent = self.exponent() + other.exponent() - BIAS + 1 - lead as i32;
        Self::rounded(negative, exponent, digits << lead, how)
    }

    pub(super) fn quotient(self, by: Self, how: Rounding) -> Option<Self> {
        let negative = self.is_negative() != by.is_negative();
        match (self.class(), by.class()) {
            (Class::Zero, Class::Normal) => return Some(Self::zero(negative)),
            (Class::Normal, Class::Normal) => {}
            _ => return None,
        }
        let divisor = u128::from(by.digits);
        let first = u128::from(self.digits) << 63;
        let (high, rest) = (first / divisor, first % divisor);
        let (low, rest) = ((rest << 64) / divisor, (rest << 64) % divisor);
        let digits = high << 64 | low | u128::from(rest > 0);
        let lead = digits.leading_zeros();
        let exponent = self.exponent() - by.exponent() + BIAS - lead as i32;
        Self::rounded(negative, exponent, digits << lead, how)
    }

    /// How two numbers compare.
    pub(super) fn order(self, other: Self) -> Option<Ordering> {
        let key = |of: Self| {
            let size = i128::from(of.exponent()) << 64 | i128::from(of.digits);
            match of.class() {
                Class::Other => None,
                _ if of.is_negative() => Some(-size),
                _ => Some(size),
            }
        };
        Some(key(self)?.cmp(&key(other)?))
    }

    /// Without what is behind the point.
    pub(super) fn to_whole(self, how: Rounding) -> Option<Self> {
        match self.class() {
            Class::Zero | Class::Infinite => return Some(self),
            Class::Normal if self.exponent() - BIAS >= 63 => return Some(self),
            Class::Normal => {}
            Class::Other => return None,
        }
        let whole = self.whole(how);
        let mut result = Self::of_number(i128::from(whole));
        if self.is_negative() {
            result = result.negated();
        }
        Some(result)
    }

    /// The whole number beside one that is smaller than 2^63, without its sign.
    fn whole(self, how: Rounding) -> u64 {
        let behind = (63 - (self.exponent() - BIAS)).min(66) as u32;
        let digits = u128::from(self.digits);
        let (whole, rest) = (digits >> behind, digits & ((1 << behind) - 1));
        let is_up = how.is_up(self.is_negative(), whole & 1 == 1, rest, 1 << behind);
        whole as u64 + u64::from(is_up)
    }

    /// As a number of so many bytes; what is too large is the lowest one.
    pub(super) fn to_number(self, size: usize, how: Rounding) -> Option<u64> {
        let bits = size as u32 * 8;
        let lowest = 1_u64 << (bits - 1);
        let whole = match self.class() {
            Class::Zero => return Some(0),
            Class::Normal if self.exponent() - BIAS > 63 => return Some(lowest),
            Class::Normal if self.exponent() - BIAS == 63 => self.digits,
            Class::Normal => self.whole(how),
            Class::Infinite => return Some(lowest),
            Class::Other => return None,
        };
        let most = lowest - u64::from(!self.is_negative());
        if whole > most {
            return Some(lowest);
        }
        let value = if self.is_negative() {
            whole.wrapping_neg()
        } else {
            whole
        };
        Some(crate::flags::cut(value, size))
    }

    pub(super) fn of_number(number: i128) -> Self {
        let size = number.unsigned_abs() as u64;
        if size == 0 {
            return Self::zero(false);
        }
        let lead = size.leading_zeros();
        Self::new(number < 0, BIAS + 63 - lead as i32, size << lead)
    }

    /// Of a number of four or eight bytes with a point.
    pub(super) fn of_float(bits: u64, size: usize) -> Option<Self> {
        let (digits, exponents) = parts(size);
        let negative = bits >> (digits + exponents) & 1 == 1;
        let exponent = (bits >> digits & ((1 << exponents) - 1)) as i32;
        let fraction = bits & ((1 << digits) - 1);
        let middle = (1 << (exponents - 1)) - 1;
        if exponent == (1 << exponents) - 1 {
            return (fraction == 0).then(|| Self::new(negative, HIGHEST, WHOLE));
        }
        if exponent == 0 {
            if fraction == 0 {
                return Some(Self::zero(negative));
            }
            let lead = fraction.leading_zeros();
            let exponent = BIAS - middle + 1 + 63 - digits as i32 - lead as i32;
            return Some(Self::new(negative, exponent, fraction << lead));
        }
        let fraction = WHOLE | fraction << (63 - digits);
        Some(Self::new(negative, exponent - middle + BIAS, fraction))
    }

    /// As one.
    pub(super) fn to_float(self, size: usize, how: Rounding) -> Option<u64> {
        let (digits, exponents) = parts(size);
        let sign = u64::from(self.is_negative()) << (digits + exponents);
        let highest = (1_i32 << exponents) - 1;
        match self.class() {
            Class::Zero => return Some(sign),
            Class::Infinite => return Some(sign | (highest as u64) << digits),
            Class::Normal => {}
            Class::Other => return None,
        }
        let behind = 63 - digits;
        let (high, rest) = (self.digits >> behind, self.digits & ((1 << behind) - 1));
        let is_up = how.is_up(self.is_negative(), high & 1 == 1, rest.into(), 1 << behind);
        let high = high + u64::from(is_up);
        let carry = high >> (digits + 1);
        let exponent = self.exponent() - BIAS + highest / 2 + carry as i32;
        let fraction = (high >> carry) & ((1 << digits) - 1);
        let fits = (1..highest).contains(&(exponent - carry as i32)) && exponent < highest;
        fits.then_some(sign | (exponent as u64) << digits | fraction)
    }
}

/// Bits of the digits behind the point, and of the exponent.
fn parts(size: usize) -> (u32, u32) {
    if size == 4 { (23, 8) } else { (52, 11) }
}
