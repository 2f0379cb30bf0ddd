//! Arithmetic of numbers with a point, on their bits. Rounding is to the nearest, as
//! every program finds it; what is no number goes through as the processor has it.

use std::cmp::Ordering;

use crate::op::{Arithmetic, Fused, Unary};

macro_rules! of_kind {
    ($name:ident, $float:ty, $bits:ty) => {
        pub(super) mod $name {
            use super::*;

            const QUIET: $bits = 1 << (<$float>::MANTISSA_DIGITS - 2);
            /// What an operation without a result yields.
            const NONE: $bits = <$bits>::MAX << (<$float>::MANTISSA_DIGITS - 2);

            fn float(bits: u64) -> $float {
                <$float>::from_bits(bits as $bits)
            }

            /// The one of two that is no number, made quiet: the first before the second.
            fn not_a_number(a: $float, b: $float) -> Option<u64> {
                let which = if a.is_nan() { a } else { b };
                which.is_nan().then(|| u64::from(which.to_bits() | QUIET))
            }

            fn result(value: $float) -> u64 {
                u64::from(if value.is_nan() {
                    NONE
                } else {
                    value.to_bits()
                })
            }

            pub(in crate::execute) fn both(arithmetic: Arithmetic, a: u64, b: u64) -> u64 {
                let (x, y) = (float(a), float(b));
                match arithmetic {
                    Arithmetic::Least => return if x < y { a } else { b },
                    Arithmetic::Greatest => return if x > y { a } else { b },
                    _ => {}
                }
                if let Some(none) = not_a_number(x, y) {
                    return none;
                }
                result(match arithmetic {
                    Arithmetic::Add => x + y,
                    Arithmetic::Subtract => x - y,
                    Arithmetic::Multiply => x * y,
                    _ => x / y,
                })
            }

            /// Of the three operands, of elements at a place.
            pub(in crate::execute) fn fused(fused: Fused, of: [u64; 3], at: usize) -> u64 {
                let operand = |number: u8| float(of[usize::from(number)]);
                let [x, y] = fused.product.map(operand);
                let z = operand(fused.addend);
                let none = [x, y, z].into_iter().find(|operand| operand.is_nan());
                if let Some(none) = none {
                    return u64::from(none.to_bits() | QUIET);
                }
                let x = if fused.negates_product { -x } else { x };
                let z = if fused.subtracts[at % 2] { -z } else { z };
                result(x.mul_add(y, z))
            }

            pub(in crate::execute) fn one(unary: Unary, bits: u64, how: u64) -> u64 {
                let x = float(bits);
                if let Some(none) = not_a_number(x, x) {
                    return none;
                }
                result(match unary {
                    Unary::Root => x.sqrt(),
                    _ => match how & 7 {
                        1 => x.floor(),
                        2 => x.ceil(),
                        3 => x.trunc(),
                        _ => x.round_ties_even(),
                    },
                })
            }

            pub(in crate::execute) fn order(a: u64, b: u64) -> Option<Ordering> {
                float(a).partial_cmp(&float(b))
            }

            /// To a whole number of `size` bytes; one that has no place becomes the least.
            pub(in crate::execute) fn whole(bits: u64, size: usize, cut: bool) -> u64 {
                let x = float(bits);
                let x = if cut { x.trunc() } else { x.round_ties_even() };
                let least = -((1_u64 << (size * 8 - 1)) as $float);
                if x >= least && x < -least {
                    x as i64 as u64
                } else {
                    1 << (size * 8 - 1)
                }
            }

            pub(in crate::execute) fn from_whole(value: i64) -> u64 {
                u64::from((value as $float).to_bits())
            }

            pub(in crate::execute) fn from_unsigned(value: u64) -> u64 {
                u64::from((value as $float).to_bits())
            }
        }
    };
}

of_kind!(single, f32, u32);
of_kind!(double, f64, u64);

pub(super) fn both(arithmetic: Arithmetic, a: u64, b: u64, size: usize) -> u64 {
    match size {
        4 => single::both(arithmetic, a, b),
        _ => double::both(arithmetic, a, b),
    }
}

pub(super) fn fused(fused: Fused, of: [u64; 3], at: usize, size: usize) -> u64 {
    match size {
        4 => single::fused(fused, of, at),
        _ => double::fused(fused, of, at),
    }
}

pub(super) fn one(unary: Unary, bits: u64, how: u64, size: usize) -> u64 {
    match size {
        4 => single::one(unary, bits, how),
        _ => double::one(unary, bits, how),
    }
}

pub(super) fn order(a: u64, b: u64, size: usize) -> Option<Ordering> {
    match size {
        4 => single::order(a, b),
        _ => double::order(a, b),
    }
}

pub(super) fn whole(bits: u64, from: usize, size: usize, cut: bool) -> u64 {
    match from {
        4 => single::whole(bits, size, cut),
        _ => double::whole(bits, size, cut),
    }
}

/// Does a comparison of floats hold? Its lowest four bits choose it.
pub(super) fn holds(predicate: u64, order: Option<Ordering>) -> bool {
    let less = order == Some(Ordering::Less);
    let equal = order == Some(Ordering::Equal);
    let greater = order == Some(Ordering::Greater);
    let none = order.is_none();
    match predicate & 15 {
        0 => equal,
        1 => less,
        2 => less || equal,
        3 => none,
        4 => !equal,
        5 => !less,
        6 => !(less || equal),
        7 => !none,
        8 => equal || none,
        9 => less || none,
        10 => !greater,
        11 => false,
        12 => less || greater,
        13 => greater || equal,
        14 => greater,
        _ => true,
    }
}

/// To the other size: what is no number keeps its highest bits.
pub(super) fn to_double(bits: u64) -> u64 {
    let single = bits as u32;
    if !f32::from_bits(single).is_nan() {
        return f64::from(f32::from_bits(single)).to_bits();
    }
    let sign = u64::from(single >> 31) << 63;
    sign | 0x7ff8_0000_0000_0000 | u64::from(single & 0x7f_ffff) << 29
}

pub(super) fn to_single(bits: u64) -> u64 {
    let double = f64::from_bits(bits);
    if !double.is_nan() {
        return u64::from((double as f32).to_bits());
    }
    bits >> 63 << 31 | 0x7fc0_0000 | bits >> 29 & 0x7f_ffff
}
