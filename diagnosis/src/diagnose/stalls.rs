//! What several rules ask of stalls: who, where, why.

mod holder;
mod severity;
mod text;

pub(super) use holder::holder;
pub(super) use severity::severity;
pub(super) use text::{
    cause_text, how_long, location, place, short_cause, task_name, thread_name, whereabouts,
};

use std::time::Duration;

use looptop_symbols::{Call, CallKind};

use crate::model::{Capability, Cause, Model, Stall, StallScope};

use super::{Finding, Severity, mistakes::Mistake, remedy};
use holder::held;

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
