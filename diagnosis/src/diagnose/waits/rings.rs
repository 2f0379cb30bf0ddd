//! Rings that stay, for whoever shows waits without the rules.

use crate::{diagnose::rules::Waiting, model::Model};

use super::Ring;

/// What of rings shows only over time: tasks are read at different moments, so that a ring
/// that was seen once may never have been.
#[derive(Debug, Clone, Default)]
pub struct Rings(Waiting);

impl Rings {
    /// Takes note of what waits now.
    pub fn observe(&mut self, model: &Model) {
        self.0.observe(model);
    }

    /// Those that are no accident of when their members were read, as of the model that was
    /// observed last.
    pub fn standing(&self, model: &Model) -> Vec<Ring> {
        self.0.rings(model).cloned().collect()
    }

    /// Some were seen that may yet prove to be none.
    pub fn are_open(&self, model: &Model) -> bool {
        self.open(model) > 0
    }

    /// How many were seen that may yet prove to be none.
    pub fn open(&self, model: &Model) -> usize {
        let all = self.0.graph.rings().len();
        all.saturating_sub(self.0.rings(model).count())
    }
}
