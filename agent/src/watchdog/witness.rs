//! Evidence from the running process.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

use super::case::{Sight, StackAnswer, Witness};
use super::worker::Counters;
use crate::capture::{self, Captured};
use crate::clock::now_ns;
use crate::evidence::{Baseline, Look, ThreadEvidence};
use crate::ids::Tid;
use crate::shared::Shared;
use crate::slot;
use crate::stall::{Subject, TakenStack, TaskInfo};
use crate::task;
use crate::thread_clock::thread_cpu_ns;

/// Threads whose files are kept open (three each) at most: they count against
/// the application's limit.
const MAX_THREADS: usize = 32;

/// Stacks that are captured in a second at most.
const MAX_CAPTURES: u32 = 50;
const SECOND_NS: u64 = 1_000_000_000;

pub(crate) struct LiveWitness {
    shared: Arc<Shared>,
    threads: HashMap<Tid, ThreadEvidence>,
    captures_since_ns: u64,
    captures: u32,
}

impl LiveWitness {
    pub(crate) fn new(shared: &Arc<Shared>) -> Self {
        Self {
            shared: Arc::clone(shared),
            threads: HashMap::new(),
            captures_since_ns: 0,
            captures: 0,
        }
    }

    /// Closes the files of threads that have ended.
    pub(crate) fn forget_ended_threads(&mut self) {
        self.threads.retain(|tid, _| thread_cpu_ns(*tid).is_some());
    }

    fn thread(&mut self, tid: Tid) -> &ThreadEvidence {
        if self.threads.len() >= MAX_THREADS && !self.threads.contains_key(&tid) {
            self.threads.clear();
        }
        self.threads
            .entry(tid)
            .or_insert_with(|| ThreadEvidence::open(tid))
    }

    fn may_capture(&mut self) -> bool {
        let now_ns = now_ns();
        if now_ns.saturating_sub(self.captures_since_ns) >= SECOND_NS {
            self.captures_since_ns = now_ns;
            self.captures = 0;
        }
        self.captures += 1;
        self.captures <= MAX_CAPTURES
    }
}

impl Witness for LiveWitness {
    fn clocks(&mut self, tid: Tid, now_ns: u64) -> Baseline {
        self.thread(tid).clocks(now_ns)
    }

    fn look(&mut self, tid: Tid) -> Look {
        self.thread(tid).look()
    }

    fn describe(&mut self, task: u64) -> Option<TaskInfo> {
        let described = task::describe(task)?;
        Some(TaskInfo {
            name: described.name,
            kind: described.kind,
            site: described.site,
        })
    }

    fn stack(&mut self, tid: Tid) -> StackAnswer {
        if let Err(reason) = &self.shared.capture {
            return StackAnswer::Never(reason.clone());
        }
        if !self.may_capture() {
            return StackAnswer::Later;
        }
        match capture::capture(tid.0) {
            Ok(captured) => StackAnswer::Stack(taken(captured)),
            Err(reason) if reason.is_due() => StackAnswer::Due(reason.to_string()),
            Err(reason) if reason.is_passing() => StackAnswer::NotYet(reason.to_string()),
            Err(reason) => StackAnswer::Failed(reason.to_string()),
        }
    }

    fn late(&mut self, tid: Tid) -> Option<TakenStack> {
        capture::late(tid.0).map(taken)
    }

    fn is_still(&mut self, sight: &Sight) -> bool {
        match (sight.poll, sight.counters, sight.subject) {
            (Some(poll), ..) => {
                let sequence = sight.tid.and_then(|tid| slot::sequence_of(tid.0));
                sequence.is_some_and(|s| s.load(Relaxed) == poll.sequence)
            }
            (None, Some(counters), Subject::Worker(runtime, worker)) => {
                let runtime = self.shared.runtimes.get(runtime);
                let metrics = runtime.and_then(|runtime| runtime.metrics());
                metrics.is_some_and(|m| Counters::of(&m, worker) == counters)
            }
            _ => true,
        }
    }
}

fn taken(captured: Captured) -> TakenStack {
    let frames = captured.stack.frames.into_iter();
    TakenStack {
        frames: frames.map(|(m, at)| (m.map(|m| m.0), at)).collect(),
        truncated: captured.stack.truncated,
        doing: captured.doing,
        taken_ns: captured.taken_ns,
        sequence: captured.sequence,
    }
}
