//! The older past in coarse steps: frames of a step are merged to as few as they
//! can be.

use std::time::Duration;

use looptop_wire::proto::Frame;

use super::{
    chunk::{ChunkBuilder, ChunkError},
    merge::merge,
    recorder::push,
};
use crate::model::Moment;

/// Steps of what is not fine any more.
const COARSE: Duration = Duration::from_secs(1);

/// Frames of one step of [`COARSE`], as few as they can be merged to.
#[derive(Default)]
pub(super) struct CoarseStep {
    sum: Option<Frame>,
    /// Names come in frames of their own, and after the stalls that they name.
    names: Vec<Frame>,
}

impl CoarseStep {
    pub(super) fn take(
        &mut self,
        frame: Frame,
        chunk: &mut ChunkBuilder,
    ) -> Result<(), ChunkError> {
        if !frame.names.is_empty() {
            self.names.push(frame);
            return Ok(());
        }
        let mut later = Some(frame);
        if let Some(sum) = &mut self.sum
            && let Some(frame) = later.take_if(|later| same_step(sum.now_ns, later.now_ns))
        {
            later = merge(sum, frame).err().map(|frame| *frame);
        }
        if let Some(later) = later {
            self.end(chunk)?;
            self.sum = Some(later);
        }
        Ok(())
    }

    pub(super) fn end(&mut self, chunk: &mut ChunkBuilder) -> Result<(), ChunkError> {
        let now_ns = self.sum.as_ref().map_or(0, |sum| sum.now_ns);
        if let Some(sum) = self.sum.take() {
            push(chunk, &sum)?;
        }
        for mut names in self.names.drain(..) {
            names.now_ns = names.now_ns.max(now_ns);
            push(chunk, &names)?;
        }
        Ok(())
    }
}

fn same_step(a: u64, b: u64) -> bool {
    let step = COARSE.as_nanos() as u64;
    a / step == b / step
}

/// Which moments survive: the first, which is the keyframe's, and the last of
/// each step.
pub(super) fn step_ends(moments: impl Iterator<Item = Moment> + Clone) -> Vec<bool> {
    let next = moments.clone().skip(1).map(Some).chain([None]);
    let pairs = moments.zip(next).enumerate();
    pairs
        .map(|(i, (at, next))| i == 0 || next.is_none_or(|next| !same_step(at.0, next.0)))
        .collect()
}
