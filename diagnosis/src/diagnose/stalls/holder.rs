//! Who holds the lock that a stall waits for.

use super::text::{code, system_call_text, thread_name};
use crate::{
    diagnose::{
        mistakes::Mistake,
        waits::{location_text, task_text, waiting_text},
    },
    model::{Cause, Hold, HoldRole, Holder, Model, Stall, TaskId, TaskWait, ThreadWait},
};

/// The thread that holds the lock of a waiter, or the task.
pub(in crate::diagnose) struct LockHolder {
    /// "held by worker 1 in `save` (app.rs:7), in `std::thread::sleep`".
    pub text: String,
    /// The holder's code is known.
    names_code: bool,
}

/// Who holds the lock that `stall` waits for, where that was found.
pub(in crate::diagnose) fn held(stall: &Stall, model: &Model) -> Option<LockHolder> {
    let holder = stall.holder.as_deref();
    if let Some((holder, task)) = holder.and_then(|h| Some((h, h.suspended()?))) {
        // What it waits for is known as long as it does.
        let read = stall.live.then(|| read(stall, model)).flatten();
        return read.or_else(|| Some(by_suspended(holder, task, model)));
    }
    let by_stack = by_stack(stall, model);
    match by_stack {
        Some(held) if held.names_code => Some(held),
        held => read(stall, model).or(held),
    }
}

/// A task that held it while it was suspended.
fn by_suspended(holder: &Holder, id: TaskId, model: &Model) -> LockHolder {
    let who = match (model.tasks.get(id), model.future_name(holder.task_name)) {
        (None, Some(name)) => format!("task {id} {name}"),
        _ => task_text(model, id),
    };
    LockHolder {
        text: format!("{}held over an await by {who}", sure(holder.certain)),
        names_code: true,
    }
}

/// By the lock itself, or the stacks of the threads.
fn by_stack(stall: &Stall, model: &Model) -> Option<LockHolder> {
    let tid = stall.lock_holder?;
    let Some(holder) = &stall.holder else {
        let other = model.stalls.on_thread(tid);
        let culprit = other.and_then(Stall::culprit);
        let place = culprit.map_or(String::new(), |c| format!(" in {}", code(c)));
        return Some(LockHolder {
            text: format!("held by {}{place}", thread_name(tid, model)),
            names_code: culprit.is_some(),
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
        names_code: culprit.is_some(),
    })
}

/// By what was read of who waits and who holds: a thread, or a task that keeps the guard
/// over an await.
fn read(stall: &Stall, model: &Model) -> Option<LockHolder> {
    let waiter = model.waits.thread(stall.tid?)?;
    let resource = waiter.want?.resource?;
    let of_it = |hold: &&Hold| hold.resource == resource && hold.role == HoldRole::Permits;
    let threads = model.waits.threads().filter(|t| t.tid != waiter.tid);
    let threads = threads.filter_map(|t| Some((t.holds.iter().find(of_it)?.certain, t)));
    if let Some((certain, thread)) = threads.max_by_key(|(certain, _)| *certain) {
        return Some(by_thread(model, thread, certain));
    }
    let mut tasks = model.waits.tasks();
    let task = tasks.find_map(|t| Some((t.holds.iter().find(of_it)?.certain, t)));
    let (certain, task) = task?;
    Some(by_task(model, task, certain))
}

fn by_thread(model: &Model, thread: &ThreadWait, certain: bool) -> LockHolder {
    let function = model.text(thread.function);
    let line = location_text(model, thread.location, "");
    let place = match (function, line.as_str()) {
        ("", "") => String::new(),
        ("", line) => format!(" at {line}"),
        (function, "") => format!(" in {function}"),
        (function, line) => format!(" in {function} ({line})"),
    };
    LockHolder {
        text: format!(
            "{}held by {}{place}",
            sure(certain),
            thread_name(thread.tid, model)
        ),
        names_code: !place.is_empty(),
    }
}

fn by_task(model: &Model, task: &TaskWait, certain: bool) -> LockHolder {
    let party = crate::diagnose::waits::Party::Task(task.task);
    let waits = waiting_text(model, party);
    let waits = waits.map_or(String::new(), |waits| format!(", which {waits}"));
    LockHolder {
        text: format!(
            "{}held over an await by {}{waits}",
            sure(certain),
            task_text(model, task.task)
        ),
        names_code: true,
    }
}

fn sure(certain: bool) -> &'static str {
    if certain { "" } else { "probably " }
}

/// Of a mistake in which all wait: who holds their lock. One whose code is known
/// says more.
pub(in crate::diagnose) fn holder(mistake: &Mistake<'_>, model: &Model) -> Option<LockHolder> {
    let others_hold = |s: &&&Stall| s.lock_holder.is_none() || s.lock_holder != mistake.shown.tid;
    let waiters = mistake.stalls.iter().filter(|s| s.cause == Cause::Lock);
    let waiters = waiters.filter(others_hold);
    let found = waiters.filter_map(|s| held(s, model));
    found.max_by_key(|held| held.names_code)
}
