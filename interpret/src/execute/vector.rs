//! Instructions of vectors.

use iced_x86::{EncodingKind, Instruction, OpKind, Register};

use super::lane::{PART, both, build, bytes, from_bytes, lane, set_lane, shift};
use super::{Machine, number};
use crate::end::Stop;
use crate::flags::{cut, extend, sign};
use crate::op::{Compare, Convert, Half, Test, Unary, VectorOp};
use crate::state::Vector;

/// Of those that are not masked, all elements.
const ALL: u64 = u64::MAX;

impl Machine<'_> {
    #[allow(clippy::too_many_lines)]
    pub(super) fn vector(&mut self, op: VectorOp, i: &Instruction) -> Result<(), Stop> {
        match op {
            VectorOp::Move(size) => self.move_whole(usize::from(size), i),
            VectorOp::MoveScalar(size) => self.move_scalar(usize::from(size), i),
            VectorOp::MoveLow => self.move_low(i),
            VectorOp::MoveHalf(half) => self.move_half(half, i),
            VectorOp::Lanes(lane_op, size) => {
                let size = usize::from(size);
                let (a, b) = self.pair_by_mask(i, size)?;
                self.each(i, size, |at| {
                    both(lane_op, lane(&a, size, at), lane(&b, size, at), size)
                })
            }
            VectorOp::Arithmetic(arithmetic, size) => {
                let size = usize::from(size);
                let (a, b) = self.pair_by_mask(i, size)?;
                self.each(i, size, |at| {
                    let (a, b) = (lane(&a, size, at), lane(&b, size, at));
                    number::both(arithmetic, a, b, size)
                })
            }
            VectorOp::ArithmeticScalar(arithmetic, size) => {
                let size = usize::from(size);
                let (a, b) = self.pair(i)?;
                let value = number::both(arithmetic, cut(a[0], size), cut(b[0], size), size);
                self.put_lowest(i, a, size, value)
            }
            VectorOp::Fused(fused, size) => {
                let size = usize::from(size);
                let last = self.source_by_mask(i, 2, size)?;
                let all = [self.source(i, 0)?, self.source(i, 1)?, last];
                self.each(i, size, |at| {
                    let of = all.map(|operand| lane(&operand, size, at));
                    number::fused(fused, of, at, size)
                })
            }
            VectorOp::FusedScalar(fused, size) => {
                let size = usize::from(size);
                let first = self.source(i, 0)?;
                let all = [first, self.source(i, 1)?, self.source(i, 2)?];
                let value = number::fused(fused, all.map(|one| cut(one[0], size)), 0, size);
                self.put_lowest(i, first, size, value)
            }
            VectorOp::Unary(unary, size) => {
                let size = usize::from(size);
                let a = self.source_by_mask(i, 1, size)?;
                let how = number_of(i);
                self.each(i, size, |at| one(unary, lane(&a, size, at), how, size))
            }
            VectorOp::UnaryScalar(unary, size) => {
                let size = usize::from(size);
                let (a, b) = self.pair(i)?;
                let value = one(unary, cut(b[0], size), number_of(i), size);
                self.put_lowest(i, a, size, value)
            }
            VectorOp::Shift(how, size) => {
                let size = usize::from(size);
                let (value, count) = if has_number(i) {
                    (self.only(i)?, number_of(i))
                } else {
                    let (value, count) = self.pair(i)?;
                    (value, count[0])
                };
                self.each(i, size, |at| {
                    shift(how, lane(&value, size, at), count, size)
                })
            }
            VectorOp::CompareInto(compare, size) => self.compare_into(compare, size.into(), i),
            VectorOp::CompareFloats(size) => self.compare_floats(size.into(), i),
            VectorOp::CompareFloatsScalar(size) => {
                let size = usize::from(size);
                let (a, b) = self.pair(i)?;
                let order = number::order(cut(a[0], size), cut(b[0], size), size);
                let holds = number::holds(predicate(i), order);
                if i.op0_register().is_k() {
                    return self.set_mask(i, u64::from(holds));
                }
                self.put_lowest(i, a, size, if holds { u64::MAX } else { 0 })
            }
            VectorOp::CompareFlags(size) => {
                let size = usize::from(size);
                let (a, b) = (self.source(i, 0)?, self.source(i, 1)?);
                let order = number::order(cut(a[0], size), cut(b[0], size), size);
                self.state.flags.of_order(order);
                Ok(())
            }
            VectorOp::TestFlags => {
                let words = length(i) / 8;
                let (a, b) = (self.source(i, 0)?, self.source(i, 1)?);
                let none = |of: &dyn Fn(usize) -> u64| (0..words).all(|at| of(at) == 0);
                let zero = none(&|at| a[at] & b[at]);
                let carry = none(&|at| !a[at] & b[at]);
                self.state.flags.of_test(zero, carry);
                Ok(())
            }
            VectorOp::TestInto(test, size) => {
                let size = usize::from(size);
                let (a, b) = self.pair_by_mask(i, size)?;
                self.put_mask(i, size, |at| {
                    let any = lane(&a, size, at) & lane(&b, size, at) != 0;
                    any == (test == Test::Any)
                })
            }
            VectorOp::Signs(size) => {
                let size = usize::from(size);
                let a = self.source(i, 1)?;
                let signs = (0..length(i) / size)
                    .map(|at| u64::from(sign(lane(&a, size, at), size)) << at)
                    .sum();
                self.set_mask(i, signs)
            }
            VectorOp::MaskToVector(size) => {
                let size = usize::from(size);
                let mask = self.get(i, 1)?;
                self.each(i, size, |at| if mask >> at & 1 == 1 { ALL } else { 0 })
            }
            VectorOp::Broadcast(from, size) => {
                let (from, size) = (usize::from(from), usize::from(size));
                let general = i.op1_kind() == OpKind::Register && i.op1_register().is_gpr();
                let a = if general {
                    [self.get(i, 1)?, 0, 0, 0, 0, 0, 0, 0]
                } else {
                    self.source(i, 1)?
                };
                self.each(i, size, |at| lane(&a, size, at % (from / size)))
            }
            VectorOp::InsertPart(part, size) => {
                let (part, size) = (usize::from(part), usize::from(size));
                let (mut a, b) = self.pair(i)?;
                let at = number_of(i) as usize % (length(i) / part);
                let words = part / 8;
                a[at * words..(at + 1) * words].copy_from_slice(&b[..words]);
                self.put(i, a, size, length(i))
            }
            VectorOp::ExtractPart(part, size) => {
                let (part, size) = (usize::from(part), usize::from(size));
                let a = self.source(i, 1)?;
                let at = number_of(i) as usize % (i.op1_register().size() / part);
                let mut result = [0; 8];
                let words = part / 8;
                result[..words].copy_from_slice(&a[at * words..(at + 1) * words]);
                self.put(i, result, size, part)
            }
            VectorOp::InsertElement(size) => {
                let size = usize::from(size);
                let from = i.op_count() - 2;
                let value = self.get(i, from)?;
                let mut a = self.source(i, u32::from(from > 1))?;
                let at = number_of(i) as usize % (PART / size);
                set_lane(&mut a, size, at, value);
                self.put(i, a, size, PART)
            }
            VectorOp::ExtractElement(size) => {
                let size = usize::from(size);
                let a = self.source(i, 1)?;
                let at = number_of(i) as usize % (PART / size);
                self.set(i, 0, lane(&a, size, at))
            }
            VectorOp::Convert(convert) => self.convert(convert, i),
            VectorOp::ZeroUpper => {
                for vector in &mut self.state.vector[..16] {
                    vector[2..].fill(0);
                }
                Ok(())
            }
            VectorOp::ZeroAll => {
                self.state.vector[..16].fill([0; 8]);
                Ok(())
            }
            VectorOp::Mask(mask, size) => self.mask(mask, size, i),
            VectorOp::Text { explicit, index } => self.text(explicit, index, i),
            VectorOp::Cipher(cipher) => self.cipher(cipher, i),
            op => self.rearrange(op, i),
        }
    }

    /// A vector operand. Of memory that is repeated, all of its elements.
    pub(super) fn source(&mut self, i: &Instruction, operand: u32) -> Result<Vector, Stop> {
        if i.op_kind(operand) == OpKind::Register {
            let register = i.op_register(operand);
            return Ok(self.state.vector[register.number()]);
        }
        let address = self.address(i)?;
        let size = i.memory_size().size().min(64);
        if i.is_broadcast() {
            let element = self.load(address, size)?;
            return Ok(build(size, 64 / size.max(1), |_| element));
        }
        let mut buffer = [0; 64];
        self.read(address, &mut buffer[..size])?;
        Ok(from_bytes(&buffer))
    }

    /// The same; of memory, elements that the mask leaves out are not read.
    fn source_by_mask(
        &mut self,
        i: &Instruction,
        operand: u32,
        size: usize,
    ) -> Result<Vector, Stop> {
        let masked = i.op_mask() != Register::None && !i.is_broadcast();
        if i.op_kind(operand) == OpKind::Register || !masked {
            return self.source(i, operand);
        }
        let address = self.address(i)?;
        let mask = self.mask_of(i);
        let mut vector = [0; 8];
        for at in 0..i.memory_size().size().min(64) / size {
            if mask >> at & 1 == 1 {
                let from = address.wrapping_add((at * size) as u64);
                let value = self.load(from, size)?;
                set_lane(&mut vector, size, at, value);
            }
        }
        Ok(vector)
    }

    /// The two operands of an operation; the destination is one of them if there are but
    /// two, or one and a number.
    pub(super) fn pair(&mut self, i: &Instruction) -> Result<(Vector, Vector), Stop> {
        let last = i.op_count() - 1 - u32::from(has_number(i));
        let first = u32::from(last != 1);
        Ok((self.source(i, first)?, self.source(i, last)?))
    }

    fn pair_by_mask(&mut self, i: &Instruction, size: usize) -> Result<(Vector, Vector), Stop> {
        let last = i.op_count() - 1 - u32::from(has_number(i));
        let first = u32::from(last != 1);
        let a = self.source(i, first)?;
        Ok((a, self.source_by_mask(i, last, size)?))
    }

    /// The only vector operand besides a number: the destination, or another.
    pub(super) fn only(&mut self, i: &Instruction) -> Result<Vector, Stop> {
        self.source(i, u32::from(i.op_count() > 2))
    }

    pub(super) fn mask_of(&self, i: &Instruction) -> u64 {
        match i.op_mask() {
            Register::None => ALL,
            register => self.state.mask[register.number()],
        }
    }

    /// Writes a result that is made element by element.
    pub(super) fn each(
        &mut self,
        i: &Instruction,
        size: usize,
        of: impl FnMut(usize) -> u64,
    ) -> Result<(), Stop> {
        let length = length(i);
        self.put(i, build(size, length / size, of), size, length)
    }

    /// Writes a result of `length` bytes, by the mask if there is one.
    pub(super) fn put(
        &mut self,
        i: &Instruction,
        result: Vector,
        size: usize,
        length: usize,
    ) -> Result<(), Stop> {
        let mask = self.mask_of(i);
        self.put_masked(i, result, size, length, mask)
    }

    pub(super) fn put_masked(
        &mut self,
        i: &Instruction,
        result: Vector,
        size: usize,
        length: usize,
        mask: u64,
    ) -> Result<(), Stop> {
        if i.op0_kind() == OpKind::Memory {
            return self.put_memory(i, &result, size, length, mask);
        }
        let number = i.op0_register().number();
        let old = self.state.vector[number];
        let mut new = if is_legacy(i) { old } else { [0; 8] };
        let zeroed = i.zeroing_masking();
        for at in 0..length / size {
            let value = if mask >> at & 1 == 1 {
                lane(&result, size, at)
            } else if zeroed {
                0
            } else {
                lane(&old, size, at)
            };
            set_lane(&mut new, size, at, value);
        }
        self.state.vector[number] = new;
        Ok(())
    }

    fn put_memory(
        &mut self,
        i: &Instruction,
        result: &Vector,
        size: usize,
        length: usize,
        mask: u64,
    ) -> Result<(), Stop> {
        let address = self.address(i)?;
        if i.op_mask() == Register::None {
            return self.write(address, &bytes(result)[..length]);
        }
        for at in 0..length / size {
            if mask >> at & 1 == 1 {
                let to = address.wrapping_add((at * size) as u64);
                self.store(to, size, lane(result, size, at))?;
            }
        }
        Ok(())
    }

    /// Writes the lowest element; the others of 16 bytes are of `a`.
    fn put_lowest(
        &mut self,
        i: &Instruction,
        mut a: Vector,
        size: usize,
        value: u64,
    ) -> Result<(), Stop> {
        set_lane(&mut a, size, 0, value);
        self.put(i, a, size, PART)
    }

    /// Sets a mask register by a question to each element.
    fn put_mask(
        &mut self,
        i: &Instruction,
        size: usize,
        of: impl Fn(usize) -> bool,
    ) -> Result<(), Stop> {
        let count = i.op1_register().size() / size;
        let bits: u64 = (0..count).map(|at| u64::from(of(at)) << at).sum();
        let mask = self.mask_of(i);
        self.set_mask(i, bits & mask)
    }

    fn move_whole(&mut self, size: usize, i: &Instruction) -> Result<(), Stop> {
        let length = if i.op0_kind() == OpKind::Memory {
            i.op1_register().size()
        } else {
            length(i)
        };
        let value = self.source_by_mask(i, 1, size)?;
        self.put(i, value, size, length)
    }

    fn move_scalar(&mut self, size: usize, i: &Instruction) -> Result<(), Stop> {
        if i.op0_kind() == OpKind::Memory || i.op1_kind() == OpKind::Memory {
            let value = self.source(i, 1)?;
            let value = [cut(value[0], size), 0, 0, 0, 0, 0, 0, 0];
            let length = if i.op0_kind() == OpKind::Memory {
                size
            } else {
                PART
            };
            return self.put(i, value, size, length);
        }
        let (a, b) = self.pair(i)?;
        self.put_lowest(i, a, size, b[0])
    }

    fn move_low(&mut self, i: &Instruction) -> Result<(), Stop> {
        let value = self.get(i, 1)?;
        if i.op0_kind() == OpKind::Register && i.op0_register().is_vector_register() {
            return self.put(i, [value, 0, 0, 0, 0, 0, 0, 0], 8, PART);
        }
        self.set(i, 0, value)
    }

    fn move_half(&mut self, half: Half, i: &Instruction) -> Result<(), Stop> {
        if i.op0_kind() == OpKind::Memory {
            let value = self.source(i, 1)?;
            return self.set(i, 0, value[usize::from(half == Half::High)]);
        }
        let (a, b) = self.pair(i)?;
        let (low, high) = match half {
            Half::Low => (b[0], a[1]),
            Half::High | Half::LowToHigh => (a[0], b[0]),
            Half::HighToLow => (b[1], a[1]),
        };
        self.put(i, [low, high, 0, 0, 0, 0, 0, 0], 8, PART)
    }

    fn compare_into(&mut self, how: Compare, size: usize, i: &Instruction) -> Result<(), Stop> {
        let (a, b) = self.pair_by_mask(i, size)?;
        let predicate = match how {
            Compare::Equal => 0,
            Compare::Greater => 6,
            _ => number_of(i) & 7,
        };
        let unsigned = how == Compare::Unsigned;
        self.put_mask(i, size, |at| {
            let (a, b) = (lane(&a, size, at), lane(&b, size, at));
            let order = if unsigned {
                a.cmp(&b)
            } else {
                (extend(a, size) as i64).cmp(&(extend(b, size) as i64))
            };
            match predicate {
                0 => order.is_eq(),
                1 => order.is_lt(),
                2 => order.is_le(),
                3 => false,
                4 => order.is_ne(),
                5 => order.is_ge(),
                6 => order.is_gt(),
                _ => true,
            }
        })
    }

    fn compare_floats(&mut self, size: usize, i: &Instruction) -> Result<(), Stop> {
        let (a, b) = self.pair_by_mask(i, size)?;
        let predicate = predicate(i);
        let holds = |at| {
            let order = number::order(lane(&a, size, at), lane(&b, size, at), size);
            number::holds(predicate, order)
        };
        if i.op0_register().is_k() {
            return self.put_mask(i, size, holds);
        }
        self.each(i, size, |at| if holds(at) { ALL } else { 0 })
    }

    fn convert(&mut self, convert: Convert, i: &Instruction) -> Result<(), Stop> {
        let single = |bits: u64| cut(bits, 4);
        match convert {
            Convert::FromWhole { to, signed } => {
                let from = i.op_count() - 1;
                let size = Self::size(i, from);
                let value = self.get(i, from)?;
                let whole = extend(value, size) as i64;
                let result = match (to, signed) {
                    (4, true) => number::single::from_whole(whole),
                    (4, false) => number::single::from_unsigned(value),
                    (_, true) => number::double::from_whole(whole),
                    (_, false) => number::double::from_unsigned(value),
                };
                let a = self.source(i, u32::from(from > 1))?;
                self.put_lowest(i, a, to.into(), result)
            }
            Convert::ToWhole { from, cut: by_cut } => {
                let from = usize::from(from);
                let value = cut(self.source(i, 1)?[0], from);
                let size = i.op0_register().size();
                self.set(i, 0, number::whole(value, from, size, by_cut))
            }
            Convert::Scalar { from } => {
                let (a, b) = self.pair(i)?;
                if from == 4 {
                    self.put_lowest(i, a, 8, number::to_double(single(b[0])))
                } else {
                    self.put_lowest(i, a, 4, number::to_single(b[0]))
                }
            }
            Convert::WholeToSingles => {
                let a = self.source(i, 1)?;
                self.each(i, 4, |at| {
                    number::single::from_whole(extend(lane(&a, 4, at), 4) as i64)
                })
            }
            Convert::WholeToDoubles => {
                let a = self.source(i, 1)?;
                self.each(i, 8, |at| {
                    number::double::from_whole(extend(lane(&a, 4, at), 4) as i64)
                })
            }
            Convert::SinglesToWhole { cut } => {
                let a = self.source(i, 1)?;
                self.each(i, 4, |at| number::whole(lane(&a, 4, at), 4, 4, cut))
            }
            Convert::SinglesToDoubles => {
                let a = self.source(i, 1)?;
                self.each(i, 8, |at| number::to_double(lane(&a, 4, at)))
            }
            Convert::DoublesToSingles | Convert::DoublesToWhole { .. } => {
                let a = self.source(i, 1)?;
                let count = Self::size(i, 1) / 8;
                let result = build(4, count, |at| match convert {
                    Convert::DoublesToWhole { cut } => number::whole(a[at], 8, 4, cut),
                    _ => number::to_single(a[at]),
                });
                self.put(i, result, 4, length(i))
            }
        }
    }
}

