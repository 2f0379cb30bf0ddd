//! Locks that outlive a panic: what they protect is telemetry, and half of it
//! is better than none. And what `agent/models` replaces to check the protocols
//! that need no lock.

pub(crate) use std::hint;
pub(crate) use std::sync::atomic;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// Locks `mutex`, whether or not a thread panicked while it held it.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
