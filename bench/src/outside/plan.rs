//! How much of everything.

use std::time::Duration;

use crate::options::RunOptions;

/// Rounds, times and sizes.
pub(super) struct Plan {
    /// Tasks that are listed.
    pub(super) tasks: [u64; 2],
    /// Times that the first rows are waited for.
    pub(super) first_rows: usize,
    /// Listings whose cost is measured, and the time between two.
    pub(super) renewals: usize,
    pub(super) renewed_every: Duration,
    /// How long a viewer's CPU time is measured.
    pub(super) viewed: Duration,
    pub(super) stalls: usize,
    pub(super) stall_gap_millis: u64,
    /// Workers of what is watched; two threads come to them.
    pub(super) workers: [u64; 2],
    /// How long threads are watched.
    pub(super) watched: Duration,
    pub(super) heap_megabytes: u64,
    pub(super) heap_searches: usize,
    /// How long nothing new is there after the search.
    pub(super) heap_rest: Duration,
    /// How long held workers are watched.
    pub(super) held: Duration,
    pub(super) http_rounds: usize,
    pub(super) http_millis: u64,
    pub(super) connections: usize,
    pub(super) churn: Duration,
    pub(super) churn_rate: u64,
}

impl Plan {
    pub(super) fn of(options: &RunOptions) -> Self {
        let mut plan = if options.smoke {
            Self::smoke()
        } else {
            Self::full()
        };
        if let Some(rounds) = options.rounds {
            plan.http_rounds = rounds;
        }
        plan
    }

    fn full() -> Self {
        Self {
            tasks: [1_000, 100_000],
            first_rows: 5,
            renewals: 10,
            renewed_every: Duration::from_secs(1),
            viewed: Duration::from_secs(15),
            stalls: 20,
            stall_gap_millis: 700,
            workers: [3, 33],
            watched: Duration::from_secs(10),
            heap_megabytes: 1_000,
            heap_searches: 5,
            // Longer than it rests after a search.
            heap_rest: Duration::from_secs(75),
            held: Duration::from_secs(10),
            http_rounds: 12,
            http_millis: 2_000,
            connections: 32,
            churn: Duration::from_secs(60),
            churn_rate: 20_000,
        }
    }

    fn smoke() -> Self {
        Self {
            tasks: [100, 2_000],
            first_rows: 1,
            renewals: 2,
            renewed_every: Duration::from_millis(100),
            viewed: Duration::from_millis(300),
            stalls: 2,
            stall_gap_millis: 500,
            workers: [2, 6],
            watched: Duration::from_millis(300),
            heap_megabytes: 60,
            heap_searches: 1,
            heap_rest: Duration::from_secs(1),
            held: Duration::from_millis(500),
            http_rounds: 1,
            http_millis: 150,
            connections: 8,
            churn: Duration::from_secs(1),
            churn_rate: 5_000,
        }
    }
}
