//! What is said of a stall in sentences: who, where, what it did.

use std::borrow::Cow;

use looptop_symbols::{Call, CallKind};

use super::{call, held, is_known_lock, longest};
use crate::{
    diagnose::{finding::cause_word, mistakes::Mistake, words::human},
    model::{Cause, Culprit, Model, Stall, ThreadRole, Tid},
};

/// `file:line` of the culprit, or of the spawn location; empty where unknown.
pub(in crate::diagnose) fn location(stall: &Stall, model: &Model) -> String {
    stall
        .culprit()
        .and_then(Culprit::location)
        .or_else(|| model.location(stall.location).map(|l| l.to_string()))
        .unwrap_or_default()
}

/// "`report::render` (demo/src/cpu.rs:42)", or as much of it as is known.
pub(in crate::diagnose) fn code(culprit: &Culprit) -> String {
    culprit.place()
}

/// The name by which a person knows the task: its own, or where it was spawned.
pub(in crate::diagnose) fn task_name(stall: &Stall, model: &Model) -> String {
    let name = model.text(stall.name);
    if !name.is_empty() {
        return name.to_owned();
    }
    let task = stall.task.and_then(|id| model.tasks.get(id));
    let name = task.and_then(|task| model.task_name(task));
    let name = name.or(stall.future());
    name.unwrap_or_default().to_owned()
}

/// Who it was, for a sentence, with a blank before: the culprit's function and
/// line, or the task and where it was spawned; empty where nothing is known.
pub(in crate::diagnose) fn whereabouts(stall: &Stall, model: &Model) -> String {
    if let Some(culprit) = stall.culprit() {
        let spawned = model.location(stall.location);
        if let Some(spawned) = spawned.filter(|_| culprit.foreign) {
            let krate = culprit.function.split("::").next().unwrap_or_default();
            let within = match call(stall) {
                // The call says as much: "computing in serde_json".
                Some(call) if call.name.starts_with(krate) => String::new(),
                Some(_) => format!(" in {},", culprit.place()),
                None => format!(" in {},", culprit.sentence()),
            };
            return format!("{within} in a task spawned at {spawned}");
        }
        // Where the call is named, so is what of a dependency it is.
        return match call(stall) {
            Some(_) => format!(" in {}", culprit.place()),
            None => format!(" in {}", culprit.sentence()),
        };
    }
    let name = task_name(stall, model);
    let location = location(stall, model);
    match (name.is_empty(), location.is_empty()) {
        (false, false) => format!(" in task {name} (spawned at {location})"),
        (false, true) => format!(" in task {name}"),
        (true, false) => format!(" in a task spawned at {location}"),
        (true, true) => String::new(),
    }
}

/// The cause to the call: "sleeping in `clock_nanosleep`".
pub(in crate::diagnose) fn cause_text(stall: &Stall, model: &Model) -> String {
    let syscall = model.text(stall.syscall);
    let object = model.text(stall.object);
    match stall.cause {
        Cause::Computing => "computing".to_owned(),
        Cause::Sleeping if syscall.is_empty() => "sleeping".to_owned(),
        Cause::Sleeping => format!("sleeping in {syscall}"),
        Cause::Lock if is_known_lock(stall) => lock_text(stall, model),
        Cause::Lock => match call(stall) {
            None => "waiting for a lock or a condition".to_owned(),
            Some(call) => format!("waiting in {}", call.name),
        },
        Cause::SystemCall if syscall.is_empty() => "in a system call".to_owned(),
        Cause::SystemCall => system_call_text(syscall, object),
        Cause::Page if object.is_empty() => "waiting for a page of memory".to_owned(),
        Cause::Page => format!("waiting for a page of {object}"),
        Cause::StarvedByHost => "waiting for a CPU: the host is busy".to_owned(),
        Cause::Stopped => "stopped from outside".to_owned(),
        Cause::Unknown => cause_word(Cause::Unknown).to_owned() + " cause",
    }
}

