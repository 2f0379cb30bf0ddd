//! The budgets of the design, and how each stands. Differences and ratios are
//! taken within a round, and the median of the rounds is judged.

use crate::{
    configuration::Configuration::{
        self, Bare, Level0, Level0Otlp, Level1, Level1NoWakes, Level2, Unstable,
    },
    metric::Metric,
    samples::{Samples, Spread},
};

/// What is allowed.
pub(crate) struct Budget {
    pub(crate) what: &'static str,
    pub(crate) metric: Metric,
    pub(crate) configuration: Configuration,
    /// What it is compared with.
    pub(crate) baseline: Configuration,
    pub(crate) limit: Limit,
}

#[derive(Clone, Copy)]
pub(crate) enum Limit {
    /// At most this much more than the baseline, in the metric's unit.
    More(f64),
    /// At least this share of the baseline; of its unwatched runs where the metric has
    /// none of its own.
    Share(f64),
    /// At most this, in the metric's unit.
    Most(f64),
}

/// How a budget stands.
pub(crate) enum Standing {
    Met(Spread),
    Missed(Spread),
    NotMeasured,
}

/// Level 0 does nothing in a poll; what remains is the machine's noise.
const NOTHING: f64 = 2.0;
/// The default threshold of a stall (10 ms) and the 100 ms that are allowed.
const STALL_MS: f64 = 110.0;
/// What the page of 10,000 tasks may take to be scraped.
const SCRAPE_MS: f64 = 5.0;
/// The agent's bound of history (8 MiB), and what its code, buffers and threads
/// take beside it.
const CHURN_MB: f64 = 24.0;

#[rustfmt::skip]
pub(crate) const BUDGETS: &[Budget] = &[
    Budget { what: "poll, level 0: nothing (± 2 ns of noise)", metric: Metric::Yield16, configuration: Level0, baseline: Bare, limit: Limit::More(NOTHING) },
    Budget { what: "poll, level 0 that sends by OTLP: nothing (± 1 instruction)", metric: Metric::InstructionsPoll, configuration: Level0Otlp, baseline: Bare, limit: Limit::More(1.0) },
    Budget { what: "poll, level 2: + 15 ns", metric: Metric::Yield16, configuration: Level2, baseline: Bare, limit: Limit::More(15.0) },
    Budget { what: "poll with a wake, level 2: + 15 ns", metric: Metric::Notify, configuration: Level2, baseline: Bare, limit: Limit::More(15.0) },
    Budget { what: "poll of 4,000 tasks in turn, level 2: + 15 ns", metric: Metric::Yield4000, configuration: Level2, baseline: Bare, limit: Limit::More(15.0) },
    Budget { what: "poll, level 1 without wakes: + 30 ns", metric: Metric::Yield16, configuration: Level1NoWakes, baseline: Bare, limit: Limit::More(30.0) },
    Budget { what: "poll with its wake, level 1: + 60 ns", metric: Metric::Yield16, configuration: Level1, baseline: Bare, limit: Limit::More(60.0) },
    Budget { what: "poll with a wake by another task, level 1: + 60 ns", metric: Metric::Notify, configuration: Level1, baseline: Bare, limit: Limit::More(60.0) },
    Budget { what: "spawn and finish, level 2: + 80 ns", metric: Metric::SpawnOne, configuration: Level2, baseline: Bare, limit: Limit::More(80.0) },
    Budget { what: "spawn and finish, 1,000 at once, level 2: + 80 ns", metric: Metric::Spawn1000, configuration: Level2, baseline: Bare, limit: Limit::More(80.0) },
    Budget { what: "spawn and finish, level 1: + 500 ns", metric: Metric::SpawnOne, configuration: Level1, baseline: Bare, limit: Limit::More(500.0) },
    Budget { what: "spawn and finish, 1,000 at once, level 1: + 500 ns", metric: Metric::Spawn1000, configuration: Level1, baseline: Bare, limit: Limit::More(500.0) },
    Budget { what: "memory of a live task, level 2: 128 B more than tokio with the flag", metric: Metric::Idle100k, configuration: Level2, baseline: Unstable, limit: Limit::More(128.0) },
    Budget { what: "memory of a live task, level 1: 256 B more than tokio with the flag", metric: Metric::Idle100k, configuration: Level1, baseline: Unstable, limit: Limit::More(256.0) },
    Budget { what: "memory after churn, level 2: at its bound (8 MiB of history; + 24 MB in all)", metric: Metric::Churn20k, configuration: Level2, baseline: Bare, limit: Limit::More(CHURN_MB) },
    Budget { what: "memory after churn, level 1: at its bound (8 MiB of history; + 24 MB in all)", metric: Metric::Churn20k, configuration: Level1, baseline: Bare, limit: Limit::More(CHURN_MB) },
    Budget { what: "requests/s, level 2 with a viewer: 0.98 of bare", metric: Metric::RequestsViewed, configuration: Level2, baseline: Bare, limit: Limit::Share(0.98) },
    Budget { what: "a stall is seen within its threshold (10 ms) + 100 ms, level 0", metric: Metric::Stall, configuration: Level0, baseline: Bare, limit: Limit::Most(STALL_MS) },
    Budget { what: "the same, level 1", metric: Metric::Stall, configuration: Level1, baseline: Bare, limit: Limit::Most(STALL_MS) },
    Budget { what: "the same, level 2", metric: Metric::Stall, configuration: Level2, baseline: Bare, limit: Limit::Most(STALL_MS) },
    Budget { what: "a stall under churn, level 0", metric: Metric::StallChurn, configuration: Level0, baseline: Bare, limit: Limit::Most(STALL_MS) },
    Budget { what: "a stall under churn, level 1", metric: Metric::StallChurn, configuration: Level1, baseline: Bare, limit: Limit::Most(STALL_MS) },
    Budget { what: "a stall under churn, level 2", metric: Metric::StallChurn, configuration: Level2, baseline: Bare, limit: Limit::Most(STALL_MS) },
    Budget { what: "a scrape of 10,000 tasks takes 5 ms at most, level 2", metric: Metric::Scrape, configuration: Level2, baseline: Bare, limit: Limit::Most(SCRAPE_MS) },
    Budget { what: "the same, level 1", metric: Metric::Scrape, configuration: Level1, baseline: Bare, limit: Limit::Most(SCRAPE_MS) },
    Budget { what: "the same, level 0", metric: Metric::Scrape, configuration: Level0, baseline: Bare, limit: Limit::Most(SCRAPE_MS) },
    Budget { what: "no stall while it is scraped, level 2", metric: Metric::ScrapeStalls, configuration: Level2, baseline: Bare, limit: Limit::Most(0.0) },
];

