//! Stalls of every kind appear live, with their cause, on both flavours.

mod viewer;

use std::io::{Read, Write};
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use looptop_wire::proto::{Cause, StallScope, StallState};
use tokio::runtime::{Builder, Runtime};
use viewer::{PATIENCE, Viewer, alone, level0};

/// A way to keep a worker from its work until it is asked to stop.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Sleep,
    Compute,
    Mutex,
    PipeRead,
}

const KINDS: [Kind; 4] = [Kind::Sleep, Kind::Compute, Kind::Mutex, Kind::PipeRead];

impl Kind {
    /// What the agent must say, and the system call in which it must find it.
    fn expected(self) -> (Cause, &'static str) {
        match self {
            Self::Sleep => (Cause::Sleeping, "clock_nanosleep"),
            Self::Compute => (Cause::Computing, ""),
            Self::Mutex => (Cause::Lock, "futex"),
            Self::PipeRead => (Cause::SystemCall, "read"),
        }
    }
}

/// Keeps a task in its poll, and lets it go.
struct Blocker<'a> {
    stop: Arc<AtomicBool>,
    pipe: Option<std::io::PipeWriter>,
    held: Option<MutexGuard<'a, ()>>,
}

impl<'a> Blocker<'a> {
    /// Spawns a task that does not come to the end of its poll.
    fn spawn(runtime: &Runtime, kind: Kind, lock: &'a Arc<Mutex<()>>) -> Self {
        let (reader, writer) = std::io::pipe().expect("a pipe");
        let blocker = Self {
            stop: Arc::default(),
            pipe: Some(writer),
            held: lock.lock().ok(),
        };
        let (stop, lock) = (Arc::clone(&blocker.stop), Arc::clone(lock));
        runtime.spawn(async move { block(kind, &stop, &lock, reader) });
        blocker
    }

    fn end(mut self) {
        self.stop.store(true, Relaxed);
        self.held = None;
        if let Some(mut writer) = self.pipe.take() {
            drop(writer.write_all(b"x"));
        }
    }
}

fn block(kind: Kind, stop: &AtomicBool, lock: &Mutex<()>, mut pipe: std::io::PipeReader) {
    match kind {
        // One long call: short ones in a loop would each be a wake of its own.
        Kind::Sleep => std::thread::sleep(Duration::from_millis(700)),
        Kind::Compute => {
            let deadline = Instant::now() + PATIENCE;
            while !stop.load(Relaxed) && Instant::now() < deadline {
                std::hint::black_box(0);
            }
        }
        Kind::Mutex => drop(lock.lock()),
        Kind::PipeRead => drop(pipe.read(&mut [0])),
    }
}

fn runtime(workers: usize) -> Runtime {
    let mut builder = match workers {
        0 => Builder::new_current_thread(),
        _ => Builder::new_multi_thread(),
    };
    if workers > 0 {
        builder.worker_threads(workers);
    }
    builder.enable_all().build().expect("a runtime")
}

/// Drives a `current_thread` runtime from a thread of its own, as
/// `#[tokio::main]` does; multi-thread ones drive themselves.
fn drive(runtime: &Arc<Runtime>, workers: usize) -> impl Drop + use<> {
    struct Driver(
        Option<std::thread::JoinHandle<()>>,
        Option<tokio::sync::oneshot::Sender<()>>,
    );
    impl Drop for Driver {
        fn drop(&mut self) {
            drop(self.1.take());
            if let Some(thread) = self.0.take() {
                drop(thread.join());
            }
        }
    }
    if workers > 0 {
        return Driver(None, None);
    }
    let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
    let runtime = Arc::clone(runtime);
    let thread = std::thread::spawn(move || drop(runtime.block_on(stopped)));
    Driver(Some(thread), Some(stop))
}

