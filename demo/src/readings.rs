//! What a scenario has to show beside latencies: calls, queues, tasks.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
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

/// The readings of a phase. Clones share them.
#[derive(Clone, Default)]
pub(crate) struct Readings(Arc<Mutex<BTreeMap<&'static str, f64>>>);

impl Readings {
    /// Counts.
    pub(crate) fn add(&self, name: &'static str, by: f64) {
        *self.lock().entry(name).or_default() += by;
    }

    /// Replaces what was read before.
    pub(crate) fn set(&self, name: &'static str, value: f64) {
        self.lock().insert(name, value);
    }

    /// All of them, by name.
    pub(crate) fn all(&self) -> Vec<Reading> {
        let reading = |(name, value): (&&'static str, &f64)| Reading {
            name,
            value: *value,
        };
        self.lock().iter().map(reading).collect()
    }

    /// All of them; the next phase begins without any.
    pub(crate) fn take(&self) -> Vec<Reading> {
        let all = self.all();
        self.lock().clear();
        all
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<&'static str, f64>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
