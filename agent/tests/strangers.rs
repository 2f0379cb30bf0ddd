//! Runtimes that nobody registered: found, watched while they block, and left to
//! the registered ones' counters once they are registered.
#![cfg(all(
    target_os = "linux",
    not(looptop_elsewhere),
    any(target_arch = "x86_64", target_arch = "aarch64")
))]

mod viewer;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::thread;
use std::time::Duration;

use looptop_agent::Agent;
use looptop_wire::proto::{self, StrangerKind};
use tokio::runtime::Builder;
use viewer::{Viewer, alone, level0};

/// Runs until it is dropped.
struct Running {
    over: Arc<AtomicBool>,
    thread: Option<thread::JoinHandle<()>>,
}

impl Running {
    fn start(work: impl FnOnce(Arc<AtomicBool>) + Send + 'static) -> Self {
        let over = Arc::new(AtomicBool::new(false));
        let theirs = Arc::clone(&over);
        let thread = thread::spawn(move || work(theirs));
        Self {
            over,
            thread: Some(thread),
        }
    }

    /// A current-thread runtime in a thread of its own, with a task that blocks.
    fn current_thread(blocks: bool, first: impl FnOnce() + Send + 'static) -> Self {
        Self::start(move |over| {
            let runtime = Builder::new_current_thread().enable_all().build();
            runtime.expect("a runtime").block_on(async {
                first();
                while !over.load(Relaxed) {
                    if blocks {
                        let task = tokio::spawn(async { thread::sleep(Duration::from_millis(60)) });
                        task.await.expect("it sleeps");
                    }
                    tokio::time::sleep(Duration::from_millis(20)).await;
                }
            });
        })
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.over.store(true, Relaxed);
        if let Some(thread) = self.thread.take() {
            thread.join().ok();
        }
    }
}

fn strangers(coverage: &proto::Coverage, kind: StrangerKind) -> Vec<u64> {
    let strangers = coverage.strangers.iter().filter(|s| s.kind() == kind);
    strangers.map(|s| s.tid).collect()
}

/// An agent that was started outside of any runtime, and its viewer, whose own
/// threads are left out of the census.
fn agent() -> (Agent, Viewer) {
    let agent = level0().start();
    let address = agent.local_addr().expect("a TCP port");
    let viewer = Viewer::attach(address);
    (agent, viewer)
}

#[test]
fn a_stranger_that_blocks_is_a_stall_and_one_that_does_not_is_none() {
    let _alone = alone();
    let (agent, viewer) = agent();
    let quiet = Running::current_thread(false, || {});
    let blocking = Running::current_thread(true, || {});
    // A pool of another kind, as rayon's: waits on a condition, and computes.
    let pool = Running::start(|over| {
        while !over.load(Relaxed) {
            thread::park_timeout(Duration::from_millis(30));
        }
    });
    let stall = viewer.until("a stall with a stack", |seen| {
        let mut stalls = seen.stalls.values();
        let stall = stalls.find(|s| s.cause() == proto::Cause::Sleeping && !s.stacks.is_empty());
        stall.cloned()
    });
    assert_eq!((stall.runtime, stall.worker), (None, None));
    assert_eq!(stall.scope(), proto::StallScope::UpTo61Polls);
    let tid = stall.tid.expect("its thread is known");
    let both = viewer.until("both runtimes' threads", |seen| {
        let coverage = seen.coverage.as_ref()?;
        let single = strangers(coverage, StrangerKind::CurrentThread);
        (single.len() == 2 && single.contains(&tid)).then_some(single)
    });
    viewer.look(|seen| {
        let tids = seen.stalls.values().map(|s| s.tid);
        for stalled in tids {
            assert_eq!(stalled, Some(tid), "of {both:?} only one blocks");
        }
        let role = seen.threads.get(&tid).map(proto::Thread::role);
        assert!(role.is_none_or(|r| r != proto::ThreadRole::Worker));
    });
    drop((quiet, blocking, pool));
    agent.shutdown();
}

