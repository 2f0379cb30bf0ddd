use looptop_procfs::{SchedStat, SchedState, SyscallState, syscalls};

use super::*;

const MS: u64 = 1_000_000;
const LIMIT_MS: u64 = 100;
const TID: Tid = Tid(7);

/// What a thread does in a millisecond.
#[derive(Clone, Copy, PartialEq)]
enum Does {
    Computes,
    Sleeps,
    /// It is ready, and others run.
    Waits,
}

/// A thread by the script of its milliseconds; a wait for a CPU is on the books when it is
/// over.
struct Script {
    does: Vec<Does>,
    now: usize,
    stacks: u32,
}

impl Script {
    fn until_now(&self) -> &[Does] {
        &self.does[..self.now.min(self.does.len())]
    }

    fn doing(&self) -> Does {
        let last = self.does.len() - 1;
        self.does[self.now.min(last)]
    }
}

impl Witness for Script {
    fn clocks(&mut self, _: Tid, now_ns: u64) -> Baseline {
        let past = self.until_now();
        let count = |what: Does| past.iter().filter(|does| **does == what).count() as u64;
        let open = if self.now < self.does.len() && self.doing() == Does::Waits {
            past.iter().rev().take_while(|d| **d == Does::Waits).count() as u64
        } else {
            0
        };
        let slices = past.windows(2).filter(|pair| pair[0] != pair[1]).count();
        Baseline {
            at_ns: now_ns,
            cpu_ns: Some(count(Does::Computes) * MS),
            sched: Some(SchedStat {
                cpu_ns: count(Does::Computes) * MS,
                run_queue_ns: (count(Does::Waits) - open) * MS,
                slices: slices as u64,
            }),
        }
    }

    fn look(&mut self, _: Tid) -> Look {
        let sleeps = SyscallState::In {
            number: syscalls::number("nanosleep").expect("a call"),
            args: [0; 6],
            sp: 1,
            pc: 2,
        };
        let (syscall, state) = match self.doing() {
            Does::Sleeps => (sleeps, SchedState::Sleeping),
            Does::Computes | Does::Waits => (SyscallState::Running, SchedState::Running),
        };
        Look {
            syscall,
            state: Some(state),
        }
    }

    fn stack(&mut self, _: Tid) -> Result<Captured, String> {
        self.stacks += 1;
        Err("scripts have no stacks".into())
    }
}

/// Looks each 5 ms at polls of these lengths, in milliseconds, of a thread that does so.
fn blocks(is_one: bool, polls: &[Vec<Does>]) -> (Vec<Block>, u32) {
    let mut script = Script {
        does: polls.concat(),
        now: 0,
        stacks: 0,
    };
    let mut ends = Vec::new();
    for poll in polls {
        ends.push(ends.last().copied().unwrap_or(0) + poll.len() as u64);
    }
    let all = *ends.last().expect("some poll");
    let mut state = Polls::default();
    for ms in (0..all + 10).step_by(5) {
        script.now = ms as usize;
        let at = ends.iter().filter(|end| **end <= ms).count();
        let sight = Sight {
            whose: Whose::Root,
            // What may be many polls looks like one.
            key: (if is_one { at as u64 } else { 0 }, 0, 0),
            tid: Some(TID),
            since_ns: if is_one && at > 0 {
                ends[at - 1] * MS
            } else {
                0
            },
            is_one,
        };
        let sights = (ms < all).then_some(sight);
        state.look(
            ms * MS,
            sights.as_slice(),
            LIMIT_MS * MS,
            &mut script,
            |_| true,
        );
    }
    (state.blocks, script.stacks)
}

#[test]
fn only_time_of_its_own_counts() {
    use Does::{Computes, Sleeps, Waits};
    let parts = |parts: &[(Does, usize)]| -> Vec<Does> {
        let parts = parts.iter();
        parts.flat_map(|(does, ms)| vec![*does; *ms]).collect()
    };
    for (name, poll, expected) in [
        (
            "computes",
            parts(&[(Computes, 150)]),
            Some(Cause::Computing),
        ),
        ("sleeps", parts(&[(Sleeps, 150)]), Some(Cause::Sleeping)),
        ("is short", parts(&[(Computes, 95)]), None),
        ("sleeps shortly", parts(&[(Sleeps, 95)]), None),
        (
            "has no CPU",
            parts(&[(Computes, 40), (Waits, 120), (Computes, 10)]),
            None,
        ),
        (
            "never gets one",
            parts(&[(Computes, 20), (Waits, 300)]),
            None,
        ),
        (
            "gets one with its last breath",
            parts(&[(Computes, 20), (Waits, 200), (Computes, 2)]),
            None,
        ),
        (
            "computes for long on a busy machine",
            parts(&[(Computes, 70), (Waits, 120), (Computes, 70)]),
            Some(Cause::Computing),
        ),
        (
            "sleeps on a busy machine",
            parts(&[(Sleeps, 70), (Waits, 100), (Computes, 5)]),
            None,
        ),
    ] {
        let (found, _) = blocks(true, &[poll]);
        let cause = found.first().map(|block| block.cause);
        assert_eq!(cause, expected, "it {name}: {found:?}");
    }
}

