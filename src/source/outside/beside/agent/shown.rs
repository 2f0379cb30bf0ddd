//! The tasks that an agent shows.

use std::{
    collections::HashMap,
    hash::{BuildHasherDefault, Hasher},
};

use looptop_wire::proto::Tasks as Columns;

/// Tasks whose ids are held.
const MAX_TASKS: usize = 1 << 20;

/// The live tasks that the agent shows: tokio's ids, and the runtime of each, plus 1.
#[derive(Debug, Default)]
pub(super) struct AgentTasks(HashMap<u64, u32, BuildHasherDefault<ById>>);

impl AgentTasks {
    pub(super) fn learn(&mut self, columns: &Columns, forgotten: &[u64]) {
        for id in forgotten {
            self.0.remove(id);
        }
        for (at, id) in columns.id.iter().enumerate() {
            let ended = columns.ended_at_ns.get(at).is_some_and(|at| *at != 0);
            if ended {
                self.0.remove(id);
            } else if self.0.len() < MAX_TASKS {
                let runtime = columns.runtime.get(at).copied().unwrap_or(0);
                self.0.insert(*id, runtime);
            }
        }
    }

    /// Of a task that the agent shows its runtime, where it says that.
    #[allow(
        clippy::option_option,
        reason = "one that is shown on no runtime is shown"
    )]
    pub(super) fn runtime(&self, id: u64) -> Option<Option<u32>> {
        self.0.get(&id).map(|runtime| runtime.checked_sub(1))
    }
}

/// Ids are counted: they need no more than to be spread.
#[derive(Debug, Default)]
struct ById(u64);

impl Hasher for ById {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.write_u64(u64::from(*byte) ^ self.0);
        }
    }

    fn write_u64(&mut self, id: u64) {
        self.0 = id.wrapping_mul(0x9e37_79b9_7f4a_7c15).rotate_left(26);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_has_ended_or_is_forgotten_is_shown_no_more() {
        let mut tasks = AgentTasks::default();
        let columns = |id: &[u64], ended_at_ns: &[u64], runtime: &[u32]| Columns {
            id: id.to_vec(),
            ended_at_ns: ended_at_ns.to_vec(),
            runtime: runtime.to_vec(),
            ..Columns::default()
        };
        tasks.learn(&columns(&[1, 2, 3], &[], &[0, 1, 6]), &[]);
        let found = [1, 2, 3, 4].map(|id| tasks.runtime(id));
        assert_eq!(found, [Some(None), Some(Some(0)), Some(Some(5)), None]);
        tasks.learn(&columns(&[1, 4], &[9, 0], &[]), &[2]);
        let found = [1, 2, 3, 4].map(|id| tasks.runtime(id).is_some());
        assert_eq!(found, [false, false, true, true]);
    }
}
