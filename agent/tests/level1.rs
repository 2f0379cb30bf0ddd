//! Level 1: stalls are one poll of a known task, and every task is seen.
//!
//! One test: the subscriber is the whole process's.
#![cfg(all(tokio_unstable, feature = "tracing"))]

mod viewer;

use std::time::Duration;

use looptop_agent::Agent;
use looptop_wire::columns::Row;
use looptop_wire::proto::{
    CapabilityKind, Cause, Location, Stall, StallScope, StallState, TaskKind, Tasks,
};
use viewer::{Seen, Viewer};

fn location(seen: &Seen, id: u32) -> Option<(String, u32)> {
    let locations = seen.frames.iter().flat_map(|f| &f.locations);
    let found: Option<&Location> = { locations }.find(|l| l.id == id);
    found.map(|l| (seen.text(l.file).to_owned(), l.line))
}

fn ended<'a>(seen: &'a Seen, name: &str) -> Option<&'a Stall> {
    let mut stalls = seen.stalls.values();
    stalls.find(|s| s.state() == StallState::Ended && seen.text(s.name) == name)
}

/// As long as what the test does on purpose. A busy host makes other polls
/// stall too, those of the test's own viewer for one.
fn is_long(stall: &Stall) -> bool {
    stall.duration_ns >= 140_000_000 && stall.cause() != Cause::StarvedByHost
}

/// The newest row of the task that `pick` finds.
fn task<T>(seen: &Seen, pick: impl Fn(Row<'_>) -> Option<T>) -> Option<T> {
    let messages = seen.frames.iter().rev().filter_map(|f| f.tasks.as_ref());
    messages
        .flat_map(|tasks: &Tasks| Row::all(tasks))
        .find_map(pick)
}

#[test]
fn stalls_name_the_task_and_tasks_are_seen() {
    let mut builder = tokio::runtime::Builder::new_multi_thread();
    let runtime = builder
        .worker_threads(2)
        .enable_all()
        .build()
        .expect("a runtime");
    // The subscriber is there before `block_on` only if the agent was started before.
    // It is asked for: a test's binary may hold any subscriber.
    let agent = Agent::builder()
        .bind("127.0.0.1:0")
        .runtime("main", runtime.handle())
        .install_subscriber(true)
        .start();
    let address = agent.local_addr().expect("a TCP port");
    let viewer = Viewer::attach(address);
    let capabilities = viewer::hello(address).capabilities;
    let tasks = capabilities
        .iter()
        .find(|c| c.kind() == CapabilityKind::Tasks);
    assert!(tasks.is_some_and(|c| c.available), "{tasks:?}");

    // Which thread is which worker is known soon after the start, not at once.
    viewer.until_mapped(2);
    let line = line!() + 2;
    runtime.block_on(async {
        let task = tokio::task::Builder::new().name("sleeper").spawn(async {
            tokio::task::yield_now().await;
            std::thread::sleep(Duration::from_millis(300));
        });
        drop(task.expect("a runtime").await);
        // The pool is there to be blocked, and so is this section.
        let blocking = || std::thread::sleep(Duration::from_millis(150));
        drop(tokio::task::spawn_blocking(blocking).await);
        let moved = tokio::spawn(async move { tokio::task::block_in_place(blocking) });
        drop(moved.await);
        // `main` itself: no worker, but it keeps its own joined futures waiting.
        std::thread::sleep(Duration::from_millis(300));
    });

    viewer.until("the stall of the named task", |seen| {
        ended(seen, "sleeper").map(drop)
    });
    viewer.look(|seen| {
        let stall = ended(seen, "sleeper").expect("just seen");
        assert_eq!(stall.scope(), StallScope::OnePoll);
        assert!(stall.worker.is_some() && stall.task.is_some());
        assert_eq!(stall.cause(), Cause::Sleeping);
        let (file, at) = location(seen, stall.location).expect("where it was spawned");
        assert!(
            file.ends_with("level1.rs") && at >= line && at <= line + 1,
            "{file}:{at}"
        );
        assert!(
            (250..2_000).contains(&(stall.duration_ns / 1_000_000)),
            "{stall:?}"
        );
    });
    let root = viewer.until("the stall of block_on", |seen| {
        let ended = |s: &Stall| s.state() == StallState::Ended;
        let root = |s: &&Stall| s.worker.is_none() && ended(s) && is_long(s);
        seen.stalls.values().find(root).cloned()
    });
    assert_eq!(
        (root.cause(), root.scope()),
        (Cause::Sleeping, StallScope::OnePoll)
    );
    assert!(root.tid.is_some());
    viewer.look(|seen| {
        assert_eq!(
            seen.stalls.values().filter(|s| is_long(s)).count(),
            2,
            "neither spawn_blocking nor block_in_place"
        );
        let kind = task(seen, |row| {
            (Some(row.id()) == root.task).then(|| row.kind())
        });
        assert_eq!(kind, Some(TaskKind::BlockOn));
    });
    viewer.until("the task's row, ended", |seen| {
        task(seen, |row| {
            let named = seen.text(row.name()?) == "sleeper";
            (named && row.ended_at_ns()?? > 0 && row.polls()? >= 2).then_some(())
        })
    });
    agent.shutdown();
}
