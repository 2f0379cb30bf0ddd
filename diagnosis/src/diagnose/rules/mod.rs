//! The rules: a file each, and a line in [`ALL`].

mod auto_boxed_future;
mod blocked_worker;
mod blocking_pool_full;
mod chains;
pub(super) mod deadlock;
mod demand;
mod descriptors;
mod futurelock;
mod growing_queue;
mod host_starved;
mod large_future;
pub(super) mod lock_convoy;
mod long_poll;
mod loop_starved;
mod lost_waker;
mod memory;
mod memory_growth;
mod nested_runtime;
mod never_yielded;
mod queues;
mod self_wake_spin;
mod shutdown_waits;
mod slow_schedule;
mod stuck_task;
mod task_flood;
mod task_leak;
mod telemetry_loss;
mod too_many_workers;
mod trend;
mod unreaped_tasks;
mod waiting;

#[cfg(test)]
mod cases;
#[cfg(test)]
mod console_cases;

use crate::model::{Capability, Lag, Model, Moment};

use super::Finding;

pub use memory::Memory;
pub(super) use waiting::Waiting;

/// What a rule looks at.
#[derive(Debug, Clone, Copy)]
pub struct Context<'a> {
    /// The observed program as it is now.
    pub model: &'a Model,
    /// What only shows over time.
    pub memory: &'a Memory,
    /// The window that findings are about begins here and ends now.
    pub since: Moment,
}

impl Context<'_> {
    /// How much of the window was observed.
    fn window(&self) -> std::time::Duration {
        let observed = self.model.since.unwrap_or_default();
        self.model.now.since(self.since.max(observed))
    }

    /// Why a rule that needs `needed` could not be judged in a window that is
    /// shorter; `None` where it is long enough.
    fn too_short(&self, needed: std::time::Duration) -> Option<String> {
        let (needed, window) = (self.model.session.scaled(needed), self.window());
        (window < needed).then(|| {
            format!(
                "it needs {:.0} s, and {:.1} s were observed",
                needed.as_secs_f64(),
                window.as_secs_f64()
            )
        })
    }

    /// The host, or the process's own crowd of threads, has had a hand in the
    /// delays of the last seconds, so that they say nothing of the code.
    fn is_distorted(&self) -> bool {
        host_starved::distorts(self.model)
            || self
                .memory
                .distorted_at
                .is_some_and(|at| self.now().since(at) < super::Window::FADE)
    }

    /// Now, on the observed program's clock.
    fn now(&self) -> Moment {
        self.model.now
    }

    /// The worst 99th percentile of loop lag in the last 2 s.
    fn lag_p99(&self) -> std::time::Duration {
        let window = std::time::Duration::from_secs(2);
        let p99 = |lag: &Lag| Some(lag.percentiles(self.now(), window)?.p99);
        self.model
            .lag
            .values()
            .filter_map(p99)
            .max()
            .unwrap_or_default()
    }
}

/// A rule.
#[derive(Debug, Clone, Copy)]
pub struct Rule {
    /// Its id, as on the command line and in JSON.
    pub id: &'static str,
    /// What it is, a few words.
    pub summary: &'static str,
    /// What it means, a paragraph.
    pub meaning: &'static str,
    /// When it fires, with the defaults.
    pub threshold: &'static str,
    /// What it looks at.
    pub evidence: &'static str,
    /// What to do.
    pub remedy: &'static str,
    /// Without these it stays silent.
    pub needs: &'static [Capability],
    /// Among findings of one severity the higher comes first: causes before
    /// symptoms.
    pub rank: u8,
    /// Each look yields all findings about stalls of the window; otherwise, as all
    /// others, those of the moment, to be added to the earlier ones.
    pub over_window: bool,
    /// A look passes over all tasks, so that it is taken less often where there
    /// are many.
    pub scans_tasks: bool,
    /// Rules whose findings explain this one's, so that it stays silent.
    pub explained_by: &'static [&'static str],
    /// Rules whose findings explain this one's where both are about the same place, or
    /// the other's says that it explains it.
    pub explained_here: &'static [&'static str],
    /// Why it could not be judged in this window; `None` where it could.
    pub not_judged: fn(&Context<'_>) -> Option<String>,
    /// The look.
    pub check: fn(&Context<'_>) -> Vec<Finding>,
}

/// All rules; those that explain others come first.
pub const ALL: &[Rule] = &[
    deadlock::RULE,
    futurelock::RULE,
    nested_runtime::RULE,
    too_many_workers::RULE,
    lock_convoy::RULE,
    blocked_worker::RULE,
    never_yielded::RULE,
    host_starved::RULE,
    descriptors::RULE,
    self_wake_spin::RULE,
    task_flood::RULE,
    blocking_pool_full::RULE,
    shutdown_waits::RULE,
    lost_waker::RULE,
    stuck_task::RULE,
    task_leak::RULE,
    growing_queue::RULE,
    unreaped_tasks::RULE,
    memory_growth::RULE,
    slow_schedule::RULE,
    long_poll::RULE,
    loop_starved::RULE,
    large_future::RULE,
    auto_boxed_future::RULE,
    telemetry_loss::RULE,
];

/// The rule of an id.
pub fn find(id: &str) -> Option<&'static Rule> {
    ALL.iter().find(|rule| rule.id == id)
}

/// The rule whose id is nearest to a misspelt one.
pub fn nearest(id: &str) -> &'static str {
    let distance = |rule: &&Rule| strsim::damerau_levenshtein(rule.id, id);
    ALL.iter().min_by_key(distance).map_or("", |rule| rule.id)
}
