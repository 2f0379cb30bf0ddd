//! What to do instead, worded for the call that blocks.
//!
//! Three cases: work that only awaits stays where it is (A); blocking calls and
//! moderate CPU work (below [`HEAVY_CPU`]) go to `spawn_blocking` (B); heavy CPU
//! work goes to a pool of its own, such as rayon's, or to another process (C).
//!
//! To teach looptop a call, add a line to `symbols::calls`; where there is
//! something better to say than for its kind, also one to [`CALLS`].

use std::time::Duration;

use crate::model::{CallKind, Capability, Cause, Model, Stall};

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
/// their name in [`crate::model::Call`].
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
        "std::process::Child::wait",
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
        CallKind::Terminal => advice(
            Case::B,
            "reading standard input blocks: read it on a thread of its own",
        ),
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
            "it waits for a condition on the worker: await a Notify or a channel instead",
        ),
        CallKind::Channel => advice(
            Case::A,
            "a blocking channel: use tokio::sync::mpsc and .await",
        ),
        CallKind::Join => advice(
            Case::B,
            "joining a thread blocks the worker: use spawn_blocking and .await its handle",
        ),
        CallKind::Process => advice(
            Case::A,
            "waiting for a process blocks the worker: use tokio::process",
        ),
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
    CALLS
        .iter()
        .map(|(call, advice)| (format!("`{call}`"), *advice))
        .chain(kinds)
        .collect()
}

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
const CALL: Advice = advice(
    Case::B,
    "a blocking call: move it to tokio::task::spawn_blocking",
);
const HEAVY: Advice = advice(
    Case::C,
    "heavy CPU: move it to a dedicated pool (rayon) and await its answer",
);
const MODERATE: Advice = advice(
    Case::B,
    "CPU work: move it to spawn_blocking, or yield between its parts",
);
const HOST: Advice = advice(
    Case::Host,
    "not your code: give the process more CPU, or take other load away",
);
const PAGE: Advice = advice(
    Case::B,
    "it touches memory that is not loaded (a mapped file, swap): do so in spawn_blocking, read with \
     pread there, or load it before (madvise, readahead)",
);
const STOPPED: Advice = advice(
    Case::Host,
    "the process was stopped from outside (signal or debugger)",
);
/// For targets that supply no stack.
const NO_STACKS: Advice = advice(
    Case::Unknown,
    "the cause is not told by this target: add looptop_agent::init() to see line and stack",
);
const LOOK: Advice = advice(Case::Unknown, "the cause is not evident: look at the stack");

/// The remedy for a group of stalls of which `stall` tells most: by its call
/// where the stack names one, otherwise by its cause. How heavy the work is, the
/// heaviest of them tells: that one may only have begun.
pub(super) fn for_stalls(model: &Model, stall: &Stall, group: &[&Stall]) -> Advice {
    let call = stall.culprit().and_then(|c| c.call.as_ref());
    let named = call.and_then(|call| CALLS.iter().find(|(name, _)| *name == call.name));
    if let Some((_, advice)) = named {
        return *advice;
    }
    if let Some(advice) = call.and_then(|call| for_kind(call.kind)) {
        return advice;
    }
    match stall.cause {
        Cause::Computing => {
            let computes = group.iter().filter(|s| s.cause == Cause::Computing);
            let cpu = computes.map(|s| s.cpu.unwrap_or_else(|| s.own_age(model.now)));
            if cpu.max() >= Some(HEAVY_CPU) {
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
        Cause::Unknown if !model.session.has(Capability::Stacks) => NO_STACKS,
        Cause::Unknown => LOOK,
    }
}

fn for_system_call(name: &str, object: &str) -> Advice {
    const SOCKET_CALLS: [&str; 9] = [
        "recvfrom", "recvmsg", "recvmmsg", "sendto", "sendmsg", "connect", "accept", "accept4",
        "poll",
    ];
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
    if SOCKET_CALLS.contains(&name) || is_socket {
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

    #[test]
    fn every_system_call_has_a_remedy() {
        for (name, object, expected) in [
            ("read", "fd 7 /data/log", FILE),
            ("read", "fd 7 tcp 127.0.0.1:80", SOCKET),
            ("read", "", CALL),
            ("fsync", "", FILE),
            ("recvfrom", "fd 3", SOCKET),
            ("wait4", "", CALL),
        ] {
            assert_eq!(for_system_call(name, object), expected, "{name} {object}");
        }
    }
}
