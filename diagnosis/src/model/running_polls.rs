//! Stalls of targets whose agent watches none (console-subscriber): a poll that
//! was still running when the target reported, and has been for longer than the
//! threshold. Seen only as often as the target reports, once a second by
//! default, so shorter ones stay unseen unless they are caught in the act.

use std::{sync::Arc, time::Duration};

use super::{Capability, Cause, Model, Moment, Stall, StallId, StallScope, Task, TaskId, TaskKind};

impl Model {
    /// Opens, prolongs and ends such stalls from the tasks' running polls.
    pub(super) fn derive_stalls(&mut self) {
        if self.session.has(Capability::Stalls) || !self.session.has(Capability::Tasks) {
            return;
        }
        // No time passes in a core dump; the polls that it shows were sent.
        if self.session.core_dump {
            return;
        }
        let now = self.now;
        let over: Vec<(TaskId, Stall)> = self
            .tasks
            .live()
            .filter(|t| t.kind != TaskKind::Blocking)
            .filter(|t| {
                t.poll_age(now)
                    .is_some_and(|age| age > self.session.stall_threshold)
            })
            .map(|t| (t.id, running(t, now)))
            .collect();
        let finished: Vec<Stall> = self
            .stalls
            .live()
            .filter(|s| !over.iter().any(|(_, running)| running.id == s.id))
            .map(|s| ended(s, s.task.and_then(|id| self.tasks.get(id))))
            .collect();
        for stall in finished
            .into_iter()
            .chain(over.into_iter().map(|(_, stall)| stall))
        {
            self.stalls.insert(stall, None);
        }
    }
}

fn running(task: &Task, now: Moment) -> Stall {
    let started = task.poll_started().unwrap_or(now);
    Stall {
        id: id(task.id, started),
        live: true,
        scope: StallScope::OnePoll,
        worker: None,
        tid: task.tid(),
        task: Some(task.id),
        name: task.name,
        location: task.location,
        started,
        duration: now.since(started),
        cause: Cause::Unknown,
        cpu: None,
        run_queue: None,
        observed: None,
        syscall: None,
        object: None,
        lock_holder: None,
        holder: None,
        lock_address: None,
        stacks: Arc::new([]),
        no_stack_reason: None,
        resolved: None,
        recorded_names: false,
    }
}

/// The poll is over. How long it took in the end is known only if it was the
/// task's longest; otherwise what was last seen stands, as a lower bound.
fn ended(stall: &Stall, task: Option<&Task>) -> Stall {
    let longest = task.and_then(Task::longest_poll).unwrap_or(Duration::ZERO);
    Stall {
        live: false,
        duration: stall.duration.max(longest),
        ..stall.clone()
    }
}

/// The same for the same poll, and different for another with near certainty.
fn id(task: TaskId, started: Moment) -> StallId {
    StallId(task.0.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ started.0)
}

#[cfg(test)]
mod tests {
    use looptop_wire::{
        instant,
        proto::{self, Frame, TaskState, Tasks},
    };

    use super::*;

    fn frame(ms: u64, poll_started_ms: Option<u64>) -> Frame {
        Frame {
            now_ns: ms * 1_000_000,
            tasks: Some(Tasks {
                id: vec![1],
                state: vec![TaskState::Running.into()],
                kind: vec![TaskKind::Task.into()],
                poll_started_at_ns: vec![instant::write(poll_started_ms.map(|ms| ms * 1_000_000))],
                ..Tasks::default()
            }),
            ..Frame::default()
        }
    }

    #[test]
    fn a_running_poll_is_a_stall_until_it_ends() {
        let mut model = Model::new(&proto::HelloResponse {
            capabilities: vec![proto::Capability {
                kind: Capability::Tasks.into(),
                available: true,
                reason: String::new(),
            }],
            ..proto::HelloResponse::default()
        });
        model.apply(&frame(1_000, Some(999))).unwrap();
        assert!(model.stalls.is_empty(), "1 ms is no stall");
        model.apply(&frame(2_000, Some(1_500))).unwrap();
        model.apply(&frame(3_000, Some(1_500))).unwrap();
        let live: Vec<_> = model.stalls.live().collect();
        assert_eq!(live.len(), 1);
        assert_eq!(live[0].age(model.now), Duration::from_millis(1_500));
        model.apply(&frame(4_000, Some(3_900))).unwrap();
        assert_eq!(
            (model.stalls.live().count(), model.stalls.ended().count()),
            (1, 1)
        );
        model.apply(&frame(5_000, None)).unwrap();
        assert_eq!(
            (model.stalls.live().count(), model.stalls.ended().count()),
            (0, 2)
        );
    }
}
