//! Whether nothing lets a test go on: decided from what all threads of the process do.
//!
//! A test stands still for ever where nothing of its runtime runs, no timer and no I/O is
//! registered, and every other thread of the process waits without a limit for another one
//! to wake it. Whatever cannot be read, and whatever may come from outside, can let it go on:
//! a thread that computes, sleeps, reads, or waits with a limit; another test that runs.

use std::collections::BTreeMap;

use looptop_procfs::{SyscallState, syscalls};

use super::root::View;
use super::threads::Working;
use crate::capture;
use crate::ids::Tid;
use crate::procfs;

/// Nothing must run for so long before the threads are looked at, ...
const QUIET_NS: u64 = 500_000_000;
/// ... and all of them must stand where they stood for so long.
const UNCHANGED_NS: u64 = 500_000_000;
/// Between two looks at all threads.
const EVERY_NS: u64 = 100_000_000;

/// What was seen so far.
#[derive(Debug, Default)]
pub(super) struct Standstill {
    before: Option<(View, usize)>,
    quiet_since_ns: u64,
    next_ns: u64,
    /// How all threads stood, and since when.
    stood: Option<(BTreeMap<u64, Place>, u64)>,
    pub(super) verdict: Option<Still>,
}

/// What is seen of a test and its runtime.
#[derive(Clone, Copy, Debug)]
pub(super) struct Look<'a> {
    pub(super) root: View,
    /// Live tasks.
    pub(super) alive: usize,
    /// The thread of a current-thread runtime.
    pub(super) thread: Option<Tid>,
    pub(super) working: &'a [Working],
    /// The thread that would poll the test's own future is in a poll.
    pub(super) in_poll: bool,
}

/// A test stands still.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Still {
    pub(super) for_ns: u64,
    /// The thread that would poll the test's own future is in a poll.
    pub(super) in_poll: bool,
}

/// Where a thread stands: the same again means that it has not run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Place {
    sp: u64,
    pc: u64,
    slices: u64,
}

/// What a thread's state says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Wait {
    /// Another thread must wake it.
    ForThread,
    /// The same, or a time passes.
    ForThreadOrTime,
    /// For events of this descriptor.
    ForEvents(i32),
    /// It may go on by itself, or nobody knows.
    Other,
}

impl Standstill {
    /// Something has run.
    pub(super) fn moved(&mut self, now_ns: u64) {
        self.quiet_since_ns = now_ns;
        self.stood = None;
    }

    /// Takes in a look; says once that the test stands still.
    pub(super) fn look(&mut self, now_ns: u64, moved: bool, now: &Look<'_>) -> Option<Still> {
        let before = (now.root, now.alive);
        if moved || self.before != Some(before) {
            self.before = Some(before);
            self.moved(now_ns);
        }
        let quiet_ns = now_ns.saturating_sub(self.quiet_since_ns);
        if self.verdict.is_some() || quiet_ns < QUIET_NS || now_ns < self.next_ns {
            return None;
        }
        self.next_ns = now_ns + EVERY_NS;
        let own = now.root.tid.into_iter().chain(now.thread);
        let own = own.chain(now.working.iter().map(|working| working.tid));
        let own: Vec<Tid> = own.collect();
        let Some(places) = places_if_still(&own) else {
            self.stood = None;
            return None;
        };
        let since_ns = match &self.stood {
            Some((before, since_ns)) if *before == places => *since_ns,
            _ => {
                self.stood = Some((places, now_ns));
                return None;
            }
        };
        if now_ns.saturating_sub(since_ns) < UNCHANGED_NS {
            return None;
        }
        let still = Still {
            for_ns: quiet_ns,
            in_poll: now.in_poll,
        };
        self.verdict = Some(still.clone());
        Some(still)
    }
}

/// Where all threads stand, if none of them can go on by itself. `own` are those of the
/// test's runtime.
fn places_if_still(own: &[Tid]) -> Option<BTreeMap<u64, Place>> {
    let mut places = BTreeMap::new();
    // Those of the runtime first: they rule out most tests that wait, by a timer.
    let others = || Some(procfs::tids()?.filter(|tid| !own.contains(tid)));
    for tid in own.iter().copied().chain(others()?) {
        let is_own = own.contains(&tid);
        if !is_own && is_of_nobody(tid) {
            continue;
        }
        let state = procfs::syscall(tid);
        let slices = procfs::schedstat(tid)?.slices;
        let (sp, pc) = state.blocked_at()?;
        match wait(state) {
            Wait::ForThread => {}
            Wait::ForEvents(epoll) if only_wakes(epoll) => {}
            // A thread of a blocking pool without a job.
            Wait::ForThreadOrTime if !is_own && is_idle_in_pool(tid) => {}
            _ => return None,
        }
        places.insert(tid.0, Place { sp, pc, slices });
    }
    Some(places)
}

