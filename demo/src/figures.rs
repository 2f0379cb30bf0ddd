//! What the load measured: requests and canary, since the switch and before it.

use std::{
    sync::{Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use hdrhistogram::Histogram;
use serde::Serialize;

/// Time between two canaries.
pub(crate) const CANARY_INTERVAL: Duration = Duration::from_millis(100);

/// Latencies are counted in microseconds up to here, with three digits.
const LONGEST: Duration = Duration::from_mins(1);

/// Latencies, in milliseconds.
#[derive(Clone, Copy, PartialEq, Debug, Default, Serialize)]
pub struct Latency {
    /// Answers that were measured.
    pub count: u64,
    /// Median; absent without an answer.
    pub p50_ms: Option<f64>,
    /// The slowest hundredth is slower; absent without an answer.
    pub p99_ms: Option<f64>,
    /// The slowest; absent without an answer.
    pub max_ms: Option<f64>,
}

/// The figures of one phase: the time from one switch to the next.
#[derive(Clone, PartialEq, Debug, Default, Serialize)]
pub struct Figures {
    /// How long it has lasted, or lasted.
    pub seconds: f64,
    /// Requests answered.
    pub requests: u64,
    /// Requests refused, broken off or timed out.
    pub errors: u64,
    /// Over the whole phase.
    pub requests_per_s: f64,
    /// Of the scenario's requests.
    pub latency: Latency,
    /// Of the canary.
    pub canary: Latency,
    /// How long the canary has been waiting for its answer now.
    pub canary_waiting_ms: f64,
}

/// Takes what the load measures. Everything from a phase that is over is
/// dropped.
pub(crate) struct Recorder(Mutex<Record>);

struct Record {
    phase: u64,
    begun: Instant,
    errors: u64,
    requests: Histogram<u64>,
    canary: Histogram<u64>,
    canary_sent: Option<Instant>,
}

impl Record {
    fn new(phase: u64) -> Self {
        Record {
            phase,
            begun: Instant::now(),
            errors: 0,
            requests: latencies(),
            canary: latencies(),
            canary_sent: None,
        }
    }
}

fn latencies() -> Histogram<u64> {
    Histogram::new_with_bounds(1, LONGEST.as_micros() as u64, 3).expect("the bounds are constant")
}

fn micros(latency: Duration) -> u64 {
    latency.min(LONGEST).as_micros() as u64
}

impl Recorder {
    /// Begins with phase 0.
    pub(crate) fn new() -> Self {
        Recorder(Mutex::new(Record::new(0)))
    }

    /// A request of `phase` was answered.
    pub(crate) fn answered(&self, phase: u64, latency: Duration) {
        let mut record = self.lock();
        if record.phase == phase {
            record.requests.saturating_record(micros(latency));
        }
    }

    /// A request of `phase` failed.
    pub(crate) fn failed(&self, phase: u64) {
        let mut record = self.lock();
        if record.phase == phase {
            record.errors += 1;
        }
    }

    /// A canary is on its way.
    pub(crate) fn canary_sent(&self) {
        self.lock().canary_sent = Some(Instant::now());
    }

    /// The canary came back, `None` if it failed at once.
    pub(crate) fn canary_back(&self, phase: u64, latency: Option<Duration>) {
        let mut record = self.lock();
        record.canary_sent = None;
        if let Some(latency) = latency
            && record.phase == phase
        {
            // While one canary waits, the others that were due meanwhile are not
            // sent: they count as having waited for what was left of it.
            let interval = micros(CANARY_INTERVAL);
            let _ = record.canary.record_correct(micros(latency), interval);
        }
    }

    /// Ends the phase and begins `next`; the figures of the one that ended.
    pub(crate) fn switch(&self, next: u64) -> Figures {
        let mut record = self.lock();
        let ended = std::mem::replace(&mut *record, Record::new(next));
        record.canary_sent = ended.canary_sent;
        drop(record);
        figures(&ended)
    }

    /// The figures of the phase so far.
    pub(crate) fn now(&self) -> Figures {
        figures(&self.lock())
    }

    fn lock(&self) -> MutexGuard<'_, Record> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn figures(record: &Record) -> Figures {
    let seconds = record.begun.elapsed().as_secs_f64();
    let requests = record.requests.len();
    Figures {
        seconds,
        requests,
        errors: record.errors,
        requests_per_s: requests as f64 / seconds.max(0.001),
        latency: latency(&record.requests),
        canary: latency(&record.canary),
        canary_waiting_ms: record
            .canary_sent
            .map_or(0.0, |sent| sent.elapsed().as_secs_f64() * 1e3),
    }
}

fn latency(histogram: &Histogram<u64>) -> Latency {
    let ms = |micros: u64| (!histogram.is_empty()).then_some(micros as f64 / 1e3);
    Latency {
        count: histogram.len(),
        p50_ms: ms(histogram.value_at_quantile(0.5)),
        p99_ms: ms(histogram.value_at_quantile(0.99)),
        max_ms: ms(histogram.max()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    #[test]
    fn a_phase_keeps_its_figures_and_takes_none_of_another() {
        let recorder = Recorder::new();
        recorder.answered(0, 10 * MS);
        recorder.answered(1, 99 * MS);
        let before = recorder.switch(1);
        recorder.answered(0, 10 * MS);
        recorder.failed(0);
        recorder.failed(1);
        let now = recorder.now();

        assert_eq!((before.requests, before.errors), (1, 0));
        assert_eq!((now.requests, now.errors), (0, 1));
        assert_eq!(now.latency.p99_ms, None);
    }

    #[test]
    fn a_canary_that_waited_long_stands_for_those_that_were_not_sent() {
        let recorder = Recorder::new();
        recorder.canary_sent();
        recorder.canary_back(0, Some(1000 * MS));
        // 1000, 900, ... 100 ms.
        assert_eq!(recorder.now().canary.count, 10);
    }
}
