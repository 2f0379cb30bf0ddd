//! Level 0: what a worker's own counters say.
//!
//! tokio publishes them when the worker parks, after it unparks, and after
//! every 61st poll. Counters that stand still while the park/unpark count is
//! even therefore mean that the worker is inside a poll, or has done less than
//! 61 of them since.

use tokio::runtime::RuntimeMetrics;

use crate::ids::WorkerIndex;

/// The counters of one worker at one look.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Counters {
    /// Odd while it is parked.
    pub(crate) park_unpark: u64,
    pub(crate) busy_ns: u64,
}

impl Counters {
    pub(crate) fn of(metrics: &RuntimeMetrics, worker: WorkerIndex) -> Self {
        let busy = metrics.worker_total_busy_duration(worker.index());
        Self {
            park_unpark: metrics.worker_park_unpark_count(worker.index()),
            busy_ns: busy.as_nanos() as u64,
        }
    }
}

/// What they mean.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Activity {
    /// It has published nothing yet: its thread may not even run.
    NotStarted,
    Parked,
    /// It has published nothing since about `since_ns`.
    Running {
        since_ns: u64,
    },
}

/// Follows one worker.
#[derive(Clone, Copy, Debug)]
pub(crate) struct WorkerWatch {
    counters: Counters,
    /// When they were first seen so.
    since_ns: u64,
}

impl WorkerWatch {
    pub(crate) fn new(counters: Counters, now_ns: u64) -> Self {
        Self {
            counters,
            since_ns: now_ns,
        }
    }

    /// Looks at the worker. `started` is for a worker that is known to run even
    /// though it has published nothing yet.
    pub(crate) fn look(&mut self, counters: Counters, now_ns: u64, started: bool) -> Activity {
        if counters != self.counters {
            self.counters = counters;
            self.since_ns = now_ns;
        }
        let nothing_published = counters.park_unpark == 0 && counters.busy_ns == 0;
        if nothing_published && !started {
            Activity::NotStarted
        } else if counters.park_unpark % 2 == 1 {
            Activity::Parked
        } else {
            Activity::Running {
                since_ns: self.since_ns,
            }
        }
    }

    /// What it published as busy before.
    pub(crate) fn busy_ns(&self) -> u64 {
        self.counters.busy_ns
    }

    /// The watchdog itself was held up: what stood still meanwhile is no
    /// evidence.
    pub(crate) fn forgive(&mut self, now_ns: u64) {
        self.since_ns = now_ns;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn activity() {
        let counters = |park_unpark, busy_ns| Counters {
            park_unpark,
            busy_ns,
        };
        let mut watch = WorkerWatch::new(counters(0, 0), 0);
        let cases = [
            ("not started", 5, (0, 0), false, Activity::NotStarted),
            (
                "known to run",
                10,
                (0, 0),
                true,
                Activity::Running { since_ns: 0 },
            ),
            ("parked", 15, (1, 7), false, Activity::Parked),
            ("still parked", 20, (1, 7), false, Activity::Parked),
            (
                "unparked",
                25,
                (2, 7),
                false,
                Activity::Running { since_ns: 25 },
            ),
            (
                "in a poll",
                30,
                (2, 7),
                false,
                Activity::Running { since_ns: 25 },
            ),
            (
                "after 61 polls",
                35,
                (2, 9),
                false,
                Activity::Running { since_ns: 35 },
            ),
            (
                "parked and woken again",
                40,
                (4, 9),
                false,
                Activity::Running { since_ns: 40 },
            ),
        ];
        for (name, now, (park_unpark, busy), started, expected) in cases {
            let activity = watch.look(counters(park_unpark, busy), now, started);
            assert_eq!(activity, expected, "{name}");
        }
        watch.forgive(5_000);
        let activity = watch.look(counters(4, 9), 5_001, false);
        assert_eq!(activity, Activity::Running { since_ns: 5_000 });
    }
}
