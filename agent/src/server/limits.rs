//! How much of the server anybody may have at a time.

use std::time::Duration;

/// Viewers that watch.
pub(crate) const VIEWERS: usize = 8;
/// Connections of those who may look.
pub(crate) const SERVED: usize = 24;
/// Connections that have asked nothing yet, of each listener; the oldest makes room.
pub(crate) const WAITING: usize = 32;
/// Calls of one connection. A viewer has one stream of frames, with some of
/// console-subscriber's, and asks a question now and then.
pub(crate) const STREAMS: u32 = 32;
/// Bytes of a request: the addresses of some thousand stacks.
pub(crate) const MAX_REQUEST_BYTES: usize = 1 << 20;
/// Bytes of the headers of a request: a token is in them.
pub(crate) const HEADER_BYTES: u32 = 16 << 10;
/// Bytes that a peer may send of one request, and of all on its connection, before they
/// are read.
pub(crate) const WINDOW_BYTES: u32 = 64 << 10;
/// Within this time a connection must have made a call that it may make.
pub(crate) const FIRST_CALL: Duration = Duration::from_secs(10);
/// A connection without a call for so long is closed.
pub(crate) const IDLE: Duration = Duration::from_mins(2);
/// A viewer that does not answer a ping this long is gone.
pub(crate) const KEEPALIVE: Duration = Duration::from_secs(10);
/// Connections of one listener that are accepted at once, and then in each second.
pub(crate) const ACCEPTED_AT_ONCE: f64 = 32.0;
pub(crate) const ACCEPTED_PER_S: f64 = 500.0;
/// The share of a CPU in which the kernel is asked whose connections are.
pub(crate) const ASKING_SHARE: f64 = 0.1;

/// An allowance that grows with time, up to a bound.
#[derive(Debug)]
pub(crate) struct Allowance {
    most: f64,
    per_s: f64,
    left: f64,
    at_s: f64,
}

impl Allowance {
    pub(crate) fn new(most: f64, per_s: f64) -> Self {
        Self {
            most,
            per_s,
            left: most,
            at_s: 0.0,
        }
    }

    /// Whether there is any left at `now`, measured from any moment.
    pub(crate) fn is_left(&mut self, now: Duration) -> bool {
        let now = now.as_secs_f64();
        let grown = self.left + (now - self.at_s).max(0.0) * self.per_s;
        self.left = grown.min(self.most);
        self.at_s = now;
        self.left > 0.0
    }

    /// Uses it up; what is over is paid back by time.
    pub(crate) fn use_up(&mut self, amount: f64) {
        self.left -= amount;
    }

    /// For how long there is none.
    pub(crate) fn until_left(&self) -> Duration {
        Duration::from_secs_f64((-self.left).max(0.0) / self.per_s + 0.001)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_allowance_is_used_up_and_grows_again() {
        let at = Duration::from_secs_f64;
        let mut allowance = Allowance::new(2.0, 10.0);
        assert!(allowance.is_left(at(0.0)));
        allowance.use_up(1.0);
        assert!(allowance.is_left(at(0.0)));
        allowance.use_up(3.0);
        assert!(!allowance.is_left(at(0.0)));
        assert!(!allowance.is_left(at(0.1)));
        assert!(allowance.until_left() < at(0.15));
        assert!(allowance.is_left(at(0.25)));
        // It does not grow beyond its bound, and a clock that stands changes nothing.
        assert!(allowance.is_left(at(1_000.0)));
        allowance.use_up(2.0);
        assert!(!allowance.is_left(at(1_000.0)));
        assert!(!allowance.is_left(at(999.0)));
    }
}
