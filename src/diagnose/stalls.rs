//! What several rules ask of stalls: who, where, why.

use std::{borrow::Cow, time::Duration};

use looptop_symbols::{Call, CallKind};

use crate::model::{Capability, Cause, Culprit, Model, Stall, StallScope, ThreadRole, Tid};

use super::{
    Finding, Severity,
    finding::cause_word,
    mistakes::{self, Mistake},
    remedy,
    words::human,
};

/// A poll over this is worth a notice; up to 61 short ones are not one long one.
pub(super) const NOTICE: Duration = Duration::from_millis(10);
/// What may be up to 61 polls is worth one when it has computed for this long: 61
/// that take well below a millisecond each take less.
const MANY_POLLS: Duration = Duration::from_millis(50);
/// Others wait noticeably.
pub(super) const WARNING: Duration = Duration::from_millis(100);
/// The loop stands still.
pub(super) const CRITICAL: Duration = Duration::from_secs(1);

/// The code is to blame for it, and not the host, a debugger, or a stream of
/// short polls that the agent could not distinguish from a long one.
pub(super) fn is_own(stall: &Stall, model: &Model) -> bool {
    if stall.is_in_place() || agents_function(stall).is_some() {
        return false;
    }
    let age = stall.age(model.now);
    let threshold = match (stall.scope, stall.cause) {
        (_, Cause::StarvedByHost | Cause::Stopped) => return false,
        (StallScope::UpTo61Polls, Cause::Computing) => MANY_POLLS,
        (StallScope::UpTo61Polls, Cause::Unknown) => WARNING,
        // The agent looks every few milliseconds. Where it saw nothing in all that
        // time, it had no CPU itself: the host held up both.
        (_, Cause::Unknown) if model.session.has(Capability::Cause) && stall.observed.is_none() => {
            return false;
        }
        // It looked for evidence, and it did not decide: neither on a CPU nor in a
        // call for most of the time. A busy host looks like that.
        (_, Cause::Unknown) if model.session.has(Capability::Cause) => {
            if stall.run_queue.unwrap_or_default() * 4 > age {
                return false;
            }
            WARNING
        }
        // It cannot wait for anything but the kernel and its host.
        (_, Cause::SystemCall) if never_waits(stall, model) => CRITICAL,
        _ => NOTICE,
    };
    stall.own_age(model.now) >= threshold
}

/// What of the agent runs within a poll: it writes down what it sees.
const AGENTS_PARTS: [&str; 8] = [
    "looptop_agent::task::",
    "looptop_agent::layer::",
    "looptop_agent::slot::",
    "looptop_agent::sync::",
    "looptop_agent::clock::",
    "looptop_agent::capture::",
    "looptop_agent::probe::",
    "looptop_agent::subscriber::",
];
/// Of these, what runs code of the application's; the second in older agents.
const CALLS_BACK: [&str; 2] = [
    "looptop_agent::task::seen",
    "looptop_agent::task::with_sight",
];

/// The agent's function in which the poll stands, where it does: its own lock, say.
/// That is the fault of telemetry, and nobody else's.
pub(super) fn agents_function(stall: &Stall) -> Option<&str> {
    let frames = &stall.resolved.as_ref()?.frames;
    let is_agents = |function: &str| {
        AGENTS_PARTS.iter().any(|part| function.starts_with(part))
            && !CALLS_BACK.iter().any(|part| function.starts_with(part))
    };
    // What stands further in than the application's code was called by that.
    let inner = frames.iter().take_while(|frame| !frame.culprit);
    inner
        .map(|frame| frame.function.as_str())
        .find(|function| is_agents(function))
}

/// System calls that wait for nobody: what they take beyond microseconds is the
/// kernel's and the host's. (A call of the standard library that starts a
/// process waits in `clone` until the child runs.)
fn never_waits(stall: &Stall, model: &Model) -> bool {
    const CALLS: [&str; 11] = [
        "clone",
        "clone3",
        "sched_yield",
        "brk",
        "mprotect",
        "madvise",
        "epoll_ctl",
        "set_robust_list",
        "rt_sigprocmask",
        "sigaltstack",
        "getrandom",
    ];
    CALLS.contains(&model.text(stall.syscall)) && call_kind(stall) != Some(CallKind::Process)
}

/// The call in which it waits, as far as the stack names one.
pub(super) fn call(stall: &Stall) -> Option<&Call> {
    stall.call()
}

fn call_kind(stall: &Stall) -> Option<CallKind> {
    call(stall).map(|call| call.kind)
}

/// Whether the poll is parked inside a second executor.
pub(super) fn is_nested_runtime(stall: &Stall) -> bool {
    call_kind(stall) == Some(CallKind::NestedExecutor) && !stall.is_in_place()
}

