//! Where a future waits, by its own word: whatever it waits for takes a copy of the waker,
//! and the stack of that call is the chain of its awaits.

use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, RawWaker, RawWakerVTable, Waker};

use super::{Captured, Stack, capture};
use crate::sync::lock;
use crate::thread_clock::current_tid;

/// Stacks of one poll at most: a `select!` has as many as branches.
const MAX_STACKS: usize = 8;

/// Polls a future once more with a waker that is not its own, and gives where the waker was
/// copied: the first such place. Whoever is woken by that waker stays asleep, so the future
/// is to be dropped if it is pending.
pub(crate) fn where_it_waits<T>(
    poll: impl FnOnce(&mut Context<'_>) -> Poll<T>,
) -> (Poll<T>, Option<Stack>) {
    let noted = Arc::new(Noted::default());
    let raw = RawWaker::new(Arc::into_raw(Arc::clone(&noted)).cast(), &TABLE);
    // SAFETY: `TABLE` keeps the contract of `RawWaker` for what `Arc::into_raw` of a `Noted`
    // gives: see each of its functions.
    let waker = unsafe { Waker::from_raw(raw) };
    let polled = poll(&mut Context::from_waker(&waker));
    drop(waker);
    let first = lock(&noted.stacks).drain(..).next();
    (polled, first)
}

/// What a waker has noted.
#[derive(Default)]
struct Noted {
    stacks: Mutex<Vec<Stack>>,
}

static TABLE: RawWakerVTable = RawWakerVTable::new(clone, drop_it, wake_by_ref, drop_it);

/// Notes who copies the waker.
unsafe fn clone(data: *const ()) -> RawWaker {
    let noted: *const Noted = data.cast();
    // SAFETY: `data` is of `Arc::into_raw`, and the waker that is copied owns one count, so
    // it is alive, and stays so: this adds the count of the copy.
    let noted = unsafe {
        Arc::increment_strong_count(noted);
        &*noted
    };
    if lock(&noted.stacks).len() < MAX_STACKS
        && let Some(stack) = own_stack()
    {
        lock(&noted.stacks).push(stack);
    }
    RawWaker::new(data, &TABLE)
}

/// Nobody is woken.
unsafe fn wake_by_ref(_data: *const ()) {}

/// Gives up the count of this waker.
unsafe fn drop_it(data: *const ()) {
    // SAFETY: the waker that is dropped, or woken by value, owns one count of what
    // `Arc::into_raw` gave, and is not used again.
    drop(unsafe { Arc::from_raw(data.cast::<Noted>()) });
}

/// The stack of the calling thread, taken by another while this one waits for it.
fn own_stack() -> Option<Stack> {
    let tid = current_tid()?;
    let taken = std::thread::scope(|scope| {
        let taker = std::thread::Builder::new().name("looptop-stack".into());
        let taker = taker.spawn_scoped(scope, || capture(tid.0).ok());
        taker.ok()?.join().ok().flatten()
    });
    taken.map(|Captured { stack, .. }| stack)
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;
    use std::pin::pin;

    use super::*;

    #[test]
    fn a_future_that_waits_has_a_stack_and_one_that_ends_has_none() {
        crate::capture::install(9).expect("this system has stacks");
        let kept = Mutex::new(None);
        let mut waits = pin!(poll_fn(|context: &mut Context<'_>| -> Poll<()> {
            *lock(&kept) = Some(context.waker().clone());
            Poll::Pending
        }));
        let (polled, stack) = where_it_waits(|context| waits.as_mut().poll(context));
        assert!(polled.is_pending());
        assert!(stack.expect("the waker was copied").frames.len() > 5);
        // It outlives the poll, and does nothing.
        let waker = lock(&kept).take().expect("it was kept");
        waker.wake_by_ref();
        waker.wake();
        let (polled, stack) = where_it_waits(|_| Poll::Ready(3));
        assert_eq!((polled, stack), (Poll::Ready(3), None));
    }
}
