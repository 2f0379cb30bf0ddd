//! What to do instead, worded for the call that blocks.
//!
//! Three cases: work that only awaits stays where it is (A); blocking calls and
//! moderate CPU work (below [`HEAVY_CPU`]) go to `spawn_blocking` (B); heavy CPU
//! work goes to a pool of its own, such as rayon's, or to another process (C).
//!
//! To teach looptop a call, add a line to `symbols/src/calls.rs`; where there is
//! something better to say than for its kind, also one to [`CALLS`].

use std::time::Duration;

use looptop_symbols::{Call, CallKind};

use crate::model::{Capability, Cause, Model, Stall};

/// Where the work belongs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Case {
    /// It only waits: await it where it is.
    A,
    /// A blocking call or moderate CPU work: the blocking pool.
    B,
    /// Heavy CPU work: a pool of its own.
    C,
    /// Not the program's fault.
    Host,
    /// The evidence does not decide.
    Unknown,
}

impl Case {
    /// What the case means, one line.
    pub fn meaning(self) -> &'static str {
        match self {
            Case::A => "it only waits: keep it on the loop and await it",
            Case::B => "a blocking call or moderate CPU work: spawn_blocking",
            Case::C => "heavy CPU work: a dedicated pool (rayon) or another process",
            Case::Host => "not your code: the host",
            Case::Unknown => "look at the stack",
        }
    }
}

/// CPU work of one poll from which it is heavy.
pub(super) const HEAVY_CPU: Duration = Duration::from_millis(100);

/// A remedy.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Advice {
    /// Where the work belongs.
    pub case: Case,
    /// What to do, one sentence without a full stop.
    pub text: &'static str,
}

const fn advice(case: Case, text: &'static str) -> Advice {
    Advice { case, text }
}

/// Calls for which there is something better to say than for their kind, by
/// their name in [`Call`].
const CALLS: &[(&str, Advice)] = &[
    (
        "std::thread::sleep",
        advice(
            Case::A,
            "std::thread::sleep blocks the worker: use tokio::time::sleep(..).await",
        ),
    ),
    (
        "std::fs",
        advice(
            Case::B,
            "std::fs blocks the worker: use tokio::fs, or spawn_blocking around the whole operation",
        ),
    ),
    (
        "std::process",
        advice(
            Case::A,
            "std::process blocks the worker: use tokio::process",
        ),
    ),
    (
        "std::sync::Condvar::wait",
        advice(
            Case::A,
            "a Condvar blocks the worker: use tokio::sync::Notify",
        ),
    ),
    (
        "std::sync::Barrier::wait",
        advice(
            Case::A,
            "std's Barrier blocks the worker: use tokio::sync::Barrier",
        ),
    ),
    (
        "std::sync::mpsc",
        advice(
            Case::A,
            "std::sync::mpsc blocks the worker: use tokio::sync::mpsc",
        ),
    ),
    (
        "reqwest::blocking",
        advice(
            Case::A,
            "reqwest::blocking blocks the worker: use reqwest's async Client and .await",
        ),
    ),
    (
        "postgres",
        advice(
            Case::A,
            "a blocking database client: use tokio-postgres or sqlx",
        ),
    ),
    (
        "diesel",
        advice(
            Case::B,
            "the query blocks the worker: use diesel-async, or spawn_blocking",
        ),
    ),
    (
        "serde_json",
        advice(
            Case::B,
            "large JSON: serialise or parse it in spawn_blocking, or stream it",
        ),
    ),
    (
        "SQLite's busy handler",
        advice(
            Case::B,
            "another connection writes, and SQLite sleeps until it may: keep write transactions \
             short, write through one connection, and run queries in spawn_blocking",
        ),
    ),
    (
        "tracing::event!",
        advice(
            Case::B,
            "the log is written on the worker, and whoever reads it is slow: use a non-blocking \
             log writer (tracing_appender::non_blocking)",
        ),
    ),
    (
        "std::thread::park",
        advice(
            Case::A,
            "it parks the thread until another wakes it (a block_on, a channel or a lock inside): \
             make the caller async and await what it waits for",
        ),
    ),
    ("std::io::pipe", PIPE),
    (
        "event_listener",
        advice(
            Case::A,
            "the listener's wait() blocks the worker: await the listener instead (listener.await)",
        ),
    ),
    (
        "dashmap",
        advice(
            Case::A,
            "another task holds a guard of this map, as a rule over an await: copy the value out \
             and drop the guard first",
        ),
    ),
    (
        "tokio::sync::watch::Receiver::borrow",
        advice(
            Case::A,
            "a watch's borrow is a read lock: clone the value out, hold no borrow over an await \
             or a send, and never two",
        ),
    ),
    (
        "tokio::sync::watch::Sender::send",
        advice(
            Case::A,
            "send waits until every borrow of the watch is dropped: clone values out of borrows, \
             and hold none over an await or a send",
        ),
    ),
    (
        "std::thread::JoinHandle::join",
        advice(
            Case::B,
            "joining a thread blocks the worker: join it in spawn_blocking and await that (from \
             Drop: offer an async close, or let the thread end by itself)",
        ),
    ),
    (
        "std::thread::yield_now",
        advice(
            Case::A,
            "it asks again and again until something changes, and keeps the worker meanwhile: await \
             a Notify, a channel or tokio::time::sleep instead of yielding the thread",
        ),
    ),
    (
        "r2d2 (pool of connections)",
        advice(
            Case::B,
            "it waits for a connection of the pool: take it in spawn_blocking, together with what is \
             done on it, or use an async pool (deadpool, bb8)",
        ),
    ),
    (
        "rayon (waits for its pool)",
        advice(
            Case::C,
            "waiting for rayon blocks the worker: rayon::spawn with a oneshot channel, and .await that",
        ),
    ),
];