/// The cause in as few words as a sentence needs beside the culprit, with a
/// blank before them; empty where it is unknown. Where a call is recognised it is
/// named, with a comma behind it, as the culprit follows.
pub(in crate::diagnose) fn short_cause(stall: &Stall, model: &Model) -> String {
    if stall.culprit().is_none() {
        let stream = standard_stream(model.text(stall.object));
        return match (stall.cause, call(stall)) {
            (Cause::Unknown, _) => String::new(),
            (Cause::Sleeping, Some(call)) => format!(" sleeping in {}", call.name),
            (Cause::SystemCall, Some(call)) if stream.is_none() => {
                // Which operation on a file it is, the name of the call leaves open.
                let operation = match call.kind {
                    CallKind::File => bracketed(model.text(stall.syscall)),
                    _ => String::new(),
                };
                format!(
                    " in {}{operation}",
                    call_name(call, model.text(stall.object))
                )
            }
            _ => format!(" {}", cause_text(stall, model)),
        };
    }
    let name = call(stall).map(|call| call_name(call, model.text(stall.object)));
    let name = name.as_deref();
    let syscall = model.text(stall.syscall);
    let stream = standard_stream(model.text(stall.object));
    match (stall.cause, name) {
        (Cause::SystemCall, _) if stream.is_some() => format!(" {},", cause_text(stall, model)),
        (Cause::SystemCall, Some(name)) if syscall.is_empty() => format!(" in {name},"),
        (Cause::SystemCall, Some(name)) => format!(" in {name} ({syscall}),"),
        (Cause::SystemCall, None) if syscall.is_empty() => String::new(),
        (Cause::SystemCall, None) => format!(" in {syscall},"),
        (Cause::Sleeping, Some(name)) => format!(" sleeping in {name},"),
        (Cause::Sleeping, None) => " sleeping".to_owned(),
        (Cause::Lock, name) if is_known_lock(stall) => {
            format!(" waiting for a lock{}", bracketed(name.unwrap_or_default()))
        }
        (Cause::Computing, Some(name)) => format!(" computing in {name},"),
        (Cause::Unknown, Some(name)) => format!(" in {name},"),
        (Cause::Unknown, None) => String::new(),
        (Cause::Lock, Some(_)) => format!(" {},", cause_text(stall, model)),
        _ => format!(" {}", cause_text(stall, model)),
    }
}

/// "blocked in read: reading (fd 7 /data/log)", "writing to standard output, a
/// pipe whose reader is slow".
pub(super) fn system_call_text(syscall: &str, object: &str) -> String {
    const READ: [&str; 4] = ["read", "pread64", "readv", "preadv"];
    const WRITE: [&str; 4] = ["write", "pwrite64", "writev", "pwritev"];
    let stream = standard_stream(object);
    match (stream, READ.contains(&syscall), WRITE.contains(&syscall)) {
        (Some(stream), _, true) => format!("writing to {stream}"),
        (Some(stream), true, _) => format!("reading {stream}"),
        (_, _, true) => format!("blocked in {syscall}: writing{}", bracketed(object)),
        (_, true, _) => format!("blocked in {syscall}: reading{}", bracketed(object)),
        _ => format!("blocked in {syscall}{}", bracketed(object)),
    }
}

/// A call by its name; one on a socket by the kind of that, where it is known:
/// "recv on a TCP socket".
fn call_name<'a>(call: &'a Call, object: &str) -> Cow<'a, str> {
    const ANY: &str = "on a socket";
    let target = object.strip_prefix("fd ").and_then(|fd| fd.split_once(' '));
    let kind = target.and_then(|(_, target)| match target.split(' ').next()? {
        "tcp" => Some("on a TCP socket"),
        "udp" => Some("on a UDP socket"),
        "unix" => Some("on a Unix socket"),
        _ => None,
    });
    match (call.name.strip_suffix(ANY), kind) {
        (Some(verb), Some(kind)) => format!("{verb}{kind}").into(),
        _ => call.name.as_str().into(),
    }
}

fn bracketed(object: &str) -> String {
    if object.is_empty() {
        String::new()
    } else {
        format!(" ({object})")
    }
}

/// "standard output, a pipe whose reader is slow" for "fd 1 pipe:[4711]".
fn standard_stream(object: &str) -> Option<String> {
    let (descriptor, target) = object.strip_prefix("fd ")?.split_once(' ')?;
    let (name, peer) = match descriptor {
        "0" => ("standard input", "writer"),
        "1" => ("standard output", "reader"),
        "2" => ("standard error", "reader"),
        _ => return None,
    };
    Some(if target.starts_with("pipe:") {
        format!("{name}, a pipe whose {peer} is slow")
    } else if target.starts_with("/dev/pts/") || target.starts_with("/dev/tty") {
        format!("{name}, a terminal")
    } else {
        format!("{name} ({target})")
    })
}

