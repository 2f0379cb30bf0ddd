//! What the agent reads in its own process's memory: tasks at level 0, and to whom they
//! are shown.
#![cfg(all(target_os = "linux", not(looptop_elsewhere), target_arch = "x86_64"))]

mod viewer;

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use looptop_agent::{Agent, Builder, Permission};
use looptop_wire::proto::{CapabilityKind, TaskState};
use looptop_wire::{columns, proto};
use tokio::sync::Semaphore;
use viewer::{Seen, Viewer, alone, hello, level0, until};

const TOKEN: &str = "correct-horse-battery-staple";

/// Waits for a permit that nobody gives.
async fn waits_for_ever(permits: Arc<Semaphore>) {
    drop(permits.acquire().await);
}

async fn ends_when_told(told: tokio::sync::oneshot::Receiver<()>) {
    drop(told.await);
}

/// An application of two workers, with an agent that reads and so many tasks that wait.
struct Application {
    runtime: tokio::runtime::Runtime,
    agent: Agent,
}

impl Application {
    fn new(builder: Builder, tasks: usize) -> Self {
        let mut runtime = tokio::runtime::Builder::new_multi_thread();
        let runtime = runtime.worker_threads(2).enable_all().build();
        let runtime = runtime.expect("a runtime");
        let agent = builder.runtime("main", runtime.handle()).start();
        let permits = Arc::new(Semaphore::new(0));
        for _ in 0..tasks {
            runtime.spawn(waits_for_ever(Arc::clone(&permits)));
        }
        Self { runtime, agent }
    }

    fn viewer(&self, memory: bool) -> Viewer {
        Viewer::that_asks(self.address(), memory, None)
    }

    fn address(&self) -> std::net::SocketAddr {
        self.agent.local_addr().expect("a TCP port")
    }
}

impl Drop for Application {
    fn drop(&mut self) {
        self.agent.shutdown();
        // The thread that reads ends with it.
        until("no thread reads", || !reads());
    }
}

/// Whether the thread that reads is there.
fn reads() -> bool {
    let threads = std::fs::read_dir("/proc/self/task").expect("procfs");
    let names = threads.flatten().map(|thread| thread.path().join("comm"));
    let mut names = names.filter_map(|path| std::fs::read_to_string(path).ok());
    names.any(|name| name.trim() == "looptop-waits")
}

fn word(hello: &proto::HelloResponse, kind: CapabilityKind) -> proto::Capability {
    let mut all = hello.capabilities.iter();
    all.find(|c| c.kind() == kind)
        .expect("it is listed")
        .clone()
}

fn idle(seen: &Seen) -> Vec<&columns::Record> {
    let tasks = seen.tasks_of("waits_for_ever").into_iter();
    tasks.filter(|t| t.state == TaskState::Idle).collect()
}

#[test]
fn level_0_has_tasks_with_futures_and_states_for_who_asks() {
    let _alone = alone();
    let application = Application::new(level0().waits(true), 100);
    let hello = hello(application.address());
    assert!(word(&hello, CapabilityKind::Waits).available);
    assert!(!word(&hello, CapabilityKind::Tasks).available, "level 0");
    assert!(!reads(), "nobody asks");
    let viewer = application.viewer(true);
    let runtime = viewer.until("all tasks", |seen| {
        let tasks = idle(seen);
        (tasks.len() == 100).then(|| tasks[0].runtime)
    });
    viewer.look(|seen| {
        // On the runtime that was registered, each with its id.
        let runtime = seen.runtimes.get(&runtime.expect("a runtime"));
        assert_eq!(runtime.map(|r| seen.text(r.name)), Some("main"));
        assert!(idle(seen).iter().all(|t| t.tokio_id == Some(t.id)));
        let tasks = seen.capabilities.get(&CapabilityKind::Tasks);
        assert!(tasks.expect("a word").available);
        // None of the agent's own.
        assert!(seen.tasks_of("looptop_agent").is_empty());
        assert!(seen.tasks_of("h2::").is_empty());
    });
    // One comes and goes.
    let (tell, told) = tokio::sync::oneshot::channel();
    application.runtime.spawn(ends_when_told(told));
    let born = viewer.until("the new task", |seen| {
        let new = seen.tasks_of("ends_when_told");
        new.first().and_then(|task| task.spawned_at_ns)
    });
    assert!(born > 0);
    tell.send(()).expect("it waits");
    viewer.until("its end", |seen| {
        seen.tasks_of("ends_when_told").is_empty().then_some(())
    });
    // A later viewer starts from the same.
    let later = application.viewer(true);
    later.until("all tasks", |seen| (idle(seen).len() == 100).then_some(()));
}

async fn waits_for_its_turn(turn: Arc<tokio::sync::Mutex<u32>>) {
    *turn.lock().await += 1;
}

async fn holds_it_and_waits(turn: Arc<tokio::sync::Mutex<u32>>, until: Arc<Semaphore>) {
    let held = turn.lock().await;
    drop(until.acquire().await);
    drop(held);
}

