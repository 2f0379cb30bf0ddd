//! The census, driven by scripted threads and a fake clock.

mod of_tokio;

use super::*;

const MS: u64 = 1_000_000;
const SECOND: u64 = 1_000 * MS;
const THRESHOLD: u64 = 10 * MS;

/// What a scripted thread does.
#[derive(Clone, Copy)]
struct Script {
    place: Option<Place>,
    /// Where it is blocked; 0 says that it runs.
    sp: u64,
    slices: u64,
    cpu_ns: u64,
}

#[derive(Default)]
struct Scripts {
    threads: HashMap<Tid, Script>,
    stacks: u32,
    blind: bool,
    /// The scheduler's counters: parks and ticks.
    core: [u32; 2],
}

impl Scripts {
    fn set(&mut self, tid: u64, place: Place, sp: u64) {
        let script = self.threads.entry(Tid(tid)).or_insert(Script {
            place: None,
            sp: 0,
            slices: 0,
            cpu_ns: 0,
        });
        script.place = Some(place);
        script.sp = sp;
        script.slices += 1;
        script.cpu_ns += MS;
    }

    /// It runs, and is on a CPU again and again.
    fn runs(&mut self, tid: u64) {
        self.set(tid, Place::Elsewhere, 0);
    }
}

impl Threads for Scripts {
    fn is_ready(&mut self) -> bool {
        !self.blind
    }

    fn list(&mut self) -> Vec<Tid> {
        self.threads.keys().copied().collect()
    }

    fn sched(&mut self, tid: Tid) -> Option<SchedStat> {
        let script = self.threads.get(&tid)?;
        Some(SchedStat {
            cpu_ns: script.cpu_ns,
            run_queue_ns: 0,
            slices: script.slices,
        })
    }

    fn sched_often(&mut self, tid: Tid) -> Option<SchedStat> {
        self.sched(tid)
    }

    fn syscall(&mut self, tid: Tid) -> SyscallState {
        match self.threads.get(&tid) {
            Some(script) if script.sp > 0 => SyscallState::In {
                number: 1,
                args: [7, 0, 0, 0, 0, 0],
                sp: script.sp,
                pc: 1,
            },
            Some(_) => SyscallState::Running,
            None => SyscallState::Unknown,
        }
    }

    fn cpu_ns(&mut self, tid: Tid) -> Option<u64> {
        self.threads.get(&tid).map(|script| script.cpu_ns)
    }

    fn place(&mut self, tid: Tid, _wait: Wait) -> Option<Place> {
        self.stacks += 1;
        self.threads.get(&tid)?.place
    }

    /// A stack at [`STACK`] whose second word points at a core.
    fn read(&self, address: u64, buffer: &mut [u8]) -> usize {
        let [parks, ticks] = self.core;
        let stack = [0, CORE, 0, 0].map(u64::to_le_bytes).concat();
        let core = [0, parks, 0, 2 * parks, ticks].map(u32::to_le_bytes);
        for (start, bytes) in [(STACK, stack), (CORE, core.concat())] {
            let from = address
                .checked_sub(start)
                .and_then(|at| bytes.get(at as usize..));
            if let Some(from) = from {
                let length = from.len().min(buffer.len());
                buffer[..length].copy_from_slice(&from[..length]);
                return length;
            }
        }
        0
    }

    fn retain(&mut self, _tids: &HashSet<Tid>) {}
}

const STACK: u64 = 0x7f00_0000_0000;
const CORE: u64 = 0x5500_0000_0000;
const PARKED: Place = Place::Parked(Kind::Worker);
const IN_POLL: Place = Place::InPoll(Kind::Worker);

/// A census at second 1 of what the scripts do, and one at second 2.
fn censused(scripts: &mut Scripts, known: &Known) -> Census {
    let mut census = Census::new(THRESHOLD);
    assert!(census.take(SECOND, known, scripts));
    assert!(census.take(2 * SECOND, known, scripts));
    census
}

