//! Vectors whose elements are at addresses that another vector says.

use iced_x86::{EncodingKind, Instruction, Register};

use super::Machine;
use super::lane::{lane, set_lane};
use crate::end::Stop;
use crate::flags::{extend, sign};

impl Machine<'_> {
    /// Elements of `size` bytes, by indices of `by` bytes; those alone that the mask has.
    pub(super) fn gather(&mut self, by: usize, size: usize, i: &Instruction) -> Result<(), Stop> {
        let to = i.op0_register();
        let indices = self.state.vector[i.memory_index().number()];
        let by_number = i.code().encoding() == EncodingKind::EVEX;
        let mask = (!by_number).then(|| self.state.vector[i.op2_register().number()]);
        let number = self.state.mask[i.op_mask().number()];
        let base = match i.memory_base() {
            Register::None => 0,
            base => self.state.general(base),
        };
        let base = base.wrapping_add(i.memory_displacement64());
        let scale = u64::from(i.memory_index_scale());
        let elements = (to.size() / size).min(i.memory_index().size() / by);
        let mut result = self.state.vector[to.number()];
        for at in 0..elements {
            let is_wanted = match &mask {
                Some(mask) => sign(lane(mask, size, at), size),
                None => number >> at & 1 == 1,
            };
            if is_wanted {
                let index = extend(lane(&indices, by, at), by);
                let address = base.wrapping_add(index.wrapping_mul(scale));
                let value = self.load(address, size)?;
                set_lane(&mut result, size, at, value);
            }
        }
        for at in elements..64 / size {
            set_lane(&mut result, size, at, 0);
        }
        self.state.vector[to.number()] = result;
        if by_number {
            self.state.mask[i.op_mask().number()] = 0;
        } else {
            self.state.vector[i.op2_register().number()] = [0; 8];
        }
        Ok(())
    }
}
