//! What was refused so far: counted, and said once for each kind.

use std::fmt;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering::Relaxed};

use looptop_wire::proto;

use super::refusal::Refusal;

/// Why a connection was closed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Closed {
    /// It made room for a newer one that may look.
    Crowded,
    /// It made no call in time, or stopped within its handshake.
    Silent,
    /// It had no call for long.
    Idle,
    /// It would not speak TLS, or showed no certificate that is trusted.
    #[cfg_attr(not(feature = "tls"), allow(dead_code))]
    Tls,
}

/// Why a call of somebody who may look was declined.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Declined {
    /// A message over the limit.
    TooLarge,
    /// As many viewers as there may be watch already.
    Viewers,
    /// As many connections as there may be are served already.
    Connections,
}

impl fmt::Display for Declined {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        use crate::server::limits::{MAX_REQUEST_BYTES, SERVED, VIEWERS};
        match self {
            Self::TooLarge => write!(f, "a request has at most {MAX_REQUEST_BYTES} bytes"),
            Self::Viewers => write!(
                f,
                "{VIEWERS} viewers watch this application already, which is its limit"
            ),
            Self::Connections => write!(
                f,
                "{SERVED} connections are served already, which is this application's limit"
            ),
        }
    }
}

/// Counters, absolute since the start.
#[derive(Debug, Default)]
pub(crate) struct Counts {
    viewers: AtomicU64,
    connections: AtomicU64,
    calls: AtomicU64,
    /// A bit for each kind that was said.
    said: AtomicU32,
}

impl Counts {
    /// Somebody who may not look has asked.
    pub(crate) fn refused(&self, refusal: Refusal) {
        self.viewers.fetch_add(1, Relaxed);
        let kind = match refusal {
            Refusal::NotAllowed(_) => 0,
            Refusal::NoToken(_) => 1,
            Refusal::WrongToken => 2,
            Refusal::NumbersAlone => 3,
            Refusal::ConsoleIsOff => 4,
            Refusal::Crowd => 5,
            Refusal::NoMemory => 6,
        };
        self.say(kind, &format_args!("refused a viewer: {refusal}"));
    }

    /// A connection was closed.
    pub(crate) fn closed(&self, why: Closed) {
        let (kind, why) = match why {
            Closed::Crowded => (8, "too many were open that asked nothing"),
            Closed::Silent => (9, "it asked nothing in time"),
            // The viewer's own business: nothing was refused.
            Closed::Idle => return,
            Closed::Tls => (10, "it would not speak TLS or showed no certificate"),
        };
        self.connections.fetch_add(1, Relaxed);
        self.say(kind, &format_args!("closed a connection: {why}"));
    }

    /// A call was declined.
    pub(crate) fn declined(&self, why: Declined) {
        self.calls.fetch_add(1, Relaxed);
        let kind = match why {
            Declined::TooLarge => 16,
            Declined::Viewers => 17,
            Declined::Connections => 18,
        };
        self.say(kind, &format_args!("declined a request: {why}"));
    }

    /// Says it unless something of this kind was said before.
    fn say(&self, kind: u32, sentence: &dyn fmt::Display) {
        if self.is_first(kind) {
            crate::complain(&format!(
                "{sentence}; more of these are counted and not said"
            ));
        }
    }

    fn is_first(&self, kind: u32) -> bool {
        let bit = 1 << kind;
        self.said.fetch_or(bit, Relaxed) & bit == 0
    }

    /// Adds them to what was lost.
    pub(crate) fn add_to(&self, loss: &mut proto::Loss) {
        loss.refused_viewers = self.viewers.load(Relaxed);
        loss.refused_connections = self.connections.load(Relaxed);
        loss.refused_calls = self.calls.load(Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::access::User;

    #[test]
    fn everything_is_counted_and_each_kind_said_once() {
        let counts = Counts::default();
        assert!(counts.is_first(0));
        assert!(!counts.is_first(0));
        assert!(counts.is_first(1));
        counts.refused(Refusal::NotAllowed(User::Known(1)));
        counts.refused(Refusal::WrongToken);
        counts.closed(Closed::Silent);
        counts.closed(Closed::Crowded);
        counts.closed(Closed::Idle);
        counts.declined(Declined::TooLarge);
        let mut loss = proto::Loss {
            tasks: 7,
            ..proto::Loss::default()
        };
        counts.add_to(&mut loss);
        let refused = (
            loss.refused_viewers,
            loss.refused_connections,
            loss.refused_calls,
        );
        assert_eq!((loss.tasks, refused), (7, (2, 2, 1)));
    }
}
