//! `pcmpistri` and its like: texts of 16 bytes, compared in many ways at once.

use iced_x86::{EncodingKind, Instruction, Mnemonic as M, Register};

use super::Machine;
use super::lane::{PART, build, lane};
use super::vector::number_of;
use crate::end::Stop;
use crate::flags::{Flags, extend};
use crate::state::{RAX, RCX, RDX, Vector};

/// How texts are compared: bits of the number.
#[derive(Debug, Clone, Copy)]
struct How(u64);

impl How {
    /// Bytes of a character.
    fn size(self) -> usize {
        if self.0 & 1 == 1 { 2 } else { 1 }
    }

    fn count(self) -> usize {
        PART / self.size()
    }

    fn character(self, of: &Vector, at: usize) -> i64 {
        let value = lane(of, self.size(), at);
        if self.0 & 2 == 2 {
            extend(value, self.size()) as i64
        } else {
            value as i64
        }
    }
}

impl Machine<'_> {
    pub(super) fn text(
        &mut self,
        explicit: bool,
        index: bool,
        i: &Instruction,
    ) -> Result<(), Stop> {
        let how = How(number_of(i));
        let (a, b) = (self.source(i, 0)?, self.source(i, 1)?);
        let (of_a, of_b) = if explicit {
            let wide = matches!(
                i.mnemonic(),
                M::Pcmpestri64 | M::Vpcmpestri64 | M::Pcmpestrm64 | M::Vpcmpestrm64
            );
            let length = |register: usize| {
                let value = self.state.general[register];
                let value = extend(value, if wide { 8 } else { 4 }) as i64;
                value.unsigned_abs().min(how.count() as u64) as usize
            };
            (length(RAX), length(RDX))
        } else {
            let length = |of: &Vector| {
                let mut all = 0..how.count();
                all.find(|at| how.character(of, *at) == 0)
                    .unwrap_or(how.count())
            };
            (length(&a), length(&b))
        };
        let found = compare(how, (&a, of_a), (&b, of_b));
        let mut flags = 0;
        for (on, flag) in [
            (found != 0, Flags::CF),
            (of_b < how.count(), Flags::ZF),
            (of_a < how.count(), Flags::SF),
            (found & 1 != 0, Flags::OF),
        ] {
            flags |= if on { flag } else { 0 };
        }
        let direction = self.state.flags.bits() & u64::from(Flags::DF);
        self.state.flags = Flags::from_bits(direction | u64::from(flags));
        let from_the_end = how.0 & 0x40 != 0;
        if index {
            let at = match found {
                0 => how.count() as u64,
                found if from_the_end => u64::from(found.ilog2()),
                found => u64::from(found.trailing_zeros()),
            };
            // Four bytes clear the others.
            self.state.general[RCX] = at;
            return Ok(());
        }
        let mask = if from_the_end {
            build(how.size(), how.count(), |at| {
                if found >> at & 1 == 1 { u64::MAX } else { 0 }
            })
        } else {
            [u64::from(found), 0, 0, 0, 0, 0, 0, 0]
        };
        let first = &mut self.state.vector[Register::XMM0.number()];
        let is_legacy = i.code().encoding() == EncodingKind::Legacy;
        let kept = if is_legacy { *first } else { [0; 8] };
        *first = kept;
        first[..2].copy_from_slice(&mask[..2]);
        Ok(())
    }
}

/// A bit for each character of the second text.
fn compare(how: How, (a, of_a): (&Vector, usize), (b, of_b): (&Vector, usize)) -> u32 {
    let count = how.count();
    let at_a = |at: usize| (at < of_a).then(|| how.character(a, at));
    let at_b = |at: usize| (at < of_b).then(|| how.character(b, at));
    let holds = |at: usize| match how.0 >> 2 & 3 {
        // Any of them.
        0 => at_b(at).is_some_and(|b| (0..of_a).any(|other| at_a(other) == Some(b))),
        // Within one of the ranges that pairs are.
        1 => at_b(at).is_some_and(|b| {
            (0..count / 2).any(|pair| {
                let (from, to) = (at_a(2 * pair), at_a(2 * pair + 1));
                from.zip(to).is_some_and(|(from, to)| from <= b && b <= to)
            })
        }),
        // Each at its place; behind both ends all are equal.
        2 => at_a(at) == at_b(at),
        // The first text begins here.
        _ => (0..count - at).all(|other| match at_a(other) {
            Some(a) => at_b(at + other) == Some(a),
            None => true,
        }),
    };
    let found = (0..count).fold(0, |all, at| all | u32::from(holds(at)) << at);
    let all = (1_u32 << count) - 1;
    match how.0 >> 4 & 3 {
        1 => !found & all,
        3 => found ^ ((1 << of_b) - 1),
        _ => found,
    }
}