/// The remedy for a kind of call; `None` where the time it takes decides.
fn for_kind(kind: CallKind) -> Option<Advice> {
    Some(match kind {
        CallKind::Sleep => SLEEPING,
        CallKind::File => FILE,
        CallKind::Terminal => TERMINAL,
        CallKind::Output => OUTPUT,
        CallKind::Network => SOCKET,
        CallKind::NameResolution => advice(
            Case::A,
            "name resolution blocks the worker: use tokio::net::lookup_host(..).await",
        ),
        CallKind::Http => advice(
            Case::A,
            "a blocking HTTP client: use an async one (reqwest), or spawn_blocking",
        ),
        CallKind::Database => advice(
            Case::B,
            "the query blocks the worker: run it on a pooled connection in spawn_blocking",
        ),
        CallKind::Lock => LOCK,
        CallKind::Condition => advice(
            Case::A,
            "it waits for a condition on the worker: await a Notify or a channel instead; where a \
             library waits (a pool of connections), call it in spawn_blocking",
        ),
        CallKind::Channel => advice(
            Case::A,
            "a blocking channel: use tokio::sync::mpsc and .await",
        ),
        CallKind::Join => advice(
            Case::B,
            "joining a thread blocks the worker: use spawn_blocking and .await its handle",
        ),
        CallKind::Process => PROCESS,
        CallKind::NestedExecutor => advice(
            Case::A,
            "block_on inside the loop parks its worker: make the caller async and .await",
        ),
        CallKind::Compute => return None,
    })
}

/// All remedies by call for the document: call, case and text.
pub(super) fn table() -> Vec<(String, Advice)> {
    let kinds = CallKind::ALL
        .iter()
        .filter_map(|kind| Some((kind.words().to_owned(), for_kind(*kind)?)));
    let situations = SITUATIONS
        .iter()
        .map(|(what, advice)| ((*what).to_owned(), *advice));
    CALLS
        .iter()
        .map(|(call, advice)| (format!("`{call}`"), *advice))
        .chain(kinds)
        .chain(situations)
        .collect()
}

/// Remedies that no call asks for, but a rule: what it found, in words.
const SITUATIONS: &[(&str, Advice)] = &[
    ("an interval that catches up", INTERVAL),
    ("a stream that is always ready", READY_ITEMS),
    ("a `biased` loop", BIASED),
    ("jobs of the blocking pool that wait for it", POOL_OF_ITSELF),
    ("a page of a mapped file", PAGE),
];

