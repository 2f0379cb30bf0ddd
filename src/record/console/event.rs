//! A line of such a recording.

use serde::Deserialize;

#[derive(Debug, Deserialize)]
pub(super) struct Header {
    pub(super) v: u64,
}

#[derive(Debug, Deserialize)]
pub(super) enum Event {
    Spawn {
        id: u64,
        at: Instant,
        #[serde(default)]
        fields: Vec<Field>,
    },
    Enter {
        id: u64,
        at: Instant,
    },
    Exit {
        id: u64,
        at: Instant,
    },
    Close {
        id: u64,
        at: Instant,
    },
    Waker {
        id: u64,
        op: WakeOp,
        at: Instant,
    },
}

/// As serde writes the wall clock.
#[derive(Debug, Clone, Copy, Deserialize)]
pub(super) struct Instant {
    secs_since_epoch: u64,
    nanos_since_epoch: u32,
}

impl Instant {
    pub(super) fn unix_ns(self) -> u64 {
        let secs = self.secs_since_epoch.saturating_mul(1_000_000_000);
        secs.saturating_add(self.nanos_since_epoch.into())
    }
}

#[derive(Debug, Deserialize)]
pub(super) enum WakeOp {
    Wake { self_wake: bool },
    WakeByRef { self_wake: bool },
    Clone,
    Drop,
}

#[derive(Debug, Deserialize)]
pub(super) struct Field {
    pub(super) name: String,
    value: serde_json::Value,
}

impl Field {
    pub(super) fn text(&self) -> String {
        match &self.value {
            serde_json::Value::String(text) => text.clone(),
            other => other.to_string(),
        }
    }
}
