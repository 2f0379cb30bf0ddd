//! The stall state machine, driven by scripted looks and a fake clock.

use looptop_procfs::{SchedStat, SchedState, SyscallState};

use super::*;
use crate::evidence::{Cause, Object};
use crate::ids::{RuntimeId, WorkerIndex};

const WORKER: Subject = Subject::Worker(RuntimeId(0), WorkerIndex(0));
const TID: Tid = Tid(77);
const THRESHOLD: u64 = 10 * MS;
const LOOK: u64 = 5 * MS;

/// What the scripted thread does all the time.
#[derive(Clone, Copy)]
enum Doing {
    Computing,
    /// Blocked in a futex.
    Waiting,
    /// Waiting for a moment, again and again.
    WaitingInBits,
    /// Ready to run, but the host gives it no CPU.
    Starving,
    /// It has spent so much CPU, and waits for work.
    ComputedUntil(u64),
}

impl Doing {
    fn state(self, futex: u64, sp: u64) -> SyscallState {
        match self {
            Self::Computing | Self::Starving => SyscallState::Running,
            Self::Waiting | Self::WaitingInBits | Self::ComputedUntil(_) => SyscallState::In {
                number: crate::evidence::number("futex").unwrap_or(202),
                args: [futex, 0, 0, 0, 0, 0],
                sp,
                pc: 0,
            },
        }
    }
}

#[allow(
    clippy::struct_excessive_bools,
    reason = "each is a switch of a script"
)]
struct Script {
    now_ns: u64,
    /// What is seen is of the poll that was looked at.
    still: bool,
    /// A signal is on its way.
    due: bool,
    late: Option<TakenStack>,
    /// The next stack is the answer to a signal of long ago.
    taken_before: bool,
    doing: Doing,
    kind: TaskKind,
    stacks: u32,
    refuse: bool,
    /// Attempts at a stack that fail for now.
    misses: u32,
    /// The address on which it waits.
    futex: u64,
    sp: u64,
}

impl Script {
    fn new(doing: Doing) -> Self {
        Self {
            now_ns: 0,
            still: true,
            due: false,
            late: None,
            taken_before: false,
            doing,
            kind: TaskKind::Task,
            stacks: 0,
            refuse: false,
            misses: 0,
            futex: 0xabc,
            sp: 0,
        }
    }
}

impl Witness for Script {
    fn clocks(&mut self, _tid: Tid, now_ns: u64) -> Baseline {
        self.now_ns = now_ns;
        let (cpu_ns, slices) = match self.doing {
            Doing::Computing => (now_ns, now_ns / MS),
            Doing::Waiting | Doing::Starving => (1, 1),
            Doing::WaitingInBits => (1, now_ns / MS),
            Doing::ComputedUntil(cpu_ns) => (cpu_ns, cpu_ns / MS),
        };
        Baseline {
            at_ns: now_ns,
            cpu_ns: Some(cpu_ns),
            sched: Some(SchedStat {
                cpu_ns,
                run_queue_ns: 0,
                slices,
            }),
        }
    }

    fn look(&mut self, _tid: Tid) -> Look {
        let syscall = self.doing.state(self.futex, self.sp);
        let state = match syscall {
            SyscallState::Running => SchedState::Running,
            _ => SchedState::Sleeping,
        };
        Look {
            syscall,
            state: Some(state),
        }
    }

    fn describe(&mut self, task: u64) -> Option<TaskInfo> {
        Some(TaskInfo {
            name: format!("task {task}"),
            kind: self.kind,
            site: None,
        })
    }

    fn stack(&mut self, _tid: Tid) -> StackAnswer {
        if self.refuse {
            return StackAnswer::Later;
        }
        if self.due {
            return StackAnswer::Due("no CPU".into());
        }
        if self.misses > 0 {
            self.misses -= 1;
            return StackAnswer::NotYet("not yet".into());
        }
        self.stacks += 1;
        StackAnswer::Stack(TakenStack {
            frames: vec![(Some(1), 0x10)],
            truncated: false,
            doing: self.doing.state(self.futex, self.sp),
            taken_ns: self.now_ns,
            sequence: std::mem::take(&mut self.taken_before).then_some(1),
        })
    }

    fn late(&mut self, _tid: Tid) -> Option<TakenStack> {
        self.late.take()
    }

    fn is_still(&mut self, _sight: &Sight) -> bool {
        self.still
    }
}

struct Bench {
    cases: Cases,
    log: Mutex<StallLog>,
    script: Script,
}