impl Budget {
    pub(crate) fn stands(&self, samples: &Samples) -> Standing {
        let baseline = (self.metric.unwatched(), self.baseline);
        let (spread, met) = match self.limit {
            Limit::More(most) => {
                let more = samples.pairs(self.metric, self.configuration, baseline, |a, b| a - b);
                (more, more.is_some_and(|more| more.median <= most))
            }
            Limit::Share(least) => {
                let share = samples.pairs(self.metric, self.configuration, baseline, |a, b| a / b);
                (share, share.is_some_and(|share| share.median >= least))
            }
            Limit::Most(most) => {
                let value = samples.spread(self.metric, self.configuration);
                (value, value.is_some_and(|value| value.median <= most))
            }
        };
        match spread {
            Some(spread) if met => Standing::Met(spread),
            Some(spread) => Standing::Missed(spread),
            None => Standing::NotMeasured,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{Budget, Limit, Standing};
    use crate::{configuration::Configuration, metric::Metric, samples::Samples};

    fn standing(metric: Metric, limit: Limit, bare: f64, level2: f64) -> Standing {
        let mut samples = Samples::default();
        samples.push(metric.unwatched(), Configuration::Bare, 0, bare);
        samples.push(metric, Configuration::Level2, 0, level2);
        let budget = Budget {
            what: "",
            metric,
            configuration: Configuration::Level2,
            baseline: Configuration::Bare,
            limit,
        };
        budget.stands(&samples)
    }

    #[test]
    fn limits_are_judged_against_bare() {
        for (metric, limit, bare, level2, met) in [
            (Metric::Yield16, Limit::More(15.0), 80.0, 95.0, true),
            (Metric::Yield16, Limit::More(15.0), 80.0, 95.5, false),
            (
                Metric::RequestsViewed,
                Limit::Share(0.98),
                100.0,
                98.0,
                true,
            ),
            (
                Metric::RequestsViewed,
                Limit::Share(0.98),
                100.0,
                97.0,
                false,
            ),
            (Metric::Stall, Limit::Most(110.0), 0.0, 110.0, true),
            (Metric::Stall, Limit::Most(110.0), 0.0, 111.0, false),
        ] {
            let stands = standing(metric, limit, bare, level2);
            assert_eq!(matches!(stands, Standing::Met(_)), met);
            assert_eq!(matches!(stands, Standing::Missed(_)), !met);
        }
        let nothing = standing(Metric::Yield16, Limit::More(15.0), f64::NAN, 1.0);
        assert!(matches!(nothing, Standing::NotMeasured));
    }
}
