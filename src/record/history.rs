//! The history of a live session in memory, so that the screen can go back.
//!
//! The same chunks as in a file, in a ring: what is older than half an hour or over
//! the bound in bytes is dropped, oldest first. Of what is older than a minute only
//! the last moment of each second can be gone to, because what the caller notes of a
//! moment takes room as well.

use std::{io, sync::Arc, time::Duration};

use looptop_wire::{
    proto::{Frame, HelloResponse},
    recording::{
        chunk::{ChunkError, ChunkFrames},
        format::{ChunkInfo, Opening},
        ring::{self, Chunk, ChunkRing, Chunks},
        writer::Sink,
    },
};

use super::recorder::{RECORDER, is_due};
use crate::model::{Model, Moment, Resolved, StackOf, named_stack};

/// Between the moments of the older part that can be gone to.
const COARSE: Duration = Duration::from_secs(1);

/// How much is held.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Bounds {
    /// Compressed bytes, less where there are many tasks; the notes' come on top.
    pub bytes: usize,
    /// Of what is older, one moment of each second can be gone to.
    pub fine: Duration,
    /// What is older is dropped.
    pub age: Duration,
}

/// So many bytes less are held for each task of the program, which take room themselves;
/// but so many in any case.
const LESS_FOR_EACH_TASK: usize = 400;
const LEAST_BYTES: usize = 24 << 20;

impl Bounds {
    /// The compressed bytes that are held of a program with so many tasks.
    fn bytes_beside(self, tasks: usize) -> usize {
        let least = self.bytes.min(LEAST_BYTES);
        let less = tasks.saturating_mul(LESS_FOR_EACH_TASK);
        self.bytes.saturating_sub(less).max(least)
    }
}

impl Default for Bounds {
    fn default() -> Self {
        Self {
            bytes: 64 << 20,
            fine: Duration::from_mins(1),
            age: Duration::from_mins(30),
        }
    }
}

/// An earlier moment.
#[derive(Debug)]
pub struct Earlier<N> {
    /// The model as it was. Names of stacks are not in it; see
    /// [`Model::adopt_names`](Model::adopt_names).
    pub model: Model,
    /// What the caller noted at that moment.
    pub note: N,
}

/// The history of one session. `N` is what the caller notes at each moment, for
/// example its findings, which follow from more than the model.
#[derive(Debug)]
pub struct History<N> {
    bounds: Bounds,
    hello: Arc<HelloResponse>,
    ring: ChunkRing<Moments<N>>,
}

/// The moments of a chunk that can be gone to, oldest first.
#[derive(Debug)]
struct Moments<N> {
    /// Of the connection that brought the chunk.
    hello: Arc<HelloResponse>,
    list: Vec<(Moment, N)>,
    thinned: bool,
}

impl<N: Clone> History<N> {
    /// An empty one.
    pub fn new(bounds: Bounds) -> Self {
        Self {
            bounds,
            hello: Arc::default(),
            ring: ChunkRing::new(ring::Bounds {
                bytes: bounds.bytes,
                age: Some(bounds.age),
            }),
        }
    }

    /// A session begins, or its connection anew: ids of texts change, so a new
    /// chunk begins. Of another process the history is dropped.
    pub fn begin(&mut self, hello: &HelloResponse) {
        if hello.session == self.hello.session {
            // What cannot be compressed leaves a gap.
            let _ = self.ring.close();
        } else {
            self.ring.clear();
        }
        self.hello = Arc::new(hello.clone());
    }

    /// Takes a frame that `model` has just taken in, with what the caller notes
    /// of this moment. Begins when the model is complete.
    ///
    /// Costs an encoding and compression of the frame; every few seconds, that
    /// of a keyframe.
    pub fn push(&mut self, frame: &Frame, model: &Model, note: N) {
        self.add(frame, None, model.now, note.clone());
        if !frame.more && model.complete && self.wants_keyframe() {
            self.begin_chunk(model, note);
        }
    }

