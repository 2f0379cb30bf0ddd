//! Loop lag: how much later than due the agent's probe task ran.

use std::time::Duration;

use super::{Merge, Moment, Series};

/// Lag of one runtime.
#[derive(Debug, Clone)]
pub struct Lag {
    series: Series,
    /// When the probe was due that has not run yet.
    pub pending_since: Option<Moment>,
}

/// Percentiles over a window.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Percentiles {
    /// Half of the probes ran within this.
    pub p50: Duration,
    /// 99 of 100 probes ran within this.
    pub p99: Duration,
    /// The worst.
    pub max: Duration,
}

impl Default for Lag {
    fn default() -> Self {
        Self {
            series: Series::new(Merge::Max),
            pending_since: None,
        }
    }
}

impl Lag {
    pub(super) fn push(&mut self, due: Moment, lag: Duration) {
        self.series.push(due, lag.as_secs_f64() * 1e3);
    }

    /// The lag in milliseconds over time, with the probe that is overdue now.
    pub fn series(&self) -> &Series {
        &self.series
    }

    pub(super) fn series_mut(&mut self) -> &mut Series {
        &mut self.series
    }

    /// How late the probe is that has not run yet.
    pub fn pending(&self, now: Moment) -> Duration {
        self.pending_since
            .map_or(Duration::ZERO, |due| now.since(due))
    }

    /// Percentiles over the last `window`, the pending probe included; `None`
    /// without a sample.
    pub fn percentiles(&self, now: Moment, window: Duration) -> Option<Percentiles> {
        let mut samples: Vec<f64> = self.series.last(now, window).collect();
        let pending = self.pending(now);
        if pending > Duration::ZERO {
            samples.push(pending.as_secs_f64() * 1e3);
        }
        if samples.is_empty() {
            return None;
        }
        samples.sort_unstable_by(f64::total_cmp);
        let rank = |share: f64| {
            let index =
                ((samples.len() as f64 * share).ceil() as usize).clamp(1, samples.len()) - 1;
            // A recording may have any number: the most that an agent counts is 2^64 ns.
            Duration::try_from_secs_f64(samples[index].max(0.0) / 1e3)
                .unwrap_or(Duration::MAX)
                .min(Duration::from_nanos(u64::MAX))
        };
        Some(Percentiles {
            p50: rank(0.5),
            p99: rank(0.99),
            max: rank(1.0),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_recording_may_have_any_number() {
        for value in [f32::MAX, f32::INFINITY, f32::NAN, -1.0] {
            let mut lag = Lag::default();
            let ring = looptop_wire::recorded::Ring {
                head: 10,
                count: vec![1],
                value: vec![value],
            };
            lag.series_mut().restore(&ring, &ring);
            let now = Moment(2_000_000_000);
            let percentiles = lag.percentiles(now, Duration::from_secs(10)).unwrap();
            let most = Duration::from_nanos(u64::MAX);
            let expected = if value > 0.0 { most } else { Duration::ZERO };
            assert_eq!(percentiles.max, expected, "{value}");
        }
    }

    #[test]
    fn an_overdue_probe_counts_before_it_runs() {
        let mut lag = Lag::default();
        let now = Moment(60_000_000_000);
        assert_eq!(lag.percentiles(now, Duration::from_secs(10)), None);
        for n in 0..50u64 {
            lag.push(
                now.minus(Duration::from_millis(n * 100)),
                Duration::from_millis(1),
            );
        }
        lag.pending_since = Some(now.minus(Duration::from_millis(700)));
        let p = lag.percentiles(now, Duration::from_secs(10)).unwrap();
        assert_eq!(p.p50.as_millis(), 1);
        assert_eq!(p.max.as_millis(), 700);
    }
}