/// An interval that was held up and polls once for each tick that it missed.
pub(super) const INTERVAL: Advice = advice(
    Case::A,
    "the interval catches up on ticks that it missed: \
     set_missed_tick_behavior(MissedTickBehavior::Delay or Skip)",
);
/// Many items that were ready, each worked off in the same poll.
pub(super) const READY_ITEMS: Advice = advice(
    Case::B,
    "every item is ready at once, so that one poll works them all off: yield after each \
     (tokio::task::yield_now().await)",
);
/// A `biased` select whose first branch is always ready.
pub(super) const BIASED: Advice = advice(
    Case::A,
    "a biased select takes its first ready branch for ever: put the rare branches first, or \
     leave biased out",
);
/// Jobs of the blocking pool that wait for other jobs of it.
pub(super) const POOL_OF_ITSELF: Advice = advice(
    Case::A,
    "jobs of the blocking pool wait for jobs of the same pool: await those in the async caller, \
     or give them a pool of their own",
);
/// A thread that waits for a page of a mapped file.
pub(super) const PAGE: Advice = advice(
    Case::B,
    "it touches memory that is not loaded (a mapped file, swap): do so in spawn_blocking, read with \
     pread there, or load it before (madvise, readahead)",
);

const SLEEPING: Advice = advice(
    Case::A,
    "it sleeps on the worker: use tokio::time::sleep(..).await",
);
const LOCK: Advice = advice(
    Case::A,
    "it waits for a lock: hold it for less, split it, or use tokio::sync",
);
const FILE: Advice = advice(
    Case::B,
    "blocking file access: use tokio::fs, or spawn_blocking around the whole operation",
);
const SOCKET: Advice = advice(
    Case::A,
    "blocking network access: use tokio::net or an async client, and .await",
);
const TERMINAL: Advice = advice(
    Case::B,
    "reading standard input blocks until a line comes: read it on a thread of its own and send \
     the lines over a channel",
);
const OUTPUT: Advice = advice(
    Case::B,
    "it writes to standard output or a log on the worker, and whoever reads that is slow: use a \
     non-blocking writer (tracing_appender::non_blocking), or a thread of its own",
);
const PROCESS: Advice = advice(
    Case::A,
    "waiting for a process blocks the worker: use tokio::process",
);
const PIPE: Advice = advice(
    Case::A,
    "it waits for a pipe: use tokio::process for a child's output, tokio::net::unix::pipe, or a \
     thread of its own",
);
const CALL: Advice = advice(
    Case::B,
    "a blocking call: move it to tokio::task::spawn_blocking",
);
const HEAVY: Advice = advice(
    Case::C,
    "heavy CPU: move it to a dedicated pool (rayon) and await its answer",
);
const LOOP: Advice = advice(
    Case::B,
    "a loop that computes poll after poll: yield between its items (yield_now), or move it off the loop",
);
const MODERATE: Advice = advice(
    Case::B,
    "CPU work: move it to spawn_blocking, or yield between its parts",
);
const HOST: Advice = advice(
    Case::Host,
    "not your code: give the process more CPU, or take other load away",
);
const STOPPED: Advice = advice(
    Case::Host,
    "the process was stopped from outside (signal or debugger)",
);
/// For targets that supply no stack.
const NO_STACKS: Advice = advice(
    Case::Unknown,
    "this target does not report the cause: add looptop_agent::init() to see line and stack",
);
/// For an agent that captures none, on a system where nobody does, say.
const NO_CAPTURE: Advice = advice(
    Case::Unknown,
    "no stack is captured there: look for a blocking call or a long computation in what is polled, \
     and move it to tokio::task::spawn_blocking",
);
const LOOK: Advice = advice(Case::Unknown, "the cause is not evident: look at the stack");

