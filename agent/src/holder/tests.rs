use std::sync::mpsc::channel;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use looptop_procfs::lock::{Lock, LockKind};

use super::Waiting;
use super::refuted::Refuted;
use super::search::{
    Candidate,
    Likelihood::{Idle, Waits, Works},
    Searcher, lock_of, most_likely,
};
use crate::config::Config;
use crate::evidence::Object;
use crate::ids::{RuntimeId, Tid, WorkerIndex};
use crate::shared::Shared;
use crate::stall::{Stall, StallLog, StallScope, Subject};
use crate::thread_clock::current_tid;

fn shared() -> Arc<Shared> {
    Arc::new(Shared::new(Config::default(), Ok(())))
}

/// A thread that ends when asked, and its id.
struct Other {
    tid: Tid,
    end: std::sync::mpsc::Sender<()>,
    thread: std::thread::JoinHandle<()>,
}

impl Other {
    /// `body` gets a function to call when it is where it shall be found.
    fn start(body: impl FnOnce(&dyn Fn(), &dyn Fn()) + Send + 'static) -> Self {
        let (ready, is_ready) = channel();
        let (end, ended) = channel::<()>();
        let thread = std::thread::spawn(move || {
            let ready = || _ = ready.send(current_tid());
            let wait = || _ = ended.recv();
            body(&ready, &wait);
        });
        let tid = is_ready
            .recv()
            .ok()
            .flatten()
            .expect("Linux has thread ids");
        Self { tid, end, thread }
    }

    fn end(self) {
        drop(self.end);
        self.thread.join().expect("it does not panic");
    }
}

/// Until the thread waits for a lock.
fn waits_for(tid: Tid) -> Lock {
    let deadline = Instant::now() + Duration::from_secs(20);
    loop {
        if let Some(lock) = lock_of(tid) {
            return lock;
        }
        assert!(Instant::now() < deadline, "the thread waits for the lock");
        std::thread::sleep(Duration::from_millis(2));
    }
}

#[test]
fn the_thread_that_blocks_with_a_mutex_is_found() {
    // Where no other test has had one: stacks and memory are used again.
    static MUTEX: Mutex<u64> = Mutex::new(7);
    let holder = Other::start(move |ready, wait| {
        let guard = MUTEX.lock().unwrap();
        ready();
        wait();
        drop(std::hint::black_box(guard));
    });
    // It knows the lock, but sleeps without it.
    let known = std::hint::black_box(&MUTEX);
    let (rest, rested) = channel::<()>();
    let bystander = Other::start(move |ready, _| {
        let known = std::hint::black_box(known);
        ready();
        let _ = rested.recv_timeout(Duration::from_mins(1));
        std::hint::black_box(known);
    });
    let waiter = Other::start(move |ready, _| {
        ready();
        drop(MUTEX.lock().unwrap());
    });
    if crate::capture::install(9).is_err() {
        return;
    }
    let shared = shared();
    let mut searcher = Searcher::new(&shared);
    let lock = waits_for(waiter.tid);
    assert_eq!(
        lock.address,
        std::ptr::from_ref(&MUTEX) as u64,
        "std's mutex begins with its word"
    );
    let found = searcher
        .holder_of(&lock, &Refuted::default())
        .expect("its stack points at the lock");
    assert_eq!(
        (found.holder.tid, found.holder.certain),
        (holder.tid, false)
    );
    assert_ne!(found.holder.tid, bystander.tid);
    holder.end();
    waiter.end();
    assert!(
        searcher.holder_of(&lock, &Refuted::default()).is_none(),
        "nobody holds it any more"
    );
    drop(rest);
    bystander.end();
}

#[test]
fn a_running_holder_is_found_by_its_signal() {
    // As above.
    static MUTEX: Mutex<u64> = Mutex::new(7);
    if crate::capture::install(9).is_err() {
        return;
    }
    let done = Arc::new(std::sync::atomic::AtomicBool::new(false));
    let stop = Arc::clone(&done);
    let holder = Other::start(move |ready, _| {
        crate::capture::register_current_thread();
        let guard = MUTEX.lock().unwrap();
        ready();
        while !stop.load(std::sync::atomic::Ordering::Relaxed) {
            std::hint::spin_loop();
        }
        drop(std::hint::black_box(guard));
    });
    let waiter = Other::start(move |ready, _| {
        ready();
        drop(MUTEX.lock().unwrap());
    });
    let shared = shared();
    let mut searcher = Searcher::new(&shared);
    let lock = waits_for(waiter.tid);
    // On a busy machine it may have no CPU to answer on.
    let deadline = Instant::now() + Duration::from_secs(20);
    let found = loop {
        if let Some(found) = searcher.holder_of(&lock, &Refuted::default()) {
            break found;
        }
        assert!(Instant::now() < deadline, "the holder is found");
    };
    assert_eq!(found.holder.tid, holder.tid);
    done.store(true, std::sync::atomic::Ordering::Relaxed);
    holder.end();
    waiter.end();
}

