//! Hands frames to viewers.
//!
//! All viewers share one delta at a time; the shortest interval that any of
//! them asked for sets the pace, and while nothing runs it is 300 ms at least. A stall
//! that begins is sent sooner, but never sooner than half an interval after the last
//! delta. A viewer that does not keep up falls out of a bounded queue, which delays
//! nobody: it starts again from a snapshot, and the frames that it missed are counted.

use std::collections::HashMap;
use std::future::poll_fn;
use std::pin::pin;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex};
use std::task::Poll;
use std::time::Duration;

use looptop_wire::proto;
use tokio::sync::{Notify, broadcast, mpsc, oneshot};
use tokio::time::{Instant, sleep_until, timeout_at};

use super::{Publisher, Shows, Update};
use crate::access::Permission;
use crate::server::limits::VIEWERS;
use crate::shared::Shared;
use crate::sync::lock;
use crate::waits;

/// Deltas that wait for the slowest viewer at most.
const DELTAS: usize = 8;
/// Frames on their way to one viewer at most.
const IN_FLIGHT: usize = 4;
/// Between two deltas while nothing runs, where viewers want them sooner.
const CALM_INTERVAL: Duration = Duration::from_millis(300);
/// A viewer gets a new snapshot at most this often.
const LEAST_TIME_BETWEEN_SNAPSHOTS: Duration = Duration::from_millis(500);
/// Snapshots for all who come take at most one part in so many of the time: whoever comes
/// meanwhile shares the next one.
const SNAPSHOT_SHARE: u32 = 5;

/// What a viewer starts from.
struct Start {
    snapshot: Arc<Update>,
    deltas: broadcast::Receiver<Arc<Update>>,
}

/// The viewers' side of the publisher.
#[derive(Clone)]
pub(crate) struct Feed {
    starts: mpsc::Sender<oneshot::Sender<Start>>,
    intervals: Arc<Mutex<HashMap<u64, Duration>>>,
    viewers: Arc<AtomicU64>,
    shared: Arc<Shared>,
}

/// Makes a feed and the future that serves it, to be spawned.
pub(crate) fn new(shared: &Arc<Shared>) -> (Feed, impl Future<Output = ()> + Send + use<>) {
    let (starts, requests) = mpsc::channel(16);
    let feed = Feed {
        starts,
        intervals: Arc::default(),
        viewers: Arc::default(),
        shared: Arc::clone(shared),
    };
    let publisher = Publisher::new(Arc::clone(shared));
    let intervals = Arc::clone(&feed.intervals);
    (feed, publish(publisher, requests, intervals))
}

async fn publish(
    mut publisher: Publisher,
    mut requests: mpsc::Receiver<oneshot::Sender<Start>>,
    intervals: Arc<Mutex<HashMap<u64, Duration>>>,
) {
    let (deltas, _) = broadcast::channel::<Arc<Update>>(DELTAS);
    let mut next = Instant::now();
    let mut last = next;
    let mut rested = next;
    let mut asking: Vec<oneshot::Sender<Start>> = Vec::new();
    loop {
        let pace = lock(&intervals).values().min().copied();
        if !asking.is_empty() && Instant::now() >= rested {
            let began = Instant::now();
            let snapshot = Arc::new(publisher.snapshot());
            for viewer in asking.drain(..) {
                let start = Start {
                    snapshot: Arc::clone(&snapshot),
                    deltas: deltas.subscribe(),
                };
                // A viewer that is gone again needs no answer.
                drop(viewer.send(start));
            }
            let now = Instant::now();
            rested = now + (now - began) * (SNAPSHOT_SHARE - 1);
        }
        let request = if let Some(pace) = pace {
            let shared = Arc::clone(&publisher.shared);
            let due = due(next, last + pace / 2, &shared.news);
            let mut for_snapshot = false;
            // Whichever comes first: a delta, or the next snapshot.
            let end = async {
                if asking.is_empty() {
                    due.await;
                } else {
                    for_snapshot = timeout_at(rested, due).await.is_err();
                }
            };
            let request = unless(end, &mut requests).await;
            if for_snapshot {
                continue;
            }
            request
        } else {
            asking.clear();
            publisher.rest();
            let request = requests.recv().await;
            next = Instant::now();
            Some(request)
        };
        match request {
            Some(Some(viewer)) => {
                asking.push(viewer);
                // Those who ask at the same time share a snapshot.
                while let Ok(viewer) = requests.try_recv() {
                    asking.push(viewer);
                }
            }
            Some(None) => return,
            None => {
                last = Instant::now();
                drop(deltas.send(Arc::new(publisher.delta())));
                let mut pace = pace.unwrap_or(Duration::from_millis(100));
                if publisher.shared.calm.load(Relaxed) {
                    pace = pace.max(CALM_INTERVAL);
                }
                // After one that was early comes a whole interval; one that was
                // late does not make the next one early.
                next = (last.min(next) + pace).max(Instant::now() + pace / 2);
            }
        }
    }
}