/// Bytes of the destination, or of what is compared where that is no vector.
pub(super) fn length(i: &Instruction) -> usize {
    let is_vector = |register: Register| register.is_vector_register();
    if i.op0_kind() == OpKind::Register && is_vector(i.op0_register()) {
        return i.op0_register().size();
    }
    i.op1_register().size()
}

pub(super) fn has_number(i: &Instruction) -> bool {
    i.op_kind(i.op_count() - 1) == OpKind::Immediate8
}

/// The number that is the last operand.
pub(super) fn number_of(i: &Instruction) -> u64 {
    if has_number(i) {
        i.immediate(i.op_count() - 1) & 0xff
    } else {
        0
    }
}

/// Which comparison of floats: of three bits, with VEX and EVEX of five.
fn predicate(i: &Instruction) -> u64 {
    number_of(i) & if is_legacy(i) { 7 } else { 31 }
}

fn is_legacy(i: &Instruction) -> bool {
    i.code().encoding() == EncodingKind::Legacy
}

fn one(unary: Unary, value: u64, how: u64, size: usize) -> u64 {
    match unary {
        Unary::Root | Unary::Round => number::one(unary, value, how, size),
        Unary::Absolute => (extend(value, size) as i64).unsigned_abs(),
        Unary::CountBits => u64::from(value.count_ones()),
        Unary::LeadingZeros => u64::from(value.leading_zeros()) - (64 - size as u64 * 8),
    }
}