impl Bench {
    fn new(doing: Doing) -> Self {
        Self {
            cases: Cases::new(THRESHOLD, LOOK),
            log: Mutex::default(),
            script: Script::new(doing),
        }
    }

    /// Looks every 5 ms from `from_ms` to `to_ms`, both included; says when the
    /// stall was first reported.
    fn look(&mut self, from_ms: u64, to_ms: u64, sight: &Sight) -> Option<u64> {
        let looks = (from_ms..=to_ms).step_by(5);
        let stalled = looks.filter(|ms| {
            let outcome = self.cases.see(ms * MS, sight, &self.log, &mut self.script);
            outcome == Outcome::Stalled
        });
        stalled.collect::<Vec<_>>().first().copied()
    }

    /// The worker publishes that it was busy for so long.
    fn published(&mut self, now_ms: u64, busy_ms: u64) {
        let (log, script) = (&self.log, &mut self.script);
        self.cases
            .published(now_ms * MS, WORKER, busy_ms * MS, log, script);
    }

    fn stalls(&self) -> Vec<Stall> {
        lock(&self.log).changed_after(0).cloned().collect()
    }
}

fn frozen(since_ms: u64) -> Sight {
    Sight {
        subject: WORKER,
        tid: Some(TID),
        since_ns: since_ms * MS,
        poll: None,
        counters: None,
        stack_limit: None,
        prove_inside: false,
    }
}

fn polling(sequence: u64, started_ms: u64) -> Sight {
    Sight {
        poll: Some(Poll {
            sequence,
            started_ns: started_ms * MS,
            task: Some(9),
            site: None,
        }),
        ..frozen(started_ms)
    }
}

#[test]
fn when_a_stall_is_first_reported() {
    let cases = [
        (
            "a poll that computes",
            Doing::Computing,
            polling(3, 0),
            Some(10),
        ),
        ("a poll that waits", Doing::Waiting, polling(3, 0), Some(10)),
        (
            "unseen, waits in one place",
            Doing::Waiting,
            frozen(0),
            Some(10),
        ),
        (
            "unseen, may be many polls",
            Doing::WaitingInBits,
            frozen(0),
            Some(50),
        ),
        ("unseen, computes", Doing::Computing, frozen(0), Some(50)),
        (
            "unseen, ready but without a CPU",
            Doing::Starving,
            frozen(0),
            Some(200),
        ),
        (
            "unseen, on an unknown thread",
            Doing::Waiting,
            Sight {
                tid: None,
                ..frozen(0)
            },
            Some(200),
        ),
    ];
    for (name, doing, sight, expected) in cases {
        let mut bench = Bench::new(doing);
        assert_eq!(bench.look(0, 205, &sight), expected, "{name}");
        assert_eq!(bench.stalls().len(), 1, "{name}: reported once");
    }
}

#[test]
fn it_grows_and_ends_once_with_cause_and_stack() {
    let mut bench = Bench::new(Doing::Waiting);
    bench.look(0, 200, &polling(3, 0));
    let live = &bench.stalls()[0];
    assert!(live.live);
    assert_eq!((live.started_ns, live.duration_ns), (0, 200 * MS));
    assert_eq!(live.cause, Cause::Lock);
    assert_eq!(live.scope, StallScope::OnePoll);
    assert_eq!(live.task, Some(9));
    assert_eq!(
        live.description.as_ref().map(|d| d.name.as_str()),
        Some("task 9")
    );
    assert_eq!(live.stacks[0].count, 2, "at 20 ms and at 100 ms");
    bench.cases.clear(203 * MS, WORKER, &bench.log);
    bench.cases.clear(210 * MS, WORKER, &bench.log);
    let stalls = bench.stalls();
    assert_eq!(stalls.len(), 1);
    assert_eq!((stalls[0].live, stalls[0].duration_ns), (false, 203 * MS));
    assert_eq!(stalls[0].cause, Cause::Lock);
}

#[test]
fn many_short_polls_are_no_stall() {
    let mut bench = Bench::new(Doing::Computing);
    for n in 0..100 {
        // A new poll, or a new batch of 61, before every look.
        bench.look(n * 5, n * 5, &polling(n * 2 + 1, n * 5));
    }
    for n in 0..20 {
        bench.look(500 + n * 30, 525 + n * 30, &frozen(500 + n * 30));
    }
    assert!(bench.stalls().is_empty());
}

