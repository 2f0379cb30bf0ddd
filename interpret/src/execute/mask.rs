//! Instructions of masks.

use iced_x86::{Instruction, OpKind};

use super::Machine;
use crate::end::Stop;
use crate::flags::cut;
use crate::op::Mask;

impl Machine<'_> {
    pub(super) fn mask(&mut self, mask: Mask, size: u8, i: &Instruction) -> Result<(), Stop> {
        let size = usize::from(size);
        let width = size as u64 * 8;
        let mut operand = |at| Ok::<_, Stop>(cut(self.get(i, at)?, size));
        let result = match mask {
            Mask::Move => operand(1)?,
            Mask::And => operand(1)? & operand(2)?,
            Mask::AndNot => !operand(1)? & operand(2)?,
            Mask::Or => operand(1)? | operand(2)?,
            Mask::Xor => operand(1)? ^ operand(2)?,
            Mask::XorNot => !(operand(1)? ^ operand(2)?),
            Mask::Not => !operand(1)?,
            Mask::Add => operand(1)?.wrapping_add(operand(2)?),
            Mask::ShiftLeft => match i.immediate(2) & 0xff {
                count if count < width => operand(1)? << count,
                _ => 0,
            },
            Mask::ShiftRight => match i.immediate(2) & 0xff {
                count if count < width => operand(1)? >> count,
                _ => 0,
            },
            Mask::Unpack => {
                let both = operand(1)? << width | operand(2)?;
                return self.set_mask(i, both);
            }
            Mask::TestOr => {
                let either = operand(0)? | operand(1)?;
                let all = cut(u64::MAX, size);
                self.state.flags.of_test(either == 0, either == all);
                return Ok(());
            }
            Mask::Test => {
                let (a, b) = (operand(0)?, operand(1)?);
                self.state.flags.of_test(a & b == 0, !a & b == 0);
                return Ok(());
            }
        };
        self.set_mask(i, cut(result, size))
    }

    /// Sets a mask register, or what else a mask is moved to.
    pub(super) fn set_mask(&mut self, i: &Instruction, value: u64) -> Result<(), Stop> {
        if i.op0_kind() == OpKind::Register && i.op0_register().is_k() {
            self.state.mask[i.op0_register().number()] = value;
            return Ok(());
        }
        self.set(i, 0, value)
    }
}
