//! Who holds the lock that a stall waits for.

use super::text::{code, system_call_text, thread_name};
use crate::{
    diagnose::mistakes::Mistake,
    model::{Cause, Culprit, Model, Stall},
};

/// The thread that holds the lock of a waiter.
pub(in crate::diagnose) struct LockHolder<'a> {
    /// "held by worker 1 in `save` (app.rs:7), in `std::thread::sleep`".
    pub text: String,
    /// The holder's code, where its stack is known.
    culprit: Option<&'a Culprit>,
}

/// Who holds the lock that `stall` waits for, where that was found.
pub(in crate::diagnose) fn held<'a>(stall: &'a Stall, model: &'a Model) -> Option<LockHolder<'a>> {
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
pub(in crate::diagnose) fn holder<'a>(
    mistake: &Mistake<'a>,
    model: &'a Model,
) -> Option<LockHolder<'a>> {
    let others_hold = |s: &&&Stall| s.lock_holder != mistake.shown.tid;
    let waiters = mistake.stalls.iter().filter(|s| s.cause == Cause::Lock);
    let waiters = waiters.filter(others_hold);
    let found = waiters.filter_map(|s| held(s, model));
    found.max_by_key(|held| held.culprit.is_some())
}