/// Whether it waits for something that is known to be a lock, rather than for a
/// channel, a condition, a thread or an executor, which look the same to the
/// operating system.
pub(super) fn is_known_lock(stall: &Stall) -> bool {
    let locks = || {
        let frames = stall.resolved.iter().flat_map(|stack| &stack.frames);
        let inner = frames.take_while(|frame| frame.plumbing);
        inner
            .into_iter()
            .any(|frame| is_lock_function(&frame.function))
    };
    stall.cause == Cause::Lock
        && !stall.is_in_place()
        && match call_kind(stall) {
            Some(kind) => kind == CallKind::Lock,
            None => stall.lock_holder.is_some() || locks(),
        }
}

/// Where locks of any library wait.
fn is_lock_function(name: &str) -> bool {
    const PARTS: [&str; 8] = [
        "lock_contended",
        "lock_slow",
        "lock_shared_slow",
        "lock_exclusive_slow",
        "pthread_mutex_lock",
        "pthread_rwlock_",
        "lll_lock_wait",
        "ReentrantLock",
    ];
    PARTS.iter().any(|part| name.contains(part))
}

/// `file:line` of the culprit, or of the spawn location; empty where unknown.
pub(super) fn location(stall: &Stall, model: &Model) -> String {
    stall
        .culprit()
        .and_then(Culprit::location)
        .or_else(|| model.location(stall.location).map(|l| l.to_string()))
        .unwrap_or_default()
}

/// "`report::render` (demo/src/cpu.rs:42)", or as much of it as is known.
pub(super) fn code(culprit: &Culprit) -> String {
    culprit.place()
}

