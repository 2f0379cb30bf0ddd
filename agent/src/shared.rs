//! What the agent's threads share.

use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::thread::Thread;

use looptop_wire::proto;

use crate::access::counts::Counts;
use crate::cells::Cells;
use crate::config::Config;
use crate::coverage::Coverage;
use crate::ids::Tid;
use crate::runtimes::Runtimes;
use crate::sample::{Usage, UsageFiles};
use crate::stall::StallLog;
use crate::sync::lock;
use crate::task;
use crate::thread_clock::current_tid;
use crate::waits::Waits;

/// The state of one agent.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) config: Config,
    pub(crate) runtimes: Runtimes,
    pub(crate) stalls: Mutex<StallLog>,
    /// Threads of the agent itself.
    pub(crate) own_threads: Mutex<Vec<Tid>>,
    /// Whether stacks can be captured, or the sentence why not.
    pub(crate) capture: Result<(), String>,
    /// What the process used when the agent started.
    pub(crate) started: Usage,
    /// Open from the start, for the time when no descriptor is left.
    pub(crate) usage: UsageFiles,
    pub(crate) watchdog_late_ns: AtomicU64,
    /// What the watchdog found that nobody watches; `None` before it has looked.
    pub(crate) coverage: Mutex<Option<Coverage>>,
    pub(crate) captures_lost: AtomicU64,
    pub(crate) frames_lost: AtomicU64,
    /// Who and what was refused.
    pub(crate) refused: Counts,
    /// Somebody is served frames.
    pub(crate) watched: AtomicBool,
    /// Nothing runs, as the watchdog sees it.
    pub(crate) calm: AtomicBool,
    stopping: AtomicBool,
    /// To be woken when the agent stops.
    watchdog: Mutex<Option<Thread>>,
    server: tokio::sync::Notify,
    /// Tasks that ended and were not joined.
    pub(crate) cells: Cells,
    /// What is read in the process's memory, and for whom.
    pub(crate) waits: Waits,
    /// Who scrapes, and what was counted for them.
    #[cfg(feature = "metrics")]
    pub(crate) metrics: crate::metrics::Metrics,
    /// What is sent by OTLP, and what could not be.
    #[cfg(feature = "otlp")]
    pub(crate) otlp: crate::otlp::Otlp,
    /// A stall has begun that no frame has reported.
    pub(crate) news: tokio::sync::Notify,
}

impl Shared {
    pub(crate) fn new(config: Config, capture: Result<(), String>) -> Self {
        let usage = UsageFiles::open();
        Self {
            config,
            runtimes: Runtimes::default(),
            stalls: Mutex::default(),
            own_threads: Mutex::default(),
            capture,
            started: usage.read(),
            usage,
            watchdog_late_ns: AtomicU64::new(0),
            coverage: Mutex::default(),
            captures_lost: AtomicU64::new(0),
            frames_lost: AtomicU64::new(0),
            refused: Counts::default(),
            watched: AtomicBool::new(false),
            calm: AtomicBool::new(false),
            stopping: AtomicBool::new(false),
            watchdog: Mutex::new(None),
            server: tokio::sync::Notify::new(),
            cells: Cells::default(),
            waits: Waits::default(),
            #[cfg(feature = "metrics")]
            metrics: crate::metrics::Metrics::default(),
            #[cfg(feature = "otlp")]
            otlp: crate::otlp::Otlp::default(),
            news: tokio::sync::Notify::new(),
        }
    }

    /// The calling thread is one of the agent's own, for as long as it lives.
    pub(crate) fn enter_own_thread(&self) {
        task::exclude_current_thread();
        if let Some(tid) = current_tid() {
            lock(&self.own_threads).push(tid);
        }
    }

    pub(crate) fn is_stopping(&self) -> bool {
        self.stopping.load(Relaxed)
    }

    /// The calling thread of the agent's own ends.
    #[cfg_attr(not(any(feature = "waits", feature = "metrics")), allow(dead_code))]
    pub(crate) fn leave_own_thread(&self) {
        let own = current_tid();
        lock(&self.own_threads).retain(|tid| Some(*tid) != own);
    }

    /// Ends the watchdog and the server.
    pub(crate) fn stop(&self) {
        self.stopping.store(true, Relaxed);
        self.server.notify_one();
        self.waits.stop();
        if let Some(watchdog) = lock(&self.watchdog).take() {
            watchdog.unpark();
        }
    }

    /// Returns when [`Shared::stop`] is or was called.
    pub(crate) async fn stopped(&self) {
        self.server.notified().await;
    }

    pub(crate) fn set_watchdog(&self, thread: Thread) {
        *lock(&self.watchdog) = Some(thread);
    }

    /// What could not be sent by OTLP.
    #[cfg(feature = "metrics")]
    #[allow(clippy::unused_self, reason = "only with otlp")]
    pub(crate) fn lost_in_export(&self) -> Vec<(&'static str, u64)> {
        #[cfg(feature = "otlp")]
        return self.otlp.losses().counted();
        #[cfg(not(feature = "otlp"))]
        Vec::new()
    }

    /// What was dropped so far, apart from what the publisher counts itself.
    pub(crate) fn loss(&self) -> proto::Loss {
        let tasks = task::losses();
        let mut loss = proto::Loss {
            tasks: tasks.tasks,
            history: tasks.history,
            frames: self.frames_lost.load(Relaxed),
            stalls: lock(&self.stalls).lost(),
            captures: self.captures_lost.load(Relaxed),
            slots: crate::slot::lost(),
            watchdog_late_ns: self.watchdog_late_ns.load(Relaxed),
            ..proto::Loss::default()
        };
        self.refused.add_to(&mut loss);
        loss
    }
}
