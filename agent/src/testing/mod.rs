//! Tests that fail when they block their runtime, leak a task or deadlock.
//!
//! `#[looptop_agent::test]` takes the place of `#[tokio::test]`:
//!
//! ```
//! #[looptop_agent::test]
//! async fn an_order_has_a_price() {
//!     assert_eq!(price("tea").await, 3);
//! }
//! # async fn price(_: &str) -> u32 { 3 }
//! ```
//!
//! In an existing test [`watch`] does the same, or most of it. It works on stable Rust,
//! without flags, with `cargo test` and with nextest; tests may run side by side.
//!
//! # What fails a test
//!
//! | | when | needs |
//! |---|---|---|
//! | **blocked** | one poll, of the test or of a task on its runtime, takes longer than `max_poll` (100 ms) | Linux |
//! | **leaked** | a task of its runtime is alive when the test has ended, and 200 ms later | |
//! | **deadlock** | nothing runs for a second, no thread looks after a timer or I/O of the runtime, and every thread of the process waits without a limit to be woken by another | Linux |
//!
//! The report says where (file and line), why, whose it was, and has the stack. A test that
//! fails by itself, by a panic or an `Err`, stays as it is; what was seen of it stands on
//! standard error then. A poll that goes on for 100 times the limit (from 1 s to a minute) is
//! on standard error while it does: it may never end. So are, after as long, the jobs of
//! `spawn_blocking` for which the test's runtime waits at its end.
//!
//! # What does not
//!
//! - Time that is the machine's: while a thread waits for a CPU, or the process or machine
//!   is suspended, the limit does not run. Polls are looked at every 10 ms, and the time
//!   after the last look does not count either.
//! - `tokio::task::block_in_place`, and jobs of `spawn_blocking`.
//! - What is in `allow`: functions on the stack of a poll, and futures of tasks, by the end
//!   or any part of their path.
//! - A test that may be woken from outside: by a timer, I/O, a thread that computes, sleeps
//!   or reads, or another test that runs in the same process. While there is one, nothing
//!   is called a deadlock.
//!
//! # What it changes
//!
//! The runtime of `#[looptop_agent::test]` looks for I/O and timers after each poll
//! (`event_interval(1)`), not after 61, by which one long poll and many short ones are
//! distinguished. That is the only change in how tasks are scheduled.
//!
//! # Settings
//!
//! | argument | |
//! |---|---|
//! | `flavor`, `worker_threads`, `start_paused`, `crate` | as those of `#[tokio::test]` |
//! | `max_poll = "50ms"` | the limit of one poll |
//! | `leak = false`, `deadlock = false` | the test may do so |
//! | `allow = ["module::function"]` | what may block or stay |
//!
//! `LOOPTOP_TEST=off` runs all tests as `#[tokio::test]` does.

mod leaving;
mod lookout;
mod names;
pub mod outcome;
mod polls;
mod report;
mod root;
mod settings;
mod standstill;
mod tasks;
mod threads;

use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use tokio::runtime::{Builder, Handle};

use self::lookout::{Seen, Watched};
use self::polls::Block;
use self::root::StoodStill;
use self::settings::Settings;
use self::tasks::Listed;
pub(crate) use self::tasks::Task;
use self::threads::Threads;
use crate::capture;
use crate::sync::lock;

/// The exit code of a process that is ended because of a test, as the test harness has it.
const FAILED: i32 = 101;
/// Tasks that are alive at the end of a test have so long to end.
const GRACE: Duration = Duration::from_millis(200);
/// A runtime that cannot end is left behind after this.
const SHUTDOWN: Duration = Duration::from_millis(100);

/// A test that is to be run: what the attribute writes.
#[derive(Debug)]
#[must_use = "nothing runs before `run`"]
pub struct Test {
    settings: Settings,
}

impl Test {
    /// A test by the path of its function.
    pub fn new(name: &str) -> Self {
        Self {
            settings: Settings::new(name),
        }
    }

    /// How long one poll may take; 100 ms by default, at least 1 ms.
    pub fn max_poll(mut self, limit: Duration) -> Self {
        self.settings.set_max_poll(limit);
        self
    }

    /// Whether it fails when a task is alive at its end; true by default.
    pub fn leak(mut self, fails: bool) -> Self {
        self.settings.leak = fails;
        self
    }

    /// Whether it fails when nothing can let it go on; true by default.
    pub fn deadlock(mut self, fails: bool) -> Self {
        self.settings.deadlock = fails;
        self
    }

