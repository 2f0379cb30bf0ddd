//! What the agent reads in the memory of its own process: where tasks wait, and the tasks
//! themselves where nothing else shows them.
//!
//! It is read as `looptop pid:N` reads it from outside, by `looptop-outside`: nothing is
//! written, nothing stopped, no code of the application's runs. That is done on a thread of
//! its own, of low priority, within a share of a core, and only while a viewer asks that may
//! see memory. What goes out are chains, tasks and names, never memory:
//! `docs/adr/0007-the-agent-reads-itself.md` has the reasons.
//!
//! - [`reader`]: the thread,
//! - [`names`]: which future each type of tasks has,
//! - [`seen`]: what was read, as plain facts,
//! - [`frames`], [`tasks`], [`chains`]: facts as frames.

mod chains;
mod frames;
mod names;
#[cfg(feature = "test")]
mod once;
mod priority;
mod reader;
mod seen;
mod tasks;

use std::future::poll_fn;
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::task::Poll;
use std::time::{Duration, Instant};

use looptop_outside::waiting::Found;

pub(crate) use self::frames::Frames;
#[cfg(feature = "test")]
pub(crate) use self::once::tasks_beside;
use self::seen::Seen;
use crate::access::Permission;
use crate::access::refusal::Refusal;
use crate::shared::Shared;
use crate::sync::lock;

/// The name of the thread.
const THREAD_NAME: &str = "looptop-waits";
/// What was read of the program is held so long for the next who asks.
const LINGER: Duration = Duration::from_secs(10);

const OFF: &str = "reading them is off: LOOPTOP_WAITS=on where the application starts, or \
    Builder::waits, has the agent read them in its process's memory";

/// Who asks, and what was read.
#[derive(Debug, Default)]
pub(crate) struct Waits {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct State {
    /// Viewers that ask.
    wanted: usize,
    /// When the last of them went.
    left: Option<Instant>,
    /// The thread is there.
    reads: bool,
    /// The agent ends.
    stops: bool,
    newest: Option<Arc<Seen>>,
    /// What was found of waiting and nobody took yet.
    found: Vec<Read>,
    /// Why nothing can be read.
    failed: Option<String>,
    /// A task on the agent's own runtime.
    server: Option<u64>,
}

/// What was read of waiting, and the CPU that all of it took so far.
#[derive(Debug)]
struct Read {
    found: Found,
    cpu_ns: u64,
}

/// Somebody asks as long as it lives.
#[derive(Debug)]
pub(crate) struct Wanted(Arc<Shared>);

impl Drop for Wanted {
    fn drop(&mut self) {
        let waits = &self.0.waits;
        let mut state = lock(&waits.state);
        state.wanted = state.wanted.saturating_sub(1);
        state.left = Some(Instant::now());
        drop(state);
        waits.changed.notify_all();
    }
}

/// Reads for somebody who asks and may see so much; `None` where nothing is read.
pub(crate) fn want(shared: &Arc<Shared>, permission: Permission) -> Option<Wanted> {
    know(shared, permission).ok()?;
    let mut state = lock(&shared.waits.state);
    state.wanted += 1;
    let starts = !state.reads && !state.stops;
    state.reads |= starts;
    drop(state);
    shared.waits.changed.notify_all();
    if starts {
        let reading = Arc::clone(shared);
        let thread = std::thread::Builder::new().name(THREAD_NAME.into());
        if let Err(error) = thread.spawn(move || read(&reading)) {
            shared
                .waits
                .fail(format!("no thread could be started: {error}"));
        }
    }
    Some(Wanted(Arc::clone(shared)))
}

/// What the thread does, until nobody asks any more.
fn read(shared: &Arc<Shared>) {
    /// The thread is the agent's own as long as this lives.
    struct Own<'a>(&'a Shared);
    impl Drop for Own<'_> {
        fn drop(&mut self) {
            self.0.leave_own_thread();
        }
    }
    shared.enter_own_thread();
    let _own = Own(shared);
    priority::lower();
    let run = std::panic::AssertUnwindSafe(|| reader::run(shared));
    match std::panic::catch_unwind(run) {
        Ok(Ok(())) => {}
        Ok(Err(why)) => shared.waits.fail(why),
        Err(_) => shared.waits.fail("reading them failed".into()),
    }
}

/// Whether somebody who may see so much sees where tasks wait, or the sentence why not.
pub(crate) fn know(shared: &Shared, permission: Permission) -> Result<(), String> {
    if !shared.config.waits {
        return Err(OFF.into());
    }
    if permission < Permission::Memory {
        return Err(Refusal::NoMemory.to_string());
    }
    lock(&shared.waits.state)
        .failed
        .clone()
        .map_or(Ok(()), |why| {
            Err(format!("the agent cannot read its process: {why}"))
        })
}