#[test]
fn who_is_a_stranger() {
    let mut scripts = Scripts::default();
    let known = Known {
        threads: HashSet::from([Tid(1)]),
        ..Known::default()
    };
    scripts.set(1, PARKED, 100);
    scripts.set(2, PARKED, 200);
    scripts.set(3, Place::Parked(Kind::CurrentThread), 300);
    scripts.set(4, Place::Parked(Kind::BlockOn), 400);
    scripts.set(5, Place::Pool, 500);
    scripts.set(6, Place::Elsewhere, 600);
    scripts.set(7, Place::HandedOver, 700);
    scripts.runs(8);
    let census = censused(&mut scripts, &known);
    let coverage = census.coverage(2 * SECOND, &known, &mut scripts);
    let reported: Vec<_> = coverage
        .strangers
        .iter()
        .map(|s| (s.tid.0, s.kind, s.since_ns))
        .collect();
    let expected = [
        (2, Kind::Worker, SECOND),
        (3, Kind::CurrentThread, SECOND),
        (4, Kind::BlockOn, SECOND),
    ];
    assert_eq!(reported, expected);
    // In `block_in_place` since before the first look, and one that ran.
    assert_eq!((coverage.unread, coverage.skipped), (2, 0));
}

#[test]
fn a_worker_whose_thread_is_not_known_yet_may_be_any_of_them() {
    for (missing, left) in [(0, 3), (1, 2), (3, 0), (9, 0)] {
        let mut scripts = Scripts::default();
        let known = Known {
            workers_without_thread: missing,
            ..Known::default()
        };
        for tid in 1..=3 {
            scripts.set(tid, IN_POLL, 100 * tid);
        }
        let mut census = censused(&mut scripts, &known);
        let coverage = census.coverage(2 * SECOND, &known, &mut scripts);
        assert_eq!(coverage.strangers.len(), left, "{missing} missing");
        let blocked = census.blocked(3 * SECOND, &known, &mut scripts).len();
        assert_eq!(blocked, if missing == 0 { 3 } else { 0 }, "{missing}");
    }
}

#[test]
fn a_stranger_is_told_of_when_it_is_one_for_a_second() {
    let mut scripts = Scripts::default();
    let known = Known::default();
    scripts.set(1, PARKED, 100);
    let mut census = Census::new(THRESHOLD);
    census.take(SECOND, &known, &mut scripts);
    assert!(
        census
            .coverage(SECOND, &known, &mut scripts)
            .strangers
            .is_empty()
    );
    scripts.set(1, PARKED, 100);
    let cpu = census.coverage(2 * SECOND, &known, &mut scripts).strangers[0].cpu_ns;
    assert_eq!(cpu, Some(MS), "of its time as a stranger");
}

#[test]
fn only_a_poll_that_stays_in_one_place_is_blocked() {
    let mut scripts = Scripts::default();
    let known = Known::default();
    scripts.set(1, PARKED, 100);
    let mut census = censused(&mut scripts, &known);
    let look = |census: &mut Census, scripts: &mut Scripts, at_ms: u64| {
        let blocked = census.blocked(at_ms * MS, &known, scripts);
        blocked.first().map(|b| b.since_ns / MS)
    };
    // Many short waits for work.
    for at in (3_000..3_100).step_by(5) {
        scripts.set(1, PARKED, 100);
        assert_eq!(look(&mut census, &mut scripts, at), None);
    }
    // A long one, in a place that is known: no stack is read for it.
    let stacks = scripts.stacks;
    for at in (3_100..3_500).step_by(5) {
        assert_eq!(look(&mut census, &mut scripts, at), None);
    }
    assert_eq!(scripts.stacks, stacks);
    // It waits for work in another place: one stack.
    scripts.set(1, PARKED, 180);
    for at in (3_500..3_600).step_by(5) {
        assert_eq!(look(&mut census, &mut scripts, at), None);
    }
    assert_eq!(scripts.stacks, stacks + 1);
    // It blocks in a poll.
    scripts.set(1, IN_POLL, 50);
    let seen: Vec<_> = (3_600..3_650)
        .step_by(5)
        .map(|at| look(&mut census, &mut scripts, at))
        .collect();
    assert_eq!(seen[..2], [None, None], "below the threshold");
    assert!(seen[2..].iter().all(|s| *s == Some(3_600)), "{seen:?}");
    assert_eq!(scripts.stacks, stacks + 2, "one stack for the whole of it");
    // It runs again: over.
    scripts.runs(1);
    for at in (3_650..3_800).step_by(5) {
        assert_eq!(look(&mut census, &mut scripts, at), None);
    }
}