#[test]
fn a_runtime_that_registers_itself_is_a_stranger_no_more() {
    let _alone = alone();
    let (agent, viewer) = agent();
    let theirs = agent.clone();
    let running = Running::current_thread(true, move || {
        assert!(theirs.register_current(), "inside block_on");
        assert!(theirs.register_current(), "once more");
    });
    let tid = viewer.until("a stall of the worker", |seen| {
        let mut stalls = seen.stalls.values();
        let stall = stalls.find(|s| s.runtime == Some(0) && s.worker == Some(0))?;
        stall.tid
    });
    viewer.look(|seen| {
        assert_eq!(seen.runtimes.len(), 1, "registered once");
    });
    viewer.until("a census after that", |seen| {
        let coverage = seen.coverage.as_ref()?;
        let single = strangers(coverage, StrangerKind::CurrentThread);
        (!single.contains(&tid)).then_some(())
    });
    drop(running);
    agent.shutdown();
}

#[test]
fn a_runtime_registers_itself_when_its_threads_start() {
    let _alone = alone();
    let (agent, viewer) = agent();
    let theirs = agent.clone();
    let runtime = Builder::new_multi_thread()
        .worker_threads(3)
        .enable_all()
        .thread_name("checkout")
        .on_thread_start(move || {
            assert!(theirs.register_current());
        })
        .build()
        .expect("a runtime");
    viewer.until("its workers and its name", |seen| {
        let record = seen.runtimes.get(&0)?;
        (seen.workers.len() == 3 && seen.text(record.name) == "checkout").then_some(())
    });
    viewer.look(|seen| assert_eq!(seen.runtimes.len(), 1, "of three threads that start"));
    drop(runtime);
    assert!(!agent.register_current(), "outside of a runtime");
    agent.shutdown();
}

#[test]
fn a_second_init_registers_the_runtime_of_its_caller() {
    let _alone = alone();
    let second = |agent: &Agent, viewer: &Viewer, count: usize| {
        viewer.until("its runtimes", |seen| {
            (seen.runtimes.len() == count).then_some(())
        });
        assert!(agent.is_running());
    };
    // `init()` takes its address from the environment; a builder's agent is the
    // first all the same.
    let (agent, viewer) = agent();
    let again = looptop_agent::init();
    assert_eq!(again.local_addr(), agent.local_addr());
    let runtimes: Vec<_> = (0..2)
        .map(|_| {
            let runtime = Builder::new_current_thread().enable_all().build();
            runtime.expect("a runtime")
        })
        .collect();
    for (number, runtime) in runtimes.iter().enumerate() {
        runtime.block_on(async {
            looptop_agent::init();
            looptop_agent::init();
            tokio::time::sleep(Duration::from_millis(1)).await;
        });
        second(&agent, &viewer, number + 1);
    }
    drop(runtimes);
    agent.shutdown();
}

#[test]
fn hidden_threads_are_no_strangers() {
    let _alone = alone();
    let (agent, viewer) = agent();
    let hidden = Running::start(|over| {
        looptop_agent::unobserved(|| {
            let runtime = Builder::new_current_thread().enable_all().build();
            runtime.expect("a runtime").block_on(async {
                while !over.load(Relaxed) {
                    thread::sleep(Duration::from_millis(60));
                    tokio::time::sleep(Duration::from_millis(5)).await;
                }
            });
        });
    });
    let shown = Running::current_thread(true, || {});
    viewer.until("some stalls of the one that is shown", |seen| {
        let stalls = seen.stalls.values();
        let sleeping = stalls.filter(|s| s.cause() == proto::Cause::Sleeping);
        (sleeping.count() >= 5).then_some(())
    });
    viewer.look(|seen| {
        let tids: std::collections::HashSet<_> = seen.stalls.values().map(|s| s.tid).collect();
        assert_eq!(tids.len(), 1, "{tids:?}");
    });
    drop((hidden, shown));
    agent.shutdown();
}
