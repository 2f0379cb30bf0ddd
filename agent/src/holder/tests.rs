use std::sync::mpsc::channel;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use super::lock::Lock;
use super::search::{
    Candidate,
    Likelihood::{Idle, Waits, Works},
    Searcher, lock_of, most_likely,
};
use crate::config::Config;
use crate::ids::Tid;
use crate::shared::Shared;
use crate::thread_clock::current_tid;

fn shared() -> Arc<Shared> {
    Arc::new(Shared::new(Config::default(), Ok(())))
}

/// A thread that ends when told, and its id.
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
    let mutex = Arc::new(Mutex::new(7_u64));
    let held = Arc::clone(&mutex);
    let holder = Other::start(move |ready, wait| {
        let guard = held.lock().unwrap();
        ready();
        wait();
        drop(std::hint::black_box(guard));
    });
    // It knows the lock and has held it, but sleeps without it.
    let known = Arc::clone(&mutex);
    let (rest, rested) = channel::<()>();
    let bystander = Other::start(move |ready, _| {
        let known = std::hint::black_box(known);
        ready();
        let _ = rested.recv_timeout(Duration::from_mins(1));
        drop(known);
    });
    let wanted = Arc::clone(&mutex);
    let waiter = Other::start(move |ready, _| {
        ready();
        drop(wanted.lock().unwrap());
    });
    let shared = shared();
    let mut searcher = Searcher::new(&shared);
    let lock = waits_for(waiter.tid);
    assert_eq!(
        lock.address,
        Arc::as_ptr(&mutex) as u64,
        "std's mutex begins with its word"
    );
    let found = searcher
        .holder_of(&lock)
        .expect("its stack points at the lock");
    assert_eq!((found.tid, found.certain), (holder.tid, false));
    assert_ne!(found.tid, bystander.tid);
    holder.end();
    waiter.end();
    assert!(
        searcher.holder_of(&lock).is_none(),
        "nobody holds it any more"
    );
    drop(rest);
    bystander.end();
}

#[test]
fn a_running_holder_is_found_by_its_signal() {
    if crate::capture::install(9).is_err() {
        return;
    }
    let mutex = Arc::new(Mutex::new(7_u64));
    let held = Arc::clone(&mutex);
    let done = Arc::new(std::sync::atomic::AtomicBool::new(false));
    let stop = Arc::clone(&done);
    let holder = Other::start(move |ready, _| {
        crate::capture::register_current_thread();
        let guard = held.lock().unwrap();
        ready();
        while !stop.load(std::sync::atomic::Ordering::Relaxed) {
            std::hint::spin_loop();
        }
        drop(std::hint::black_box(guard));
    });
    let wanted = Arc::clone(&mutex);
    let waiter = Other::start(move |ready, _| {
        ready();
        drop(wanted.lock().unwrap());
    });
    let shared = shared();
    let mut searcher = Searcher::new(&shared);
    let lock = waits_for(waiter.tid);
    // On a busy machine it may have no CPU to answer on.
    let deadline = Instant::now() + Duration::from_secs(20);
    let found = loop {
        if let Some(found) = searcher.holder_of(&lock) {
            break found;
        }
        assert!(Instant::now() < deadline, "the holder is found");
    };
    assert_eq!(found.tid, holder.tid);
    done.store(true, std::sync::atomic::Ordering::Relaxed);
    holder.end();
    waiter.end();
}

type Case = (&'static str, Vec<Candidate>, Option<u64>);

#[test]
fn the_most_likely_of_several_is_chosen() {
    let lock = Lock {
        address: 0x1000,
        owner: None,
    };
    let candidate = |tid, likelihood, words: &[u64]| Candidate {
        tid: Tid(tid),
        likelihood,
        hits: words.iter().map(|word| (word * 16, *word)).collect(),
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
        let found = most_likely(&candidates, &lock);
        assert_eq!(found, expected.map(Tid), "{what}");
    }
}
