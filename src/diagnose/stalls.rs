//! What several rules ask of stalls: who, where, why.

use std::time::Duration;

use crate::model::{Call, CallKind, Capability, Cause, Culprit, Model, Stall, StallScope};

use super::{Finding, Severity, Subject, finding::cause_word, remedy};

/// A poll over this is worth a notice; up to 61 short ones are not one long one.
pub(super) const NOTICE: Duration = Duration::from_millis(10);
/// Others wait noticeably.
pub(super) const WARNING: Duration = Duration::from_millis(100);
/// The loop stands still.
pub(super) const CRITICAL: Duration = Duration::from_secs(1);

/// The code is to blame for it, and not the host, a debugger, or a stream of
/// short polls that the agent could not tell from a long one.
pub(super) fn is_own(stall: &Stall, model: &Model) -> bool {
    let age = stall.age(model.now);
    let threshold = match (stall.scope, stall.cause) {
        (_, Cause::StarvedByHost | Cause::Stopped) => return false,
        (StallScope::UpTo61Polls, Cause::Computing | Cause::Unknown) => WARNING,
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
        _ => NOTICE,
    };
    stall.own_age(model.now) >= threshold
}

/// The call in which it waits, as far as the stack names one.
pub(super) fn call(stall: &Stall) -> Option<&Call> {
    stall.culprit()?.call.as_ref()
}

fn call_kind(stall: &Stall) -> Option<CallKind> {
    call(stall).map(|call| call.kind)
}

/// Whether the poll is parked inside a second executor.
pub(super) fn is_nested_runtime(stall: &Stall) -> bool {
    call_kind(stall) == Some(CallKind::NestedExecutor)
}

/// Whether it waits for a lock, rather than for a channel, a condition or an
/// executor, which look the same to the operating system.
pub(super) fn waits_for_lock(stall: &Stall) -> bool {
    stall.cause == Cause::Lock && matches!(call_kind(stall), None | Some(CallKind::Lock))
}

/// Whom the stall is about: the blocking line where the stack names it,
/// otherwise where its task was spawned.
pub(super) fn subject(stall: &Stall, model: &Model) -> Subject {
    match (stall.culprit(), stall.location, stall.task, stall.tid) {
        (Some(culprit), ..) => Subject::Line(culprit.location()),
        (_, Some(location), ..) if model.location(Some(location)).is_some() => {
            Subject::Site(location)
        }
        (_, _, Some(task), _) => Subject::Task(task),
        (_, _, _, Some(tid)) => Subject::Thread(tid),
        _ => Subject::Process,
    }
}

/// `file:line` of the culprit, or of the spawn location; empty where unknown.
pub(super) fn location(stall: &Stall, model: &Model) -> String {
    stall
        .culprit()
        .map(Culprit::location)
        .or_else(|| model.location(stall.location).map(|l| l.to_string()))
        .unwrap_or_default()
}

/// The name by which a person knows the task: its own, or where it was spawned.
pub(super) fn task_name(stall: &Stall, model: &Model) -> String {
    let name = model.text(stall.name);
    if !name.is_empty() {
        return name.to_owned();
    }
    stall
        .task
        .and_then(|id| model.tasks.get(id))
        .map(|task| model.text(task.name))
        .unwrap_or_default()
        .to_owned()
}

/// The cause to the call: "sleeping in `clock_nanosleep`".
pub(super) fn cause_text(stall: &Stall, model: &Model) -> String {
    let syscall = model.text(stall.syscall);
    let object = model.text(stall.object);
    let with_object = |text: String| {
        if object.is_empty() {
            text
        } else {
            format!("{text} ({object})")
        }
    };
    match stall.cause {
        Cause::Computing => "computing".to_owned(),
        Cause::Sleeping if syscall.is_empty() => "sleeping".to_owned(),
        Cause::Sleeping => format!("sleeping in {syscall}"),
        Cause::Lock if waits_for_lock(stall) => lock_text(stall, model),
        Cause::Lock => match call(stall) {
            None => "waiting in futex".to_owned(),
            Some(call) => format!("waiting in {}", call.name),
        },
        Cause::SystemCall if syscall.is_empty() => "in a system call".to_owned(),
        Cause::SystemCall => with_object(verb(syscall)),
        Cause::StarvedByHost => "waiting for a CPU: the host is busy".to_owned(),
        Cause::Stopped => "stopped from outside".to_owned(),
        Cause::Unknown => cause_word(Cause::Unknown).to_owned() + " cause",
    }
}