#[test]
fn one_long_poll_that_computes_is_told_from_many_short_ones() {
    let mut scripts = Scripts::default();
    let known = Known::default();
    scripts.set(1, PARKED, STACK);
    let mut census = censused(&mut scripts, &known);
    let mut at_ms = 3_000;
    let mut looks = |census: &mut Census, scripts: &mut Scripts, turns: bool| -> Vec<_> {
        let looks = (0..20).map(|_| {
            at_ms += 5;
            let script = scripts.threads.get_mut(&Tid(1)).expect("it is there");
            if script.sp == 0 {
                script.cpu_ns += 5 * MS;
                script.place = Some(IN_POLL);
                scripts.core[1] += u32::from(turns);
            }
            let blocked = census.blocked(at_ms * MS, &known, scripts);
            blocked.first().map(|b| b.since_ns / MS)
        });
        looks.collect()
    };
    let told = |census: &Census, scripts: &mut Scripts| {
        census.coverage(9 * SECOND, &known, scripts).strangers[0].polls_distinguished
    };
    // Before its counters are known.
    scripts.runs(1);
    assert!(
        looks(&mut census, &mut scripts, false)
            .iter()
            .all(Option::is_none)
    );
    assert!(!told(&census, &mut scripts));
    for _ in 0..4 {
        scripts.core = [scripts.core[0] + 1, scripts.core[1] + 3];
        scripts.set(1, PARKED, STACK);
        assert!(
            looks(&mut census, &mut scripts, false)
                .iter()
                .all(Option::is_none)
        );
    }
    assert!(told(&census, &mut scripts));
    // Many short polls.
    let stacks = scripts.stacks;
    scripts.runs(1);
    assert!(
        looks(&mut census, &mut scripts, true)
            .iter()
            .all(Option::is_none)
    );
    assert_eq!(scripts.stacks, stacks, "no stack is taken for them");
    // One long poll: the same since its first look.
    scripts.runs(1);
    let seen = looks(&mut census, &mut scripts, false);
    assert_eq!(seen[..3], [None; 3], "{seen:?}");
    assert!(
        seen[5].is_some() && seen[5..].iter().all(|s| *s == seen[5]),
        "{seen:?}"
    );
    assert_eq!(scripts.stacks, stacks + 1);
    // It turns, and computes on.
    scripts.core[1] += 1;
    let seen = looks(&mut census, &mut scripts, false);
    assert_eq!(seen[..3], [None; 3], "{seen:?}");
    assert!(seen[5].is_some() && seen[5] != seen[0], "{seen:?}");
}

#[test]
fn block_in_place_and_what_becomes_of_a_thread() {
    let mut scripts = Scripts::default();
    let known = Known::default();
    scripts.set(1, PARKED, 100);
    let mut census = censused(&mut scripts, &known);
    for (sp, place, kind) in [
        (60, Place::HandedOver, Some(Kind::Worker)),
        (
            70,
            Place::Parked(Kind::CurrentThread),
            Some(Kind::CurrentThread),
        ),
        (80, Place::InFuture, Some(Kind::BlockOn)),
        (90, Place::Pool, None),
    ] {
        scripts.set(1, place, sp);
        let first = census.blocked(3 * SECOND, &known, &mut scripts);
        let later = census.blocked(3 * SECOND + 2 * THRESHOLD, &known, &mut scripts);
        assert_eq!((first, later), (vec![], vec![]), "{place:?}");
        let seen = census.threads[&Tid(1)].kind();
        assert_eq!(seen, kind, "{place:?}");
        scripts.runs(1);
        census.blocked(4 * SECOND, &known, &mut scripts);
    }
}

#[test]
fn a_census_is_cheap_and_bounded() {
    let mut scripts = Scripts::default();
    let known = Known::default();
    for tid in 1..=200 {
        scripts.set(tid, Place::Elsewhere, tid);
    }
    let mut census = Census::new(THRESHOLD);
    let mut now = SECOND;
    census.take(now, &known, &mut scripts);
    assert_eq!(scripts.stacks, CENSUS_STACKS);
    assert!(!census.take(now + HURRY_NS / 2, &known, &mut scripts));
    while census.take(now, &known, &mut scripts) || now < 20 * SECOND {
        now += HURRY_NS;
        if now > 40 * SECOND {
            break;
        }
    }
    assert_eq!(
        scripts.stacks, 200,
        "a thread that does not run is read once"
    );

    for tid in 1_000..1_100 {
        scripts.set(tid, PARKED, tid);
    }
    for _ in 0..100 {
        now += SECOND;
        census.take(now, &known, &mut scripts);
    }
    let coverage = census.coverage(now, &known, &mut scripts);
    assert_eq!(coverage.strangers.len(), MAX_STRANGERS);
    assert_eq!(coverage.skipped, 100 - MAX_STRANGERS as u32);
}