/// A worker's stall on the lock that `waiter` waits for.
fn stall_of(waiter: Tid, log: &mut StallLog) -> Waiting {
    let subject = Subject::Worker(RuntimeId(0), WorkerIndex(0));
    let mut stall = Stall::new(subject, StallScope::OnePoll, 0);
    stall.tid = Some(waiter);
    stall.object = Some(Object::Lock(0));
    log.begin(stall);
    log.waiting_for_locks()[0]
}

#[test]
fn a_left_over_on_a_sleeping_threads_stack_is_taken_back_when_the_lock_passes_on() {
    if crate::capture::install(9).is_err() {
        return;
    }
    let mutex = Arc::new(Mutex::new(7_u64));
    // As a future that is suspended: on nobody's stack.
    let guard = Box::new(mutex.lock().unwrap());
    let address = Arc::as_ptr(&mutex) as u64;
    let stale = Other::start(move |ready, wait| {
        let words = std::hint::black_box([0, address]);
        ready();
        wait();
        std::hint::black_box(&words);
    });
    let wanted = Arc::clone(&mutex);
    let waiter = Other::start(move |ready, wait| {
        ready();
        drop(wanted.lock().unwrap());
        drop(wanted);
        wait();
    });
    let lock = waits_for(waiter.tid);
    let shared = shared();
    shared.own_threads.lock().unwrap().extend(current_tid());
    let mut refuted = Refuted::default();
    let found = Searcher::new(&shared).holder_of(&lock, &refuted).unwrap();
    assert_eq!(found.holder.tid, stale.tid, "nothing speaks against it yet");
    let mut log = StallLog::default();
    let waiting = stall_of(waiter.tid, &mut log);
    log.set_holder(waiting.stall, lock.address, Some(Box::new(found.holder)));
    let candidate = found.candidate.unwrap();
    refuted.named(lock.address, &candidate, 0, &[waiting]);
    let waits_for_now = |tid| lock_of(tid).map(|l| l.address);
    assert!(!refuted.look(&mut log, waits_for_now), "the lock is held");
    assert!(refuted.is_open() && !refuted.excludes(lock.address, &candidate));
    drop(guard);
    let deadline = Instant::now() + Duration::from_secs(20);
    while lock_of(waiter.tid).is_some() || mutex.try_lock().is_err() {
        assert!(Instant::now() < deadline, "the waiter gets the lock");
        std::thread::sleep(Duration::from_millis(2));
    }
    log.end(waiting.stall, 1);
    assert!(refuted.look(&mut log, waits_for_now), "it is taken back");
    assert!(log.changed_after(0).all(|s| s.holder.is_none()));
    assert!(!refuted.is_open() && refuted.excludes(lock.address, &candidate));
    waiter.end();
    // The next one that waits is not sent to it again.
    let guard = Box::new(mutex.lock().unwrap());
    let wanted = Arc::clone(&mutex);
    let waiter = Other::start(move |ready, _| {
        ready();
        drop(wanted.lock().unwrap());
    });
    let lock = waits_for(waiter.tid);
    // A thread of another test may have got the stack of the first waiter, and what it left.
    let found = Searcher::new(&shared).holder_of(&lock, &refuted);
    assert!(found.is_none_or(|found| found.holder.tid != stale.tid));
    drop(guard);
    waiter.end();
    stale.end();
}

#[test]
fn a_true_holder_that_sleeps_is_not_taken_back() {
    if crate::capture::install(9).is_err() {
        return;
    }
    let mutex = Arc::new(Mutex::new(7_u64));
    let held = Arc::clone(&mutex);
    let holder = Other::start(move |ready, wait| {
        let guard = held.lock().unwrap();
        ready();
        wait();
        drop(std::hint::black_box(guard));
    });
    let wanted = Arc::clone(&mutex);
    let waiter = Other::start(move |ready, wait| {
        ready();
        drop(wanted.lock().unwrap());
        wait();
    });
    let lock = waits_for(waiter.tid);
    let shared = shared();
    let mut refuted = Refuted::default();
    let found = Searcher::new(&shared).holder_of(&lock, &refuted).unwrap();
    assert_eq!(found.holder.tid, holder.tid);
    let mut log = StallLog::default();
    let waiting = stall_of(waiter.tid, &mut log);
    log.set_holder(waiting.stall, lock.address, Some(Box::new(found.holder)));
    refuted.named(lock.address, &found.candidate.unwrap(), 0, &[waiting]);
    let waits_for_now = |tid| lock_of(tid).map(|l| l.address);
    assert!(!refuted.look(&mut log, waits_for_now));
    holder.end();
    let deadline = Instant::now() + Duration::from_secs(20);
    while lock_of(waiter.tid).is_some() {
        assert!(Instant::now() < deadline, "the waiter gets the lock");
        std::thread::sleep(Duration::from_millis(2));
    }
    log.end(waiting.stall, 1);
    assert!(
        !refuted.look(&mut log, waits_for_now),
        "it ran to release it"
    );
    assert!(log.changed_after(0).all(|s| s.holder.is_some()));
    assert!(!refuted.is_open());
    waiter.end();
}

