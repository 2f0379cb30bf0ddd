//! Instructions of general registers.

use iced_x86::{Instruction, Mnemonic, OpKind, Register};

use super::Machine;
use crate::end::{Refusal, Stop};
use crate::flags::{Flags, cut, extend, sign};
use crate::op::{Binary, Manipulate, Op, Scan, Shift};
use crate::state::{RAX, RBX, RCX, RDX};

/// The control register of vector arithmetic as a program finds it.
const CONTROL: u64 = 0x1f80;
/// Its bits other than those that report.
const CONTROLS: u64 = 0xffc0;

impl Machine<'_> {
    #[allow(clippy::too_many_lines)]
    pub(super) fn general(&mut self, op: Op, i: &Instruction) -> Result<(), Stop> {
        let size = if i.op_count() > 0 {
            Self::size(i, 0)
        } else {
            8
        };
        match op {
            Op::Move => {
                let value = self.get(i, 1)?;
                self.set(i, 0, value)
            }
            Op::MoveSigned => {
                let value = extend(self.get(i, 1)?, Self::size(i, 1));
                self.set(i, 0, value)
            }
            Op::MoveSwapped => {
                let value = self.get(i, 1)?.swap_bytes() >> (64 - size * 8);
                self.set(i, 0, value)
            }
            Op::Address => {
                let address = self.offset(i);
                self.set(i, 0, address)
            }
            Op::Push => {
                let value = self.get(i, 0)?;
                self.push(value)
            }
            Op::Pop => self.pop_into(i),
            Op::PushFlags => self.push(self.state.flags.bits()),
            Op::PopFlags => {
                self.state.flags = Flags::from_bits(self.pop()?);
                Ok(())
            }
            Op::Leave => self.leave(),
            Op::Exchange => {
                let (a, b) = (self.get(i, 0)?, self.get(i, 1)?);
                self.set(i, 0, b)?;
                self.set(i, 1, a)
            }
            Op::CompareExchange => self.compare_exchange(i, size),
            Op::CompareExchangeWide => self.compare_exchange_wide(i),
            Op::ExchangeAdd => {
                let (a, b) = (self.get(i, 0)?, self.get(i, 1)?);
                let mut flags = self.state.flags;
                let sum = flags.add(a, b, false, size);
                if i.op0_kind() == OpKind::Memory {
                    self.set(i, 0, sum)?;
                    self.set(i, 1, a)?;
                } else {
                    // Of one register with itself the sum stays.
                    self.set(i, 1, a)?;
                    self.set(i, 0, sum)?;
                }
                self.state.flags = flags;
                Ok(())
            }
            Op::Binary(binary) => self.binary(binary, i, size),
            Op::AddWithFlag(flag) => {
                let (a, b) = (self.get(i, 0)?, self.get(i, 1)?);
                let carry = self.state.flags.has(flag);
                let mut sums = self.state.flags;
                let sum = sums.add(a, b, carry, size);
                self.state.flags.set(flag, sums.has(Flags::CF));
                self.set(i, 0, sum)
            }
            Op::Increment | Op::Decrement => {
                let value = self.get(i, 0)?;
                let mut flags = self.state.flags;
                let result = if op == Op::Increment {
                    flags.add(value, 1, false, size)
                } else {
                    flags.subtract(value, 1, false, size)
                };
                flags.set(Flags::CF, self.state.flags.has(Flags::CF));
                self.set(i, 0, result)?;
                self.state.flags = flags;
                Ok(())
            }
            Op::Not => {
                let value = !self.get(i, 0)?;
                self.set(i, 0, value)
            }
            Op::Negate => {
                let value = self.get(i, 0)?;
                let mut flags = self.state.flags;
                let result = flags.subtract(0, value, false, size);
                self.set(i, 0, result)?;
                self.state.flags = flags;
                Ok(())
            }
            Op::Shift(shift) => self.shift(shift, i, size),
            Op::ShiftDouble { left } => self.shift_double(left, i, size),
            Op::ShiftQuiet(shift) => {
                let (value, count) = (self.get(i, 1)?, self.get(i, 2)?);
                let count = count as u32 % (size as u32 * 8);
                let result = match shift {
                    Shift::Left => value << count,
                    Shift::Right => value >> count,
                    Shift::RightSigned => (extend(value, size) as i64 >> count) as u64,
                    _ => rotate(value, count, size),
                };
                self.set(i, 0, result)
            }
            Op::MultiplySigned => {
                let at = u32::from(i.op_count() > 2);
                let (a, b) = (self.get(i, at)?, self.get(i, at + 1)?);
                let wide = signed(a, size) * signed(b, size);
                self.set(i, 0, wide as u64)?;
                self.overflow(wide != signed(wide as u64, size));
                Ok(())
            }
            Op::MultiplyWide { signed } => self.multiply_wide(signed, i, size),
            Op::MultiplyQuiet => {
                let (a, b) = (cut(self.state.general[RDX], size), self.get(i, 2)?);
                let wide = u128::from(a) * u128::from(b);
                self.set(i, 1, wide as u64)?;
                self.set(i, 0, (wide >> (size * 8)) as u64)
            }
            Op::Divide { signed } => self.divide(signed, i, size),
            Op::Bit(bit) => self.bit(bit, i),
            Op::Scan(scan) => self.scan(scan, i, size),
            Op::Manipulate(manipulate) => self.manipulate(manipulate, i, size),
            Op::SwapBytes => {
                let value = self.get(i, 0)?.swap_bytes() >> (64 - size * 8);
                self.set(i, 0, value)
            }
            Op::Widen => {
                let (from, to) = match i.mnemonic() {
                    Mnemonic::Cbw => (1, Register::AX),
                    Mnemonic::Cwde => (2, Register::EAX),
                    _ => (4, Register::RAX),
                };
                let value = extend(self.state.general[RAX], from);
                self.state.set_general(to, value);
                Ok(())
            }
            Op::WidenPair => {
                let (size, to) = match i.mnemonic() {
                    Mnemonic::Cwd => (2, Register::DX),
                    Mnemonic::Cdq => (4, Register::EDX),
                    _ => (8, Register::RDX),
                };
                let negative = sign(self.state.general[RAX], size);
                let value = if negative { u64::MAX } else { 0 };
                self.state.set_general(to, value);
                Ok(())
            }
            Op::Set => {
                let value = self.state.flags.hold(i.condition_code());
                self.set(i, 0, u64::from(value))
            }
            Op::MoveIf => {
                // Memory is read, and the upper half cleared, in any case.
                let (old, new) = (self.get(i, 0)?, self.get(i, 1)?);
                let moves = self.state.flags.hold(i.condition_code());
                self.set(i, 0, if moves { new } else { old })
            }
            Op::Flag(flag, on) => {
                let on = on.unwrap_or(!self.state.flags.has(flag));
                self.state.flags.set(flag, on);
                Ok(())
            }
            Op::LoadFlags => {
                let bits = self.state.flags.bits() & 0xd5 | 2;
                self.state.set_general(Register::AH, bits);
                Ok(())
            }
            Op::StoreFlags => {
                let kept = self.state.flags.bits() & !0xff;
                let bits = self.state.general(Register::AH) & 0xd5;
                self.state.flags = Flags::from_bits(kept | bits);
                Ok(())
            }
            Op::StoreControl => self.set(i, 0, CONTROL),
            Op::LoadControl => {
                let control = self.get(i, 0)?;
                if control & CONTROLS == CONTROL & CONTROLS {
                    Ok(())
                } else {
                    Err(Stop::Refused(Refusal::Rounding))
                }
            }
            _ => Ok(()),
        }
    }

    fn pop_into(&mut self, i: &Instruction) -> Result<(), Stop> {
        let stack = self.state.general[crate::state::RSP];
        let value = self.pop()?;
        // The address of memory is computed with the stack as it is after.
        self.set(i, 0, value).inspect_err(|_| {
            self.state.general[crate::state::RSP] = stack;
        })
    }

    fn binary(&mut self, binary: Binary, i: &Instruction, size: usize) -> Result<(), Stop> {
        let (a, b) = (self.get(i, 0)?, self.get(i, 1)?);
        let mut flags = self.state.flags;
        let carry = flags.has(Flags::CF);
        let mut logic = |result| {
            flags.logic(result, size);
            result
        };
        let result = match binary {
            Binary::Add => flags.add(a, b, false, size),
            Binary::AddCarry => flags.add(a, b, carry, size),
            Binary::Subtract | Binary::Compare => flags.subtract(a, b, false, size),
            Binary::SubtractBorrow => flags.subtract(a, b, carry, size),
            Binary::And | Binary::Test => logic(a & b),
            Binary::Or => logic(a | b),
            Binary::Xor => logic(a ^ b),
        };
        if !matches!(binary, Binary::Compare | Binary::Test) {
            self.set(i, 0, result)?;
        }
        self.state.flags = flags;
        Ok(())
    }

    fn compare_exchange(&mut self, i: &Instruction, size: usize) -> Result<(), Stop> {
        let (there, new) = (self.get(i, 0)?, self.get(i, 1)?);
        let expected = cut(self.state.general[RAX], size);
        let mut flags = self.state.flags;
        flags.subtract(expected, there, false, size);
        if expected == there {
            self.set(i, 0, new)?;
        } else {
            let accumulator = match size {
                1 => Register::AL,
                2 => Register::AX,
                4 => Register::EAX,
                _ => Register::RAX,
            };
            self.state.set_general(accumulator, there);
        }
        self.state.flags = flags;
        Ok(())
    }

    /// `cmpxchg8b` and `cmpxchg16b`.
    fn compare_exchange_wide(&mut self, i: &Instruction) -> Result<(), Stop> {
        let half = if i.mnemonic() == Mnemonic::Cmpxchg8b {
            4
        } else {
            8
        };
        let address = self.address(i)?;
        let low = self.load(address, half)?;
        let high = self.load(address.wrapping_add(half as u64), half)?;
        let part = |register: usize| cut(self.state.general[register], half);
        let equal = low == part(RAX) && high == part(RDX);
        if equal {
            let mut bytes = [0; 16];
            bytes[..half].copy_from_slice(&part(RBX).to_le_bytes()[..half]);
            bytes[half..2 * half].copy_from_slice(&part(RCX).to_le_bytes()[..half]);
            self.write(address, &bytes[..2 * half])?;
        } else {
            // Four bytes clear the others.
            self.state.general[RAX] = low;
            self.state.general[RDX] = high;
        }
        self.state.flags.set(Flags::ZF, equal);
        Ok(())
    }

    fn shift(&mut self, shift: Shift, i: &Instruction, size: usize) -> Result<(), Stop> {
        let value = self.get(i, 0)?;
        let width = size as u32 * 8;
        let count = self.get(i, 1)? as u32 & if size == 8 { 63 } else { 31 };
        if count == 0 {
            // A register of four bytes is written all the same.
            return self.set(i, 0, value);
        }
        let mut flags = self.state.flags;
        let result = match shift {
            Shift::Left => {
                let wide = u128::from(value) << count;
                let result = cut(wide as u64, size);
                flags.logic(result, size);
                let carry = wide >> width & 1 != 0;
                flags.set(Flags::CF, carry);
                flags.set(Flags::OF, sign(result, size) != carry);
                result
            }
            Shift::Right => {
                let result = value.checked_shr(count).unwrap_or(0);
                flags.logic(result, size);
                flags.set(Flags::CF, value >> (count - 1) & 1 != 0);
                flags.set(Flags::OF, sign(value, size));
                result
            }
            Shift::RightSigned => {
                let whole = extend(value, size) as i64;
                let result = cut((whole >> count) as u64, size);
                flags.logic(result, size);
                flags.set(Flags::CF, whole >> (count - 1) & 1 != 0);
                result
            }
            Shift::RotateLeft => {
                let result = rotate(value, width - count % width, size);
                flags.set(Flags::CF, result & 1 != 0);
                flags.set(Flags::OF, sign(result, size) != (result & 1 != 0));
                result
            }
            Shift::RotateRight => {
                let result = rotate(value, count % width, size);
                flags.set(Flags::CF, sign(result, size));
                let second = result >> (width - 2) & 1 != 0;
                flags.set(Flags::OF, sign(result, size) != second);
                result
            }
            Shift::CarryLeft | Shift::CarryRight => {
                let turns = count % (width + 1);
                if turns == 0 {
                    return self.set(i, 0, value);
                }
                let carry = u128::from(flags.has(Flags::CF)) << width;
                let all = carry | u128::from(value);
                let right = if shift == Shift::CarryRight {
                    turns
                } else {
                    width + 1 - turns
                };
                let turned = all >> right | all << (width + 1 - right);
                let result = cut(turned as u64, size);
                let carry = turned >> width & 1 != 0;
                flags.set(Flags::CF, carry);
                let other = if shift == Shift::CarryLeft {
                    carry
                } else {
                    result >> (width - 2) & 1 != 0
                };
                flags.set(Flags::OF, sign(result, size) != other);
                result
            }
        };
        self.set(i, 0, result)?;
        self.state.flags = flags;
        Ok(())
    }

    fn shift_double(&mut self, left: bool, i: &Instruction, size: usize) -> Result<(), Stop> {
        let (value, other) = (self.get(i, 0)?, self.get(i, 1)?);
        let width = size as u32 * 8;
        let count = self.get(i, 2)? as u32 & if size == 8 { 63 } else { 31 };
        if count == 0 {
            return self.set(i, 0, value);
        }
        if count > width {
            // Only of two bytes: one maker's processors leave what another's do not.
            return Err(Stop::Refused(Refusal::Unknown(i.code())));
        }
        let (value, other) = (u128::from(value), u128::from(other));
        let (result, carry) = if left {
            let both = value << width | other;
            let result = both >> (width - count);
            (result as u64, both >> (2 * width - count) & 1 != 0)
        } else {
            let both = other << width | value;
            ((both >> count) as u64, both >> (count - 1) & 1 != 0)
        };
        let result = cut(result, size);
        let mut flags = self.state.flags;
        flags.logic(result, size);
        flags.set(Flags::CF, carry);
        flags.set(Flags::OF, sign(result ^ value as u64, size));
        self.set(i, 0, result)?;
        self.state.flags = flags;
        Ok(())
    }

    /// The flags of a multiplication.
    fn overflow(&mut self, lost: bool) {
        self.state.flags.set(Flags::CF, lost);
        self.state.flags.set(Flags::OF, lost);
    }

    /// Sets the two registers of a product, or of a quotient with its remainder.
    fn set_pair(&mut self, low: u64, high: u64, size: usize) {
        let (of_low, of_high) = match size {
            1 => (Register::AL, Register::AH),
            2 => (Register::AX, Register::DX),
            4 => (Register::EAX, Register::EDX),
            _ => (Register::RAX, Register::RDX),
        };
        self.state.set_general(of_low, low);
        self.state.set_general(of_high, high);
    }

    fn multiply_wide(&mut self, is_signed: bool, i: &Instruction, size: usize) -> Result<(), Stop> {
        let (a, b) = (cut(self.state.general[RAX], size), self.get(i, 0)?);
        let (wide, lost) = if is_signed {
            let wide = signed(a, size) * signed(b, size);
            (wide as u128, wide != signed(wide as u64, size))
        } else {
            let wide = u128::from(a) * u128::from(b);
            (wide, wide >> (size * 8) != 0)
        };
        self.set_pair(wide as u64, (wide >> (size * 8)) as u64, size);
        self.overflow(lost);
        Ok(())
    }

    fn divide(&mut self, is_signed: bool, i: &Instruction, size: usize) -> Result<(), Stop> {
        let refused = Stop::Refused(Refusal::Division);
        let divisor = self.get(i, 0)?;
        let state = &self.state;
        let (low, high) = match size {
            1 => (state.general(Register::AL), state.general(Register::AH)),
            _ => (state.general[RAX], state.general[RDX]),
        };
        let bits = size * 8;
        let dividend = u128::from(cut(high, size)) << bits | u128::from(cut(low, size));
        let (quotient, remainder) = if is_signed {
            let unused = 128 - 2 * bits;
            let dividend = (dividend << unused) as i128 >> unused;
            let divisor = signed(divisor, size);
            let quotient = dividend.checked_div(divisor).ok_or(refused)?;
            if quotient != signed(quotient as u64, size) {
                return Err(refused);
            }
            (quotient as u64, (dividend % divisor) as u64)
        } else {
            let divisor = u128::from(divisor);
            let quotient = dividend.checked_div(divisor).ok_or(refused)?;
            if quotient >> bits != 0 {
                return Err(refused);
            }
            (quotient as u64, (dividend % divisor) as u64)
        };
        self.set_pair(quotient, remainder, size);
        Ok(())
    }

    fn scan(&mut self, scan: Scan, i: &Instruction, size: usize) -> Result<(), Stop> {
        let value = self.get(i, 1)?;
        let width = size as u64 * 8;
        let leading = u64::from(value.leading_zeros()).wrapping_sub(64 - width);
        let trailing = u64::from(value.trailing_zeros()).min(width);
        let flags = &mut self.state.flags;
        let result = match scan {
            Scan::Forward | Scan::Reverse => {
                flags.set(Flags::ZF, value == 0);
                if value == 0 {
                    // The destination stays, all of it.
                    return Ok(());
                }
                if scan == Scan::Forward {
                    trailing
                } else {
                    width - 1 - leading
                }
            }
            Scan::TrailingZeros | Scan::LeadingZeros => {
                let result = if scan == Scan::TrailingZeros {
                    trailing
                } else {
                    leading
                };
                flags.set(Flags::CF, value == 0);
                flags.set(Flags::ZF, result == 0);
                result
            }
            Scan::Count => {
                let count = u64::from(value.count_ones());
                flags.logic(1, size);
                flags.set(Flags::PF, false);
                flags.set(Flags::ZF, value == 0);
                count
            }
        };
        self.set(i, 0, result)
    }

    fn manipulate(&mut self, what: Manipulate, i: &Instruction, size: usize) -> Result<(), Stop> {
        let a = self.get(i, 1)?;
        let b = if i.op_count() > 2 { self.get(i, 2)? } else { 0 };
        let mut flags = self.state.flags;
        let width = size as u64 * 8;
        let carry;
        let result = match what {
            Manipulate::AndNot => {
                carry = false;
                !a & b
            }
            Manipulate::ResetLowest => {
                carry = a == 0;
                a & a.wrapping_sub(1)
            }
            Manipulate::IsolateLowest => {
                carry = a != 0;
                a & a.wrapping_neg()
            }
            Manipulate::MaskToLowest => {
                carry = a == 0;
                a ^ a.wrapping_sub(1)
            }
            Manipulate::ZeroFrom => {
                let from = b & 0xff;
                carry = from >= width;
                if carry { a } else { a & ((1 << from) - 1) }
            }
            Manipulate::Extract => {
                carry = false;
                let (from, length) = (b & 0xff, b >> 8 & 0xff);
                let shifted = a.checked_shr(from as u32).unwrap_or(0);
                if length < 64 {
                    shifted & ((1 << length) - 1)
                } else {
                    shifted
                }
            }
            Manipulate::Deposit => return self.set(i, 0, deposit(a, b)),
            Manipulate::Gather => return self.set(i, 0, gather(a, b)),
        };
        flags.logic(result, size);
        flags.set(Flags::CF, carry);
        self.set(i, 0, result)?;
        self.state.flags = flags;
        Ok(())
    }
}

/// The lowest bytes as a number with a sign.
fn signed(value: u64, size: usize) -> i128 {
    i128::from(extend(value, size) as i64)
}

/// `size` bytes, rotated to the right by less than their bits or by all of them.
pub(super) fn rotate(value: u64, count: u32, size: usize) -> u64 {
    let width = size as u32 * 8;
    let value = u128::from(cut(value, size));
    cut((value >> count | value << (width - count)) as u64, size)
}

/// The lowest bits of `value` to where `mask` has ones.
fn deposit(value: u64, mut mask: u64) -> u64 {
    let (mut result, mut at) = (0, 0);
    while mask != 0 {
        result |= (value >> at & 1) << mask.trailing_zeros();
        mask &= mask - 1;
        at += 1;
    }
    result
}

/// The bits of `value` where `mask` has ones, next to each other.
fn gather(value: u64, mut mask: u64) -> u64 {
    let (mut result, mut at) = (0, 0);
    while mask != 0 {
        result |= (value >> mask.trailing_zeros() & 1) << at;
        mask &= mask - 1;
        at += 1;
    }
    result
}
