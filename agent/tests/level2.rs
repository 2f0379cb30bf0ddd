//! Level 2 alone: the runtime's hooks show tasks and exact stalls, and the agent
//! says what they do not show.
//!
//! One test: a subscriber or other runtimes would change what the process has.
#![cfg(tokio_unstable)]

mod viewer;

use looptop_wire::columns::Row;
use looptop_wire::proto::{CapabilityKind, Cause, Location, Stall, StallScope, StallState};
use viewer::{Seen, Viewer, level0};

fn file_and_line(seen: &Seen, id: u32) -> Option<(String, u32)> {
    let mut locations = seen.frames.iter().flat_map(|f| &f.locations);
    let found: &Location = locations.find(|l| l.id == id)?;
    Some((seen.text(found.file).to_owned(), found.line))
}

/// Polls and busy time of the newest row of the task at this line.
fn task_at(seen: &Seen, line: u32) -> Option<(u64, u64)> {
    let newest = seen.frames.iter().rev().filter_map(|f| f.tasks.as_ref());
    newest.flat_map(Row::all).find_map(|row| {
        let (file, at) = file_and_line(seen, row.location()?)?;
        let there = file.ends_with("level2.rs") && at == line;
        there.then(|| Some((row.polls()?, row.busy_ns()?)))?
    })
}

fn reported(address: std::net::SocketAddr, kind: CapabilityKind) -> Result<(), String> {
    let capabilities = viewer::hello(address).capabilities;
    let found = capabilities.into_iter().find(|c| c.kind() == kind);
    let found = found.expect("every kind is listed");
    found.available.then_some(()).ok_or(found.reason)
}

#[test]
fn hooks_alone_show_tasks_and_exact_stalls() {
    let mut builder = tokio::runtime::Builder::new_multi_thread();
    builder.worker_threads(2).enable_all();
    let runtime = looptop_agent::instrument(&mut builder).build();
    let runtime = runtime.expect("a runtime");
    let agent = level0().runtime("main", runtime.handle()).start();
    let address = agent.local_addr().expect("a TCP port");

    assert_eq!(reported(address, CapabilityKind::Tasks), Ok(()));
    for kind in [
        CapabilityKind::TaskNames,
        CapabilityKind::Wakes,
        CapabilityKind::Wakers,
        CapabilityKind::ScheduleLatency,
    ] {
        let reason = reported(address, kind).expect_err("level 2 does not show it");
        assert!(reason.contains("level 2"), "{kind:?}: {reason}");
    }

    let viewer = Viewer::attach(address);
    viewer.until("every worker's thread", |seen| {
        let mapped = seen.workers.values().filter(|w| w.tid.is_some());
        (!cfg!(all(target_os = "linux", not(looptop_elsewhere))) || mapped.count() == 2)
            .then_some(())
    });
    let (release, released) = std::sync::mpsc::channel::<()>();
    let line = line!() + 1;
    let task = runtime.spawn(async move {
        for _ in 0..10 {
            tokio::task::yield_now().await;
        }
        let _ = released.recv();
    });
    let id = task.id().to_string();
    let ours = |s: &&Stall| s.task.map(|t| t.to_string()).as_ref() == Some(&id);
    viewer.until(
        "the stall, while it lasts, with a stack or why not",
        |seen| {
            let stall = seen.live_stall().filter(ours)?;
            let looked = !stall.stacks.is_empty() || stall.no_stack_reason != 0;
            (looked && stall.duration_ns > 300_000_000).then_some(())
        },
    );
    drop(release);
    runtime.block_on(task).expect("it does not panic");
    let stall = viewer.until("the end of the stall", |seen| {
        let ended = |s: &&Stall| s.state() == StallState::Ended;
        seen.stalls.values().filter(ours).find(ended).cloned()
    });
    assert_eq!(stall.scope(), StallScope::OnePoll);
    assert!(stall.worker.is_some());
    assert!(stall.duration_ns >= 300_000_000, "{stall:?}");
    assert!(
        !cfg!(all(target_os = "linux", not(looptop_elsewhere))) || stall.lock_address.is_some()
    );
    viewer.look(|seen| {
        let (file, at) = file_and_line(seen, stall.location).expect("where it was spawned");
        assert!(file.ends_with("level2.rs") && at == line, "{file}:{at}");
        if cfg!(all(target_os = "linux", not(looptop_elsewhere))) {
            assert_eq!(stall.cause(), Cause::Lock);
            assert_eq!(seen.text(stall.syscall), "futex");
        }
        let stacks = reported(address, CapabilityKind::Stacks);
        let reason = seen.text(stall.no_stack_reason);
        assert_eq!(stacks.is_ok(), !stall.stacks.is_empty(), "{reason}");
        assert_eq!(stall.stacks.is_empty(), !reason.is_empty());
        let deep = |s: &looptop_wire::proto::StackSample| s.frames.len() > 5;
        assert!(stall.stacks.iter().all(deep), "{:?}", stall.stacks);
    });
    let (polls, busy_ns) = viewer.until("the task, with the last poll", |seen| {
        task_at(seen, line).filter(|(polls, _)| *polls >= 11)
    });
    assert_eq!(polls, 11);
    assert!(busy_ns >= 300_000_000, "{busy_ns}");
    agent.shutdown();
}