#[test]
fn many_polls_are_none_that_is_long() {
    let short = vec![vec![Does::Computes; 30]; 20];
    assert!(blocks(true, &short).0.is_empty());
    // Where they look like one, only as much CPU as 61 short ones do not take counts ...
    assert!(blocks(false, &[vec![Does::Computes; 300]]).0.is_empty());
    assert_eq!(blocks(false, &[vec![Does::Computes; 700]]).0.len(), 1);
    // ... or a thread that sat in one place.
    assert_eq!(blocks(false, &[vec![Does::Sleeps; 150]]).0.len(), 1);
}

#[test]
fn what_sleeps_in_one_place_and_waits_for_a_cpu_is_one_poll() {
    use Does::{Computes, Sleeps, Waits};
    let parts = |parts: &[(Does, usize)]| -> Vec<Does> {
        let parts = parts.iter();
        parts.flat_map(|(does, ms)| vec![*does; *ms]).collect()
    };
    for (poll, expected) in [
        (vec![(Sleeps, 400)], Some(Cause::Sleeping)),
        // The stack that is taken has it ready for a while.
        (
            vec![(Sleeps, 100), (Waits, 60), (Sleeps, 300)],
            Some(Cause::Sleeping),
        ),
        // Short polls of a thread that has hardly a CPU, and one that is slow by itself.
        (vec![(Computes, 20), (Waits, 380), (Computes, 20)], None),
        (vec![(Sleeps, 60), (Computes, 140), (Sleeps, 60)], None),
    ] {
        let (blocks, _) = blocks(false, &[parts(&poll)]);
        let found = blocks.first().map(|block| block.cause);
        assert_eq!(found, expected, "{} parts", poll.len());
    }
}

#[test]
fn stacks_are_taken_of_what_may_become_too_long() {
    assert_eq!(blocks(true, &[vec![Does::Computes; 50]]).1, 0);
    let (found, taken) = blocks(true, &[vec![Does::Sleeps; 400]]);
    assert!((2..=MAX_CAPTURES).contains(&taken), "{taken}");
    assert_eq!(found[0].no_stack.as_deref(), Some("scripts have no stacks"));
}

#[test]
fn a_poll_that_goes_on_is_given_once_while_it_does() {
    let short_of = usize::try_from(LIMIT_MS * LASTING).expect("it fits");
    let mut script = Script {
        does: vec![Does::Computes; short_of + 500],
        now: 0,
        stacks: 0,
    };
    let sight = Sight {
        whose: Whose::Root,
        key: (1, 0, 0),
        tid: Some(TID),
        since_ns: 0,
        is_one: true,
    };
    let mut state = Polls::default();
    let mut given = Vec::new();
    for ms in (0..script.does.len()).step_by(10) {
        script.now = ms;
        let now_ns = ms as u64 * MS;
        state.look(now_ns, &[sight], LIMIT_MS * MS, &mut script, |_| true);
        given.extend(state.lasting(now_ns, LIMIT_MS * MS));
    }
    assert_eq!(given.len(), 1, "{given:?}");
    assert_eq!(given[0].duration_ns, LIMIT_MS * LASTING * MS);
    assert_eq!(given[0].cause, Cause::Computing);
}

#[test]
fn time_in_which_the_process_stood_still_does_not_count() {
    let mut script = Script {
        does: vec![Does::Sleeps; 200],
        now: 0,
        stacks: 0,
    };
    let sight = Sight {
        whose: Whose::Worker(0),
        key: (2, 1, 0),
        tid: Some(TID),
        since_ns: 0,
        is_one: true,
    };
    let mut state = Polls::default();
    for ms in [0, 5, 10, 150] {
        script.now = ms as usize;
        if ms == 150 {
            state.suspended(140 * MS);
        }
        state.look(ms * MS, &[sight], LIMIT_MS * MS, &mut script, |_| true);
    }
    state.end_all(155 * MS, LIMIT_MS * MS, &mut script);
    assert!(state.blocks.is_empty(), "{:?}", state.blocks);
}
