//! Which thread drives which worker, found by elimination.
//!
//! Stable tokio does not say. But a task that runs on thread T proves that T's
//! worker is awake at that moment: workers whose published park/unpark count is
//! odd are parked and cannot be T's. Each such *sighting* narrows T's
//! candidates; on a machine that is not fully busy one or two are enough.
//!
//! A worker moves to another thread in `block_in_place`. A sighting that
//! contradicts what is known therefore forgets it, and learning starts again.

use std::collections::HashMap;

use crate::ids::{Tid, WorkerIndex};

/// More threads than this are never candidates: the oldest knowledge goes.
const MAX_THREADS_PER_WORKER: usize = 4;

/// The mapping of one runtime.
#[derive(Debug)]
pub(crate) struct WorkerMap {
    threads: Vec<Option<Tid>>,
    /// Threads that are not settled, with the workers that they may drive.
    open: HashMap<Tid, Vec<bool>>,
}

impl WorkerMap {
    pub(crate) fn new(workers: usize) -> Self {
        Self {
            threads: vec![None; workers],
            open: HashMap::new(),
        }
    }

    /// The thread that drives `worker`, where known.
    pub(crate) fn thread(&self, worker: WorkerIndex) -> Option<Tid> {
        self.threads.get(worker.index()).copied().flatten()
    }

    /// The worker that `tid` drives, where known.
    pub(crate) fn worker(&self, tid: Tid) -> Option<WorkerIndex> {
        let index = self.threads.iter().position(|t| *t == Some(tid))?;
        Some(WorkerIndex(index as u32))
    }

    /// Every worker's thread is known.
    pub(crate) fn is_complete(&self) -> bool {
        self.threads.iter().all(Option::is_some)
    }

    /// A task ran on `tid` while exactly the workers in `awake` were not parked.
    pub(crate) fn sighted(&mut self, tid: Tid, awake: &[bool]) {
        if awake.len() != self.threads.len() || !awake.contains(&true) {
            return;
        }
        if let Some(worker) = self.worker(tid) {
            if awake[worker.index()] {
                return;
            }
            self.threads[worker.index()] = None;
        }
        let free: Vec<bool> = self.threads.iter().map(Option::is_none).collect();
        let both = |a: &[bool], b: &[bool]| -> Vec<bool> {
            a.iter().zip(b).map(|(a, b)| *a && *b).collect()
        };
        let narrowed = match self.open.get(&tid) {
            Some(before) => both(before, awake),
            None => both(&free, awake),
        };
        let candidates = if narrowed.contains(&true) {
            narrowed
        } else {
            // It has moved since, or it took over a worker that had a thread.
            awake.to_vec()
        };
        if self.open.len() >= self.threads.len() * MAX_THREADS_PER_WORKER {
            self.open.clear();
        }
        self.open.insert(tid, candidates);
        self.settle();
    }

    /// `tid` drives `worker`, by tokio's own word.
    pub(crate) fn known(&mut self, tid: Tid, worker: WorkerIndex) {
        if worker.index() < self.threads.len() && self.thread(worker) != Some(tid) {
            self.assign(tid, worker);
            self.settle();
        }
    }

    /// `tid` has ended, or drives nothing any more.
    pub(crate) fn forget(&mut self, tid: Tid) {
        self.open.remove(&tid);
        for thread in &mut self.threads {
            if *thread == Some(tid) {
                *thread = None;
            }
        }
    }

    /// Draws conclusions until there are no more.
    fn settle(&mut self) {
        while let Some((tid, worker)) = self.only_candidate().or_else(|| self.only_thread()) {
            self.assign(tid, worker);
        }
    }

    /// A thread that can drive but one worker.
    fn only_candidate(&self) -> Option<(Tid, WorkerIndex)> {
        self.open.iter().find_map(|(tid, candidates)| {
            let mut left = (0u32..).zip(candidates).filter(|(_, c)| **c);
            match (left.next(), left.next()) {
                (Some((worker, _)), None) => Some((*tid, WorkerIndex(worker))),
                _ => None,
            }
        })
    }