/// The remedy for a group of stalls of which `stall` says most: by its call
/// where the stack names one, otherwise by its cause. How heavy the work is, the
/// heaviest of them says: that one may only have begun.
pub(super) fn for_stalls(model: &Model, stall: &Stall, group: &[&Stall]) -> Advice {
    let call = stall.call();
    if let Some(advice) = call.and_then(for_call) {
        return advice;
    }
    // Of those that wait for one lock, the stack of another may name what it is of.
    let of_others = || group.iter().filter_map(|s| s.call());
    if stall.cause == Cause::Lock
        && call.is_none_or(|call| call.kind == CallKind::Lock)
        && let Some(advice) = of_others()
            .filter(|call| call.kind == CallKind::Lock)
            .find_map(for_call)
    {
        return advice;
    }
    if let Some(advice) = call.and_then(|call| for_kind(call.kind)) {
        return advice;
    }
    match stall.cause {
        Cause::Computing => {
            let computes = group.iter().filter(|s| s.cause == Cause::Computing);
            let cpu = computes.map(|s| s.cpu.unwrap_or_else(|| s.own_age(model.now)));
            if call.is_none() && is_loop(group, model) {
                LOOP
            } else if cpu.max() >= Some(HEAVY_CPU) {
                HEAVY
            } else {
                MODERATE
            }
        }
        Cause::Sleeping => SLEEPING,
        Cause::Lock => LOCK,
        Cause::SystemCall => for_system_call(model.text(stall.syscall), model.text(stall.object)),
        Cause::StarvedByHost => HOST,
        Cause::Stopped => STOPPED,
        Cause::Page => PAGE,
        Cause::Unknown if model.session.has(Capability::Stacks) => LOOK,
        Cause::Unknown if model.session.agent_version.is_empty() => NO_STACKS,
        Cause::Unknown => NO_CAPTURE,
    }
}

/// Whether a call is the named one, or one of its module.
/// What is better to say than for the call's kind.
fn for_call(call: &Call) -> Option<Advice> {
    let named = CALLS.iter().find(|(name, _)| is_of(&call.name, name));
    named.map(|(_, advice)| *advice)
}

/// So many polls one after the other are a loop.
const LOOP_POLLS: usize = 3;

/// Whether the polls are those of one loop, which hands the worker back only when
/// tokio's budget is used up: they follow one another on one worker, with hardly a
/// pause.
fn is_loop(group: &[&Stall], model: &Model) -> bool {
    let place = |stall: &Stall| (stall.worker, stall.task);
    let Some(first) = group.first().map(|stall| place(stall)) else {
        return false;
    };
    let begin = group.iter().map(|s| s.started).min();
    let end = group.iter().map(|s| s.end(model.now)).max();
    let (Some(begin), Some(end)) = (begin, end) else {
        return false;
    };
    let busy: Duration = group.iter().map(|s| s.age(model.now)).sum();
    group.len() >= LOOP_POLLS
        && group.iter().all(|stall| place(stall) == first)
        && busy * 5 >= end.since(begin) * 4
}

fn is_of(call: &str, name: &str) -> bool {
    let rest = call.strip_prefix(name);
    rest.is_some_and(|rest| rest.is_empty() || rest.starts_with("::"))
}