/// The name by which a person knows the task: its own, or where it was spawned.
pub(super) fn task_name(stall: &Stall, model: &Model) -> String {
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
pub(super) fn whereabouts(stall: &Stall, model: &Model) -> String {
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
pub(super) fn cause_text(stall: &Stall, model: &Model) -> String {
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
pub(super) fn short_cause(stall: &Stall, model: &Model) -> String {
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
fn system_call_text(syscall: &str, object: &str) -> String {
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

/// The thread that holds the lock of a waiter.
pub(super) struct LockHolder<'a> {
    /// "held by worker 1 in `save` (app.rs:7), in `std::thread::sleep`".
    pub text: String,
    /// The holder's code, where its stack is known.
    culprit: Option<&'a Culprit>,
}

/// Who holds the lock that `stall` waits for, where that was found.
pub(super) fn held<'a>(stall: &'a Stall, model: &'a Model) -> Option<LockHolder<'a>> {
    let tid = stall.lock_holder?;
    let Some(holder) = &stall.holder else {
        let other = model.stalls.on_thread(tid);
        let culprit = other.and_then(Stall::culprit);
        let place = culprit.map_or(String::new(), |c| format!(" in {}", code(c)));
        return Some(LockHolder {
            text: format!("held by {}{place}", thread_name(tid, model)),
            culprit,
        });
    };
    let culprit = holder.culprit();
    let sure = if holder.certain { "" } else { "probably " };
    let place = culprit.map_or(String::new(), |c| format!(" in {}", code(c)));
    let call = culprit.and_then(|c| c.call.as_ref());
    let doing = match (model.text(holder.doing), call) {
        ("clock_nanosleep" | "nanosleep", _) => ", sleeping".to_owned(),
        ("", Some(call)) => format!(", in {}", call.name),
        ("", None) => String::new(),
        (syscall, _) => format!(", {}", system_call_text(syscall, model.text(holder.object))),
    };
    Some(LockHolder {
        text: format!("{sure}held by {}{place}{doing}", thread_name(tid, model)),
        culprit,
    })
}

/// Of a mistake in which all wait: who holds their lock. One whose code is known
/// says more.
pub(super) fn holder<'a>(mistake: &Mistake<'a>, model: &'a Model) -> Option<LockHolder<'a>> {
    let others_hold = |s: &&&Stall| s.lock_holder != mistake.shown.tid;
    let waiters = mistake.stalls.iter().filter(|s| s.cause == Cause::Lock);
    let waiters = waiters.filter(others_hold);
    let found = waiters.filter_map(|s| held(s, model));
    found.max_by_key(|held| held.culprit.is_some())
}

/// Gives a finding the names of its stall's stack where these came after the finding
/// was last seen: reading a large binary takes a moment.
pub(super) fn name_late(finding: &mut Finding, model: &Model) {
    if finding.function.is_some() {
        return;
    }
    let stall = finding.stall.and_then(|id| model.stalls.get(id));
    let Some((stall, culprit)) = stall.and_then(|s| Some((s, s.culprit()?))) else {
        return;
    };
    finding.function = Some(culprit.function.clone());
    finding.stack.clone_from(&stall.resolved);
    if let Some(location) = culprit.location() {
        if !finding.location.is_empty() {
            finding.title = finding.title.replace(&finding.location, &location);
        }
        finding.location = location;
    }
}

/// "worker 2", or the thread that is none.
pub(super) fn place(stall: &Stall, model: &Model) -> String {
    match (stall.worker, stall.tid) {
        (Some(worker), _) => model.worker_words(worker),
        (None, Some(tid)) => thread_name(tid, model),
        (None, None) => "a worker".to_owned(),
    }
}

/// A thread by its worker, which is the same wherever it is named.
pub(super) fn thread_name(tid: Tid, model: &Model) -> String {
    let worker = model.workers.values().find(|w| w.tid == Some(tid));
    if let Some(worker) = worker {
        return model.worker_words(worker.id);
    }
    match model.threads.get(&tid).map(|thread| thread.role) {
        Some(ThreadRole::Blocking) => format!("blocking thread {tid}"),
        _ => format!("thread {tid}"),
    }
}

/// A finding over a mistake, all but its title: every field is of the same
/// stalls, and cause, text, function, line and stack of the one that is shown.
pub(super) fn finding(
    rule: &'static str,
    severity: Severity,
    model: &Model,
    mistake: &Mistake<'_>,
) -> Finding {
    let now = model.now;
    let (shown, group) = (mistake.shown, &mistake.stalls);
    let started = group.iter().map(|s| s.started).min();
    let ended = group.iter().map(|s| s.end(now)).max();
    Finding {
        cause: Some(shown.cause),
        cause_text: cause_text(shown, model),
        task: shown.task,
        task_name: task_name(shown, model),
        location: location(shown, model),
        function: shown.culprit().map(|c| c.function.clone()),
        stack: shown.resolved.clone(),
        stall: Some(shown.id),
        count: group.len() as u64,
        max: longest(mistake, model),
        total: group.iter().map(|s| s.age(now)).sum(),
        remedy: remedy::for_stalls(model, shown, group).text.to_owned(),
        first_seen: started.unwrap_or(now),
        last_seen: ended.unwrap_or(now).min(now),
        live: group.iter().any(|s| s.live),
        ..Finding::new(rule, severity, mistake.subject(model), now)
    }
}

/// The longest stall of a mistake.
pub(super) fn longest(mistake: &Mistake<'_>, model: &Model) -> Duration {
    let ages = mistake.stalls.iter().map(|s| s.age(model.now));
    ages.max().unwrap_or_default()
}

/// "843 ms"; "114 ms, up to 499 ms" where the one that is shown is not the
/// longest of them; "300 ms (210 ms of it without a CPU)" where the host had a
/// hand in it.
pub(super) fn how_long(mistake: &Mistake<'_>, model: &Model) -> String {
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

/// Shares of worker time in which polls blocked, as a service's requests see it.
#[derive(Debug, Clone, Copy)]
struct Toll {
    /// Of one worker's time.
    of_one: f64,
    /// Of all workers' time: the share of requests that meet such a stall.
    of_all: f64,
}

/// Share of one worker's time from which stalls of any length are a warning.
const WARNING_SHARE: f64 = 0.2;
/// Share of requests that a service's 99th percentile does not leave out.
const P99: f64 = 0.01;

/// How bad the stalls of a mistake are, by what the requests of a service feel:
/// - one of a second or more stops the loop;
/// - one of 100 ms, or shorter ones that take a fifth of a worker's time, or that
///   last 50 ms as a rule and meet one request in a hundred, so that they are its
///   99th percentile, are a warning;
/// - others are a notice.
pub(super) fn severity(model: &Model, mistake: &Mistake<'_>, window: Duration) -> Severity {
    let mut ages: Vec<Duration> = mistake
        .stalls
        .iter()
        .map(|s| s.own_age(model.now))
        .collect();
    ages.sort_unstable();
    let longest = ages.last().copied().unwrap_or_default();
    let median = ages.get(ages.len() / 2).copied().unwrap_or_default();
    let toll = toll(model, &ages, window);
    let shapes_p99 = ages.len() >= 3 && median >= mistakes::LONG_WAIT && toll.of_all >= P99;
    if longest >= CRITICAL {
        Severity::Critical
    } else if longest >= WARNING || toll.of_one >= WARNING_SHARE || shapes_p99 {
        Severity::Warning
    } else {
        Severity::Notice
    }
}

fn toll(model: &Model, ages: &[Duration], window: Duration) -> Toll {
    // In less than a second a single stall would be a great share.
    let window = window.max(Duration::from_secs(1));
    let total: Duration = ages.iter().map(|age| (*age).min(window)).sum();
    let of_one = total.as_secs_f64() / window.as_secs_f64();
    Toll {
        of_one,
        of_all: of_one / model.workers.len().max(1) as f64,
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