#[test]
fn the_next_poll_ends_the_stall_where_it_began() {
    let mut bench = Bench::new(Doing::Computing);
    bench.look(0, 30, &polling(3, 0));
    bench.look(35, 50, &polling(5, 32));
    let stalls = bench.stalls();
    assert_eq!(stalls.len(), 2);
    assert_eq!((stalls[0].live, stalls[0].duration_ns), (false, 32 * MS));
    assert_eq!((stalls[1].live, stalls[1].started_ns), (true, 32 * MS));
}

#[test]
fn a_slot_refines_what_the_counters_began() {
    let mut bench = Bench::new(Doing::Waiting);
    bench.look(0, 20, &frozen(0));
    assert_eq!(bench.stalls()[0].scope, StallScope::UpTo61Polls);
    bench.look(25, 30, &polling(3, 2));
    let stalls = bench.stalls();
    assert_eq!(stalls.len(), 1, "never two reports of one stall");
    assert_eq!(stalls[0].scope, StallScope::OnePoll);
    assert_eq!(stalls[0].started_ns, 2 * MS);
}

#[test]
fn the_workers_own_measure_gives_the_final_length() {
    let cases = [
        ("exact", 62, 62),
        ("it cannot have been shorter than seen", 10, 60),
        ("nor longer than one look more", 500, 74),
    ];
    for (name, published_ms, expected_ms) in cases {
        let mut bench = Bench::new(Doing::Computing);
        bench.look(0, 60, &frozen(0));
        bench.published(64, published_ms);
        assert_eq!(bench.stalls()[0].duration_ns, expected_ms * MS, "{name}");
    }
}

#[test]
fn what_computed_long_enough_is_told_at_its_end_at_the_latest() {
    // Length of the poll, from when on it was looked at, and the length that the
    // worker publishes. What short polls can be is not reported.
    let cases = [
        (60, 5, 60, Some(60)),
        (52, 8, 52, Some(52)),
        (90, 10, 90, Some(90)),
        (45, 5, 45, None),
        (48, 0, 48, None),
    ];
    for (length_ms, from_ms, busy_ms, expected) in cases {
        let mut bench = Bench::new(Doing::Computing);
        // Looks every 10 ms.
        for ms in (from_ms..length_ms).step_by(10) {
            bench.look(ms, ms, &frozen(from_ms));
        }
        bench.script.doing = Doing::ComputedUntil(length_ms * MS);
        bench.published(length_ms + 3, busy_ms);
        let stalls = bench.stalls();
        let duration_ms = stalls.first().map(|s| s.duration_ns / MS);
        assert_eq!(duration_ms, expected, "{length_ms} ms");
        if let Some(stall) = stalls.first() {
            assert_eq!((stall.cause, stall.live), (Cause::Computing, false));
            assert!(!stall.stacks.is_empty(), "{length_ms} ms");
        }
    }
}

#[test]
fn what_waited_for_a_cpu_does_not_compute() {
    let mut bench = Bench::new(Doing::Starving);
    bench.look(0, 60, &frozen(0));
    bench.published(63, 60);
    assert!(bench.stalls().is_empty());
}

#[test]
fn evidence_of_another_poll_is_dropped() {
    let mut bench = Bench::new(Doing::Waiting);
    bench.script.still = false;
    bench.look(0, 15, &polling(3, 0));
    let stall = &bench.stalls()[0];
    assert_eq!(
        (stall.cause, stall.observed.tally.total()),
        (Cause::Unknown, 0)
    );
    bench.look(20, 40, &polling(3, 0));
    assert!(bench.stalls()[0].stacks.is_empty());
    bench.script.still = true;
    bench.look(45, 105, &polling(3, 0));
    let stall = &bench.stalls()[0];
    assert_eq!(stall.cause, Cause::Lock);
    assert_eq!(stall.stacks[0].cause, Cause::Lock);
    assert_eq!(bench.cases.take_captures_lost(), 1, "it is counted");
}