/// Has a task of its own on the agent's runtime, by which that is known; to be called there.
pub(crate) fn mark_server(shared: &Arc<Shared>) {
    if !shared.config.waits {
        return;
    }
    let shared = Arc::clone(shared);
    tokio::spawn(poll_fn(move |context| {
        lock(&shared.waits.state).server = Some(context.waker().data().addr() as u64);
        Poll::<()>::Pending
    }));
}

impl Waits {
    /// The thread ends soon, and none begins.
    pub(crate) fn stop(&self) {
        lock(&self.state).stops = true;
        self.changed.notify_all();
    }

    /// The newest look, and what was found since this was last called; no look where nobody
    /// reads.
    fn take(&self) -> (Option<Arc<Seen>>, Vec<Read>) {
        let mut state = lock(&self.state);
        (state.newest.clone(), std::mem::take(&mut state.found))
    }

    fn put(&self, seen: Seen) {
        lock(&self.state).newest = Some(Arc::new(seen));
    }

    fn put_found(&self, read: Read) {
        lock(&self.state).found.push(read);
    }

    fn server(&self) -> Option<u64> {
        lock(&self.state).server
    }

    fn fail(&self, why: String) {
        let mut state = lock(&self.state);
        (state.failed, state.reads) = (Some(why), false);
        (state.newest, state.found) = (None, Vec::new());
    }

    /// Returns after `rest`, and later where nobody asks; false once the thread is to end.
    fn rest(&self, rest: Duration) -> bool {
        let due = Instant::now() + rest;
        let mut state = lock(&self.state);
        loop {
            let now = Instant::now();
            let until = match (state.wanted, state.left) {
                (1.., _) if now >= due => return true,
                (1.., _) => due,
                (0, left) => left.map_or(now, |left| left + LINGER),
            };
            if state.stops || until <= now {
                (state.reads, state.newest) = (false, None);
                state.found = Vec::new();
                return false;
            }
            let waited = self.changed.wait_timeout(state, until - now);
            state = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;

    fn shared(waits: bool) -> Arc<Shared> {
        let config = Config {
            waits,
            ..Config::default()
        };
        Arc::new(Shared::new(config, Ok(())))
    }

    #[test]
    fn nothing_is_read_unless_it_is_on_and_somebody_may_see_it() {
        for (on, permission, part) in [
            (false, Permission::Memory, "LOOPTOP_WAITS"),
            (false, Permission::Names, "LOOPTOP_WAITS"),
            (true, Permission::Names, "LOOPTOP_PERMIT=memory"),
            (true, Permission::Numbers, "LOOPTOP_PERMIT=memory"),
        ] {
            let shared = shared(on);
            let why = know(&shared, permission).expect_err("not shown");
            assert!(why.contains(part), "{why}");
            assert!(want(&shared, permission).is_none());
            assert!(!lock(&shared.waits.state).reads, "no thread");
        }
        assert_eq!(know(&shared(true), Permission::Memory), Ok(()));
    }

    #[test]
    fn what_failed_is_said_and_not_tried_again() {
        let shared = shared(true);
        shared.waits.fail("no tokio".into());
        let why = know(&shared, Permission::Memory).expect_err("it failed");
        assert!(why.ends_with("no tokio"), "{why}");
        assert!(want(&shared, Permission::Memory).is_none());
    }

    #[test]
    fn the_thread_ends_with_the_agent_and_some_time_after_the_last_who_asks() {
        let waits = Waits::default();
        let ask = |wanted, left| {
            let mut state = lock(&waits.state);
            (state.wanted, state.left, state.reads) = (wanted, left, true);
        };
        let now = Instant::now();
        ask(1, None);
        assert!(waits.rest(Duration::ZERO));
        ask(0, now.checked_sub(2 * LINGER));
        assert!(!waits.rest(Duration::ZERO));
        assert!(!lock(&waits.state).reads);
        // Somebody comes while it rests for nobody.
        ask(0, Some(now));
        std::thread::scope(|scope| {
            let resting = scope.spawn(|| waits.rest(Duration::ZERO));
            lock(&waits.state).wanted = 1;
            waits.changed.notify_all();
            assert!(resting.join().expect("no panic"));
        });
        ask(1, None);
        std::thread::scope(|scope| {
            let resting = scope.spawn(|| waits.rest(Duration::from_mins(10)));
            waits.stop();
            assert!(!resting.join().expect("no panic"));
        });
    }
}