    /// A worker that but one thread can drive, once as many threads as workers
    /// have been seen.
    fn only_thread(&self) -> Option<(Tid, WorkerIndex)> {
        let missing = self.threads.iter().filter(|t| t.is_none()).count();
        if self.open.len() != missing {
            return None;
        }
        (0u32..).zip(&self.threads).find_map(|(worker, thread)| {
            let able = |candidates: &Vec<bool>| candidates[worker as usize];
            let mut able = self.open.iter().filter(|(_, c)| able(c));
            match (thread, able.next(), able.next()) {
                (None, Some((tid, _)), None) => Some((*tid, WorkerIndex(worker))),
                _ => None,
            }
        })
    }

    fn assign(&mut self, tid: Tid, worker: WorkerIndex) {
        self.forget(tid);
        self.threads[worker.index()] = Some(tid);
        // Nobody else drives it; a thread that is left without a candidate was
        // judged by what no longer holds.
        self.open.retain(|_, candidates| {
            candidates[worker.index()] = false;
            candidates.contains(&true)
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A name, the number of workers, sightings (thread, awake workers as digits), and the
    /// threads that must come out ('-' for unknown).
    type Case = (
        &'static str,
        usize,
        &'static [(u64, &'static str)],
        &'static str,
    );

    const CASES: &[Case] = &[
        ("one worker is trivial", 1, &[(10, "0")], "10"),
        ("others parked", 2, &[(10, "1"), (11, "0")], "11 10"),
        ("both awake says nothing", 2, &[(10, "01")], "- -"),
        (
            "the rest by elimination",
            2,
            &[(10, "01"), (11, "0")],
            "11 10",
        ),
        (
            "intersection of sightings",
            3,
            &[(10, "01"), (10, "12")],
            "- 10 -",
        ),
        (
            "a worker that only one of all threads can drive",
            3,
            &[(10, "01"), (11, "01"), (12, "012")],
            "- - 12",
        ),
        (
            "block_in_place gives the worker another thread",
            2,
            &[(10, "0"), (11, "1"), (12, "0")],
            "12 11",
        ),
        (
            "a thread that moved to another worker",
            2,
            &[(10, "0"), (11, "1"), (10, "1")],
            "- 10",
        ),
        ("nobody awake is nonsense", 2, &[(10, "")], "- -"),
    ];

    #[test]
    fn elimination() {
        for (name, workers, sightings, expected) in CASES {
            let mut map = WorkerMap::new(*workers);
            for (tid, awake) in *sightings {
                let awake: Vec<bool> = (0..*workers)
                    .map(|w| awake.contains(&w.to_string()))
                    .collect();
                map.sighted(Tid(*tid), &awake);
            }
            let found: Vec<String> = (0..*workers as u32)
                .map(|w| map.thread(WorkerIndex(w)))
                .map(|t| t.map_or("-".into(), |t| t.0.to_string()))
                .collect();
            assert_eq!(found.join(" "), *expected, "{name}");
        }
    }

    #[test]
    fn tokios_own_word_and_the_end_of_a_thread() {
        let mut map = WorkerMap::new(2);
        map.known(Tid(10), WorkerIndex(1));
        map.known(Tid(11), WorkerIndex(0));
        assert!(map.is_complete());
        assert_eq!(map.worker(Tid(10)), Some(WorkerIndex(1)));
        map.known(Tid(12), WorkerIndex(1));
        assert_eq!(map.thread(WorkerIndex(1)), Some(Tid(12)));
        map.forget(Tid(12));
        assert_eq!(map.thread(WorkerIndex(1)), None);
        map.known(Tid(13), WorkerIndex(7));
        assert!(!map.is_complete());
    }
}
