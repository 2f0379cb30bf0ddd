//! How threads of the viewer are asked to end.

use std::{
    sync::{Arc, Condvar, Mutex, PoisonError},
    time::{Duration, Instant},
};

/// Shared by the threads that look at one process.
#[derive(Debug, Clone, Default)]
pub(super) struct Stop(Arc<(Mutex<bool>, Condvar)>);

/// Asks the threads to end when it is dropped.
#[derive(Debug)]
pub(super) struct Guard(Stop);

impl Stop {
    /// Who holds it keeps the threads at work.
    pub(super) fn guard(&self) -> Guard {
        Guard(self.clone())
    }

    /// Whether to end.
    pub(super) fn is_due(&self) -> bool {
        *self.0.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Asks the threads to end.
    pub(super) fn now(&self) {
        *self.0.0.lock().unwrap_or_else(PoisonError::into_inner) = true;
        self.0.1.notify_all();
    }

    /// Sleeps until `at`, or until it is time to end; `true` then.
    pub(super) fn sleep_until(&self, at: Instant) -> bool {
        let (due, woken) = &*self.0;
        let mut due = due.lock().unwrap_or_else(PoisonError::into_inner);
        loop {
            let rest = at.saturating_duration_since(Instant::now());
            if *due || rest == Duration::ZERO {
                return *due;
            }
            let slept = woken.wait_timeout(due, rest);
            (due, _) = slept.unwrap_or_else(PoisonError::into_inner);
        }
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        self.0.now();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whoever_sleeps_wakes_when_the_guard_goes() {
        let stop = Stop::default();
        let guard = stop.guard();
        let sleeper = std::thread::spawn({
            let stop = stop.clone();
            move || stop.sleep_until(Instant::now() + Duration::from_mins(10))
        });
        assert!(!stop.sleep_until(Instant::now()));
        drop(guard);
        assert!(sleeper.join().unwrap());
        assert!(stop.is_due());
    }
}
