//! The flight recorder: the last minutes in memory, written out when something
//! grave happens.
//!
//! It is a viewer like any other, on the agent's own thread, that keeps the frames
//! in chunks of the recording format. Each chunk begins with a snapshot, so that the
//! oldest can be dropped.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Arc, Weak};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use looptop_wire::proto::{Frame, HelloResponse};
use looptop_wire::recording::chunk::ChunkBuilder;
use looptop_wire::recording::format::Opening;
use looptop_wire::recording::private;
use looptop_wire::recording::ring::{Bounds, ChunkRing, Chunks};
use tokio::sync::mpsc::Receiver;
use tokio::time::{Instant, timeout_at};

use crate::access::Permission;
use crate::hello;
use crate::publish::feed::Feed;
use crate::shared::Shared;

/// Between two frames.
const EVERY: Duration = Duration::from_secs(1);
/// A chunk is closed after this.
const CHUNK: Duration = Duration::from_secs(20);
/// A poll that is blocked for so long is worth a recording.
const CRITICAL_NS: u64 = 1_000_000_000;
/// What follows is recorded too.
const AFTERMATH: Duration = Duration::from_secs(5);
/// After a recording the next one comes so much later at the earliest.
const PAUSE: Duration = Duration::from_mins(1);
/// Recordings that stay on disk.
const KEPT: usize = 10;
/// In less memory there is no room for a chunk.
const LEAST_BYTES: u64 = 256 << 10;
/// How the files are named, for tidying up.
const PREFIX: &str = "looptop-flight-";

/// Panics in this process so far.
static PANICS: AtomicU64 = AtomicU64::new(0);

/// Starts it if the application asked for it; to be called on the agent's
/// runtime.
pub(crate) fn start(shared: &Arc<Shared>, feed: &Feed) {
    let Some((directory, bytes)) = shared.config.flight.clone() else {
        return;
    };
    if let Err(error) = std::fs::create_dir_all(&directory) {
        let shown = directory.display();
        return crate::complain(&format!(
            "no flight recorder: cannot create {shown}: {error}"
        ));
    }
    count_panics();
    let recorder = Recorder {
        shared: Arc::downgrade(shared),
        directory,
        ring: ChunkRing::new(Bounds {
            bytes: usize::try_from(bytes.max(LEAST_BYTES)).unwrap_or(usize::MAX),
            age: None,
        }),
        newest_stall: 0,
        panics: PANICS.load(Relaxed),
        due: None,
        next: Instant::now(),
    };
    tokio::spawn(recorder.run(feed.clone()));
}

/// Has the hook of before do its work, and counts.
fn count_panics() {
    static ONCE: std::sync::Once = std::sync::Once::new();
    ONCE.call_once(|| {
        let before = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |info| {
            PANICS.fetch_add(1, Relaxed);
            before(info);
        }));
    });
}

struct Recorder {
    shared: Weak<Shared>,
    directory: PathBuf,
    ring: ChunkRing<()>,
    /// The newest of the grave stalls that were seen.
    newest_stall: u64,
    panics: u64,
    /// A recording is due then, and why.
    due: Option<(Instant, &'static str)>,
    /// Not before.
    next: Instant,
}

impl Recorder {
    async fn run(mut self, feed: Feed) {
        while self.shared.strong_count() > 0 {
            if self
                .chunk(feed.record(EVERY.as_nanos() as u64))
                .await
                .is_err()
            {
                return crate::complain("the flight recorder could not compress, and has ended");
            }
        }
    }

    /// Takes one chunk from a snapshot on.
    async fn chunk(&mut self, mut frames: Receiver<Frame>) -> io::Result<()> {
        let end = Instant::now() + CHUNK;
        let mut snapshot = Vec::new();
        loop {
            let Some(frame) = frames.recv().await else {
                return Ok(());
            };
            let complete = frame.snapshot_complete;
            snapshot.push(frame);
            if complete {
                break;
            }
        }
        self.ring.begin(&snapshot, ())?;
        drop(snapshot);
        while Instant::now() < end && !self.ring.open().is_none_or(ChunkBuilder::is_full) {
            match timeout_at(end, frames.recv()).await {
                // A new snapshot: this viewer fell behind.
                Ok(Some(frame)) if frame.snapshot_complete => break,
                Ok(Some(frame)) => {
                    self.ring.push(&frame, None)?;
                    self.judge(&frame);
                }
                Ok(None) => break,
                Err(_elapsed) => break,
            }
            if self.due.is_some_and(|(at, _)| Instant::now() >= at) {
                break;
            }
        }
        self.ring.close()?;
        if let Some((at, why)) = self.due
            && Instant::now() >= at
        {
            self.due = None;
            self.next = Instant::now() + PAUSE;
            self.write(why);
        }
        Ok(())
    }

    /// Whether something grave has happened.
    fn judge(&mut self, frame: &Frame) {
        let grave = frame.stalls.iter().filter(|s| s.duration_ns >= CRITICAL_NS);
        let newest = grave.map(|s| s.id).max();
        let panics = PANICS.load(Relaxed);
        let now = Instant::now();
        let why = if newest.is_some_and(|id| id > self.newest_stall) {
            Some("stall")
        } else if panics > self.panics {
            Some("panic")
        } else {
            None
        };
        self.newest_stall = self.newest_stall.max(newest.unwrap_or_default());
        self.panics = panics;
        if let Some(why) = why
            && now >= self.next
        {
            self.due.get_or_insert((now + AFTERMATH, why));
        }
    }

    /// Writes what is held, on a thread of its own: viewers must not wait for a
    /// disk.
    fn write(&mut self, why: &'static str) {
        let Some(shared) = self.shared.upgrade() else {
            return;
        };
        let hello = hello::response(&shared, Permission::Memory);
        let chunks = self.ring.copy(|()| ());
        let directory = self.directory.clone();
        tokio::task::spawn_blocking(move || {
            let now = SystemTime::now().duration_since(UNIX_EPOCH);
            let seconds = now.map_or(0, |since| since.as_secs());
            let pid = std::process::id();
            let path = directory.join(format!("{PREFIX}{seconds}-{pid}-{why}.looptop"));
            let shown = path.display();
            crate::complain(&match write_to(&path, hello, &chunks) {
                Ok(()) => format!("a {why}: recorded to {shown}"),
                Err(error) => format!("could not record a {why} to {shown}: {error}"),
            });
            tidy(&directory);
        });
    }
}

fn write_to(path: &Path, hello: HelloResponse, chunks: &Chunks<()>) -> io::Result<()> {
    let mut opening = Some(Opening {
        target: hello.name.clone(),
        hello: Some(hello),
        recorder: concat!("looptop-agent ", env!("CARGO_PKG_VERSION")).into(),
        redacted: false,
    });
    let file = private::create_new(path)?;
    chunks.write(file, |()| opening.take()).map(drop)
}

/// Removes the oldest recordings of a flight recorder.
fn tidy(directory: &Path) {
    let Ok(entries) = std::fs::read_dir(directory) else {
        return;
    };
    let names = entries.filter_map(|entry| Some(entry.ok()?.file_name()));
    let mut own: Vec<_> = names
        .filter(|name| {
            let name = name.to_string_lossy();
            name.starts_with(PREFIX) && name.ends_with(".looptop")
        })
        .collect();
    // The time comes first in the name.
    own.sort();
    for name in own.iter().rev().skip(KEPT) {
        drop(std::fs::remove_file(directory.join(name)));
    }
}
