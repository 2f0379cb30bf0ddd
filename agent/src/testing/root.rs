//! The future of the test itself: its polls, and how a verdict reaches it.

use std::future::poll_fn;
use std::pin::pin;
use std::sync::Mutex;
use std::sync::atomic::Ordering::{Acquire, Relaxed, Release};
use std::sync::atomic::{AtomicBool, AtomicU64};
use std::task::{Context, Poll, Waker};

use crate::capture::{self, Stack};
use crate::clock::now_ns;
use crate::ids::Tid;
use crate::sync::lock;
use crate::thread_clock::current_tid;

/// Nothing lets the test go on.
#[derive(Debug)]
pub(super) struct StoodStill {
    /// Where its own future waits, innermost first.
    pub(super) stack: Option<Stack>,
}

/// What others see of the future.
#[derive(Debug, Default)]
pub(super) struct Root {
    /// Odd while it is polled.
    sequence: AtomicU64,
    started_ns: AtomicU64,
    /// The thread that polled it last.
    tid: AtomicU64,
    waker: Mutex<Option<Waker>>,
    given_up: AtomicBool,
}

/// A look at the future.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct View {
    pub(super) sequence: u64,
    pub(super) started_ns: u64,
    pub(super) tid: Option<Tid>,
}

impl View {
    pub(super) fn is_polled(&self) -> bool {
        self.sequence % 2 == 1
    }
}

impl Root {
    /// As it is now, if that could be read while it stood still.
    pub(super) fn view(&self) -> Option<View> {
        let sequence = self.sequence.load(Acquire);
        let started_ns = self.started_ns.load(Relaxed);
        let tid = self.tid.load(Relaxed);
        std::sync::atomic::fence(Acquire);
        (self.sequence.load(Relaxed) == sequence).then_some(View {
            sequence,
            started_ns,
            tid: Some(Tid(tid)).filter(|_| tid != 0),
        })
    }

    pub(super) fn sequence(&self) -> u64 {
        self.sequence.load(Acquire)
    }

    /// The future is to end without a result, at its next poll, which comes now.
    pub(super) fn give_up(&self) {
        self.given_up.store(true, Release);
        let waker = lock(&self.waker).take();
        if let Some(waker) = waker {
            waker.wake();
        }
    }

    /// Polls `future` to its end, or until [`Root::give_up`].
    pub(super) async fn run<F: Future>(&self, future: F) -> Result<F::Output, StoodStill> {
        let mut future = pin!(future);
        poll_fn(|context| {
            let mut polled = self.poll(context, |context| future.as_mut().poll(context));
            let mut stack = None;
            if polled.is_pending() && self.given_up.load(Acquire) {
                (polled, stack) = capture::where_it_waits(|context| future.as_mut().poll(context));
            } else if polled.is_pending() {
                return Poll::Pending;
            }
            Poll::Ready(match polled {
                Poll::Ready(output) => Ok(output),
                Poll::Pending => Err(StoodStill { stack }),
            })
        })
        .await
    }

    fn poll<T>(
        &self,
        context: &mut Context<'_>,
        poll: impl FnOnce(&mut Context<'_>) -> Poll<T>,
    ) -> Poll<T> {
        /// The poll is over, also by a panic.
        struct Over<'a>(&'a Root);
        impl Drop for Over<'_> {
            fn drop(&mut self) {
                self.0.sequence.fetch_add(1, Release);
            }
        }
        {
            let mut waker = lock(&self.waker);
            if waker.as_ref().is_none_or(|w| !w.will_wake(context.waker())) {
                *waker = Some(context.waker().clone());
            }
        }
        self.sequence.fetch_add(1, Acquire);
        self.started_ns.store(now_ns(), Relaxed);
        self.tid
            .store(current_tid().map_or(0, |tid| tid.0), Relaxed);
        let _over = Over(self);
        poll(context)
    }
}

#[cfg(test)]
mod tests {
    use std::future::{pending, ready};

    use super::*;

    fn block_on<F: Future>(future: F) -> F::Output {
        let runtime = tokio::runtime::Builder::new_current_thread().build();
        runtime.expect("a runtime").block_on(future)
    }

    #[test]
    fn a_result_passes_and_polls_are_seen() {
        let root = Root::default();
        let inside = poll_fn(|_| Poll::Ready(root.view().is_some_and(|view| view.is_polled())));
        assert!(block_on(root.run(inside)).expect("it ends"));
        let after = root.view().expect("nobody polls");
        assert!(!after.is_polled() && after.sequence == 2);
        assert_eq!(after.tid, current_tid());
        assert_eq!(block_on(root.run(ready(7))).expect("it ends"), 7);
    }

    #[test]
    fn one_that_is_given_up_ends_without_a_result() {
        let root = Root::default();
        std::thread::scope(|scope| {
            let ran = scope.spawn(|| block_on(root.run(pending::<()>())).is_err());
            while root.view().is_none_or(|view| view.sequence != 2) {
                std::thread::yield_now();
            }
            root.give_up();
            assert!(ran.join().expect("no panic"));
        });
    }

    #[test]
    fn a_poll_that_panics_is_over() {
        let root = Root::default();
        let run = std::panic::AssertUnwindSafe(|| {
            block_on(root.run(poll_fn(|_| -> Poll<()> { panic!("on purpose") })))
        });
        assert!(std::panic::catch_unwind(run).is_err());
        assert_eq!(root.sequence(), 2);
    }
}