#[test]
fn threads_that_end_are_forgotten_and_blindness_reads_nothing() {
    let mut scripts = Scripts::default();
    let known = Known::default();
    scripts.set(1, IN_POLL, 100);
    let mut census = censused(&mut scripts, &known);
    scripts.threads.clear();
    census.take(9 * SECOND, &known, &mut scripts);
    assert!(census.threads.is_empty());

    let mut scripts = Scripts {
        blind: true,
        ..Scripts::default()
    };
    scripts.set(1, IN_POLL, 100);
    let census = censused(&mut scripts, &known);
    assert_eq!(scripts.stacks, 0);
    let coverage = census.coverage(2 * SECOND, &known, &mut scripts);
    assert_eq!((coverage.strangers.len(), coverage.unread), (0, 1));
}

/// What a closure says on the thread on which it runs, which then waits there.
fn told_by(run: impl FnOnce(Box<dyn FnOnce() + Send>)) -> (Tid, std::sync::mpsc::Sender<()>) {
    let (says, said) = std::sync::mpsc::channel();
    let (end, ended) = std::sync::mpsc::channel::<()>();
    run(Box::new(move || {
        let _ = says.send(crate::thread_clock::current_tid());
        let _ = ended.recv();
    }));
    let tid = said.recv().ok().flatten().expect("Linux has thread ids");
    (tid, end)
}

#[test]
fn a_thread_of_the_blocking_pool_is_told_from_a_worker() {
    if crate::capture::install(9).is_err() {
        return;
    }
    read_landmarks();
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .build()
        .expect("a runtime without drivers");
    let (job, end_job) = told_by(|f| drop(runtime.spawn_blocking(f)));
    let (worker, end_poll) = told_by(|f| drop(runtime.spawn(async move { f() })));
    let mut strangers = Strangers::new(THRESHOLD);
    let deadline = std::time::Instant::now() + std::time::Duration::from_secs(20);
    let mut seen = |tid| loop {
        if let Some(apart) = strangers.drives_nothing(tid) {
            break apart;
        }
        assert!(std::time::Instant::now() < deadline, "it is blocked");
        std::thread::sleep(std::time::Duration::from_millis(5));
    };
    assert!(seen(job), "a job");
    assert!(!seen(worker), "a poll");
    drop(end_job);
    drop(end_poll);
}

/// A thread of this process, as the watchdog looks at it.
#[test]
fn a_real_stranger_that_computes_is_found() {
    use std::sync::mpsc::TryRecvError;
    use std::time::{Duration, Instant};
    crate::capture::install(0).expect("stacks");
    read_landmarks();
    let (tell, told) = std::sync::mpsc::channel();
    let (end, ended) = std::sync::mpsc::channel::<()>();
    let thread = std::thread::spawn(move || {
        let mut builder = tokio::runtime::Builder::new_current_thread();
        let runtime = builder.enable_all().build().expect("a runtime");
        let compute = || {
            let started = Instant::now();
            while started.elapsed() < Duration::from_millis(300) {
                std::hint::spin_loop();
            }
        };
        let _ = tell.send(crate::thread_clock::current_tid().expect("Linux"));
        runtime.block_on(async {
            while ended.try_recv() == Err(TryRecvError::Empty) {
                let _ = tokio::spawn(async move { compute() }).await;
                tokio::time::sleep(Duration::from_millis(60)).await;
            }
        });
    });
    let tid = told.recv().expect("it runs");
    let (mut census, mut live) = (Census::new(THRESHOLD), LiveThreads::default());
    let known = Known::default();
    let deadline = Instant::now() + Duration::from_secs(100);
    loop {
        let now = crate::clock::now_ns();
        census.take(now, &known, &mut live);
        let found = census.blocked(now, &known, &mut live);
        if found.iter().any(|b| b.tid == tid) {
            break;
        }
        assert!(Instant::now() < deadline, "{:#?}", census.threads.get(&tid));
        std::thread::sleep(Duration::from_millis(5));
    }
    drop(end);
    thread.join().expect("it ends");
}