/// Until a delta is due: at `next`, or from `earliest` on when there is news.
async fn due(next: Instant, earliest: Instant, news: &Notify) {
    if timeout_at(next, news.notified()).await.is_ok() {
        sleep_until(earliest.min(next)).await;
    }
}

/// What was asked for before `end` came; `None` where nothing was.
async fn unless<T>(
    end: impl Future<Output = ()>,
    requests: &mut mpsc::Receiver<T>,
) -> Option<Option<T>> {
    let mut end = pin!(end);
    poll_fn(|context| match requests.poll_recv(context) {
        Poll::Ready(request) => Poll::Ready(Some(request)),
        Poll::Pending => end.as_mut().poll(context).map(|()| None),
    })
    .await
}

impl Feed {
    /// Serves one viewer what it may see until it goes away, with what is read in memory
    /// where it asks for that; `None` where as many as there may be are served already.
    pub(crate) fn watch(
        &self,
        asked: proto::WatchRequest,
        permission: Permission,
    ) -> Option<mpsc::Receiver<proto::Frame>> {
        self.serve_one_of(VIEWERS, asked, permission)
    }

    /// Serves the application itself, whoever else watches: with all that it asks for.
    #[cfg(any(feature = "flight-recorder", feature = "metrics"))]
    pub(crate) fn record(&self, interval_ns: u64) -> mpsc::Receiver<proto::Frame> {
        let asked = proto::WatchRequest {
            interval_ns,
            memory: true,
        };
        let frames = self.serve_one_of(usize::MAX, asked, Permission::Memory);
        frames.unwrap_or_else(|| mpsc::channel(1).1)
    }

    fn serve_one_of(
        &self,
        most: usize,
        asked: proto::WatchRequest,
        permission: Permission,
    ) -> Option<mpsc::Receiver<proto::Frame>> {
        let interval = self.shared.config.frame_interval(asked.interval_ns);
        let guard = Attached::new(self, interval, most)?;
        let wanted = asked.memory.then(|| waits::want(&self.shared, permission));
        let wanted = wanted.flatten();
        let (frames, receiver) = mpsc::channel(IN_FLIGHT);
        let feed = self.clone();
        let mut frames = Sink {
            frames,
            shows: Shows {
                permission,
                memory: wanted.is_some(),
            },
            sequence: 0,
        };
        tokio::spawn(async move {
            let _attached = (guard, wanted);
            feed.serve(&mut frames).await;
        });
        Some(receiver)
    }

    async fn serve(&self, frames: &mut Sink) -> Option<()> {
        loop {
            let asked = Instant::now();
            let (reply, start) = oneshot::channel();
            self.starts.send(reply).await.ok()?;
            let Start {
                snapshot,
                mut deltas,
            } = start.await.ok()?;
            frames.send(&snapshot).await?;
            drop(snapshot);
            let missed = loop {
                match self.next(frames, &mut deltas).await? {
                    Ok(delta) => frames.send(&delta).await?,
                    Err(missed) => break missed,
                }
            };
            frames.sequence += missed;
            #[cfg(feature = "planted")]
            if std::env::var_os("LOOPTOP_PLANTED").is_some_and(|d| d == "loss") {
                continue;
            }
            self.shared.frames_lost.fetch_add(missed, Relaxed);
            tokio::time::sleep_until(asked + LEAST_TIME_BETWEEN_SNAPSHOTS).await;
        }
    }

    /// The next delta, or how many were missed; `None` when the viewer or the
    /// publisher is gone.
    async fn next(
        &self,
        viewer: &Sink,
        deltas: &mut broadcast::Receiver<Arc<Update>>,
    ) -> Option<Result<Arc<Update>, u64>> {
        if viewer.frames.is_closed() {
            return None;
        }
        match deltas.recv().await {
            Ok(delta) => Some(Ok(delta)),
            Err(broadcast::error::RecvError::Lagged(missed)) => Some(Err(missed)),
            Err(broadcast::error::RecvError::Closed) => None,
        }
    }
}

/// The way to one viewer.
struct Sink {
    frames: mpsc::Sender<proto::Frame>,
    shows: Shows,
    sequence: u64,
}

impl Sink {
    /// Sends what it is shown of an update; `None` when the viewer is gone.
    async fn send(&mut self, update: &Update) -> Option<()> {
        for mut frame in update.frames(self.shows) {
            self.sequence += 1;
            frame.sequence = self.sequence;
            self.frames.send(frame).await.ok()?;
        }
        Some(())
    }
}

/// A viewer counts for the pace as long as this lives.
struct Attached {
    id: u64,
    intervals: Arc<Mutex<HashMap<u64, Duration>>>,
    shared: Arc<Shared>,
}