    /// Takes a frame that led to `moment`, for one who does not have the model
    /// at hand. `encoded` are the bytes of the frame, where it came in this form. A
    /// failure to compress drops the open chunk.
    pub fn add(&mut self, frame: &Frame, encoded: Option<&[u8]>, moment: Moment, note: N) {
        let pushed = self.ring.push(frame, encoded);
        if pushed.is_ok()
            && !frame.more
            && let Some(moments) = self.ring.with_open()
        {
            moments.push(moment, note);
        }
    }

    /// Whether a chunk should begin with the next complete model.
    pub fn wants_keyframe(&self) -> bool {
        self.ring.open().is_none_or(is_due)
    }

    /// Begins a chunk with the model as it is after the last frame that was
    /// taken.
    pub fn begin_chunk(&mut self, model: &Model, note: N) {
        let moments = Moments {
            hello: Arc::clone(&self.hello),
            list: vec![(model.now, note)],
            thinned: false,
        };
        self.ring.hold(self.bounds.bytes_beside(model.tasks.len()));
        // What cannot be compressed leaves a gap.
        let _ = self.ring.begin(model.keyframes(), moments);
        for (last_ns, moments) in self.ring.with_each_mut() {
            if model.now.since(Moment(last_ns)) > self.bounds.fine {
                moments.thin();
            }
        }
    }

    /// Takes the names of a stack, to be read with the frames.
    pub fn name(&mut self, of: &StackOf, stack: &Resolved) {
        // Before a chunk is open the model alone holds them: its keyframe brings
        // them along.
        let Some(chunk) = self.ring.open() else {
            return;
        };
        let names = Frame {
            now_ns: chunk.info().last_ns,
            names: vec![named_stack(vec![of.clone()], stack)],
            ..Frame::default()
        };
        // What cannot be compressed leaves a gap.
        let _ = self.ring.push(&names, None);
    }

    /// All that is held, to be written to a file. Copies the bytes of the open
    /// chunk and shares the others.
    pub fn copy(&mut self) -> HistoryCopy {
        HistoryCopy(self.ring.copy(|moments| Arc::clone(&moments.hello)))
    }

    /// Compressed bytes held, without those of the open chunk.
    pub fn bytes(&self) -> usize {
        self.ring.bytes()
    }

    /// The first moment that is held.
    pub fn oldest(&self) -> Option<Moment> {
        let moments = self.ring.with_each().next()?;
        moments.list.first().map(|(at, _)| *at)
    }

    /// The last moment that is held.
    pub fn newest(&self) -> Option<Moment> {
        let moments = self.ring.with_each().next_back()?;
        moments.list.last().map(|(at, _)| *at)
    }

    /// The last moment held before `moment`: a step back.
    pub fn before(&self, moment: Moment) -> Option<Moment> {
        let moment = Moment(moment.0.checked_sub(1)?);
        self.note(moment).map(|(at, _)| at)
    }

    /// The first moment held after `moment`: a step forward.
    pub fn after(&self, moment: Moment) -> Option<Moment> {
        let mut all = self.ring.with_each().map(|moments| &moments.list);
        all.find_map(|list| list.get(list.partition_point(|(at, _)| *at <= moment)))
            .map(|(at, _)| *at)
    }

    /// What the caller noted at the last moment held that is not after `moment`,
    /// without building the model.
    pub fn note(&self, moment: Moment) -> Option<(Moment, &N)> {
        let mut newest_first = self.ring.with_each().rev();
        newest_first
            .find_map(|moments| moments.upto(moment))
            .map(|(at, note)| (*at, note))
    }

    /// All notes, oldest first.
    pub fn notes(&self) -> impl Iterator<Item = (Moment, &N)> {
        let all = self.ring.with_each().flat_map(|moments| &moments.list);
        all.map(|(at, note)| (*at, note))
    }

    /// The session as it was at the last moment held that is not after `moment`.
    /// `None` before the first.
    ///
    /// Costs taking in a keyframe and at most about as much again.
    pub fn at(&mut self, moment: Moment) -> Option<Earlier<N>> {
        let (moment, note) = self.note(moment)?;
        let note = note.clone();
        let mut chunks = self.ring.chunks(|info| info.first_ns <= moment.0);
        let model = follow(&chunks.pop()?, moment, |_| {}).ok()?;
        Some(Earlier { model, note })
    }
}