fn lock_text(stall: &Stall, model: &Model) -> String {
    match held(stall, model) {
        None => "waiting for a lock".to_owned(),
        Some(held) => format!("waiting for a lock {}", held.text),
    }
}

/// "worker 2", or the thread that is none.
pub(in crate::diagnose) fn place(stall: &Stall, model: &Model) -> String {
    match (stall.worker, stall.tid) {
        (Some(worker), _) => model.worker_words(worker),
        (None, Some(tid)) => thread_name(tid, model),
        (None, None) => "a worker".to_owned(),
    }
}

/// A thread by its worker, which is the same wherever it is named.
pub(in crate::diagnose) fn thread_name(tid: Tid, model: &Model) -> String {
    let worker = model.workers.values().find(|w| w.tid == Some(tid));
    if let Some(worker) = worker {
        return model.worker_words(worker.id);
    }
    match model.threads.get(&tid).map(|thread| thread.role) {
        Some(ThreadRole::Blocking) => format!("blocking thread {tid}"),
        Some(ThreadRole::BlockOn) => format!("thread {tid}, in block_on,"),
        _ => format!("thread {tid}"),
    }
}

/// "843 ms"; "114 ms, up to 499 ms" where the one that is shown is not the
/// longest of them; "300 ms (210 ms of it without a CPU)" where the host had a
/// hand in it.
pub(in crate::diagnose) fn how_long(mistake: &Mistake<'_>, model: &Model) -> String {
    let age = mistake.shown.age(model.now);
    let longest = longest(mistake, model);
    let without_cpu = mistake.shown.run_queue.unwrap_or_default();
    let host = if without_cpu * 4 >= age && !age.is_zero() {
        format!(" ({} of it without a CPU)", human(without_cpu))
    } else {
        String::new()
    };
    if longest > age + age / 20 {
        format!("{}{host}, up to {},", human(age), human(longest))
    } else {
        human(age) + &host
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_call_on_a_socket_is_named_by_the_socket() {
        for (name, object, expected) in [
            (
                "recv on a socket",
                "fd 9 tcp 10.0.0.1:80",
                "recv on a TCP socket",
            ),
            (
                "recv on a socket",
                "fd 9 udp socket, not connected",
                "recv on a UDP socket",
            ),
            (
                "send on a socket",
                "fd 9 unix socket",
                "send on a Unix socket",
            ),
            ("recv on a socket", "fd 9 socket", "recv on a socket"),
            ("recv on a socket", "", "recv on a socket"),
            // A file of such a name says nothing.
            ("recv on a socket", "fd 9 /srv/tcp", "recv on a socket"),
            ("std::fs", "fd 9 tcp 10.0.0.1:80", "std::fs"),
        ] {
            let call = Call {
                kind: CallKind::Network,
                name: name.to_owned(),
            };
            assert_eq!(call_name(&call, object), expected, "{name} {object}");
        }
    }

    #[test]
    fn a_system_call_and_what_it_works_on() {
        for (syscall, object, expected) in [
            ("fsync", "", "blocked in fsync"),
            (
                "recvfrom",
                "fd 9 tcp 10.0.0.1:80",
                "blocked in recvfrom (fd 9 tcp 10.0.0.1:80)",
            ),
            (
                "read",
                "fd 7 /data/log",
                "blocked in read: reading (fd 7 /data/log)",
            ),
            ("write", "", "blocked in write: writing"),
            (
                "write",
                "fd 1 pipe:[47]",
                "writing to standard output, a pipe whose reader is slow",
            ),
            (
                "writev",
                "fd 2 /dev/pts/3",
                "writing to standard error, a terminal",
            ),
            (
                "read",
                "fd 0 pipe:[8]",
                "reading standard input, a pipe whose writer is slow",
            ),
            (
                "write",
                "fd 1 /var/log/app",
                "writing to standard output (/var/log/app)",
            ),
            (
                "write",
                "fd 10 pipe:[47]",
                "blocked in write: writing (fd 10 pipe:[47])",
            ),
        ] {
            assert_eq!(system_call_text(syscall, object), expected);
        }
    }
}