    /// A function that may block, or whose task may stay; any part of its path.
    pub fn allow(mut self, function: &str) -> Self {
        self.settings.allow(function);
        self
    }

    /// Runs `body` on the runtime that `builder` makes, and gives what it returns; `is_err`
    /// says whether that is a failure of the test's own.
    ///
    /// # Panics
    ///
    /// If it has blocked, leaked or come to a deadlock, with the report; or if `body` does.
    #[track_caller]
    pub fn run<F: Future>(
        self,
        mut builder: Builder,
        body: F,
        is_err: impl FnOnce(&F::Output) -> bool,
    ) -> F::Output {
        if is_switched_off() {
            let runtime = builder.build().expect("a runtime");
            return runtime.block_on(body);
        }
        let threads = Arc::new(Threads::default());
        threads.hook(&mut builder);
        builder.event_interval(1);
        let runtime = builder.build().expect("a runtime");
        let handle = runtime.handle();
        let watched = Watched::new(self.settings, handle, Arc::clone(&threads), true);
        if !watched.is_single() {
            threads.wait_for(handle.metrics().num_workers());
        }
        let guard = Guard::new(watched);
        let ended = runtime.block_on(async {
            let ended = guard.watched.root.run(body).await;
            if ended.is_ok() {
                guard.let_tasks_end(0).await;
            }
            ended
        });
        let report = guard.report(handle, ended.as_ref().err(), 0);
        if report.is_some() || ended.is_err() {
            // It may never end by itself.
            runtime.shutdown_timeout(SHUTDOWN);
        } else {
            leaving::leave(runtime, &guard.settings(), &threads);
        }
        verdict(ended, report, is_err)
    }
}

#[track_caller]
fn verdict<T>(
    ended: Result<T, StoodStill>,
    report: Option<String>,
    is_err: impl FnOnce(&T) -> bool,
) -> T {
    let Some(report) = report else {
        return ended.unwrap_or_else(|_| panic!("looptop: nothing can let this test go on"));
    };
    if let Ok(output) = ended
        && is_err(&output)
    {
        // It has failed by itself.
        eprintln!("{report}");
        return output;
    }
    panic!("{report}")
}

/// Watches the runtime of an existing test, as long as the guard lives:
///
/// ```
/// #[tokio::test]
/// async fn an_order_has_a_price() {
///     let _watch = looptop_agent::testing::watch();
///     // ...
/// }
/// ```
///
/// When it is dropped, it fails the test if the runtime was blocked. What
/// `#[looptop_agent::test]` knows beyond that needs [`Watch::run`] around the test's code:
/// tasks that leak, deadlocks, and polls of the test itself on a multi-thread runtime.
///
/// On a runtime of another's making, up to 61 polls without a pause look like one: a poll that
/// computes is only certain after five times the limit. Tasks of a multi-thread runtime are
/// not watched, for it is not known which thread is which worker's.
///
/// # Panics
///
/// Outside of a runtime.
pub fn watch() -> Watch {
    let mut settings = Settings::new(std::thread::current().name().unwrap_or("a test"));
    settings.deadlock = false;
    let handle = Handle::current();
    let watched = Watched::new(settings, &handle, Arc::default(), false);
    let alive = watched.alive().unwrap_or_default();
    Watch {
        guard: (!is_switched_off()).then(|| Guard::new(watched)),
        handle,
        alive,
    }
}

/// What [`watch`] gives.
#[derive(Debug)]
#[must_use = "it watches as long as it lives"]
pub struct Watch {
    guard: Option<Guard>,
    handle: Handle,
    /// Tasks that were alive before.
    alive: usize,
}

impl Watch {
    /// See [`Test::max_poll`].
    pub fn max_poll(self, limit: Duration) -> Self {
        self.set(|settings| settings.set_max_poll(limit))
    }

    /// See [`Test::allow`].
    pub fn allow(self, function: &str) -> Self {
        self.set(|settings| settings.allow(function))
    }

    fn set(self, change: impl FnOnce(&mut Settings)) -> Self {
        if let Some(guard) = &self.guard {
            change(&mut lock(&guard.watched.settings));
        }
        self
    }