impl Attached {
    /// `None` where there are as many as there may be.
    fn new(feed: &Feed, interval: Duration, most: usize) -> Option<Self> {
        let id = feed.viewers.fetch_add(1, Relaxed);
        let intervals = Arc::clone(&feed.intervals);
        let mut attached = lock(&intervals);
        if attached.len() >= most {
            return None;
        }
        attached.insert(id, interval);
        feed.shared.watched.store(true, Relaxed);
        drop(attached);
        let shared = Arc::clone(&feed.shared);
        Some(Self {
            id,
            intervals,
            shared,
        })
    }
}

impl Drop for Attached {
    fn drop(&mut self) {
        let mut attached = lock(&self.intervals);
        attached.remove(&self.id);
        self.shared.watched.store(!attached.is_empty(), Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;
    use crate::ids::Tid;
    use crate::stall::{Stall, StallScope, Subject};

    fn runtime() -> tokio::runtime::Runtime {
        let mut builder = tokio::runtime::Builder::new_current_thread();
        builder.enable_time().build().expect("a runtime")
    }

    fn watch(feed: &Feed, interval_ns: u64) -> mpsc::Receiver<proto::Frame> {
        let asked = proto::WatchRequest {
            interval_ns,
            ..proto::WatchRequest::default()
        };
        let frames = feed.watch(asked, Permission::Names);
        frames.expect("there is room")
    }

    async fn next(frames: &mut mpsc::Receiver<proto::Frame>) -> proto::Frame {
        let frame = tokio::time::timeout(Duration::from_secs(20), frames.recv());
        frame
            .await
            .expect("within 20 s")
            .expect("the stream goes on")
    }

    /// Reads the whole state; the sequence number of its last part. Other tests
    /// of this process may have left more tasks than fit in one.
    async fn state(frames: &mut mpsc::Receiver<proto::Frame>) -> u64 {
        let mut part = next(frames).await;
        while !part.snapshot_complete {
            assert!(part.more, "nothing comes between the parts");
            part = next(frames).await;
        }
        part.sequence
    }

    #[test]
    fn the_state_comes_first_and_sequences_count() {
        runtime().block_on(async {
            let shared = Arc::new(Shared::new(Config::default(), Ok(())));
            let (feed, serve) = new(&shared);
            tokio::spawn(serve);
            let mut viewer = watch(&feed, 20_000_000);
            let state = state(&mut viewer).await;
            for sequence in state + 1..state + 4 {
                let frame = next(&mut viewer).await;
                assert_eq!((frame.sequence, frame.snapshot_complete), (sequence, false));
            }
        });
    }

    #[test]
    fn a_stall_that_begins_does_not_wait_for_the_next_frame() {
        runtime().block_on(async {
            let shared = Arc::new(Shared::new(Config::default(), Ok(())));
            let (feed, serve) = new(&shared);
            tokio::spawn(serve);
            let pace = Duration::from_secs(10);
            let mut viewer = watch(&feed, 10_000_000_000);
            state(&mut viewer).await;
            let begin = Instant::now();
            let subject = Subject::Thread(Tid(1));
            lock(&shared.stalls).begin(Stall::new(subject, StallScope::OnePoll, 1));
            shared.news.notify_one();
            while next(&mut viewer).await.stalls.is_empty() {}
            assert!(begin.elapsed() < pace * 3 / 4, "{:?}", begin.elapsed());
        });
    }

    #[test]
    fn a_slow_viewer_is_resynced_and_delays_nobody() {
        runtime().block_on(async {
            let shared = Arc::new(Shared::new(Config::default(), Ok(())));
            let (feed, serve) = new(&shared);
            tokio::spawn(serve);
            let mut slow = watch(&feed, 20_000_000);
            let mut fast = watch(&feed, 20_000_000);
            let mut before = state(&mut slow).await;
            // More than the queue and the frames in flight can hold.
            for sequence in 1..=3 * (DELTAS + IN_FLIGHT) as u64 {
                assert_eq!(next(&mut fast).await.sequence, sequence);
            }
            let resync = loop {
                let frame = next(&mut slow).await;
                if frame.sequence != before + 1 {
                    break frame;
                }
                before = frame.sequence;
            };
            let missed = resync.sequence - before - 1;
            if !resync.snapshot_complete {
                state(&mut slow).await;
            }
            assert_eq!(shared.frames_lost.load(Relaxed), missed);
        });
    }

    #[test]
    fn nothing_is_built_once_all_viewers_are_gone() {
        runtime().block_on(async {
            let shared = Arc::new(Shared::new(Config::default(), Ok(())));
            let (feed, serve) = new(&shared);
            tokio::spawn(serve);
            let mut viewer = watch(&feed, 20_000_000);
            next(&mut viewer).await;
            assert_eq!(lock(&feed.intervals).len(), 1);
            drop(viewer);
            let deadline = Instant::now() + Duration::from_secs(20);
            while !lock(&feed.intervals).is_empty() {
                assert!(Instant::now() < deadline, "the viewer still counts");
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        });
    }
}
