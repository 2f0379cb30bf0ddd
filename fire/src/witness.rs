//! A viewer of the agent's stream that counts: which frames did not come, and how many the
//! agent says were lost.
//!
//! The numbers of a stream's frames have gaps where some were lost ([`Frame::sequence`]),
//! and the agent counts those that a slow viewer missed ([`Loss::frames`]), for all
//! viewers together. So what one viewer misses must have been counted, and more may have.
//!
//! [`Frame::sequence`]: looptop_wire::proto::Frame::sequence
//! [`Loss::frames`]: looptop_wire::proto::Loss::frames

use std::{
    net::SocketAddr,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use looptop_wire::{
    PROTOCOL,
    proto::{Frame, HelloRequest, WatchRequest, agent_client::AgentClient},
};
use tokio::{runtime::Handle, time::sleep};
use tonic::transport::Endpoint;

/// Between frames: often, so that much is missed in a pause.
const INTERVAL: Duration = Duration::from_millis(50);
/// Bytes that may be on the way to a viewer that does not read: few, so that it is slow
/// soon.
const WINDOW: u32 = 4 << 10;
/// An agent may be frozen.
const PATIENCE: Duration = Duration::from_secs(10);
/// Before it connects again.
const AGAIN: Duration = Duration::from_millis(200);

/// What one connection has seen.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Seen {
    /// Counts the connections.
    pub(crate) connection: u64,
    /// Frames that came.
    pub(crate) frames: u64,
    /// Frames that did not come.
    pub(crate) missing: u64,
    /// Frames that the agent has counted as lost since the connection began, of all
    /// viewers.
    pub(crate) counted: u64,
    last: u64,
    /// What was counted before.
    base: u64,
}

impl Seen {
    fn begin(&mut self, counted: u64) {
        *self = Self {
            connection: self.connection + 1,
            base: counted,
            ..Self::default()
        };
    }

    fn take(&mut self, frame: &Frame) {
        self.frames += 1;
        self.missing += frame.sequence.saturating_sub(self.last + 1);
        self.last = frame.sequence;
        if let Some(loss) = frame.loss {
            self.counted = loss.frames.saturating_sub(self.base);
        }
    }
}

/// The witness; it watches as long as the runtime lives.
#[derive(Debug, Clone, Default)]
pub(crate) struct Witness(Arc<Shared>);

#[derive(Debug, Default)]
struct Shared {
    pauses: AtomicBool,
    seen: Mutex<Seen>,
}

impl Witness {
    /// Watches the agent at an address, whichever comes to listen there.
    pub(crate) fn start(on: &Handle, agent: SocketAddr) -> Self {
        let witness = Self::default();
        let watching = witness.clone();
        on.spawn(async move {
            loop {
                // It is cut, frozen and restarted all the time.
                drop(watching.watch(agent).await);
                sleep(AGAIN).await;
            }
        });
        witness
    }

    /// Whether it stops reading, as a slow viewer does.
    pub(crate) fn pause(&self, pauses: bool) {
        self.0.pauses.store(pauses, Ordering::Relaxed);
    }

    fn seen_now(&self) -> MutexGuard<'_, Seen> {
        self.0.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What the present connection has seen.
    pub(crate) fn seen(&self) -> Seen {
        *self.seen_now()
    }

    async fn watch(&self, agent: SocketAddr) -> anyhow::Result<()> {
        let endpoint = Endpoint::from_shared(format!("http://{agent}"))?
            .connect_timeout(PATIENCE)
            .initial_stream_window_size(WINDOW)
            .initial_connection_window_size(WINDOW);
        let mut client = AgentClient::new(endpoint.connect().await?);
        let request = HelloRequest {
            protocol: PROTOCOL,
            viewer: "looptop-fire".to_owned(),
        };
        let hello = tokio::time::timeout(PATIENCE, client.hello(request)).await??;
        let loss = hello.into_inner().loss.unwrap_or_default();
        let request = WatchRequest {
            interval_ns: u64::try_from(INTERVAL.as_nanos())?,
            memory: false,
        };
        let mut frames = client.watch(request).await?.into_inner();
        self.seen_now().begin(loss.frames);
        loop {
            while self.0.pauses.load(Ordering::Relaxed) {
                sleep(Duration::from_millis(10)).await;
            }
            match frames.message().await? {
                Some(frame) => self.seen_now().take(&frame),
                None => return Ok(()),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use looptop_wire::proto::Loss;

    use super::*;

    fn frame(sequence: u64, lost: Option<u64>) -> Frame {
        Frame {
            sequence,
            loss: lost.map(|frames| Loss {
                frames,
                ..Loss::default()
            }),
            ..Frame::default()
        }
    }

    #[test]
    fn gaps_are_missing_and_growth_is_counted() {
        let mut seen = Seen::default();
        seen.begin(5);
        for (sequence, lost) in [
            (1, Some(5)),
            (2, None),
            (6, None),
            (7, Some(8)),
            (9, Some(10)),
        ] {
            seen.take(&frame(sequence, lost));
        }
        assert_eq!((seen.frames, seen.missing, seen.counted), (5, 4, 5));
        seen.begin(10);
        assert_eq!((seen.connection, seen.missing, seen.counted), (2, 0, 0));
    }
}
