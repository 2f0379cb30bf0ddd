//! How much of everything.

use crate::options::RunOptions;

/// Rounds, times and sizes.
pub(crate) struct Plan {
    pub(crate) micro_rounds: usize,
    /// For each kernel in each round.
    pub(crate) micro_millis: u64,
    pub(crate) http_rounds: usize,
    pub(crate) http_warmup_millis: u64,
    pub(crate) http_millis: u64,
    pub(crate) connections: usize,
    pub(crate) idle_rounds: usize,
    pub(crate) idle_tasks: [u64; 2],
    pub(crate) churn_seconds: u64,
    /// A program that takes more is stopped, so that the machine survives.
    pub(crate) cap_megabytes: u64,
    pub(crate) stalls: usize,
    pub(crate) stall_gap_millis: u64,
    /// Churn before the first stall.
    pub(crate) stall_lead_millis: u64,
    pub(crate) scrapes: usize,
    pub(crate) scraped_tasks: u64,
    /// Operations of the shorter of two counted runs.
    pub(crate) instructions: usize,
}

impl Plan {
    pub(crate) fn of(options: &RunOptions) -> Self {
        let mut plan = if options.smoke {
            Self::smoke()
        } else {
            Self::full()
        };
        if let Some(rounds) = options.rounds {
            plan.micro_rounds = rounds;
            plan.http_rounds = rounds;
            plan.idle_rounds = rounds;
        }
        plan
    }

    fn full() -> Self {
        Self {
            micro_rounds: 15,
            micro_millis: 50,
            http_rounds: 9,
            http_warmup_millis: 250,
            http_millis: 1_000,
            connections: 32,
            idle_rounds: 3,
            idle_tasks: [10_000, 100_000],
            churn_seconds: 60,
            cap_megabytes: 3_000,
            stalls: 6,
            stall_gap_millis: 1_000,
            stall_lead_millis: 3_000,
            scrapes: 30,
            scraped_tasks: 10_000,
            instructions: 4_000,
        }
    }

    fn smoke() -> Self {
        Self {
            micro_rounds: 1,
            micro_millis: 2,
            http_rounds: 1,
            http_warmup_millis: 50,
            http_millis: 150,
            connections: 8,
            idle_rounds: 1,
            idle_tasks: [1_000, 2_000],
            churn_seconds: 1,
            cap_megabytes: 500,
            stalls: 2,
            stall_gap_millis: 600,
            stall_lead_millis: 200,
            scrapes: 2,
            scraped_tasks: 1_000,
            instructions: 800,
        }
    }

    /// For the foot of the table.
    pub(crate) fn describe(&self) -> String {
        format!(
            "{} rounds of {} ms for each kernel, {} rounds of {} ms for each HTTP load with {} connections, {} rounds of {} and {} waiting tasks, {} s of churn, {} stalls, {} scrapes of {} tasks",
            self.micro_rounds,
            self.micro_millis,
            self.http_rounds,
            self.http_millis,
            self.connections,
            self.idle_rounds,
            self.idle_tasks[0],
            self.idle_tasks[1],
            self.churn_seconds,
            self.stalls,
            self.scrapes,
            self.scraped_tasks,
        )
    }
}