fn stalls_of_every_kind(workers: usize) {
    let _alone = alone();
    let runtime = Arc::new(runtime(workers));
    let driver = drive(&runtime, workers);
    let agent = level0().runtime("test", runtime.handle()).start();
    let viewer = Viewer::attach(agent.local_addr().expect("a TCP port"));
    viewer.until_mapped(workers.max(1));
    for kind in KINDS {
        let (cause, syscall) = kind.expected();
        let known: Vec<u64> = viewer.look(|seen| seen.stalls.keys().copied().collect());
        let lock = Arc::default();
        let blocker = Blocker::spawn(&runtime, kind, &lock);
        let id = viewer.until(&format!("a live stall by {kind:?}"), |seen| {
            let stall = seen.live_stall().filter(|s| !known.contains(&s.id))?;
            let on_linux = cfg!(all(target_os = "linux", not(looptop_elsewhere)));
            let right =
                !on_linux || (stall.cause() == cause && seen.text(stall.syscall) == syscall);
            right.then_some(stall.id)
        });
        viewer.until("its age grows", |seen| {
            let stall = seen.stalls.get(&id)?;
            (stall.duration_ns > 100_000_000).then_some(())
        });
        viewer.look(|seen| {
            let stall = &seen.stalls[&id];
            assert_eq!((stall.runtime, stall.worker.is_some()), (Some(0), true));
            assert_ne!(stall.scope(), StallScope::Unknown);
        });
        blocker.end();
        viewer.until(&format!("the end of {kind:?}"), |seen| {
            let stall = seen.stalls.get(&id)?;
            (stall.state() == StallState::Ended).then_some(())
        });
        if cfg!(all(target_os = "linux", not(looptop_elsewhere))) {
            viewer.look(|seen| assert_eq!(seen.stalls[&id].cause(), cause, "at its end"));
        }
        let extra = viewer.look(|seen| seen.stalls.len() - known.len());
        assert_eq!(extra, 1, "{kind:?} is one stall");
    }
    drop(viewer);
    agent.shutdown();
    drop(driver);
}

#[test]
fn stalls_of_every_kind_on_a_multi_thread_runtime() {
    stalls_of_every_kind(2);
}

#[test]
fn stalls_of_every_kind_on_a_current_thread_runtime() {
    stalls_of_every_kind(0);
}

#[test]
fn it_answers_and_reports_while_all_workers_are_blocked() {
    let _alone = alone();
    let runtime = runtime(2);
    let agent = level0().runtime("test", runtime.handle()).start();
    let address = agent.local_addr().expect("a TCP port");
    let locks = [Arc::default(), Arc::default(), Arc::default()];
    let blockers = locks
        .each_ref()
        .map(|lock| Blocker::spawn(&runtime, Kind::Mutex, lock));
    // Attached only now, with no worker left.
    let viewer = Viewer::attach(address);
    viewer.until("two live stalls", |seen| {
        let live = seen
            .stalls
            .values()
            .filter(|s| s.state() == StallState::Live);
        (live.count() == 2).then_some(())
    });
    viewer.until("a probe that does not get to run", |seen| {
        seen.pending_lag_since
    });
    let hello = viewer::hello(address);
    assert_eq!(hello.pid, std::process::id());
    viewer.until("busy time grows meanwhile", |seen| {
        let long = |w: &looptop_wire::proto::Worker| w.busy_ns > 300_000_000;
        (seen.workers.len() == 2 && seen.workers.values().all(long)).then_some(())
    });
    let stalled = looptop_wire::proto::WorkerState::Stalled;
    viewer.look(|seen| assert!(seen.workers.values().all(|w| w.state() == stalled)));
    for blocker in blockers {
        blocker.end();
    }
    viewer.until("the late probe's sample", |seen| {
        seen.lag.iter().find(|(_, lag)| *lag > 200_000_000).copied()
    });
    agent.shutdown();
}

