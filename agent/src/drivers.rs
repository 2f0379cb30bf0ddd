//! Threads by tokio's ids, and which of them have driven a worker.
//!
//! Tokio says which thread drives a worker, in ids of its own. Each thread that
//! polls notes both of its ids here when it first polls; so from its first poll on
//! the watchdog knows at each look who drives what.
//!
//! A poll that calls `block_in_place` gives its worker away, to a thread of the
//! blocking pool. That one may be in such a call of its own before anybody has
//! looked, so it notes by itself that it drives a worker.

use std::collections::HashMap;
use std::sync::Mutex;
use std::thread::ThreadId;

#[cfg(tokio_unstable)]
use tokio::runtime::{Handle, RuntimeFlavor};

use crate::ids::Tid;
use crate::sync::lock;
use crate::thread_clock::{current_tid, thread_cpu_ns};

/// Threads that are known at most.
const MAX_THREADS: usize = 4_096;

static KNOWN: Mutex<Option<Known>> = Mutex::new(None);

#[derive(Default)]
struct Known {
    threads: HashMap<ThreadId, Tid>,
    /// The multi-thread runtime of which it last drove a worker.
    drove: HashMap<Tid, String>,
}

/// Notes the calling thread. Some microseconds: for a thread's first poll, and
/// for the first within one of the blocking pool's jobs, such as a worker's.
pub(crate) fn note() {
    let Some(tid) = current_tid() else { return };
    let thread = std::thread::current().id();
    let drives = driven_by(thread);
    let mut known = lock(&KNOWN);
    let known = known.get_or_insert_default();
    if known.threads.len() >= MAX_THREADS {
        let lives = |tid: &Tid| thread_cpu_ns(*tid).is_some();
        known.threads.retain(|_, tid| lives(tid));
        known.drove.retain(|tid, _| lives(tid));
    }
    if known.threads.len() < MAX_THREADS && known.threads.insert(thread, tid).is_none() {
        // A former thread may have had the same id.
        known.drove.remove(&tid);
    }
    if let Some(runtime) = drives {
        known.drove.insert(tid, runtime);
    }
}

/// The multi-thread runtime of which `thread`, the calling one, drives a worker.
#[cfg(tokio_unstable)]
fn driven_by(thread: ThreadId) -> Option<String> {
    let handle = Handle::try_current().ok()?;
    if handle.runtime_flavor() != RuntimeFlavor::MultiThread {
        return None;
    }
    let metrics = handle.metrics();
    let mut workers = 0..metrics.num_workers();
    let drives = workers.any(|w| metrics.worker_thread_id(w) == Some(thread));
    drives.then(|| crate::runtimes::identity(&handle)).flatten()
}

/// Tokio does not say.
#[cfg(not(tokio_unstable))]
fn driven_by(_thread: ThreadId) -> Option<String> {
    None
}

/// The operating system's id of a thread that was noted.
#[cfg_attr(not(tokio_unstable), allow(dead_code))]
pub(crate) fn tid_of(thread: ThreadId) -> Option<Tid> {
    lock(&KNOWN).as_ref()?.threads.get(&thread).copied()
}

/// The same by the number of std's id, as std writes it into its own locks.
pub(crate) fn tid_of_number(number: u64) -> Option<Tid> {
    // The number itself is not to be had from the id.
    let text = format!("ThreadId({number})");
    let known = lock(&KNOWN);
    let mut threads = known.as_ref()?.threads.iter();
    threads.find_map(|(thread, tid)| (format!("{thread:?}") == text).then_some(*tid))
}

/// Whether a thread has noted itself.
#[cfg_attr(not(tokio_unstable), allow(dead_code))]
pub(crate) fn is_noted(tid: Tid) -> bool {
    let known = lock(&KNOWN);
    known
        .as_ref()
        .is_some_and(|known| known.threads.values().any(|t| *t == tid))
}

/// Whether the multi-thread runtime of which `tid` last noted that it drove a
/// worker is one of those that `is_meant`.
pub(crate) fn drove(tid: Tid, is_meant: impl Fn(&str) -> bool) -> bool {
    let known = lock(&KNOWN);
    let runtime = known.as_ref().and_then(|known| known.drove.get(&tid));
    runtime.is_some_and(|runtime| is_meant(runtime))
}

#[cfg(all(test, tokio_unstable, target_os = "linux", not(looptop_elsewhere)))]
mod tests {
    use super::*;

    #[test]
    fn who_drives_a_worker() {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .build()
            .expect("a runtime without drivers");
        let noted = || {
            note();
            (current_tid(), std::thread::current().id())
        };
        let worker = runtime.block_on(runtime.spawn(async move { noted() }));
        let pool = runtime.block_on(runtime.spawn_blocking(noted));
        let outside = runtime.block_on(async { noted() });
        for (name, seen, drives) in [
            ("a worker", worker.expect("ran"), true),
            ("a job of the pool", pool.expect("ran"), false),
            ("block_on", outside, false),
        ] {
            let tid = seen.0.expect("Linux has thread ids");
            assert_eq!(tid_of(seen.1), Some(tid), "{name}");
            let id = crate::runtimes::identity(runtime.handle());
            let drove = drove(tid, |r| id.as_deref() == Some(r));
            assert_eq!(drove, drives, "{name}");
        }
    }

    #[test]
    fn a_thread_of_the_pool_that_took_a_worker_over() {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_time()
            .build()
            .expect("a runtime");
        let (first, second) = runtime.block_on(async {
            let (send, receive) = std::sync::mpsc::channel();
            let first = tokio::spawn(async move {
                note();
                let tid = current_tid();
                // The next task runs on the thread that takes the worker over.
                tokio::task::block_in_place(|| receive.recv().expect("the next task runs"));
                tid
            });
            let second = tokio::spawn(async move {
                note();
                send.send(()).expect("the first task waits");
                current_tid()
            });
            (first.await.expect("ran"), second.await.expect("ran"))
        });
        let id = crate::runtimes::identity(runtime.handle());
        assert_ne!(first, second);
        for tid in [first, second] {
            let tid = tid.expect("Linux has thread ids");
            assert!(drove(tid, |r| id.as_deref() == Some(r)));
        }
    }
}
