//! Who wants how much CPU: what the process's own threads take from one another
//! is not the host's fault.

use crate::model::{Model, Process, Thread, ThreadRole};

/// CPU time that is wanted, had and waited for, each in CPUs: seconds for each
/// second of the last one or so.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Demand {
    /// CPUs that the process may use.
    pub cpus: Option<f64>,
    /// What all its threads used.
    pub used: f64,
    /// What all its threads waited for.
    pub waited: f64,
    /// What all workers used, or waited for.
    pub workers_wanted: f64,
    /// What the busy workers used.
    pub workers_used: f64,
    /// What the busy workers waited for.
    pub workers_waited: f64,
    /// Share of the time in which a quota held the process back.
    pub throttled: f64,
}

/// A worker that wants less of a CPU than this says nothing of the host.
const MIN_DEMAND: f64 = 0.25;

impl Demand {
    /// As it is now; `None` where the threads are not known.
    pub(super) fn of(model: &Model) -> Option<Self> {
        let rates = |t: &Thread| Some((t.run_queue_ratio()?, t.cpu_ratio()?));
        let all: Vec<(bool, f64, f64)> = model
            .threads
            .values()
            .filter_map(|t| {
                let (waited, used) = rates(t)?;
                Some((t.role == ThreadRole::Worker, waited, used))
            })
            .collect();
        if all.is_empty() {
            return None;
        }
        let sum = |list: &dyn Fn(&(bool, f64, f64)) -> f64| all.iter().map(list).sum::<f64>();
        let busy = |t: &(bool, f64, f64)| t.0 && t.1 + t.2 > MIN_DEMAND;
        Some(Self {
            cpus: model.session.cpus.map(f64::from),
            used: sum(&|t| t.2),
            waited: sum(&|t| t.1),
            workers_wanted: sum(&|t| if t.0 { t.1 + t.2 } else { 0.0 }),
            workers_used: sum(&|t| if busy(t) { t.2 } else { 0.0 }),
            workers_waited: sum(&|t| if busy(t) { t.1 } else { 0.0 }),
            throttled: model
                .process
                .as_ref()
                .and_then(Process::throttled_ratio)
                .unwrap_or_default(),
        })
    }

    /// CPUs that the process wants, by the threads that could run.
    pub(super) fn wanted(&self) -> f64 {
        self.used + self.waited
    }

    /// The part of all waiting that others caused, 0 to 1. Of the CPUs that the
    /// process may use, those that it wanted and did not have went to others; for
    /// the rest of the waiting its threads stood in one another's way.
    pub(super) fn by_others(&self) -> f64 {
        match self.cpus {
            Some(cpus) if self.waited > 0.0 => ((cpus - self.used).max(0.0) / self.waited).min(1.0),
            _ => 1.0,
        }
    }

    /// The share of its runnable time that a busy worker waited for a CPU that
    /// others had; `None` where no worker wants one.
    pub(super) fn taken_by_others(&self) -> Option<f64> {
        let waited = self.workers_waited * self.by_others();
        let all = waited + self.workers_used;
        (all > 0.0).then(|| waited / all)
    }

    /// The share of its runnable time that a busy worker waited for a CPU, for
    /// whatever reason.
    pub(super) fn waiting_share(&self) -> Option<f64> {
        let all = self.workers_waited + self.workers_used;
        (all > 0.0).then(|| self.workers_waited / all)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn own_crowding_is_not_the_hosts() {
        let demand = |cpus, used, waited| Demand {
            cpus,
            used,
            waited,
            workers_wanted: used + waited,
            workers_used: used,
            workers_waited: waited,
            throttled: 0.0,
        };
        for (what, demand, expected) in [
            ("a quiet machine", demand(Some(2.0), 1.2, 0.1), 0.08),
            (
                "two workers beside a crowd",
                demand(Some(2.0), 0.4, 1.6),
                0.8,
            ),
            ("32 workers alone", demand(Some(2.0), 1.95, 20.0), 0.025),
            (
                "32 workers beside one other",
                demand(Some(2.0), 1.0, 20.0),
                0.5,
            ),
            ("a host that says nothing", demand(None, 0.4, 1.6), 0.8),
        ] {
            let share = demand.taken_by_others().unwrap();
            assert!((share - expected).abs() < 0.01, "{what}: {share}");
        }
    }
}
