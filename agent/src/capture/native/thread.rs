//! The threads that may be captured, with what must not be asked in a handler.

use std::cell::Cell;
use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::ids::Tid;

/// More polling threads than this are not captured.
const MAX_THREADS: usize = 4096;

/// What is known of a registered thread.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Registered {
    /// Lowest and one past the highest address of its stack; both 0 where the C
    /// library does not tell.
    pub(super) stack: (u64, u64),
    /// Size of its alternate signal stack when it registered, if it had one.
    pub(super) signal_stack: Option<usize>,
    /// The capture whose signal it has not taken yet.
    pub(super) pending: Option<u64>,
}

static THREADS: Mutex<Option<HashMap<u64, Registered>>> = Mutex::new(None);

/// No code that runs with the lock held can be the one that a capture
/// interrupts and waits for: the handler takes no lock, and the watchdog holds
/// this one only around a look-up.
fn threads() -> MutexGuard<'static, Option<HashMap<u64, Registered>>> {
    THREADS.lock().unwrap_or_else(PoisonError::into_inner)
}

thread_local! {
    /// Separate from `END`, and without a destructor, so that it can be asked at
    /// any time, even while the thread's other locals are being destroyed.
    static KNOWN: Cell<bool> = const { Cell::new(false) };
    /// Unregisters when the thread ends.
    static END: End = const { End };
}

struct End;

impl Drop for End {
    fn drop(&mut self) {
        let tid = current_tid();
        if let Some(threads) = threads().as_mut() {
            threads.remove(&tid);
        }
    }
}

/// Makes the calling thread known, so that [`super::capture`] may take its stack.
///
/// Free after the first call on a thread (one thread-local read); the first takes
/// some 10 µs. The thread is forgotten when it ends. On a thread whose locals are
/// already being destroyed it does nothing.
pub(crate) fn register_current_thread() {
    if KNOWN.replace(true) {
        return;
    }
    // The guard first: without it the entry would outlive the thread.
    if END.try_with(|_| ()).is_err() {
        return;
    }
    let registered = Registered {
        stack: current_stack().unwrap_or((0, 0)),
        signal_stack: current_signal_stack(),
        pending: None,
    };
    let mut threads = threads();
    let threads = threads.get_or_insert_default();
    if threads.len() < MAX_THREADS {
        threads.insert(current_tid(), registered);
    }
}

/// What is known of thread `tid`.
pub(super) fn find(tid: u64) -> Option<Registered> {
    threads().as_ref()?.get(&tid).copied()
}

/// The same for any thread of this process. Of one that never registered, the
/// bounds of its stack are unknown; the kernel copies it then. It is taken for a
/// thread of Rust's std: those have a signal stack if the caller, who must be
/// one, has.
pub(super) fn find_or_add(tid: u64) -> Option<Registered> {
    let mut threads = threads();
    let threads = threads.get_or_insert_default();
    if let Some(known) = threads.get(&tid) {
        return Some(*known);
    }
    let stranger = Registered {
        stack: (0, 0),
        signal_stack: current_signal_stack(),
        pending: None,
    };
    if threads.len() >= MAX_THREADS {
        // Those that registered leave by themselves.
        threads.retain(|tid, t| {
            t.stack != (0, 0) || crate::thread_clock::thread_cpu_ns(Tid(*tid)).is_some()
        });
    }
    if threads.len() >= MAX_THREADS {
        return None;
    }
    threads.insert(tid, stranger);
    Some(stranger)
}

/// Thread `tid` has ended.
pub(super) fn forget(tid: u64) {
    if let Some(threads) = threads().as_mut() {
        threads.remove(&tid);
    }
}

/// Notes whether a signal of capture `generation` is still on its way to `tid`.
pub(super) fn set_pending(tid: u64, generation: Option<u64>) {
    if let Some(thread) = threads().as_mut().and_then(|all| all.get_mut(&tid)) {
        thread.pending = generation;
    }
}

/// The kernel's id of the calling thread.
pub(super) fn current_tid() -> u64 {
    // SAFETY: takes nothing, cannot fail.
    unsafe { libc::gettid() as u64 }
}

/// Bounds of the calling thread's stack.
fn current_stack() -> Option<(u64, u64)> {
    let mut attributes = std::mem::MaybeUninit::<libc::pthread_attr_t>::uninit();
    // SAFETY: `attributes` is initialised by the first call and, if that
    // succeeded, read and destroyed once.
    unsafe {
        if libc::pthread_getattr_np(libc::pthread_self(), attributes.as_mut_ptr()) != 0 {
            return None;
        }
        let mut low = std::ptr::null_mut();
        let mut size = 0;
        let result = libc::pthread_attr_getstack(attributes.as_ptr(), &raw mut low, &raw mut size);
        libc::pthread_attr_destroy(attributes.as_mut_ptr());
        let low = low as u64;
        (result == 0).then_some((low, low.checked_add(size as u64)?))
    }
}

/// Size of the calling thread's alternate signal stack, if it has one.
fn current_signal_stack() -> Option<usize> {
    let mut stack = libc::stack_t {
        ss_sp: std::ptr::null_mut(),
        ss_flags: 0,
        ss_size: 0,
    };
    // SAFETY: only asks; `stack` is writable.
    let result = unsafe { libc::sigaltstack(std::ptr::null(), &raw mut stack) };
    (result == 0 && stack.ss_flags & libc::SS_DISABLE == 0).then_some(stack.ss_size)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_thread_is_known_until_it_ends() {
        let tid = std::thread::spawn(|| {
            register_current_thread();
            register_current_thread();
            let here = 0_u8;
            let known = find(current_tid()).expect("registered");
            let address = &raw const here as u64;
            assert!(known.stack.0 < address && address < known.stack.1);
            assert!(known.signal_stack.is_some(), "std gives every thread one");
            current_tid()
        })
        .join()
        .expect("thread");
        assert_eq!(find(tid), None);
    }

    #[test]
    fn registering_while_locals_are_destroyed_leaves_no_entry() {
        struct Late(std::sync::mpsc::Sender<u64>);
        impl Drop for Late {
            fn drop(&mut self) {
                register_current_thread();
                let _ = self.0.send(current_tid());
            }
        }
        thread_local!(static LATE: Cell<Option<Late>> = const { Cell::new(None) });

        for registered_before in [false, true] {
            let (sender, receiver) = std::sync::mpsc::channel();
            std::thread::spawn(move || {
                // Destroyed in an order of the runtime's choice: both are covered.
                if registered_before {
                    register_current_thread();
                }
                LATE.set(Some(Late(sender)));
            })
            .join()
            .expect("thread");
            let tid = receiver.recv().expect("destructor ran");
            assert_eq!(find(tid), None);
        }
    }
}
