//! Instructions of strings, repeated or not.

use iced_x86::Instruction;

use super::Machine;
use crate::end::{Limit, Stop};
use crate::flags::{Flags, cut};
use crate::op::Text;
use crate::state::{RAX, RCX, RDI, RSI};

impl Machine<'_> {
    pub(super) fn string(&mut self, text: Text, i: &Instruction) -> Result<(), Stop> {
        let size = i.memory_size().size();
        let compares = matches!(text, Text::Scan | Text::Compare);
        // Both prefixes repeat; they differ for what compares.
        let repeated = i.has_rep_prefix() || i.has_repne_prefix();
        if !repeated {
            return self.element(text, size);
        }
        while self.state.general[RCX] != 0 {
            self.steps += 1;
            if self.steps >= self.limits.steps {
                return Err(Stop::Limit(Limit::Steps));
            }
            if self.steps.is_multiple_of(1024) && self.host.expired() {
                return Err(Stop::Limit(Limit::Time));
            }
            self.element(text, size)?;
            self.state.general[RCX] -= 1;
            if compares && self.state.flags.has(Flags::ZF) == i.has_repne_prefix() {
                break;
            }
        }
        Ok(())
    }

    fn element(&mut self, text: Text, size: usize) -> Result<(), Stop> {
        let (source, target) = (self.state.general[RSI], self.state.general[RDI]);
        let accumulator = self.state.general[RAX];
        match text {
            Text::Move => {
                let value = self.load(source, size)?;
                self.store(target, size, value)?;
            }
            Text::Store => self.store(target, size, accumulator)?,
            Text::Load => {
                let value = self.load(source, size)?;
                let kept = if size < 4 {
                    accumulator & !cut(u64::MAX, size)
                } else {
                    0
                };
                self.state.general[RAX] = kept | value;
            }
            Text::Scan => {
                let value = self.load(target, size)?;
                self.state.flags.subtract(accumulator, value, false, size);
            }
            Text::Compare => {
                let (a, b) = (self.load(source, size)?, self.load(target, size)?);
                self.state.flags.subtract(a, b, false, size);
            }
        }
        let step = if self.state.flags.has(Flags::DF) {
            (size as u64).wrapping_neg()
        } else {
            size as u64
        };
        let (of_source, of_target) = match text {
            Text::Move | Text::Compare => (true, true),
            Text::Load => (true, false),
            Text::Store | Text::Scan => (false, true),
        };
        if of_source {
            self.state.general[RSI] = source.wrapping_add(step);
        }
        if of_target {
            self.state.general[RDI] = target.wrapping_add(step);
        }
        Ok(())
    }
}
