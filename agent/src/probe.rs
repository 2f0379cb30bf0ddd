//! The loop-lag probe: one task on each runtime, woken every 100 ms from
//! outside, that reports how much later than due it ran.
//!
//! The watchdog wakes it, not a timer of the runtime, so it works without
//! tokio's time driver and with a paused clock, and the delay holds nothing but
//! the time between a wake and its poll: what every other task suffers too.
//! When the runtime is shut down it drops the task, which is how the agent
//! learns of it.

use std::collections::VecDeque;
use std::future::poll_fn;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, OnceLock};
use std::task::{Context, Poll, Waker};

use tokio::runtime::{Handle, RuntimeFlavor};

use crate::clock::now_ns;
use crate::ids::Tid;
use crate::sync::lock;
use crate::thread_clock::current_tid;

/// Time between two wakes of the probe.
pub(crate) const PERIOD_NS: u64 = 100_000_000;

/// Samples kept for the snapshot of a new viewer: 60 s.
const HISTORY: usize = 600;

/// Sightings that wait for the watchdog at most.
const MAX_SIGHTINGS: usize = 256;

/// Name of the probe's task, by which a viewer distinguishes it from the application's.
const PROBE_NAME: &str = "looptop-agent lag probe";
/// Name of the tasks that look which thread drives which worker.
const SCOUT_NAME: &str = "looptop-agent scout";

/// One finished measurement.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct LagSample {
    /// Counts from 1.
    pub(crate) sequence: u64,
    /// When the probe was due, ns on the agent's clock.
    pub(crate) due_ns: u64,
    /// How much later it ran, ns.
    pub(crate) lag_ns: u64,
}

/// A task of the agent ran on a thread: evidence for the worker map.
#[derive(Clone, Debug)]
pub(crate) struct Sighting {
    pub(crate) tid: Tid,
    /// The workers that were not parked at that moment.
    pub(crate) awake: Vec<bool>,
    /// Address of a local variable of the task: how deep the stack was.
    pub(crate) stack_address: u64,
}

/// What the probe's task and the agent share.
#[derive(Debug, Default)]
pub(crate) struct Probe {
    waker: Mutex<Option<Waker>>,
    /// When the probe was due that has not run yet, plus 1; 0: none.
    due: AtomicU64,
    /// It has come in, and waits at the end of the queue.
    queued: AtomicBool,
    history: Mutex<VecDeque<LagSample>>,
    samples: AtomicU64,
    /// When the runtime dropped the task, ns plus 1; 0: it has not.
    gone_at: AtomicU64,
    /// The name of the thread that it ran on first.
    thread_name: OnceLock<String>,
    sightings: Mutex<Vec<Sighting>>,
}

impl Probe {
    /// Starts the probe's task on `handle`.
    pub(crate) fn start(handle: &Handle) -> Arc<Self> {
        let probe = Arc::new(Self::default());
        let on_task = Gone(Arc::clone(&probe));
        spawn_named(handle, PROBE_NAME, async move {
            poll_fn(|cx| on_task.0.poll(cx)).await;
        });
        probe
    }

    /// Wakes the probe; one that is still due stays due since then.
    pub(crate) fn fire(&self, now_ns: u64) {
        let first = self.due.compare_exchange(0, now_ns + 1, Relaxed, Relaxed);
        if first.is_ok() {
            let waker = lock(&self.waker).clone();
            if let Some(waker) = waker {
                waker.wake();
            }
        }
    }

    /// Nobody drives the runtime: being late means nothing.
    pub(crate) fn call_off(&self) {
        self.due.store(0, Relaxed);
    }

    /// Since when the probe has been due without having run.
    pub(crate) fn pending_since_ns(&self) -> Option<u64> {
        self.due.load(Relaxed).checked_sub(1)
    }

    /// The runtime has dropped the probe's task: it was shut down.
    pub(crate) fn is_gone(&self) -> bool {
        self.gone_at_ns().is_some()
    }

    /// When the runtime was shut down.
    pub(crate) fn gone_at_ns(&self) -> Option<u64> {
        self.gone_at.load(Relaxed).checked_sub(1)
    }

    /// The name of a thread of the runtime's pool: the one that its task ran on
    /// first. `None` before that, and where the runtime has no threads of its own.
    pub(crate) fn thread_name(&self) -> Option<&str> {
        self.thread_name.get().map(String::as_str)
    }

    /// Where the probe's task is in memory; `None` before its first poll and once
    /// it is gone.
    pub(crate) fn task_address(&self) -> Option<u64> {
        let waker = lock(&self.waker);
        waker.as_ref().map(|waker| waker.data().addr() as u64)
    }

    /// The samples after the one with number `sequence`, oldest first.
    pub(crate) fn samples_after(&self, sequence: u64) -> Vec<LagSample> {
        let history = lock(&self.history);
        let new = history.iter().filter(|s| s.sequence > sequence);
        new.copied().collect()
    }

    /// The number of the newest sample; 0: none.
    pub(crate) fn last_sequence(&self) -> u64 {
        self.samples.load(Relaxed)
    }

    /// Where tasks of the agent have run since the last call.
    pub(crate) fn take_sightings(&self) -> Vec<Sighting> {
        std::mem::take(&mut *lock(&self.sightings))
    }