#[test]
fn a_stack_on_its_way_is_awaited_and_may_come_after_the_end() {
    let mut bench = Bench::new(Doing::Computing);
    bench.script.due = true;
    bench.look(0, 900, &polling(3, 0));
    assert!(bench.stalls()[0].stacks.is_empty());
    bench.script.due = false;
    bench.look(905, 905, &polling(3, 0));
    assert_eq!(
        (bench.script.stacks, bench.stalls()[0].stacks.len()),
        (1, 1)
    );

    let stack = |taken_ms: u64, sequence| TakenStack {
        frames: vec![(Some(1), 0x10)],
        truncated: false,
        doing: SyscallState::Running,
        taken_ns: taken_ms * MS,
        sequence,
    };
    let cases = [
        ("within the poll, by its number", stack(104, Some(3)), 1),
        ("of the next poll", stack(104, Some(5)), 0),
        ("seen within it", stack(90, None), 1),
        ("it may have been over", stack(104, None), 0),
    ];
    for (name, late, stacks) in cases {
        let mut bench = Bench::new(Doing::Computing);
        bench.script.due = true;
        bench.look(0, 100, &polling(3, 0));
        bench.cases.clear(105 * MS, WORKER, &bench.log);
        bench.script.late = Some(late);
        let (log, script) = (&bench.log, &mut bench.script);
        bench.cases.collect_late(105 * MS, log, script);
        assert_eq!(bench.stalls()[0].stacks.len(), stacks, "{name}");
        let lost = bench.cases.take_captures_lost();
        assert_eq!(lost, 1 - stacks as u64, "{name}");
    }
}

#[test]
fn the_answer_to_an_old_signal_is_not_of_this_poll() {
    let mut bench = Bench::new(Doing::Computing);
    bench.script.taken_before = true;
    bench.look(0, 20, &polling(3, 0));
    assert!(!bench.stalls()[0].stacks.is_empty(), "the second answer is");
    assert_eq!(bench.script.stacks, 2);
    assert_eq!(bench.cases.take_captures_lost(), 1);
}

#[test]
fn who_gave_the_worker_away_is_acquitted() {
    let drives = |_, tid: Tid| tid != TID;
    let mut bench = Bench::new(Doing::Waiting);
    bench.look(0, 30, &polling(3, 0));
    assert_eq!(bench.stalls().len(), 1);
    bench.cases.acquit(&bench.log, |_, _| true);
    assert!(bench.stalls()[0].live, "it still drives it");
    bench.cases.acquit(&bench.log, drives);
    assert!(bench.stalls().is_empty(), "nobody knew of it");

    lock(&bench.log).sent();
    bench.look(40, 70, &polling(5, 40));
    lock(&bench.log).sent();
    bench.cases.acquit(&bench.log, drives);
    let stalls = bench.stalls();
    assert_eq!((stalls.len(), stalls[0].withdrawn), (1, true));
    // Without a slot nobody knows whether it is the same poll.
    let mut bench = Bench::new(Doing::Waiting);
    bench.look(0, 30, &frozen(0));
    bench.cases.acquit(&bench.log, drives);
    assert!(bench.stalls()[0].live);
}

#[test]
fn a_stack_is_taken_that_shows_what_the_cause_says() {
    let mut bench = Bench::new(Doing::Computing);
    bench.look(0, 25, &polling(3, 0));
    assert_eq!(bench.stalls()[0].stacks[0].cause, Cause::Computing);
    bench.script.doing = Doing::Waiting;
    bench.look(30, 90, &polling(3, 0));
    let stall = &bench.stalls()[0];
    assert_eq!(stall.cause, Cause::Lock);
    assert!(stall.has_informative_stack(), "before it is due at 100 ms");
}

#[test]
fn the_lock_is_the_one_that_it_waited_for_longest() {
    let mut bench = Bench::new(Doing::Waiting);
    bench.script.futex = 0x1_000;
    bench.look(0, 10, &polling(3, 0));
    assert_eq!(bench.stalls()[0].object, Some(Object::Lock(0x1_000)));
    bench.script.futex = 0x2_000;
    bench.look(15, 60, &polling(3, 0));
    assert_eq!(bench.stalls()[0].object, Some(Object::Lock(0x2_000)));
    bench.script.futex = 0x1_000;
    bench.look(65, 75, &polling(3, 0));
    assert_eq!(bench.stalls()[0].object, Some(Object::Lock(0x2_000)));
}

#[test]
fn the_blocking_pool_may_block() {
    let mut bench = Bench::new(Doing::Waiting);
    bench.script.kind = TaskKind::Blocking;
    assert_eq!(bench.look(0, 500, &polling(3, 0)), None);
    assert!(bench.stalls().is_empty());
}

