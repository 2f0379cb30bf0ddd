//! How bad stalls are.

use std::time::Duration;

use super::{CRITICAL, WARNING};
use crate::{
    diagnose::{
        Severity,
        mistakes::{self, Mistake},
    },
    model::Model,
};

/// Shares of worker time in which polls blocked, as a service's requests see it.
#[derive(Debug, Clone, Copy)]
struct Toll {
    /// Of one worker's time.
    of_one: f64,
    /// Of all workers' time: the share of requests that meet such a stall.
    of_all: f64,
}

/// Share of one worker's time from which stalls of any length are a warning.
const WARNING_SHARE: f64 = 0.2;

/// Share of requests that a service's 99th percentile does not leave out.
const P99: f64 = 0.01;

/// How bad the stalls of a mistake are, by what the requests of a service feel:
/// - one of a second or more stops the loop;
/// - one of 100 ms, or shorter ones that take a fifth of a worker's time, or that
///   last 50 ms as a rule and meet one request in a hundred, so that they are its
///   99th percentile, are a warning;
/// - others are a notice.
pub(in crate::diagnose) fn severity(
    model: &Model,
    mistake: &Mistake<'_>,
    window: Duration,
) -> Severity {
    let mut ages: Vec<Duration> = mistake
        .stalls
        .iter()
        .map(|s| s.own_age(model.now))
        .collect();
    ages.sort_unstable();
    let longest = ages.last().copied().unwrap_or_default();
    let median = ages.get(ages.len() / 2).copied().unwrap_or_default();
    let toll = toll(model, &ages, window);
    let shapes_p99 = ages.len() >= 3 && median >= mistakes::LONG_WAIT && toll.of_all >= P99;
    if longest >= CRITICAL {
        Severity::Critical
    } else if longest >= WARNING || toll.of_one >= WARNING_SHARE || shapes_p99 {
        Severity::Warning
    } else {
        Severity::Notice
    }
}

fn toll(model: &Model, ages: &[Duration], window: Duration) -> Toll {
    // In less than a second a single stall would be a great share.
    let window = window.max(Duration::from_secs(1));
    let total: Duration = ages.iter().map(|age| (*age).min(window)).sum();
    let of_one = total.as_secs_f64() / window.as_secs_f64();
    Toll {
        of_one,
        of_all: of_one / model.workers.len().max(1) as f64,
    }
}
