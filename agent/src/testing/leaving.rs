//! The end of a test's runtime, which waits for the jobs of its blocking pool that run: as
//! `#[tokio::test]` does, for ever where one never ends. Then it is said which.

use std::sync::mpsc::{RecvTimeoutError, channel};
use std::time::Duration;

use tokio::runtime::Runtime;

use super::settings::Settings;
use super::threads::Threads;
use super::{install_capture, names, polls, report};
use crate::capture;

/// Drops the runtime.
pub(super) fn leave(runtime: Runtime, settings: &Settings, threads: &Threads) {
    if threads.of_pool().is_empty() {
        return;
    }
    let patience = Duration::from_nanos(polls::lasting_ns(settings.max_poll_ns()));
    let (left, is_left) = channel::<()>();
    std::thread::scope(|scope| {
        let thread = std::thread::Builder::new().name("looptop-leaving".into());
        let watch = move || {
            crate::task::exclude_current_thread();
            if is_left.recv_timeout(patience) == Err(RecvTimeoutError::Timeout) {
                report::waits_for_jobs(settings, patience, &jobs(threads));
            }
        };
        drop(thread.spawn_scoped(scope, watch));
        drop(runtime);
        drop(left);
    });
}

/// The stacks of the jobs that run.
fn jobs(threads: &Threads) -> Vec<looptop_symbols::Resolution> {
    if install_capture().is_err() {
        return Vec::new();
    }
    let threads = threads.of_pool().into_iter();
    let stacks = threads.filter_map(|tid| capture::capture(tid.0).ok());
    // All of them before the first name is read, which takes a while.
    let stacks: Vec<capture::Stack> = stacks.map(|captured| captured.stack).collect();
    let running = stacks.iter().filter(|stack| !names::is_idle_in_pool(stack));
    running.map(names::resolve).collect()
}
