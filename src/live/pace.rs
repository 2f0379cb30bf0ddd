//! When the screen is drawn.

use std::time::{Duration, Instant};

use tokio::time::sleep_until;

/// When the next frame is drawn: at once after a key, at most 30 times a second when
/// data changed, four times otherwise, for ages and badges.
pub(super) struct Pace {
    last: Instant,
    next: Instant,
}

const FASTEST: Duration = Duration::from_millis(33);
const SLOWEST: Duration = Duration::from_millis(250);

impl Pace {
    pub(super) fn new() -> Self {
        let now = Instant::now();
        Self {
            last: now.checked_sub(FASTEST).unwrap_or(now),
            next: now,
        }
    }

    /// Data changed.
    pub(super) fn soon(&mut self) {
        self.next = self.next.min(self.last + FASTEST);
    }

    /// The user did something: keys that are there already are taken first.
    pub(super) fn at_once(&mut self) {
        self.next = self.next.min(Instant::now());
    }

    /// Waits until a frame is to be drawn. Safe to cancel.
    pub(super) async fn due(&self) {
        // A timer takes a millisecond or two for what is due already.
        if self.next > Instant::now() {
            sleep_until(self.next.into()).await;
        }
    }

    /// A frame is due for so long that no further key comes before it: keys that never
    /// end, such as those of a held key over a slow line, do not stop the screen.
    pub(super) fn is_late(&self) -> bool {
        self.next.elapsed() >= FASTEST
    }

    pub(super) fn drawn(&mut self) {
        self.last = Instant::now();
        self.next = self.last + SLOWEST;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_drawn_at_once_and_data_at_a_pace() {
        let mut pace = Pace::new();
        pace.drawn();
        assert_eq!(pace.next, pace.last + SLOWEST);
        pace.soon();
        assert_eq!(pace.next, pace.last + FASTEST);
        pace.at_once();
        assert!(pace.next <= Instant::now());
        let first = pace.next;
        pace.soon();
        pace.at_once();
        assert_eq!(pace.next, first, "what comes after it delays nothing");
    }

    #[test]
    fn keys_that_never_end_do_not_stop_the_screen() {
        let now = Instant::now();
        let mut pace = Pace::new();
        pace.next = now + SLOWEST;
        assert!(!pace.is_late());
        pace.next = now.checked_sub(FASTEST).unwrap();
        assert!(pace.is_late());
        pace.drawn();
        assert!(pace.next > pace.last);
    }

    #[tokio::test]
    async fn what_is_due_is_not_waited_for() {
        let mut pace = Pace::new();
        pace.drawn();
        pace.at_once();
        let mut due = std::pin::pin!(pace.due());
        let polled = std::future::poll_fn(|cx| std::task::Poll::Ready(due.as_mut().poll(cx))).await;
        assert!(polled.is_ready(), "no timer is asked");
    }
}
