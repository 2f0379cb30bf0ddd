//! The arithmetic flags, and how results set them.

use iced_x86::ConditionCode;

/// The flags register: those that arithmetic sets, and the direction of strings.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Flags(u32);

impl Flags {
    /// Carry.
    pub const CF: u32 = 1;
    /// Parity of the lowest byte.
    pub const PF: u32 = 1 << 2;
    /// Carry out of the lowest four bits.
    pub const AF: u32 = 1 << 4;
    /// Zero.
    pub const ZF: u32 = 1 << 6;
    /// Sign.
    pub const SF: u32 = 1 << 7;
    /// Direction: strings run backwards.
    pub const DF: u32 = 1 << 10;
    /// Signed overflow.
    pub const OF: u32 = 1 << 11;
    /// Those that the status of arithmetic is.
    pub const STATUS: u32 = Self::CF | Self::PF | Self::AF | Self::ZF | Self::SF | Self::OF;

    /// From a flags register's bits; the others are dropped.
    pub const fn from_bits(bits: u64) -> Self {
        Self(bits as u32 & (Self::STATUS | Self::DF))
    }

    /// As `pushfq` stores them: interrupts are on.
    pub const fn bits(self) -> u64 {
        (self.0 | 0x202) as u64
    }

    pub(crate) const fn has(self, flag: u32) -> bool {
        self.0 & flag != 0
    }

    pub(crate) fn set(&mut self, flag: u32, on: bool) {
        self.0 = if on { self.0 | flag } else { self.0 & !flag };
    }

    /// Sets all of the status: zero, sign and parity by a result of `size` bytes.
    fn status(&mut self, result: u64, size: usize, others: u32) {
        let mut bits = others;
        if result == 0 {
            bits |= Self::ZF;
        }
        if sign(result, size) {
            bits |= Self::SF;
        }
        if (result as u8).count_ones().is_multiple_of(2) {
            bits |= Self::PF;
        }
        self.0 = self.0 & !Self::STATUS | bits;
    }

    /// Of a logical operation: no carry, no overflow.
    pub(crate) fn logic(&mut self, result: u64, size: usize) {
        self.status(cut(result, size), size, 0);
    }

    /// Of a test of vectors or masks: zero and carry, the others are cleared.
    pub(crate) fn of_test(&mut self, zero: bool, carry: bool) {
        let bits = choose(zero, Self::ZF) | choose(carry, Self::CF);
        self.0 = self.0 & !Self::STATUS | bits;
    }

    /// Of a comparison of numbers that may not be comparable.
    pub(crate) fn of_order(&mut self, order: Option<std::cmp::Ordering>) {
        use std::cmp::Ordering;
        let bits = match order {
            None => Self::ZF | Self::PF | Self::CF,
            Some(Ordering::Less) => Self::CF,
            Some(Ordering::Equal) => Self::ZF,
            Some(Ordering::Greater) => 0,
        };
        self.0 = self.0 & !Self::STATUS | bits;
    }

    /// `a + b + carry`, of `size` bytes.
    pub(crate) fn add(&mut self, a: u64, b: u64, carry: bool, size: usize) -> u64 {
        let (a, b) = (cut(a, size), cut(b, size));
        let wide = u128::from(a) + u128::from(b) + u128::from(carry);
        let result = cut(wide as u64, size);
        let overflow = sign((a ^ result) & (b ^ result), size);
        self.status(
            result,
            size,
            choose(wide >> (size * 8) != 0, Self::CF)
                | choose(overflow, Self::OF)
                | choose((a ^ b ^ result) & 0x10 != 0, Self::AF),
        );
        result
    }

    /// `a - b - borrow`, of `size` bytes.
    pub(crate) fn subtract(&mut self, a: u64, b: u64, borrow: bool, size: usize) -> u64 {
        let (a, b) = (cut(a, size), cut(b, size));
        let result = cut(a.wrapping_sub(b).wrapping_sub(u64::from(borrow)), size);
        let carry = u128::from(a) < u128::from(b) + u128::from(borrow);
        let overflow = sign((a ^ b) & (a ^ result), size);
        self.status(
            result,
            size,
            choose(carry, Self::CF)
                | choose(overflow, Self::OF)
                | choose((a ^ b ^ result) & 0x10 != 0, Self::AF),
        );
        result
    }

    /// Does `condition` hold?
    pub(crate) fn hold(self, condition: ConditionCode) -> bool {
        use ConditionCode as C;
        let has = |flag| self.has(flag);
        let less = has(Self::SF) != has(Self::OF);
        match condition {
            C::o => has(Self::OF),
            C::no => !has(Self::OF),
            C::b => has(Self::CF),
            C::ae => !has(Self::CF),
            C::e => has(Self::ZF),
            C::ne => !has(Self::ZF),
            C::be => has(Self::CF) || has(Self::ZF),
            C::a => !(has(Self::CF) || has(Self::ZF)),
            C::s => has(Self::SF),
            C::ns => !has(Self::SF),
            C::p => has(Self::PF),
            C::np => !has(Self::PF),
            C::l => less,
            C::ge => !less,
            C::le => has(Self::ZF) || less,
            C::g => !(has(Self::ZF) || less),
            C::None => true,
        }
    }
}

fn choose(on: bool, flag: u32) -> u32 {
    if on { flag } else { 0 }
}

/// The lowest `size` bytes.
pub(crate) const fn cut(value: u64, size: usize) -> u64 {
    if size >= 8 {
        value
    } else {
        value & ((1 << (size * 8)) - 1)
    }
}

/// The lowest `size` bytes, with their sign.
pub(crate) const fn extend(value: u64, size: usize) -> u64 {
    match size {
        1 => value as i8 as u64,
        2 => value as i16 as u64,
        4 => value as i32 as u64,
        _ => value,
    }
}

/// The highest bit of `size` bytes.
pub(crate) const fn sign(value: u64, size: usize) -> bool {
    value >> (size * 8 - 1) & 1 == 1
}