/// What a viewer that cannot read the binary gets to know.
#[cfg(all(feature = "symbols", target_os = "linux", not(looptop_elsewhere)))]
#[test]
fn the_agent_names_the_frames_of_a_stack() {
    use looptop_wire::proto::agent_client::AgentClient;
    use looptop_wire::proto::{CodeAddress, ResolveFramesRequest};

    let _alone = alone();
    let runtime = runtime(1);
    let agent = level0().runtime("test", runtime.handle()).start();
    let address = agent.local_addr().expect("a TCP port");
    let viewer = Viewer::attach(address);
    let lock = Arc::default();
    let blocker = Blocker::spawn(&runtime, Kind::Compute, &lock);
    let frames = viewer.until("a stack", |seen| {
        let stack = |s: &looptop_wire::proto::Stall| Some(s.stacks.first()?.frames.clone());
        seen.stalls.values().find_map(stack)
    });
    blocker.end();
    let ask = |frames: Vec<CodeAddress>| {
        viewer::client_runtime().block_on(async {
            let endpoint = tonic::transport::Endpoint::from_shared(format!("http://{address}"));
            let channel = endpoint.expect("an address").connect().await;
            let mut client = AgentClient::new(channel.expect("it listens"));
            let request = ResolveFramesRequest { frames };
            client
                .resolve_frames(request)
                .await
                .map(tonic::Response::into_inner)
        })
    };
    let answer = ask(frames.clone()).expect("an answer");
    assert_eq!(answer.frames.len(), frames.len(), "{answer:?}");
    let symbols = answer.frames.iter().flat_map(|f| &f.symbols);
    let culprit = symbols.clone().find(|s| s.function.ends_with("block"));
    let culprit = culprit.unwrap_or_else(|| panic!("{answer:?}"));
    assert!(culprit.file.ends_with("tests/stalls.rs") && culprit.line > 0);

    // What it does not know has no names, and a reason.
    let nowhere = CodeAddress {
        module: 9_999,
        offset: 1,
    };
    let answer = ask(vec![nowhere]).expect("an answer");
    assert!(answer.frames[0].symbols.is_empty());
    assert_eq!(answer.reason, "the agent knows no such module");
    let answer = ask(vec![nowhere; 20_000]).expect("an answer");
    assert_eq!(answer.frames.len(), 20_000);
    assert!(answer.reason.contains("at once"), "{}", answer.reason);
    agent.shutdown();
}

#[test]
fn a_healthy_busy_program_has_no_stall() {
    let _alone = alone();
    let runtime = runtime(2);
    let agent = level0().runtime("test", runtime.handle()).start();
    let viewer = Viewer::attach(agent.local_addr().expect("a TCP port"));
    viewer.until_mapped(2);
    let stop = Arc::new(AtomicBool::new(false));
    let tasks: Vec<_> = (0..20)
        .map(|_| {
            let stop = Arc::clone(&stop);
            runtime.spawn(async move {
                while !stop.load(Relaxed) {
                    let started = Instant::now();
                    while started.elapsed() < Duration::from_micros(100) {
                        std::hint::spin_loop();
                    }
                    tokio::task::yield_now().await;
                }
            })
        })
        .collect();
    // 2 s on the agent's own clock, with both workers busy all the time.
    let begin = viewer.until("the first frame", |seen| {
        (seen.now_ns > 0).then_some(seen.now_ns)
    });
    viewer.until("2 s of it", |seen| {
        (seen.now_ns > begin + 2_000_000_000).then_some(())
    });
    viewer.until("a busy runtime", |seen| {
        let busy = seen.runtimes.get(&0)?.busy_ratio?;
        (busy > 0.5).then_some(())
    });
    stop.store(true, Relaxed);
    runtime.block_on(async {
        for task in tasks {
            drop(task.await);
        }
    });
    viewer.look(|seen| {
        let blamed = |s: &&looptop_wire::proto::Stall| s.cause() != Cause::StarvedByHost;
        let blamed: Vec<_> = seen.stalls.values().filter(blamed).collect();
        // On a machine without a free CPU the host may starve it, which is true.
        assert!(blamed.is_empty(), "{blamed:?}");
    });
    agent.shutdown();
}

#[test]
fn a_current_thread_runtime_that_nobody_drives_is_not_stalled() {
    let _alone = alone();
    let runtime = runtime(0);
    let agent = level0().runtime("in pieces", runtime.handle()).start();
    let viewer = Viewer::attach(agent.local_addr().expect("a TCP port"));
    for _ in 0..3 {
        // The probe runs in this poll or the next, on this thread.
        runtime.block_on(async { tokio::time::sleep(Duration::from_millis(150)).await });
        std::thread::sleep(Duration::from_millis(300));
    }
    if cfg!(all(target_os = "linux", not(looptop_elsewhere))) {
        viewer.look(|seen| assert!(seen.stalls.is_empty(), "{:?}", seen.stalls));
    }
    agent.shutdown();
}
