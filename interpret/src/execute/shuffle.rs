//! Instructions that bring elements to other places, or to other sizes.

use iced_x86::{EncodingKind, Instruction};

use super::Machine;
use super::lane::{PART, build, bytes, lane, saturate_signed, saturate_unsigned};
use super::vector::{length, number_of};
use crate::end::Stop;
use crate::flags::{cut, extend, sign};
use crate::op::{Edge, Shuffle, VectorOp, Wide};
use crate::state::Vector;

impl Machine<'_> {
    pub(super) fn rearrange(&mut self, op: VectorOp, i: &Instruction) -> Result<(), Stop> {
        match op {
            VectorOp::Shuffle(shuffle) => self.shuffle(shuffle, i),
            VectorOp::ShiftBytes { left } => {
                let value = bytes(&self.only(i)?);
                let count = number_of(i) as usize;
                self.each(i, 1, |at| {
                    let within = at % PART;
                    let from = if left {
                        within.checked_sub(count)
                    } else {
                        Some(within + count)
                    };
                    let from = from.filter(|from| *from < PART);
                    from.map_or(0, |from| u64::from(value[at - within + from]))
                })
            }
            VectorOp::AlignBytes => {
                let (high, low) = self.pair(i)?;
                let (high, low) = (bytes(&high), bytes(&low));
                let count = number_of(i) as usize;
                self.each(i, 1, |at| {
                    let (within, part) = (at % PART + count, at / PART * PART);
                    u64::from(match within {
                        0..PART => low[part + within],
                        PART..32 => high[part + within - PART],
                        _ => 0,
                    })
                })
            }
            VectorOp::AlignElements(size) => {
                let size = usize::from(size);
                let (high, low) = self.pair(i)?;
                let count = length(i) / size;
                let by = number_of(i) as usize % count;
                self.each(i, size, |at| match at + by {
                    from if from < count => lane(&low, size, from),
                    from => lane(&high, size, from - count),
                })
            }
            VectorOp::Unpack { size, high } => {
                let size = usize::from(size);
                let (a, b) = self.pair(i)?;
                let per_part = PART / size;
                self.each(i, size, |at| {
                    let (part, within) = (at / per_part * per_part, at % per_part);
                    let upper = if high { per_part / 2 } else { 0 };
                    let from = part + upper + within / 2;
                    lane(if within % 2 == 0 { &a } else { &b }, size, from)
                })
            }
            VectorOp::Blend(size) => {
                let size = usize::from(size);
                let (a, b) = self.pair(i)?;
                let by = number_of(i);
                // Of elements of two bytes the number is for each 16 bytes anew.
                self.each(i, size, |at| {
                    let chosen = if by >> (at % 8) & 1 == 1 { &b } else { &a };
                    lane(chosen, size, at)
                })
            }
            VectorOp::BlendBySigns(size) => self.blend_by_signs(size.into(), i),
            VectorOp::BlendByMask(size) => {
                let size = usize::from(size);
                let (a, b) = self.pair(i)?;
                let mask = self.mask_of(i);
                let zeroed = i.zeroing_masking();
                let length = length(i);
                let result = build(size, length / size, |at| match mask >> at & 1 {
                    1 => lane(&b, size, at),
                    _ if zeroed => 0,
                    _ => lane(&a, size, at),
                });
                self.put_masked(i, result, size, length, u64::MAX)
            }
            VectorOp::Ternary(size) => self.ternary(size.into(), i),
            VectorOp::Extend { from, to, signed } => {
                let (from, to) = (usize::from(from), usize::from(to));
                let a = self.source(i, 1)?;
                self.each(i, to, |at| {
                    let value = lane(&a, from, at);
                    if signed { extend(value, from) } else { value }
                })
            }
            VectorOp::Narrow { from, to, edge } => self.narrow(from.into(), to.into(), edge, i),
            VectorOp::Pack { from, signed } => self.pack(from.into(), signed, i),
            VectorOp::Wide(wide) => self.wide(wide, i),
            VectorOp::MultiplyCarryless => {
                let (a, b) = self.pair(i)?;
                let by = number_of(i) as usize;
                let (of_a, of_b) = (by & 1, by >> 4 & 1);
                self.each(i, 8, |at| {
                    let part = at / 2 * 2;
                    let product = carryless(a[part + of_a], b[part + of_b]);
                    (product >> (at % 2 * 64)) as u64
                })
            }
            _ => Ok(()),
        }
    }

    #[allow(clippy::too_many_lines)]
    fn shuffle(&mut self, shuffle: Shuffle, i: &Instruction) -> Result<(), Stop> {
        let by = number_of(i) as usize;
        match shuffle {
            Shuffle::Words => {
                let a = self.source(i, 1)?;
                self.each(i, 4, |at| lane(&a, 4, at / 4 * 4 + two_bits(by, at % 4)))
            }
            Shuffle::LowHalves | Shuffle::HighHalves => {
                let a = self.source(i, 1)?;
                let from = if shuffle == Shuffle::LowHalves { 0 } else { 4 };
                self.each(i, 2, |at| {
                    let within = at % 8;
                    if (from..from + 4).contains(&within) {
                        let chosen = two_bits(by, within - from);
                        return lane(&a, 2, at - within + from + chosen);
                    }
                    lane(&a, 2, at)
                })
            }
            Shuffle::Bytes => {
                let (a, by) = self.pair(i)?;
                self.each(i, 1, |at| match lane(&by, 1, at) as usize {
                    chosen if chosen < 128 => lane(&a, 1, at / PART * PART + chosen % PART),
                    _ => 0,
                })
            }
            Shuffle::TwoSingles => {
                let (a, b) = self.pair(i)?;
                self.each(i, 4, |at| {
                    let from = if at % 4 < 2 { &a } else { &b };
                    lane(from, 4, at / 4 * 4 + two_bits(by, at % 4))
                })
            }
            Shuffle::TwoDoubles => {
                let (a, b) = self.pair(i)?;
                self.each(i, 8, |at| {
                    let from = if at % 2 == 0 { &a } else { &b };
                    from[at / 2 * 2 + (by >> at & 1)]
                })
            }
            Shuffle::TwoParts => {
                let (a, b) = self.pair(i)?;
                self.each(i, 8, |at| {
                    let chosen = by >> (at / 2 * 4);
                    let from = if chosen & 2 == 0 { &a } else { &b };
                    let none = chosen & 8 != 0;
                    if none {
                        0
                    } else {
                        from[(chosen & 1) * 2 + at % 2]
                    }
                })
            }
            Shuffle::Parts(size) => {
                let size = usize::from(size);
                let (a, b) = self.pair(i)?;
                let parts = length(i) / PART;
                let bits = parts.ilog2() as usize;
                self.each(i, size, |at| {
                    let (part, within) = (at * size / PART, at * size % PART);
                    let from = if part < parts / 2 { &a } else { &b };
                    let chosen = by >> (part * bits) & (parts - 1);
                    lane(from, size, (chosen * PART + within) / size)
                })
            }
            Shuffle::Quads => {
                let a = self.source(i, 1)?;
                self.each(i, 8, |at| a[at / 4 * 4 + two_bits(by, at % 4)])
            }
            Shuffle::All(size) => {
                let size = usize::from(size);
                let (by, a) = self.pair(i)?;
                let count = length(i) / size;
                self.each(i, size, |at| {
                    lane(&a, size, lane(&by, size, at) as usize % count)
                })
            }
            Shuffle::TwoByDestination(size) | Shuffle::TwoByOperand(size) => {
                let size = usize::from(size);
                let (destination, a) = (self.source(i, 0)?, self.source(i, 1)?);
                let b = self.source(i, 2)?;
                let (by, a) = if shuffle == Shuffle::TwoByDestination(size as u8) {
                    (destination, a)
                } else {
                    (a, destination)
                };
                let count = length(i) / size;
                self.each(i, size, |at| {
                    let chosen = lane(&by, size, at) as usize % (2 * count);
                    lane(if chosen < count { &a } else { &b }, size, chosen % count)
                })
            }
            Shuffle::Singles => {
                let (a, chosen) = self.permuted(i)?;
                self.each(i, 4, |at| {
                    let chosen = match chosen {
                        Some(by) => lane(&by, 4, at) as usize & 3,
                        None => two_bits(by, at % 4),
                    };
                    lane(&a, 4, at / 4 * 4 + chosen)
                })
            }
            Shuffle::Doubles => {
                let (a, chosen) = self.permuted(i)?;
                self.each(i, 8, |at| {
                    let chosen = match chosen {
                        Some(by) => by[at] as usize >> 1 & 1,
                        None => by >> at & 1,
                    };
                    a[at / 2 * 2 + chosen]
                })
            }
            Shuffle::DuplicateEven(size) => {
                let size = usize::from(size);
                let a = self.source(i, 1)?;
                self.each(i, size, |at| lane(&a, size, at / 2 * 2))
            }
            Shuffle::DuplicateOdd => {
                let a = self.source(i, 1)?;
                self.each(i, 4, |at| lane(&a, 4, at | 1))
            }
        }
    }

    /// What is permuted, and by which operand if not by a number.
    fn permuted(&mut self, i: &Instruction) -> Result<(Vector, Option<Vector>), Stop> {
        if super::vector::has_number(i) {
            return Ok((self.source(i, 1)?, None));
        }
        let (a, by) = self.pair(i)?;
        Ok((a, Some(by)))
    }

    fn blend_by_signs(&mut self, size: usize, i: &Instruction) -> Result<(), Stop> {
        let (a, b, by) = if i.code().encoding() == EncodingKind::Legacy {
            // The first register chooses.
            let (a, b) = self.pair(i)?;
            (a, b, self.state.vector[0])
        } else {
            let (a, b) = (self.source(i, 1)?, self.source(i, 2)?);
            (a, b, self.source(i, 3)?)
        };
        self.each(i, size, |at| {
            let chosen = if sign(lane(&by, size, at), size) {
                &b
            } else {
                &a
            };
            lane(chosen, size, at)
        })
    }

    /// Each bit by a table of eight, which three operands choose from.
    fn ternary(&mut self, size: usize, i: &Instruction) -> Result<(), Stop> {
        let table = number_of(i);
        let (a, b, c) = (self.source(i, 0)?, self.source(i, 1)?, self.source(i, 2)?);
        self.each(i, size, |at| {
            let [a, b, c] = [&a, &b, &c].map(|of| lane(of, size, at));
            let of = |value: u64, wanted: u64| if wanted == 1 { value } else { !value };
            (0..8)
                .filter(|row| table >> row & 1 == 1)
                .map(|row| of(a, row >> 2) & of(b, row >> 1 & 1) & of(c, row & 1))
                .fold(0, |all, one| all | one)
        })
    }

    fn narrow(&mut self, from: usize, to: usize, edge: Edge, i: &Instruction) -> Result<(), Stop> {
        let a = self.source(i, 1)?;
        let count = i.op1_register().size() / from;
        let result = build(to, count, |at| {
            let value = lane(&a, from, at);
            match edge {
                Edge::Cut => value,
                Edge::Signed => saturate_signed(extend(value, from) as i64, to),
                Edge::Unsigned => value.min(cut(u64::MAX, to)),
            }
        });
        self.put(i, result, to, count * to)
    }

    fn pack(&mut self, from: usize, signed: bool, i: &Instruction) -> Result<(), Stop> {
        let (a, b) = self.pair(i)?;
        let to = from / 2;
        let (per_part, half) = (PART / to, PART / from);
        self.each(i, to, |at| {
            let (part, within) = (at / per_part, at % per_part);
            let of = if within < half { &a } else { &b };
            let value = lane(of, from, part * half + within % half);
            let value = extend(value, from) as i64;
            if signed {
                saturate_signed(value, to)
            } else {
                saturate_unsigned(value, to)
            }
        })
    }

    fn wide(&mut self, wide: Wide, i: &Instruction) -> Result<(), Stop> {
        let (a, b) = self.pair(i)?;
        let signed = |of: &Vector, size, at| extend(lane(of, size, at), size) as i64;
        match wide {
            Wide::MultiplyAdd => self.each(i, 4, |at| {
                let product = |at| signed(&a, 2, at) * signed(&b, 2, at);
                (product(2 * at) + product(2 * at + 1)) as u64
            }),
            Wide::MultiplyAddBytes => self.each(i, 2, |at| {
                let product = |at| lane(&a, 1, at) as i64 * signed(&b, 1, at);
                saturate_signed(product(2 * at) + product(2 * at + 1), 2)
            }),
            Wide::Differences => self.each(i, 8, |at| {
                let bytes = at * 8..at * 8 + 8;
                bytes
                    .map(|at| lane(&a, 1, at).abs_diff(lane(&b, 1, at)))
                    .sum()
            }),
            Wide::AddNeighbours(size) => {
                let size = usize::from(size);
                let per_part = PART / size;
                self.each(i, size, |at| {
                    let (part, within) = (at / per_part * per_part, at % per_part);
                    let of = if within < per_part / 2 { &a } else { &b };
                    let from = part + within % (per_part / 2) * 2;
                    lane(of, size, from).wrapping_add(lane(of, size, from + 1))
                })
            }
        }
    }
}

fn two_bits(of: usize, at: usize) -> usize {
    of >> (at * 2) & 3
}

/// A product without carries.
fn carryless(a: u64, b: u64) -> u128 {
    let bits = (0..64).filter(|bit| b >> bit & 1 == 1);
    bits.fold(0, |sum, bit| sum ^ u128::from(a) << bit)
}