    /// Runs `body` as a part of the test, and looks for leaked tasks and deadlocks as well.
    ///
    /// # Panics
    ///
    /// As [`Test::run`].
    pub async fn run<F: Future>(mut self, body: F) -> F::Output {
        let Some(guard) = self.guard.take() else {
            return body.await;
        };
        lock(&guard.watched.settings).deadlock = true;
        let ended = guard.watched.root.run(body).await;
        if ended.is_ok() {
            guard.let_tasks_end(self.alive).await;
        }
        let report = guard.report(&self.handle, ended.as_ref().err(), self.alive);
        verdict(ended, report, |_| false)
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        let Some(guard) = self.guard.take() else {
            return;
        };
        let seen = guard.finish();
        if let Some(report) = report::of(&guard.settings(), &seen, None, None) {
            if std::thread::panicking() {
                eprintln!("{report}");
            } else {
                panic!("{report}");
            }
        }
    }
}

/// A test that is looked at as long as this lives.
#[derive(Debug)]
struct Guard {
    watched: Arc<Watched>,
    is_finished: std::cell::Cell<bool>,
}

impl Guard {
    fn new(watched: Watched) -> Self {
        let watched = Arc::new(watched);
        lookout::enter(&watched);
        Self {
            watched,
            is_finished: std::cell::Cell::new(false),
        }
    }

    fn settings(&self) -> Settings {
        lock(&self.watched.settings).clone()
    }

    /// Waits until there are no more tasks than there were, or the time for that is over. The
    /// runtime goes on meanwhile, and a clock that is paused stays so: a job of the blocking
    /// pool keeps it from being advanced.
    async fn let_tasks_end(&self, before: usize) {
        let is_over = move |watched: &Watched| watched.alive().is_none_or(|alive| alive <= before);
        if !self.settings().leak || is_over(&self.watched) {
            return;
        }
        let watched = Arc::clone(&self.watched);
        let waited = tokio::task::spawn_blocking(move || {
            let deadline = Instant::now() + GRACE;
            while !is_over(&watched) && Instant::now() < deadline {
                std::thread::sleep(Duration::from_millis(1));
            }
        });
        drop(waited.await);
    }

    fn finish(&self) -> Seen {
        lookout::leave(&self.watched);
        self.is_finished.set(true);
        self.watched.finish()
    }

    /// What was seen, in words; the runtime is still there.
    fn report(
        &self,
        handle: &Handle,
        stood_still: Option<&StoodStill>,
        before: usize,
    ) -> Option<String> {
        let settings = self.settings();
        let alive = self.watched.alive().unwrap_or_default();
        let alive = alive.saturating_sub(before);
        let leaks = settings.leak && stood_still.is_none() && alive > 0;
        let in_progress: Vec<Block> = match stood_still {
            Some(_) => self.watched.in_progress(),
            None => Vec::new(),
        };
        let mut seen = self.finish();
        // One that is in progress for ever is said once.
        seen.blocks.retain(|block| {
            let is_it =
                |other: &Block| (other.whose, other.since_ns) == (block.whose, block.since_ns);
            !in_progress.iter().any(is_it)
        });
        let listed = (leaks || stood_still.is_some()).then(|| list(handle, alive));
        let listed = listed.unwrap_or_default();
        report::of(
            &settings,
            &seen,
            leaks.then_some(&listed),
            stood_still.map(|root| (root, &listed, in_progress.as_slice())),
        )
    }
}

impl Drop for Guard {
    /// The test has panicked.
    fn drop(&mut self) {
        if self.is_finished.get() {
            return;
        }
        let seen = self.finish();
        if let Some(report) = report::of(&self.settings(), &seen, None, None) {
            eprintln!("{report}");
        }
    }
}

/// The tasks of a runtime that are alive.
fn list(handle: &Handle, alive: usize) -> Listed {
    // By a task of its own it is known which of the process's runtimes this is.
    let marker = handle.spawn(std::future::pending::<()>());
    let listed = tasks::read(marker.id(), alive);
    marker.abort();
    listed
}

/// Says which type a future has: for what the attribute writes.
#[doc(hidden)]
pub fn of_type<T, F: Future<Output = T>>(body: F) -> F {
    body
}

fn is_switched_off() -> bool {
    std::env::var("LOOPTOP_TEST").is_ok_and(|value| value.eq_ignore_ascii_case("off"))
}

/// Installs what takes stacks, at the first poll that may become too long.
fn install_capture() -> Result<(), String> {
    static INSTALLED: OnceLock<Result<(), String>> = OnceLock::new();
    INSTALLED
        .get_or_init(|| {
            let installed = capture::install(crate::agent::SIGNAL_OFFSET);
            installed.map_err(|why| why.to_string())
        })
        .clone()
}
