//! A recording that was opened: where its chunks are, and what is missing.

use std::{io, path::Path, sync::Arc, time::Duration};

use looptop_wire::proto::HelloResponse;

use super::{
    console,
    format::{ChunkInfo, StallMark},
    frames::Frames,
    scan::Scan,
    segments,
    store::Store,
};

/// Why a file cannot be opened, as a sentence without the file's name.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The operating system refused.
    #[error("it cannot be read: {0}")]
    Io(#[from] io::Error),
    /// Nothing is in it.
    #[error("it is empty: whoever wrote it was stopped before anything was recorded")]
    Empty,
    /// Something else.
    #[error(
        "it is not a recording: it begins with {0}; \
         `looptop record` writes recordings, and console-subscriber's are read as well"
    )]
    Foreign(String),
    /// Too short or changed at its very beginning.
    #[error("its header is damaged, so nothing of it can be trusted")]
    Header,
    /// A later looptop wrote it.
    #[error(
        "it was recorded in version {found} of the format, and this looptop reads up to {known}; \
         use a newer looptop"
    )]
    TooNew {
        /// Its version.
        found: u32,
        /// What is read at most.
        known: u32,
    },
    /// It ends too early.
    #[error("it was cut before its first whole chunk ({0} bytes), so there is nothing to show")]
    NothingWhole(u64),
    /// A console-subscriber's recording that cannot be understood.
    #[error("{0}")]
    Console(String),
}

/// One process that was observed.
#[derive(Debug, Clone)]
pub struct SessionEntry {
    /// How the target describes itself.
    pub hello: Arc<HelloResponse>,
    /// The target as the user named it.
    pub target: String,
    /// Names and fields of tasks were left out.
    pub redacted: bool,
    /// When it begins, since the beginning of the recording.
    pub start: Duration,
    /// The session's clock at `start`.
    pub(super) first_ns: u64,
}

impl SessionEntry {
    /// The wall clock at `start`, in nanoseconds since 1970; `None` where that is unknown.
    pub fn unix_ns(&self) -> Option<u64> {
        let began = self.hello.started_unix_ns;
        (began != 0).then(|| began.saturating_add(self.first_ns))
    }

    /// A moment of the session's clock as time since the recording's beginning.
    pub fn elapsed(&self, now_ns: u64) -> Duration {
        self.start + Duration::from_nanos(now_ns.saturating_sub(self.first_ns))
    }
}

/// Where a chunk is.
#[derive(Debug, Clone)]
pub(super) struct ChunkEntry {
    /// Which file of a directory.
    pub(super) part: usize,
    pub(super) payload_at: u64,
    pub(super) payload_len: u32,
    pub(super) payload_crc: u32,
    pub(super) session: usize,
    pub(super) info: ChunkInfo,
    /// Since the beginning of the recording.
    pub(super) start: Duration,
    pub(super) end: Duration,
}

/// How much time a recording covers.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Extent {
    /// From its first to its last moment.
    pub length: Duration,
    /// Its stalls, by start: the longest 64 of each chunk.
    pub marks: Vec<Mark>,
    /// What is missing or damaged, as a sentence; `None` where it is whole.
    pub remark: Option<String>,
}

/// A stall on the time strip.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Mark {
    /// When it began, since the recording's beginning.
    pub at: Duration,
    /// How long it took.
    pub duration: Duration,
}

/// An opened recording. Cheap to clone; holds some 200 bytes for each chunk.
#[derive(Debug, Clone)]
pub struct Recording {
    pub(super) stores: Arc<[Store]>,
    pub(super) sessions: Arc<[SessionEntry]>,
    pub(super) chunks: Arc<[ChunkEntry]>,
    pub(super) remark: Option<String>,
}

impl Recording {
    /// Opens the file of a recording, looptop's or console-subscriber's, or a
    /// directory of `looptop record --last`.
    ///
    /// Reads the heads of all chunks: about 2 µs for each where the file is in
    /// the page cache.
    pub fn open(path: &Path) -> Result<Self, OpenError> {
        if path.is_dir() {
            return segments::open(path);
        }
        Self::from_store(Store::open(path)?)
    }

    /// Opens a recording in memory.
    pub fn from_bytes(bytes: impl Into<Arc<[u8]>>) -> Result<Self, OpenError> {
        Self::from_store(Store::Bytes(bytes.into()))
    }

    pub(super) fn from_store(store: Store) -> Result<Self, OpenError> {
        if store.bytes(0, 1)?.as_deref() == Some(b"{") {
            return console::open(&store);
        }
        let mut scan = Scan::default();
        scan.part(store)?;
        scan.finish()
    }

    /// With another remark on what is missing.
    pub(super) fn with_remark(self, remark: Option<String>) -> Self {
        Self {
            remark: remark.or(self.remark),
            ..self
        }
    }

    /// The processes observed, in order; at least one.
    pub fn sessions(&self) -> &[SessionEntry] {
        &self.sessions
    }

    /// How much time it covers, its stalls, and what is missing.
    pub fn extent(&self) -> Extent {
        let mut marks: Vec<Mark> = Vec::new();
        let mut last = None;
        for chunk in self.chunks.iter() {
            for mark in &chunk.info.stalls {
                push_mark(
                    &mut marks,
                    &mut last,
                    &self.sessions[chunk.session],
                    chunk,
                    mark,
                );
            }
        }
        marks.sort_unstable_by_key(|m| m.at);
        Extent {
            length: self.length(),
            marks,
            remark: self.remark.clone(),
        }
    }

    /// From its first to its last moment.
    pub fn length(&self) -> Duration {
        self.chunks.last().map_or(Duration::ZERO, |c| c.end)
    }

    /// What is missing or damaged, as a sentence.
    pub fn remark(&self) -> Option<&str> {
        self.remark.as_deref()
    }

    /// Reads from the beginning.
    pub fn frames(&self) -> Frames {
        Frames::new(self.clone(), 0)
    }

    /// Reads from the last keyframe at or before `elapsed`, counted since the
    /// beginning. What comes until then is to be taken in without delay.
    pub fn frames_at(&self, elapsed: Duration) -> Frames {
        let after = self.chunks.partition_point(|c| c.start <= elapsed);
        Frames::new(self.clone(), after.saturating_sub(1))
    }
}

/// A stall that spans chunks is in each: the last one counts.
fn push_mark(
    marks: &mut Vec<Mark>,
    last: &mut Option<(usize, u64)>,
    session: &SessionEntry,
    chunk: &ChunkEntry,
    mark: &StallMark,
) {
    let this = Mark {
        at: session.elapsed(mark.started_ns),
        duration: Duration::from_nanos(mark.duration_ns),
    };
    let id = (chunk.session, mark.id);
    match marks.last_mut() {
        Some(known) if *last == Some(id) => *known = this,
        _ => marks.push(this),
    }
    *last = Some(id);
}
