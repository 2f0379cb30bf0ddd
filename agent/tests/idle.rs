//! What the agent does while the application does nothing.
#![cfg(all(target_os = "linux", not(looptop_elsewhere)))]

mod viewer;

use std::time::{Duration, Instant};

use viewer::{Viewer, level0, until};

/// How often the watchdog has been woken so far.
fn wakes() -> u64 {
    let threads = std::fs::read_dir("/proc/self/task").expect("Linux");
    let of = |thread: &std::fs::DirEntry, name| {
        std::fs::read_to_string(thread.path().join(name)).unwrap_or_default()
    };
    let mut threads = threads.flatten();
    let watchdog = threads.find(|thread| of(thread, "comm").starts_with("looptop-watchdo"));
    let status = of(&watchdog.expect("the agent runs"), "status");
    let mut lines = status.lines();
    let count = lines.find_map(|line| line.strip_prefix("voluntary_ctxt_switches:"));
    count.expect("Linux").trim().parse().expect("a number")
}

/// The same in a second, measured over two.
fn rate() -> f64 {
    let (before, begin) = (wakes(), Instant::now());
    std::thread::sleep(Duration::from_secs(2));
    (wakes() - before) as f64 / begin.elapsed().as_secs_f64()
}

#[test]
fn the_watchdog_rests_while_nobody_watches_and_nothing_runs() {
    let mut builder = tokio::runtime::Builder::new_multi_thread();
    let runtime = builder.worker_threads(2).enable_all().build();
    let runtime = runtime.expect("a runtime");
    let agent = level0().runtime("main", runtime.handle()).start();
    let viewer = Viewer::attach(agent.local_addr().expect("a TCP port"));
    viewer.until_mapped(2);
    let watched = rate();
    drop(viewer);
    until("it is woken half as often", || rate() * 2.0 < watched);

    // A stall that begins and ends meanwhile is in the history.
    let stall = runtime.spawn(async { std::thread::sleep(Duration::from_millis(200)) });
    runtime.block_on(stall).expect("it sleeps");
    let viewer = Viewer::attach(agent.local_addr().expect("a TCP port"));
    viewer.until("the stall", |seen| (!seen.stalls.is_empty()).then_some(()));
    agent.shutdown();
}