/// The cause in as few words as a sentence needs beside the culprit, with a
/// blank before them; empty where it is unknown.
pub(super) fn short_cause(stall: &Stall, model: &Model) -> String {
    match stall.cause {
        Cause::Unknown => String::new(),
        Cause::Sleeping if stall.culprit().is_some() => " sleeping".to_owned(),
        Cause::SystemCall if stall.culprit().is_some() => {
            let syscall = model.text(stall.syscall);
            if syscall.is_empty() {
                String::new()
            } else {
                format!(" in {syscall}")
            }
        }
        _ => format!(" {}", cause_text(stall, model)),
    }
}

fn verb(syscall: &str) -> String {
    match syscall {
        "read" | "pread64" | "readv" | "preadv" => format!("blocked in {syscall}: reading"),
        "write" | "pwrite64" | "writev" | "pwritev" => format!("blocked in {syscall}: writing"),
        _ => format!("blocked in {syscall}"),
    }
}

fn lock_text(stall: &Stall, model: &Model) -> String {
    let Some(holder) = stall.lock_holder else {
        return "waiting for a lock".to_owned();
    };
    let function = model
        .stalls
        .on_thread(holder)
        .and_then(|s| s.culprit())
        .map(|c| format!(" in {}", c.function))
        .unwrap_or_default();
    let worker = model.workers.values().find(|w| w.tid == Some(holder));
    match worker {
        Some(worker) => format!(
            "waiting for a lock held by worker {}{function}",
            worker.id.index
        ),
        None => format!("waiting for a lock held by thread {holder}{function}"),
    }
}

/// "worker 2", or the thread that is none.
pub(super) fn place(stall: &Stall, model: &Model) -> String {
    match (stall.worker, stall.tid) {
        (Some(worker), _) => model.worker_words(worker),
        (None, Some(tid)) => format!("thread {tid}"),
        (None, None) => "a worker".to_owned(),
    }
}

/// A duration for a sentence: "843 ms", "2.1 s".
pub(super) fn human(duration: Duration) -> String {
    let ms = duration.as_secs_f64() * 1e3;
    if ms < 10.0 {
        format!("{ms:.1} ms")
    } else if ms < 9_999.5 {
        format!("{ms:.0} ms")
    } else {
        format!("{:.1} s", ms / 1e3)
    }
}

/// A finding over a group of stalls, all but its title. `shown` is the one that
/// shows it best.
pub(super) fn finding(
    rule: &'static str,
    severity: Severity,
    model: &Model,
    group: &[&Stall],
    shown: &Stall,
) -> Finding {
    let now = model.now;
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
        max: group.iter().map(|s| s.age(now)).max().unwrap_or_default(),
        total: group.iter().map(|s| s.age(now)).sum(),
        remedy: remedy::for_stalls(model, shown, group).text.to_owned(),
        first_seen: started.unwrap_or(now),
        last_seen: ended.unwrap_or(now).min(now),
        live: group.iter().any(|s| s.live),
        ..Finding::new(rule, severity, subject(shown, model), now)
    }
}

/// One with a culprit tells more than one without; of those the live ones, the
/// oldest; otherwise the longest.
pub(super) fn most_telling<'a>(group: &[&'a Stall], model: &Model) -> Option<&'a Stall> {
    let weight = |s: &&Stall| (s.culprit().is_some(), s.live, s.own_age(model.now));
    group.iter().copied().max_by_key(weight)
}
