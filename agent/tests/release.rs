//! The agent lets go of a runtime that was dropped.
#![cfg(all(target_os = "linux", not(looptop_elsewhere)))]

mod viewer;

use viewer::{Viewer, level0, until};

/// The drivers of a runtime live as long as anybody holds its handle.
#[test]
fn the_agent_lets_go_of_a_runtime_that_was_dropped() {
    let epolls = || {
        let fds = std::fs::read_dir("/proc/self/fd").expect("Linux");
        let links = fds.filter_map(|fd| std::fs::read_link(fd.ok()?.path()).ok());
        links
            .filter(|l| l.to_string_lossy().contains("eventpoll"))
            .count()
    };
    let agent = level0().start();
    let viewer = Viewer::attach(agent.local_addr().expect("a TCP port"));
    viewer.until("a frame", |seen| (!seen.frames.is_empty()).then_some(()));
    let before = epolls();
    let mut builder = tokio::runtime::Builder::new_multi_thread();
    let runtime = builder.worker_threads(2).enable_all().build();
    let runtime = runtime.expect("a runtime");
    agent.register_runtime("short-lived", runtime.handle());
    viewer.until("its workers", |seen| {
        (seen.workers.len() == 2).then_some(())
    });
    assert!(epolls() > before);
    drop(runtime);
    until("its drivers are closed", || epolls() <= before);
    agent.shutdown();
}