    /// Sends `count` tasks to see which threads they run on. They burn 50 µs
    /// each, so that one worker does not take them all.
    pub(crate) fn scout(self: &Arc<Self>, handle: &Handle, count: usize) {
        for _ in 0..count {
            let probe = Arc::clone(self);
            spawn_named(handle, SCOUT_NAME, async move {
                probe.see();
                let started = std::time::Instant::now();
                while started.elapsed() < std::time::Duration::from_micros(50) {
                    std::hint::spin_loop();
                }
            });
        }
    }

    fn poll(&self, cx: &mut Context<'_>) -> Poll<()> {
        let mut waker = lock(&self.waker);
        if !waker.as_ref().is_some_and(|w| w.will_wake(cx.waker())) {
            *waker = Some(cx.waker().clone());
        }
        drop(waker);
        // Woken from outside, the probe may have come in before everything that
        // waits: a current-thread scheduler looks there first. So it queues once
        // more, at the end, as what a timer or a socket wakes does.
        if self.due.load(Relaxed) != 0 && !self.queued.swap(true, Relaxed) {
            cx.waker().wake_by_ref();
        } else if self.queued.swap(false, Relaxed)
            && let Some(due_ns) = self.due.swap(0, Relaxed).checked_sub(1)
        {
            self.record(due_ns, now_ns());
        }
        self.see();
        crate::subscriber::ask(now_ns());
        Poll::Pending
    }

    fn record(&self, due_ns: u64, now_ns: u64) {
        let mut history = lock(&self.history);
        if history.len() == HISTORY {
            history.pop_front();
        }
        history.push_back(LagSample {
            sequence: self.samples.fetch_add(1, Relaxed) + 1,
            due_ns,
            lag_ns: now_ns.saturating_sub(due_ns),
        });
    }

    /// Notes the thread that this task runs on, and registers it for stacks.
    #[inline(never)]
    fn see(&self) {
        crate::capture::register_current_thread();
        let Some(tid) = current_tid() else { return };
        #[cfg(tokio_unstable)]
        crate::drivers::note();
        let Ok(handle) = Handle::try_current() else {
            return;
        };
        if handle.runtime_flavor() == RuntimeFlavor::MultiThread {
            let name = || std::thread::current().name().unwrap_or_default().to_owned();
            self.thread_name.get_or_init(name);
        }
        let metrics = handle.metrics();
        let awake = (0..metrics.num_workers())
            .map(|w| metrics.worker_park_unpark_count(w) % 2 == 0)
            .collect();
        let mut sightings = lock(&self.sightings);
        if sightings.len() < MAX_SIGHTINGS {
            sightings.push(Sighting {
                tid,
                awake,
                stack_address: std::ptr::from_ref(&tid).addr() as u64,
            });
        }
    }
}

/// Reports that the runtime dropped the task that holds it.
struct Gone(Arc<Probe>);

impl Drop for Gone {
    fn drop(&mut self) {
        self.0.gone_at.store(now_ns() + 1, Relaxed);
        // The waker keeps the task's memory, hence the runtime's handle.
        *lock(&self.0.waker) = None;
    }
}

/// Spawns a task under a name where tokio has names.
fn spawn_named<F>(handle: &Handle, name: &str, future: F)
where
    F: Future<Output = ()> + Send + 'static,
{
    // Never under an empty dispatcher: `tracing` would ask that about tokio's
    // callsites, and take its "never" for everybody's.
    #[cfg(all(tokio_unstable, feature = "tracing"))]
    {
        let task = tokio::task::Builder::new().name(name);
        drop(task.spawn_on(future, handle));
    }
    #[cfg(not(all(tokio_unstable, feature = "tracing")))]
    {
        let _ = name;
        drop(handle.spawn(future));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::{Duration, Instant};

    fn until(what: &str, mut done: impl FnMut() -> bool) {
        let deadline = Instant::now() + Duration::from_secs(20);
        while !done() {
            assert!(Instant::now() < deadline, "{what}");
            std::thread::yield_now();
        }
    }

    #[test]
    fn it_reports_runs_and_the_end_of_the_runtime() {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .build()
            .expect("a runtime without drivers");
        let probe = Probe::start(runtime.handle());
        probe.fire(now_ns());
        until("the probe runs", || probe.pending_since_ns().is_none());
        until("the sample is kept", || probe.samples_after(0).len() == 1);
        assert!(probe.samples_after(1).is_empty());
        assert!(!probe.is_gone());
        drop(runtime);
        assert!(probe.is_gone());
    }

    #[test]
    fn an_overdue_probe_is_pending_since_it_was_due() {
        let runtime = tokio::runtime::Builder::new_current_thread().build();
        let runtime = runtime.expect("a runtime that nobody drives");
        let probe = Probe::start(runtime.handle());
        probe.fire(1_000);
        probe.fire(2_000);
        assert_eq!(probe.pending_since_ns(), Some(1_000));
        runtime.block_on(async {
            while probe.pending_since_ns().is_some() {
                tokio::task::yield_now().await;
            }
        });
        assert_eq!(probe.pending_since_ns(), None);
        assert_eq!(probe.samples_after(0)[0].due_ns, 1_000);
    }
}
