//! The counters of tokio's own schedulers, in this process.

use std::sync::Arc;
use std::sync::atomic::AtomicU32;
use std::sync::atomic::Ordering::SeqCst;
use std::time::{Duration, Instant};

use tokio::runtime::Builder;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};

use looptop_procfs::{SchedStat, SyscallState};
use looptop_symbols::scheduler::{Snapshot, Ticks};

use crate::capture;
use crate::ids::Tid;
use crate::procfs;
use crate::thread_clock::current_tid;

/// What the worker is to do: so many polls.
const HOLD: u32 = u32::MAX;

struct Worker {
    tid: Tid,
    orders: UnboundedSender<u32>,
    /// Polls that have begun.
    polls: Arc<AtomicU32>,
    /// Polls that may end.
    release: Arc<AtomicU32>,
}

async fn serve(mut orders: UnboundedReceiver<u32>, polls: Arc<AtomicU32>, release: Arc<AtomicU32>) {
    while let Some(order) = orders.recv().await {
        for _ in 0..if order == HOLD { 2 } else { order } {
            let poll = polls.fetch_add(1, SeqCst);
            while order == HOLD && release.load(SeqCst) <= poll {
                std::hint::spin_loop();
            }
            tokio::task::yield_now().await;
        }
    }
}

fn sched(tid: Tid) -> Option<SchedStat> {
    procfs::schedstat(tid)
}

fn until<T>(mut condition: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + Duration::from_mins(1);
    loop {
        if let Some(found) = condition() {
            return found;
        }
        assert!(Instant::now() < deadline, "it never came");
        std::thread::sleep(Duration::from_millis(1));
    }
}

impl Worker {
    fn start(mut builder: Builder) -> Self {
        let (orders, receiver) = unbounded_channel();
        let (polls, release) = (Arc::<AtomicU32>::default(), Arc::<AtomicU32>::default());
        let (ours, theirs) = ((polls.clone(), release.clone()), (polls, release));
        let (tell, told) = std::sync::mpsc::channel();
        std::thread::spawn(move || {
            let runtime = builder.enable_all().build().expect("a runtime");
            let task = async move {
                let _ = tell.send(current_tid().expect("Linux has thread ids"));
                serve(receiver, theirs.0, theirs.1).await;
            };
            let _ = runtime.block_on(async { tokio::spawn(task).await });
        });
        Self {
            tid: told.recv().expect("the worker runs"),
            orders,
            polls: ours.0,
            release: ours.1,
        }
    }

    /// Learns its counters while it parks between some polls.
    fn learn(&self) -> Ticks {
        let mut ticks = Ticks::default();
        for round in 0..40 {
            if !ticks.wants() {
                break;
            }
            let before = self.polls.load(SeqCst);
            let polls = round % 3 + 1;
            self.orders.send(polls).expect("it listens");
            until(|| (self.polls.load(SeqCst) == before + polls).then_some(()));
            let snapshot = until(|| {
                let slices = sched(self.tid)?.slices;
                std::thread::sleep(Duration::from_millis(5));
                let state = procfs::syscall(self.tid);
                let SyscallState::In { sp, .. } = state else {
                    return None;
                };
                let snapshot = Snapshot::take(sp, &capture::read_memory);
                let stayed =
                    procfs::syscall(self.tid) == state && sched(self.tid)?.slices == slices;
                stayed.then_some(snapshot)
            });
            ticks.learn(snapshot);
        }
        ticks
    }
}

#[test]
fn its_polls_are_told_apart() {
    let single: fn() -> Builder = || {
        let mut single = Builder::new_multi_thread();
        single.worker_threads(1);
        single
    };
    for builder in [Builder::new_current_thread, single] {
        // Now and then the context is not found, and nothing is known.
        assert!((0..20).any(|_| are_told_apart(builder())));
    }
}

/// `false` where the counters are not known; they are never wrong.
fn are_told_apart(builder: Builder) -> bool {
    let worker = Worker::start(builder);
    let ticks = worker.learn();
    let now = || ticks.now(&capture::read_memory);
    let begun = worker.polls.load(SeqCst);
    worker.release.store(begun, SeqCst);
    worker.orders.send(HOLD).expect("it listens");
    until(|| (worker.polls.load(SeqCst) == begun + 1).then_some(()));
    let first = now();
    std::thread::sleep(Duration::from_millis(20));
    let same = now();
    worker.release.store(begun + 1, SeqCst);
    until(|| (worker.polls.load(SeqCst) == begun + 2).then_some(()));
    let second = now();
    worker.release.store(begun + 2, SeqCst);
    let (Some(first), Some(same), Some(second)) = (first, same, second) else {
        return false;
    };
    assert_eq!(first, same, "one poll");
    assert_ne!(first, second, "the next poll of the same task");
    true
}

#[test]
fn this_program_has_a_scheduler() {
    let file = std::fs::File::open("/proc/self/exe").expect("the test's own file");
    looptop_symbols::scheduler::read(&file).expect("tests are not stripped");
}
