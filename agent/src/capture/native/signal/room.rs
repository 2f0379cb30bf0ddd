//! Whether a thread has room for the handler.

use std::sync::atomic::Ordering;

use super::{SIGNAL, disposition};
use crate::capture::NoStack;
use crate::capture::native::thread::Registered;

/// A stack below this size, without an alternate one, is not signalled.
const SMALLEST_STACK: usize = 32 * 1024;
/// What the handler itself may need beside the kernel's frame.
const HANDLER_STACK: usize = 2048;

/// What a crash raises: whoever handles that does not come back, or not often.
const CRASHES: [libc::c_int; 7] = [
    libc::SIGSEGV,
    libc::SIGBUS,
    libc::SIGFPE,
    libc::SIGILL,
    libc::SIGABRT,
    libc::SIGTRAP,
    libc::SIGSYS,
];

/// Whether the application handles a signal on its threads' alternate signal stacks; about
/// 10 µs.
fn others_use_signal_stacks() -> bool {
    let ours = SIGNAL.load(Ordering::Acquire);
    let others = (1..=libc::SIGRTMAX()).filter(|signal| *signal != ours);
    let mut others = others.filter(|signal| !CRASHES.contains(signal));
    others.any(|signal| {
        disposition(signal).is_some_and(|now| {
            let is_handled = ![libc::SIG_DFL, libc::SIG_IGN].contains(&now.sa_sigaction);
            is_handled && now.sa_flags & libc::SA_ONSTACK != 0
        })
    })
}

/// Is there room for the kernel's frame and the handler's?
pub(super) fn check_room(thread: &Registered) -> Result<(), NoStack> {
    // The kernel's own figure covers state that a thread must ask for (AMX); the
    // frame of one that did not is below 4 KiB.
    // SAFETY: takes and returns numbers.
    let frame = unsafe { libc::getauxval(libc::AT_MINSIGSTKSZ) as usize }.clamp(2048, 4096);
    let (size, needed) = match thread.signal_stack {
        // Ours may come while another is on that stack. Where two do not fit the kernel
        // would end the process.
        Some(size) if others_use_signal_stacks() => (size, 2 * (frame + HANDLER_STACK)),
        Some(size) => (size, frame + HANDLER_STACK),
        None => (
            (thread.stack.1 - thread.stack.0) as usize,
            SMALLEST_STACK.max(frame + HANDLER_STACK),
        ),
    };
    if size < needed {
        return Err(NoStack::NoRoom(size));
    }
    Ok(())
}
