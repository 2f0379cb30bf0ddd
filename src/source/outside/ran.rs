//! Which tasks have run, where an instrument within the process knows it.

use std::{
    collections::HashSet,
    mem,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use looptop_outside::tasks::{AddressSet, Addresses, Task};

/// Tasks that have run, as an instrument within the process says, by tokio's ids: who lists
/// takes them, and need not compare futures.
#[derive(Debug, Clone, Default)]
pub(super) struct Ran(Arc<Mutex<HashSet<u64, Addresses>>>);

/// More are not held: some tasks are then read again later.
const MAX_RAN: usize = 1 << 20;

impl Ran {
    pub(super) fn add(&self, ids: &[u64]) {
        let mut ran = self.lock();
        if ran.len() < MAX_RAN {
            ran.extend(ids);
        }
    }

    /// Those of a listing that have run since it was last asked.
    pub(super) fn take(&self, tasks: &[Task]) -> AddressSet {
        let ran = mem::take(&mut *self.lock());
        let ran = tasks.iter().filter(|task| ran.contains(&task.id));
        ran.map(|task| task.header).collect()
    }

    fn lock(&self) -> MutexGuard<'_, HashSet<u64, Addresses>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use looptop_outside::tasks::{TaskKind, TaskState};

    use super::*;

    #[test]
    fn who_has_run_is_said_once_and_by_where_it_is() {
        let task = |header, id| Task {
            header,
            id,
            vtable: 0,
            kind: TaskKind::Async,
            state: TaskState::Idle,
            runtime: None,
            spawned_at: None,
        };
        let (ran, listed) = (Ran::default(), [task(16, 1), task(32, 2), task(48, 3)]);
        ran.add(&[1, 3]);
        ran.clone().add(&[3, 9]);
        let mut taken: Vec<u64> = ran.take(&listed).into_iter().collect();
        taken.sort_unstable();
        assert_eq!(taken, [16, 48]);
        assert!(ran.take(&listed).is_empty());
    }
}
