//! Looks at which nothing runs, and the time between two looks while that lasts.
//!
//! Most looks find all workers parked and no poll. That shows in the counters and slots
//! alone, for a fraction of what a whole look costs.
//!
//! It is calm when no worker has been busy for as long as a stall within the last second.
//! Then the probes are woken, and frames are sent, more rarely; a stall ends that. While
//! nobody watches either, the watchdog looks more rarely too: what begins meanwhile and
//! lasts 200 ms is still reported within 100 ms of its threshold, what is over sooner may be
//! missing in the history that the first viewer gets.

use std::sync::atomic::Ordering::Relaxed;

use looptop_wire::proto::Flavor;

use super::worker::{Activity, Counters, WorkerWatch};
use super::{Watchdog, Watched};
use crate::probe;
use crate::slot;
use crate::sync::lock;

/// Between two looks while nobody watches and nothing runs, ns. A computation is reported
/// when it has used five thresholds (50 ms) of CPU before the watchdog's eyes.
const REST_NS: u64 = 40_000_000;

/// So long nothing must have run, ns.
const CALM_NS: u64 = 1_000_000_000;

/// Between two wakes of the probes while it is calm, ns; and where nobody watches.
const CALM_PROBE_NS: u64 = 300_000_000;
const REST_PROBE_NS: u64 = 1_000_000_000;

/// Whether anything runs.
#[derive(Debug, Default)]
pub(super) struct Calm {
    /// The workers' busy time at some moment, and when that was.
    busy_ns: u64,
    since_ns: u64,
    lasts: bool,
}

impl Calm {
    /// Takes the busy time of all workers up to now; `stirs` says that something runs
    /// whatever they say. True where no worker was busy for `least_ns` within the last
    /// second.
    fn look(&mut self, now_ns: u64, busy_ns: u64, least_ns: u64, stirs: bool) -> bool {
        let ran = busy_ns.abs_diff(self.busy_ns) >= least_ns;
        if stirs || ran {
            self.lasts = false;
        }
        let whole = now_ns.saturating_sub(self.since_ns) >= CALM_NS;
        if stirs || ran || whole {
            self.lasts |= whole && !stirs && !ran;
            self.busy_ns = busy_ns;
            self.since_ns = now_ns;
        }
        self.lasts
    }
}

impl Watchdog {
    /// No worker runs, no thread polls, and there is nothing to observe: a whole look would
    /// find no more.
    pub(super) fn nothing_runs(&mut self, now_ns: u64) -> bool {
        let nothing = self.cases.is_empty()
            && self.shared.runtimes.revision() == self.mapping.revision
            && !self.holders.is_open()
            && self.watched.iter_mut().all(|w| w.is_parked(now_ns));
        let mut polling = false;
        slot::for_each(|view| polling |= view.polling());
        // A thread may have given its worker away.
        nothing && !polling && !self.doubt(now_ns)
    }

    /// When to look again.
    pub(super) fn next_look_ns(&mut self, now_ns: u64) -> u64 {
        let next_ns = self.cases.next_look_ns(now_ns);
        let calm = self.is_calm(now_ns);
        self.shared.calm.store(calm, Relaxed);
        if calm && self.cases.is_empty() && !self.shared.watched.load(Relaxed) {
            next_ns.max(now_ns + REST_NS)
        } else {
            next_ns
        }
    }

    /// Between two wakes of the probes.
    pub(super) fn probe_period_ns(&self) -> u64 {
        match (self.calm.lasts, self.shared.watched.load(Relaxed)) {
            (false, _) => probe::PERIOD_NS,
            (true, true) => CALM_PROBE_NS,
            (true, false) => REST_PROBE_NS,
        }
    }

    fn is_calm(&mut self, now_ns: u64) -> bool {
        let stirs = std::mem::take(&mut self.polled_elsewhere)
            || self.cases.some_last()
            || self.holders.is_open()
            || self.watched.iter().any(|watched| !watched.is_mapped());
        #[cfg(all(
            target_os = "linux",
            not(looptop_elsewhere),
            any(target_arch = "x86_64", target_arch = "aarch64")
        ))]
        let stirs = stirs || self.there_are_strangers();
        let workers = self.watched.iter().flat_map(|watched| &watched.workers);
        let busy_ns = workers.map(WorkerWatch::busy_ns).sum();
        let least_ns = self.shared.config.stall_threshold_ns();
        self.calm.look(now_ns, busy_ns, least_ns, stirs)
    }
}

impl Watched {
    /// Looks at its workers; true where each of them is parked, or has not started.
    fn is_parked(&mut self, now_ns: u64) -> bool {
        let runtime = &self.runtime;
        let Some(metrics) = self.metrics.as_ref().filter(|_| !runtime.is_gone()) else {
            return false;
        };
        let started = runtime.has_started(now_ns);
        for (worker, watch) in runtime.worker_indices().zip(&mut self.workers) {
            let activity = watch.look(Counters::of(metrics, worker), now_ns, started);
            if matches!(activity, Activity::Running { .. }) {
                return false;
            }
            runtime.set_running_since(worker, None);
        }
        self.undriven_since_ns.is_none() && self.is_mapped()
    }

    /// The threads of its workers are known, as far as they are sought.
    fn is_mapped(&self) -> bool {
        self.runtime.flavor == Flavor::CurrentThread || lock(&self.runtime.map).is_complete()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: u64 = 1_000_000;

    #[test]
    fn it_is_calm_after_a_second_without_a_stalls_length_of_work() {
        let mut calm = Calm::default();
        let mut look =
            |at_ms: u64, busy_ms: u64, stirs| calm.look(at_ms * MS, busy_ms * MS, 10 * MS, stirs);
        // Of each look: when, busy time so far, whether something else runs, and whether it
        // is calm then.
        let looks = [
            (5_000, 400, false, false),
            (5_500, 405, false, false),
            (6_000, 409, false, true),
            (6_040, 409, false, true),
            (6_900, 418, false, true),
            (6_940, 419, false, false),
            (7_900, 419, false, false),
            (7_940, 420, false, true),
            (7_980, 420, true, false),
            (8_970, 420, false, false),
            (8_980, 420, false, true),
            // Another runtime is there, or one has gone.
            (9_020, 20, false, false),
        ];
        for (at_ms, busy_ms, stirs, expected) in looks {
            assert_eq!(look(at_ms, busy_ms, stirs), expected, "at {at_ms} ms");
        }
    }
}
