//! What a scenario has to show beside latencies: calls, queues, tasks.

use std::{
    collections::BTreeMap,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicI64, Ordering},
    },
};

use serde::Serialize;

/// A named number.
#[derive(Clone, PartialEq, Debug, Serialize)]
pub struct Reading {
    /// What is counted.
    pub name: &'static str,
    /// Now, or at the end of the phase.
    pub value: f64,
}

/// All readings of the lab. Clones share them.
#[derive(Clone, Default)]
pub(crate) struct Readings(Arc<Mutex<BTreeMap<&'static str, Counter>>>);

/// A reading that tasks change; cheap, so that it changes nothing about them.
#[derive(Clone, Default)]
pub(crate) struct Counter(Arc<AtomicI64>);

impl Counter {
    // Relaxed throughout: a reading orders nothing else.

    pub(crate) fn add(&self, by: i64) {
        self.0.fetch_add(by, Ordering::Relaxed);
    }

    pub(crate) fn set(&self, value: i64) {
        self.0.store(value, Ordering::Relaxed);
    }

    /// Counts one for as long as the guard lives.
    pub(crate) fn hold(&self) -> Held {
        self.add(1);
        Held(self.clone())
    }
}

/// One that is counted.
pub(crate) struct Held(Counter);

impl Drop for Held {
    fn drop(&mut self) {
        self.0.add(-1);
    }
}

impl Readings {
    /// The counter with this name, which a scenario declares to show.
    pub(crate) fn counter(&self, name: &'static str) -> Counter {
        self.lock().entry(name).or_default().clone()
    }

    /// Those called `names`, in that order.
    pub(crate) fn of(&self, names: &[&'static str]) -> Vec<Reading> {
        let counters = self.lock();
        let reading = |name: &&'static str| {
            let counter = counters.get(name)?;
            Some(Reading {
                name,
                value: counter.0.load(Ordering::Relaxed) as f64,
            })
        };
        names.iter().filter_map(reading).collect()
    }

    /// Begins anew, but for what is still held.
    pub(crate) fn reset(&self, names: &[&'static str]) {
        let counters = self.lock();
        for counter in names.iter().filter_map(|name| counters.get(name)) {
            counter.set(0);
        }
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<&'static str, Counter>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_scenario_shows_its_own_readings() {
        let readings = Readings::default();
        readings.counter("calls").add(3);
        let held = readings.counter("in flight").hold();
        let values = |names: &[&'static str]| -> Vec<f64> {
            readings.of(names).iter().map(|r| r.value).collect()
        };
        assert_eq!(values(&["in flight", "calls", "unknown"]), [1.0, 3.0]);
        readings.reset(&["calls"]);
        drop(held);
        assert_eq!(values(&["in flight", "calls"]), [0.0, 0.0]);
    }
}