/// Threads that let no test go on: those of looptop, and the one that waits for the tests.
fn is_of_nobody(tid: Tid) -> bool {
    let name = procfs::name(tid).unwrap_or_default();
    let waits = || !matches!(wait(procfs::syscall(tid)), Wait::Other);
    name.starts_with("looptop") || (tid.0 == u64::from(std::process::id()) && waits())
}

fn wait(state: SyscallState) -> Wait {
    const WAIT: u64 = 0;
    const WAIT_BITSET: u64 = 9;
    /// Without the flags "private" and "by the clock of the day".
    const COMMAND: u64 = 0x7f;
    let SyscallState::In { number, args, .. } = state else {
        return Wait::Other;
    };
    match syscalls::name(number).as_ref() {
        "futex" if matches!(args[1] & COMMAND, WAIT | WAIT_BITSET) => match args[3] {
            0 => Wait::ForThread,
            _ => Wait::ForThreadOrTime,
        },
        "epoll_wait" | "epoll_pwait" if args[3] as u32 == u32::MAX => {
            Wait::ForEvents(args[0] as i32)
        }
        "epoll_pwait2" if args[3] == 0 => Wait::ForEvents(args[0] as i32),
        _ => Wait::Other,
    }
}

/// Whether nothing is registered with this epoll instance but what tokio's driver needs
/// itself: its waker, and the pipe of signals, which it numbers 0 and 1.
fn only_wakes(epoll: i32) -> bool {
    const OWN: u64 = 1;
    let info = procfs::own().path(&format!("fdinfo/{epoll}"));
    std::fs::read_to_string(info).is_ok_and(|info| registered(&info).all(|data| data <= OWN))
}

/// What was given to each descriptor's entry.
fn registered(info: &str) -> impl Iterator<Item = u64> {
    let entries = info.lines().filter(|line| line.starts_with("tfd:"));
    entries.map(|line| {
        let mut words = line.split_ascii_whitespace();
        let data = words
            .find(|word| *word == "data:")
            .and_then(|_| words.next());
        data.and_then(|data| u64::from_str_radix(data, 16).ok())
            .unwrap_or(u64::MAX)
    })
}

/// Whether a thread waits for a job in the blocking pool of some runtime of tokio's.
fn is_idle_in_pool(tid: Tid) -> bool {
    if super::install_capture().is_err() {
        return false;
    }
    capture::capture(tid.0).is_ok_and(|captured| super::names::is_idle_in_pool(&captured.stack))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn call(name: &str, args: [u64; 6]) -> SyscallState {
        SyscallState::In {
            number: syscalls::number(name).expect("a call"),
            args,
            sp: 1,
            pc: 2,
        }
    }

    #[test]
    #[cfg(target_arch = "x86_64")]
    fn what_a_thread_waits_for() {
        const NONE: u64 = u32::MAX as u64;
        for (state, expected) in [
            (call("futex", [1, 0x80, 2, 0, 0, 0]), Wait::ForThread),
            (call("futex", [1, 0x189, 2, 0, 0, 0]), Wait::ForThread),
            (
                call("futex", [1, 0x189, 2, 77, 0, 0]),
                Wait::ForThreadOrTime,
            ),
            // It wakes others.
            (call("futex", [1, 0x81, 2, 0, 0, 0]), Wait::Other),
            (
                call("epoll_wait", [5, 1, 1024, NONE, 0, 0]),
                Wait::ForEvents(5),
            ),
            (call("epoll_wait", [5, 1, 1024, 40, 0, 0]), Wait::Other),
            (call("clock_nanosleep", [0; 6]), Wait::Other),
            (call("read", [0; 6]), Wait::Other),
            (SyscallState::Running, Wait::Other),
            (SyscallState::Unknown, Wait::Other),
        ] {
            assert_eq!(wait(state), expected, "{state:?}");
        }
    }

    #[test]
    fn what_is_registered_with_an_epoll_instance() {
        let info = "pos:\t0\nflags:\t02000002\nmnt_id:\t15\n\
            tfd:        6 events: 80000019 data:                0  pos:0 ino:2c sdev:f\n\
            tfd:        4 events: 80000019 data:                1  pos:0 ino:2c sdev:f\n\
            tfd:       11 events: 8000201d data:     7f5b2c001a80  pos:0 ino:9 sdev:8\n";
        let all: Vec<u64> = registered(info).collect();
        assert_eq!(all, [0, 1, 0x7f5b_2c00_1a80]);
        assert_eq!(registered("tfd: 1 events: 19\n").next(), Some(u64::MAX));
    }

    #[test]
    fn a_runtime_that_runs_is_never_still() {
        let mut still = Standstill::default();
        let look = |sequence| Look {
            root: View {
                sequence,
                started_ns: 0,
                tid: None,
            },
            alive: 0,
            thread: None,
            working: &[],
            in_poll: false,
        };
        for n in 0..100 {
            // Its own future was polled.
            assert_eq!(still.look(n * 100_000_000, false, &look(n * 2)), None);
        }
        for n in 100..200 {
            assert_eq!(still.look(n * 100_000_000, true, &look(0)), None);
        }
    }
}