impl<N> History<N> {
    /// Shows the model at each moment held between `from` and `until`, oldest
    /// first: as many of the last of them as `bytes` of compressed chunks hold,
    /// at least one chunk.
    ///
    /// Costs taking in all of their frames.
    pub fn walk(
        &mut self,
        (from, until): (Moment, Moment),
        bytes: usize,
        mut visit: impl FnMut(&Model),
    ) {
        let overlaps = |info: &ChunkInfo| info.last_ns >= from.0 && info.first_ns <= until.0;
        let chunks = self.ring.chunks(overlaps);
        let mut room = bytes;
        let fits = |chunk: &&Chunk<'_, _>| {
            let fits = chunk.payload.len() <= room;
            room = room.saturating_sub(chunk.payload.len());
            fits
        };
        let last = chunks.iter().rev().take_while(fits).count().max(1);
        for chunk in &chunks[chunks.len().saturating_sub(last)..] {
            // A chunk that cannot be read is a gap.
            let _ = follow(chunk, until, &mut visit);
        }
    }
}

/// Takes in a chunk as far as `moment`; `visit` sees each state on the way.
fn follow<N>(
    chunk: &Chunk<'_, Moments<N>>,
    moment: Moment,
    mut visit: impl FnMut(&Model),
) -> Result<Model, ChunkError> {
    let mut model = Model::new(&chunk.with.hello);
    let mut parts_of_keyframe = chunk.info.keyframes;
    let mut frames = ChunkFrames::new(chunk.payload, chunk.info)?;
    while let Some(frame) = frames.next_frame()? {
        if frame.now_ns > moment.0 {
            break;
        }
        // What is malformed is left out, as it was live.
        let _ = model.apply(&frame);
        parts_of_keyframe = parts_of_keyframe.saturating_sub(1);
        if parts_of_keyframe == 0 && !frame.more {
            visit(&model);
        }
    }
    Ok(model)
}

impl<N> Moments<N> {
    /// Several frames of one instant are one moment.
    fn push(&mut self, at: Moment, note: N) {
        match self.list.last_mut() {
            Some(last) if last.0 == at => last.1 = note,
            _ => self.list.push((at, note)),
        }
    }

    fn upto(&self, moment: Moment) -> Option<&(Moment, N)> {
        self.list
            .partition_point(|(at, _)| *at <= moment)
            .checked_sub(1)
            .map(|i| &self.list[i])
    }

    /// Leaves the first moment, which is the keyframe's, the last of each second, and
    /// the last.
    fn thin(&mut self) {
        if std::mem::replace(&mut self.thinned, true) {
            return;
        }
        let second = |at: &(Moment, N)| at.0.0 / COARSE.as_nanos() as u64;
        let seconds: Vec<u64> = self.list.iter().map(second).collect();
        let mut n = 0;
        self.list.retain(|_| {
            let stays = n == 0 || seconds.get(n + 1) != Some(&seconds[n]);
            n += 1;
            stays
        });
        self.list.shrink_to_fit();
    }
}

/// All of a [`History`] at one moment. It shares the bytes, so it is cheap to take
/// and can be written on another thread.
#[derive(Debug)]
pub struct HistoryCopy(Chunks<Arc<HelloResponse>>);

impl HistoryCopy {
    /// Nothing was held.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// From the first to the last moment.
    pub fn length(&self) -> Duration {
        self.0.length()
    }

    /// Writes it as a recording of `target`, named as the user did.
    pub fn write<W: Sink>(&self, sink: W, target: &str) -> io::Result<W> {
        let mut before: Option<&Arc<HelloResponse>> = None;
        self.0.write(sink, |hello| {
            // Another connection gives the texts other ids.
            let goes_on = before.is_some_and(|before| Arc::ptr_eq(before, hello));
            before = Some(hello);
            (!goes_on).then(|| Opening {
                hello: Some(HelloResponse::clone(hello)),
                recorder: RECORDER.into(),
                target: target.to_owned(),
                redacted: false,
            })
        })
    }
}