#[test]
fn a_refused_stack_is_asked_for_again() {
    let mut bench = Bench::new(Doing::Computing);
    bench.script.refuse = true;
    bench.look(0, 40, &polling(3, 0));
    assert!(bench.stalls()[0].stacks.is_empty());
    bench.script.refuse = false;
    bench.look(45, 45, &polling(3, 0));
    assert_eq!(bench.stalls()[0].stacks[0].first_ns, 45 * MS);
    bench.look(50, 95, &polling(3, 0));
    assert_eq!(bench.script.stacks, 1, "the next one at 100 ms");
    bench.look(100, 1_500, &polling(3, 0));
    assert_eq!(bench.script.stacks, 3);
    bench.look(1_505, 40_000, &polling(3, 0));
    assert_eq!(bench.script.stacks, 5, "at 5 s and 35 s");
}

#[test]
fn a_stack_that_is_not_to_be_had_yet_is_asked_for_a_few_times() {
    // Attempts that fail, until when it is looked at, when the first stack was
    // taken, captures that are lost.
    let cases = [
        (0, 40, Some(20), 0),
        (3, 40, Some(35), 0),
        (4, 95, None, 1),
        (4, 100, Some(100), 1),
        (u32::MAX, 5_300, None, 4),
        (u32::MAX, 25, None, 1),
    ];
    for (misses, until_ms, taken_ms, lost) in cases {
        let mut bench = Bench::new(Doing::Computing);
        bench.script.misses = misses;
        bench.look(0, until_ms, &polling(3, 0));
        let live = &bench.stalls()[0];
        let taken = live.stacks.first().map(|s| s.first_ns / MS);
        assert_eq!(taken, taken_ms, "{misses} misses");
        assert_eq!(live.no_stack.is_some(), taken.is_none());
        bench.cases.clear((until_ms + 5) * MS, WORKER, &bench.log);
        assert_eq!(bench.cases.take_captures_lost(), lost, "{misses} misses");
        assert_eq!(bench.cases.take_captures_lost(), 0);
    }
}

#[test]
fn a_runtime_that_nobody_drives_is_not_stalled() {
    let mut bench = Bench::new(Doing::Waiting);
    let sight = |limit| Sight {
        stack_limit: Some(limit),
        ..frozen(0)
    };
    bench.script.sp = 0x10_000;
    let mut see = |ms: u64, limit| {
        bench
            .cases
            .see(ms * MS, &sight(limit), &bench.log, &mut bench.script)
    };
    assert_eq!(see(0, 0x8_000), Outcome::Suspected);
    assert_eq!(see(5, 0x8_000), Outcome::Undriven);
    let inside: Vec<_> = [15, 20, 25].map(|ms| see(ms, 0x11_000)).into();
    assert_eq!(inside[2], Outcome::Stalled);
}

#[test]
fn a_suspended_process_is_not_blamed() {
    let mut bench = Bench::new(Doing::Waiting);
    bench.look(0, 5, &polling(3, 0));
    bench.cases.suspended(5_000 * MS);
    assert!(bench.cases.subjects().is_empty());

    bench.look(5_000, 5_020, &polling(5, 5_000));
    bench.cases.suspended(5_000 * MS);
    bench.look(10_020, 10_020, &polling(5, 5_000));
    assert_eq!(bench.stalls()[0].cause, Cause::Stopped);
}

#[test]
fn when_to_look_again() {
    let mut pool = Bench::new(Doing::Computing);
    pool.script.kind = TaskKind::Blocking;
    let computing = || Bench::new(Doing::Computing);
    let two = Sight {
        subject: Subject::Thread(Tid(8)),
        tid: Some(Tid(8)),
        ..polling(5, 24)
    };
    // Looks in ms, what each sees, and when the next one is due after the last.
    let check = |name: &str, mut bench: Bench, looks: &[u64], sights: &[Sight], due_ms: u64| {
        for ms in looks {
            for sight in sights {
                let (log, script) = (&bench.log, &mut bench.script);
                bench.cases.see(ms * MS, sight, log, script);
            }
        }
        let last = looks.last().unwrap();
        assert_eq!(bench.cases.next_look_ns(last * MS), due_ms * MS, "{name}");
    };
    let new = polling(3, 24);
    check("nothing runs", computing(), &[25], &[], 35);
    check("a poll has begun", computing(), &[25], &[new], 34);
    check(
        "the older of two",
        computing(),
        &[25],
        &[two, polling(3, 20)],
        30,
    );
    check("a stall at once", computing(), &[25], &[polling(3, 15)], 27);
    check("the same as before", computing(), &[25, 28], &[new], 33);
    check("a stall", computing(), &[25, 35, 40], &[new], 45);
    check(
        "which poll is unknown",
        computing(),
        &[25],
        &[frozen(25)],
        30,
    );
    check("the blocking pool", pool, &[25, 35, 40], &[new], 50);
}