fn for_system_call(name: &str, object: &str) -> Advice {
    // `poll` waits for anything, and is no network by itself.
    const SOCKET_CALLS: [&str; 8] = [
        "recvfrom", "recvmsg", "recvmmsg", "sendto", "sendmsg", "connect", "accept", "accept4",
    ];
    const PROCESS_CALLS: [&str; 2] = ["wait4", "waitid"];
    const READS: [&str; 4] = ["read", "readv", "pread64", "preadv"];
    const WRITES: [&str; 4] = ["write", "writev", "pwrite64", "pwritev"];
    const FILE_CALLS: [&str; 10] = [
        "fsync",
        "fdatasync",
        "open",
        "openat",
        "pread64",
        "pwrite64",
        "sync",
        "ftruncate",
        "unlink",
        "getdents64",
    ];
    let is_socket = ["socket", "tcp", "udp", "unix"]
        .iter()
        .any(|word| object.contains(word));
    let fd = object.strip_prefix("fd ");
    let fd = fd.and_then(|rest| rest.split(' ').next());
    match fd {
        Some("0") if READS.contains(&name) => return TERMINAL,
        Some("1" | "2") if WRITES.contains(&name) => return OUTPUT,
        _ => {}
    }
    if PROCESS_CALLS.contains(&name) {
        PROCESS
    } else if object.contains("pipe:") {
        PIPE
    } else if SOCKET_CALLS.contains(&name) || is_socket {
        SOCKET
    } else if FILE_CALLS.contains(&name) || object.contains('/') {
        FILE
    } else {
        CALL
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Nobody is advised to add the agent that is there.
    #[test]
    fn a_cause_that_nobody_knows_is_left_to_who_could_know_it() {
        use crate::model::fixtures;
        for (has_agent, has_stacks, expected) in [
            (true, true, LOOK),
            (true, false, NO_CAPTURE),
            (false, false, NO_STACKS),
        ] {
            let mut hello = fixtures::hello();
            for capability in &mut hello.capabilities {
                capability.available &= has_stacks || capability.kind() != Capability::Stacks;
            }
            if !has_agent {
                hello.agent_version.clear();
            }
            let model = Model::new(&hello);
            let mut stall = fixtures::starving().stalls.iter().next().unwrap().clone();
            (stall.cause, stall.resolved) = (Cause::Unknown, None);
            let advice = for_stalls(&model, &stall, &[]);
            assert_eq!(advice.text, expected.text, "{has_agent} {has_stacks}");
        }
    }

    #[test]
    fn the_remedy_fits_the_call() {
        use crate::model::{Resolved, fixtures};
        let model = fixtures::starving();
        for (cause, kind, call, expected) in [
            (
                Cause::Sleeping,
                CallKind::Sleep,
                "std::thread::sleep",
                "tokio::time::sleep",
            ),
            (
                Cause::Sleeping,
                CallKind::Database,
                "SQLite's busy handler",
                "write transactions short",
            ),
            (
                Cause::SystemCall,
                CallKind::Process,
                "std::process::Command::output",
                "tokio::process",
            ),
            (
                Cause::SystemCall,
                CallKind::Output,
                "tracing::event!",
                "tracing_appender::non_blocking",
            ),
            (
                Cause::SystemCall,
                CallKind::Output,
                "println!",
                "non-blocking writer",
            ),
            (
                Cause::SystemCall,
                CallKind::Terminal,
                "std::io::stdin",
                "thread of its own",
            ),
            (
                Cause::Lock,
                CallKind::Condition,
                "event_listener::Listener::wait",
                "listener.await",
            ),
            (
                Cause::Lock,
                CallKind::Condition,
                "std::thread::park",
                "make the caller async",
            ),
            (
                Cause::Lock,
                CallKind::Channel,
                "crossbeam_channel::Receiver::recv",
                "tokio::sync::mpsc",
            ),
            (
                Cause::Lock,
                CallKind::Join,
                "std::thread::JoinHandle::join",
                "spawn_blocking",
            ),
            (
                Cause::Lock,
                CallKind::Lock,
                "tokio::sync::watch::Receiver::borrow",
                "clone the value out",
            ),
            (Cause::Lock, CallKind::Lock, "dashmap", "drop the guard"),
            (
                Cause::Lock,
                CallKind::NestedExecutor,
                "futures::executor::block_on",
                "make the caller async",
            ),
            // It computes: whatever its stack passed through, it does not wait.
            (
                Cause::Computing,
                CallKind::Condition,
                "std::sync::Condvar::wait",
                "CPU",
            ),
        ] {
            let mut stall = model.stalls.iter().next().unwrap().clone();
            stall.cause = cause;
            stall.resolved = Some(std::sync::Arc::new(Resolved {
                call: Some(Call {
                    kind,
                    name: call.to_owned(),
                }),
                ..Resolved::default()
            }));
            let advice = for_stalls(&model, &stall, &[&stall]);
            assert!(advice.text.contains(expected), "{call}: {}", advice.text);
        }
    }

    #[test]
    fn every_system_call_has_a_remedy() {
        for (name, object, expected) in [
            ("read", "fd 7 /data/log", FILE),
            ("read", "fd 7 tcp 127.0.0.1:80", SOCKET),
            ("read", "", CALL),
            ("fsync", "", FILE),
            ("recvfrom", "fd 3", SOCKET),
            ("wait4", "", PROCESS),
            ("poll", "", CALL),
            ("read", "fd 0 /dev/pts/3", TERMINAL),
            ("read", "fd 0 pipe:[123]", TERMINAL),
            ("read", "fd 9 pipe:[123]", PIPE),
            ("write", "fd 1 pipe:[123]", OUTPUT),
            ("write", "fd 2 /dev/pts/3", OUTPUT),
            ("write", "fd 11 /data/log", FILE),
        ] {
            assert_eq!(for_system_call(name, object), expected, "{name} {object}");
        }
    }
}