#[test]
fn what_lies_above_the_outermost_frame_is_no_guard() {
    thread_local! {
        static KNOWS: std::cell::Cell<u64> = const { std::cell::Cell::new(0) };
    }
    if crate::capture::install(9).is_err() {
        return;
    }
    let mutex = Arc::new(Mutex::new(7_u64));
    let guard = Box::new(mutex.lock().unwrap());
    // Hidden on the stack, so that the thread's own variable alone points at it.
    let hidden = !(Arc::as_ptr(&mutex) as u64);
    let knows = Other::start(move |ready, wait| {
        KNOWS.set(!std::hint::black_box(hidden));
        let variable = KNOWS.with(|k| std::ptr::from_ref(k) as u64);
        let here = std::ptr::from_ref(&variable) as u64;
        assert!(variable > here, "it lies above the stack");
        ready();
        wait();
    });
    let wanted = Arc::clone(&mutex);
    let waiter = Other::start(move |ready, _| {
        ready();
        drop(wanted.lock().unwrap());
    });
    let lock = waits_for(waiter.tid);
    let shared = shared();
    shared.own_threads.lock().unwrap().extend(current_tid());
    let found = Searcher::new(&shared).holder_of(&lock, &Refuted::default());
    let found = found.map(|f| f.holder.tid);
    assert_ne!(found, Some(knows.tid));
    drop(guard);
    waiter.end();
    knows.end();
}

#[test]
fn the_lock_of_standard_error_names_its_owner() {
    if crate::capture::install(9).is_err() {
        return;
    }
    let holder = Other::start(|ready, wait| {
        crate::drivers::note();
        let lines = std::io::stderr().lock();
        ready();
        wait();
        drop(std::hint::black_box(lines));
    });
    let waiter = Other::start(|ready, _| {
        ready();
        drop(std::io::stderr().lock());
    });
    let lock = waits_for(waiter.tid);
    let shared = shared();
    let found = Searcher::new(&shared).holder_of(&lock, &Refuted::default());
    let tid = holder.tid;
    holder.end();
    waiter.end();
    let found = found.map(|found| (found.holder.tid, found.holder.certain));
    assert_eq!(found, Some((tid, true)));
}

type Case = (&'static str, Vec<Candidate>, Option<u64>);

#[test]
fn the_most_likely_of_several_is_chosen() {
    let lock = Lock {
        address: 0x1000,
        kind: LockKind::StdMutex,
        owner: None,
        number: None,
        gives_up: false,
    };
    let candidate = |tid, likelihood, words: &[u64]| Candidate {
        tid: Tid(tid),
        likelihood,
        hits: words.iter().map(|word| (word * 16, *word)).collect(),
        sleep: None,
    };
    let cases: [Case; 6] = [
        ("one", vec![candidate(1, Works, &[0x1000])], Some(1)),
        ("an idle one", vec![candidate(1, Idle, &[0x1000])], None),
        (
            "the guard before a mere reference",
            vec![
                candidate(1, Works, &[0xff0]),
                candidate(2, Waits, &[0x1000]),
            ],
            Some(2),
        ),
        (
            "the one that works before the one that waits",
            vec![
                candidate(1, Waits, &[0x1000]),
                candidate(2, Works, &[0x1000]),
            ],
            Some(2),
        ),
        (
            "two as likely",
            vec![
                candidate(1, Works, &[0x1000]),
                candidate(2, Works, &[0x1000]),
            ],
            None,
        ),
        (
            "more words",
            vec![
                candidate(1, Works, &[0x1000]),
                candidate(2, Works, &[0x1000, 0xff0]),
            ],
            Some(2),
        ),
    ];
    for (what, candidates, expected) in cases {
        let found = most_likely(&candidates, &lock).map(|c| c.tid);
        assert_eq!(found, expected.map(Tid), "{what}");
    }
}