#[test]
fn each_task_has_its_chain_and_what_it_waits_for() {
    let _alone = alone();
    // An interpreter that was not optimised takes its time.
    let builder = level0().waits(true).waits_share(50);
    let application = Application::new(builder, 40);
    let turn = Arc::new(tokio::sync::Mutex::new(0));
    let until = Arc::new(Semaphore::new(0));
    let (locks, ends) = (Arc::clone(&turn), Arc::clone(&until));
    application.runtime.spawn(holds_it_and_waits(locks, ends));
    viewer::until("it is held", || turn.try_lock().is_err());
    let locks = Arc::clone(&turn);
    application.runtime.spawn(waits_for_its_turn(locks));
    let viewer = application.viewer(true);
    viewer.until("all chains", |seen| {
        let read = seen.waits_read.as_ref()?;
        (read.complete && read.read >= 42).then_some(())
    });
    viewer.look(|seen| {
        for task in idle(seen) {
            let chain = seen.chain(task.id).expect("it waits");
            // tokio wraps it where it traces its tasks.
            let mut own = chain.iter();
            assert!(own.any(|name| name.contains("waits_for_ever")), "{chain:?}");
        }
        let task = seen.tasks_of("waits_for_its_turn")[0].id;
        let waits = &seen.task_waits[&task];
        let want = waits.wants.first().expect("it wants something");
        assert_eq!(want.kind(), proto::WantKind::Permits, "{want:?}");
        assert!(seen.wait_resources.contains_key(&want.resource));
        // What all the others wait for is another one.
        let others = idle(seen)
            .into_iter()
            .map(|task| &seen.task_waits[&task.id]);
        let others: HashSet<u64> = others.map(|wait| wait.wants[0].resource).collect();
        assert!(others.len() == 1 && !others.contains(&want.resource));
        assert!(waits.since_ns > 0 && waits.since_ns <= waits.read_at_ns);
        assert!(waits.read_at_ns <= seen.now_ns);
    });
    // It goes on, and waits no longer.
    until.add_permits(1);
    viewer.until("both have ended", |seen| {
        let gone = |name| seen.tasks_of(name).is_empty();
        (gone("waits_for_its_turn") && gone("holds_it_and_waits")).then_some(())
    });
    viewer.until("their waits are void", |seen| {
        (seen.task_waits.len() == 40).then_some(())
    });
}

#[test]
fn nothing_is_read_for_who_does_not_ask_or_may_not_see_it() {
    let _alone = alone();
    for (builder, token, part) in [
        (level0(), None, "LOOPTOP_WAITS"),
        (
            level0().waits(true).token(TOKEN).allow_user("none"),
            Some(TOKEN),
            "LOOPTOP_PERMIT=memory",
        ),
        (
            level0()
                .waits(true)
                .token(TOKEN)
                .allow_user("none")
                .permit(Permission::Numbers),
            Some(TOKEN),
            "LOOPTOP_PERMIT=names",
        ),
    ] {
        let application = Application::new(builder, 3);
        let viewer = Viewer::that_asks(application.address(), true, token);
        let hello = viewer::greeted(application.address(), token);
        let waits = word(&hello, CapabilityKind::Waits);
        assert!(!waits.available && waits.reason.contains(part), "{waits:?}");
        viewer.until("some frames", |seen| (seen.frames.len() > 10).then_some(()));
        assert!(!reads(), "{part}");
        viewer.look(|seen| assert!(seen.tasks.is_empty()));
    }
    // Who may see it and does not ask.
    let application = Application::new(level0().waits(true), 3);
    let viewer = application.viewer(false);
    viewer.until("some frames", |seen| (seen.frames.len() > 10).then_some(()));
    assert!(!reads());
    // Also while another does.
    let asks = application.viewer(true);
    asks.until("the tasks", |seen| (idle(seen).len() == 3).then_some(()));
    let before = viewer.look(|seen| seen.frames.len());
    viewer.until("more frames", |seen| {
        (seen.frames.len() > before + 10).then_some(())
    });
    viewer.look(|seen| assert!(seen.tasks.is_empty()));
}

#[test]
fn a_token_sees_it_where_that_is_permitted() {
    let _alone = alone();
    let builder = level0().waits(true).token(TOKEN).allow_user("none");
    let application = Application::new(builder.permit(Permission::Memory), 5);
    let viewer = Viewer::that_asks(application.address(), true, Some(TOKEN));
    viewer.until("the tasks", |seen| (idle(seen).len() == 5).then_some(()));
}

/// Prints what the thread uses: `cargo test -p looptop-agent --features waits --test waits --
/// --ignored cost --nocapture`.
#[test]
#[ignore = "it measures"]
fn cost() {
    let _alone = alone();
    let application = Application::new(level0().waits(true), 10_000);
    let bare = resident_kib();
    let viewer = application.viewer(true);
    let began = std::time::Instant::now();
    viewer.until("all tasks", |seen| {
        (idle(seen).len() == 10_000).then_some(())
    });
    println!("10,000 tasks after {:?}", began.elapsed());
    println!("memory: {bare} KiB before, {} KiB then", resident_kib());
    let cpu = || {
        let threads = std::fs::read_dir("/proc/self/task").expect("procfs");
        let used = threads.flatten().find_map(|thread| {
            let text = |name| std::fs::read_to_string(thread.path().join(name)).ok();
            let is_it = text("comm")?.trim() == "looptop-waits";
            is_it.then(|| text("schedstat"))?
        });
        let used = used.expect("the thread");
        let used = used.split_ascii_whitespace().next().map(str::parse::<u64>);
        Duration::from_nanos(used.expect("a number").expect("a number"))
    };
    viewer.until("the first chains", |seen| {
        let read = seen.waits_read.as_ref()?;
        println!("chains of {} tasks at the first look", read.read);
        Some(())
    });
    println!("until then: {:?} of CPU", cpu());
    let (before, began) = (cpu(), std::time::Instant::now());
    std::thread::sleep(Duration::from_secs(40));
    let (used, elapsed) = (cpu().saturating_sub(before), began.elapsed());
    let share = 100.0 * used.as_secs_f64() / elapsed.as_secs_f64();
    println!("then: {used:?} in {elapsed:?}, {share:.2} % of a core");
}

fn resident_kib() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").expect("procfs");
    let line = status.lines().find(|line| line.starts_with("VmRSS:"));
    let kib = line.and_then(|line| line.split_ascii_whitespace().nth(1));
    kib.and_then(|kib| kib.parse().ok()).expect("a number")
}
