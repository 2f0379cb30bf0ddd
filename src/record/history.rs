//! The past of a live session in memory, so that the screen can go back.
//!
//! The same chunks as in a file, in a ring: what is older than a minute is
//! thinned to steps of a second, what is older than half an hour or over the
//! bound in bytes is dropped, oldest first.

use std::{collections::VecDeque, io, sync::Arc, time::Duration};

use looptop_wire::proto::{Frame, HelloResponse};

use super::{
    chunk::{ChunkBuilder, ChunkError, ChunkFrames},
    coarse::{CoarseStep, step_ends},
    format::ChunkInfo,
    held::{Held, HeldChunk},
    recorder::is_due,
};
use crate::model::{Model, Moment, Resolved, StackOf, named_stack};

/// How much is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Bounds {
    /// Compressed bytes; the notes' come on top.
    pub bytes: usize,
    /// What is older is thinned to steps of a second.
    pub fine: Duration,
    /// What is older is dropped.
    pub age: Duration,
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

/// A moment of the past.
#[derive(Debug)]
pub struct Past<N> {
    /// The model as it was. Names of stacks are not in it; see
    /// [`Model::adopt_names`](Model::adopt_names).
    pub model: Model,
    /// What the caller noted at that moment.
    pub note: N,
}

/// The past of one session. `N` is what the caller notes at each moment, for
/// example its findings, which follow from more than the model.
#[derive(Debug)]
pub struct History<N> {
    bounds: Bounds,
    hello: Arc<HelloResponse>,
    pieces: VecDeque<Piece<N>>,
    open: Option<(ChunkBuilder, Moments<N>)>,
    bytes: usize,
}

/// The moments of a piece that can be gone to, oldest first.
#[derive(Debug)]
struct Moments<N>(Vec<(Moment, N)>);

/// A chunk that is complete.
#[derive(Debug)]
struct Piece<N> {
    hello: Arc<HelloResponse>,
    info: ChunkInfo,
    /// Shared with whoever writes it to a file.
    payload: Arc<[u8]>,
    moments: Moments<N>,
    thinned: bool,
}

impl<N: Clone> History<N> {
    /// An empty one.
    pub fn new(bounds: Bounds) -> Self {
        Self {
            bounds,
            hello: Arc::default(),
            pieces: VecDeque::new(),
            open: None,
            bytes: 0,
        }
    }

    /// A session begins, or its connection anew: ids of texts change, so a new
    /// chunk begins. Of another process the past is dropped.
    pub fn begin(&mut self, hello: &HelloResponse) {
        if hello.session == self.hello.session {
            self.close();
        } else {
            self.pieces.clear();
            self.open = None;
            self.bytes = 0;
        }
        self.hello = Arc::new(hello.clone());
    }

    /// Keeps a frame that `model` has just taken in, with what the caller notes
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

    /// Keeps a frame that led to `moment`, for one who does not have the model
    /// at hand. `encoded` are the bytes of the frame, where it came in this form. A
    /// failure to compress drops the open chunk.
    pub fn add(&mut self, frame: &Frame, encoded: Option<&[u8]>, moment: Moment, note: N) {
        let Some((chunk, moments)) = &mut self.open else {
            return;
        };
        let pushed = match encoded {
            Some(encoded) => chunk.push_encoded(frame, encoded),
            None => chunk.push(frame),
        };
        match pushed {
            Ok(()) if frame.more => {}
            Ok(()) => moments.push(moment, note),
            Err(_) => self.open = None,
        }
    }

    /// Whether a chunk should begin with the next complete model.
    pub fn wants_keyframe(&self) -> bool {
        self.open.as_ref().is_none_or(|(chunk, _)| is_due(chunk))
    }

    /// Begins a chunk with the model as it is after the last frame that was
    /// kept.
    pub fn begin_chunk(&mut self, model: &Model, note: N) {
        self.close();
        // What cannot be compressed leaves a gap.
        if let Ok(chunk) = ChunkBuilder::new(model.keyframes()) {
            self.open = Some((chunk, Moments(vec![(model.now, note)])));
        }
        self.tidy(model.now);
    }

    /// Keeps the names of a stack with the frames.
    pub fn name(&mut self, of: &StackOf, stack: &Resolved) {
        // Before a chunk is open the model alone holds them: its keyframe brings
        // them along.
        let Some((chunk, _)) = &mut self.open else {
            return;
        };
        let names = Frame {
            now_ns: chunk.info().last_ns,
            names: vec![named_stack(vec![of.clone()], stack)],
            ..Frame::default()
        };
        if chunk.push(&names).is_err() {
            self.open = None;
        }
    }

    /// All that is held, to be written to a file. Copies the bytes of the open
    /// chunk and shares the others.
    pub fn held(&mut self) -> Held {
        let mut chunks: Vec<HeldChunk> = self
            .pieces
            .iter()
            .map(|piece| HeldChunk {
                hello: Arc::clone(&piece.hello),
                info: piece.info.clone(),
                payload: Arc::clone(&piece.payload),
                open: false,
            })
            .collect();
        if let Some((chunk, _)) = &mut self.open {
            let info = chunk.info().clone();
            if let Ok(payload) = chunk.peek() {
                chunks.push(HeldChunk {
                    hello: Arc::clone(&self.hello),
                    info,
                    payload: payload.into(),
                    open: true,
                });
            }
        }
        Held::new(chunks)
    }

    fn close(&mut self) {
        let Some((chunk, moments)) = self.open.take() else {
            return;
        };
        if let Ok((info, payload)) = chunk.finish() {
            self.bytes += payload.len();
            self.pieces.push_back(Piece {
                hello: Arc::clone(&self.hello),
                info,
                payload: payload.into(),
                moments,
                thinned: false,
            });
        }
    }

    /// Thins and drops what is old.
    fn tidy(&mut self, now: Moment) {
        for piece in &mut self.pieces {
            let age = now.since(Moment(piece.info.last_ns));
            if age > self.bounds.fine && !piece.thinned {
                let before = piece.payload.len();
                piece.thin();
                self.bytes = self.bytes - before + piece.payload.len();
            }
        }
        while let Some(oldest) = self.pieces.front() {
            let age = now.since(Moment(oldest.info.last_ns));
            if age <= self.bounds.age && self.bytes <= self.bounds.bytes {
                break;
            }
            self.bytes -= oldest.payload.len();
            self.pieces.pop_front();
        }
    }

    /// Compressed bytes held, without those of the open chunk.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// The first moment that is held.
    pub fn oldest(&self) -> Option<Moment> {
        let open = self.open.as_ref().map(|(_, moments)| moments);
        let moments = self.pieces.front().map(|p| &p.moments).or(open)?;
        moments.0.first().map(|(at, _)| *at)
    }

    /// The last moment that is held.
    pub fn newest(&self) -> Option<Moment> {
        let closed = self.pieces.back().map(|p| &p.moments);
        let moments = self.open.as_ref().map(|(_, moments)| moments).or(closed)?;
        moments.0.last().map(|(at, _)| *at)
    }

    /// The last moment held before `moment`: a step back.
    pub fn before(&self, moment: Moment) -> Option<Moment> {
        let before = |moments: &Moments<N>| {
            moments
                .upto(Moment(moment.0.checked_sub(1)?))
                .map(|(at, _)| *at)
        };
        self.newest_first().find_map(before)
    }

    /// The first moment held after `moment`: a step forward.
    pub fn after(&self, moment: Moment) -> Option<Moment> {
        let closed = self.pieces.iter().map(|p| &p.moments);
        let mut all = closed.chain(self.open.iter().map(|(_, moments)| moments));
        all.find_map(|m| m.0.get(m.0.partition_point(|(at, _)| *at <= moment)))
            .map(|(at, _)| *at)
    }

    fn newest_first(&self) -> impl Iterator<Item = &Moments<N>> {
        let closed = self.pieces.iter().rev().map(|p| &p.moments);
        self.open.iter().map(|(_, moments)| moments).chain(closed)
    }

    /// What the caller noted at the last moment held that is not after `moment`,
    /// without building the model.
    pub fn note(&self, moment: Moment) -> Option<(Moment, &N)> {
        self.newest_first()
            .find_map(|m| m.upto(moment))
            .map(|(at, note)| (*at, note))
    }

    /// All notes, oldest first.
    pub fn notes(&self) -> impl Iterator<Item = (Moment, &N)> {
        let closed = self.pieces.iter().map(|p| &p.moments);
        let all = closed.chain(self.open.iter().map(|(_, moments)| moments));
        all.flat_map(|m| m.0.iter().map(|(at, note)| (*at, note)))
    }

    /// The session as it was at the last moment held that is not after `moment`.
    /// `None` before the first.
    ///
    /// Costs taking in a keyframe and at most about as much again.
    pub fn at(&mut self, moment: Moment) -> Option<Past<N>> {
        let (moment, note) = self.note(moment)?;
        let note = note.clone();
        let open = self
            .open
            .as_mut()
            .filter(|(_, m)| m.0.first().is_some_and(|(at, _)| *at <= moment));
        let model = if let Some((chunk, _)) = open {
            let info = chunk.info().clone();
            rebuild(&self.hello, &info, chunk.peek().ok()?, moment)
        } else {
            let piece = self
                .pieces
                .iter()
                .rev()
                .find(|p| p.info.first_ns <= moment.0)?;
            rebuild(&piece.hello, &piece.info, &piece.payload, moment)
        };
        Some(Past {
            model: model.ok()?,
            note,
        })
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
        let mut room = bytes;
        let mut chosen = Vec::new();
        if let Some((chunk, _)) = &mut self.open
            && overlaps(chunk.info())
        {
            let info = chunk.info().clone();
            if let Ok(payload) = chunk.peek() {
                room = room.saturating_sub(payload.len());
                chosen.push((info, payload));
            }
        }
        for piece in self.pieces.iter().rev().filter(|p| overlaps(&p.info)) {
            if piece.payload.len() > room && !chosen.is_empty() {
                break;
            }
            room = room.saturating_sub(piece.payload.len());
            chosen.push((piece.info.clone(), &piece.payload));
        }
        for (info, payload) in chosen.into_iter().rev() {
            // A chunk that cannot be read is a gap.
            let _ = follow(&self.hello, &info, payload, until, &mut visit);
        }
    }
}

impl<N> Moments<N> {
    /// Several frames of one instant are one moment.
    fn push(&mut self, at: Moment, note: N) {
        match self.0.last_mut() {
            Some(last) if last.0 == at => last.1 = note,
            _ => self.0.push((at, note)),
        }
    }

    fn upto(&self, moment: Moment) -> Option<&(Moment, N)> {
        self.0
            .partition_point(|(at, _)| *at <= moment)
            .checked_sub(1)
            .map(|i| &self.0[i])
    }
}

fn rebuild(
    hello: &HelloResponse,
    info: &ChunkInfo,
    payload: &[u8],
    moment: Moment,
) -> Result<Model, ChunkError> {
    follow(hello, info, payload, moment, |_| {})
}

/// Takes in a chunk as far as `moment`; `visit` sees each state on the way.
fn follow(
    hello: &HelloResponse,
    info: &ChunkInfo,
    payload: &[u8],
    moment: Moment,
    mut visit: impl FnMut(&Model),
) -> Result<Model, ChunkError> {
    let mut model = Model::new(hello);
    let mut parts_of_keyframe = info.keyframes;
    let mut frames = ChunkFrames::new(payload, info)?;
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

impl<N> Piece<N> {
    /// Merges its frames to steps of a second. What cannot be read again stays
    /// as it is.
    fn thin(&mut self) {
        self.thinned = true;
        if let Ok((info, payload)) = self.thinned_frames() {
            let ends = step_ends(self.moments.0.iter().map(|(at, _)| *at));
            let mut ends = ends.into_iter();
            self.moments.0.retain(|_| ends.next().unwrap_or(true));
            self.info = ChunkInfo {
                stalls: std::mem::take(&mut self.info.stalls),
                ..info
            };
            self.payload = payload.into();
        }
    }

    fn thinned_frames(&self) -> Result<(ChunkInfo, Vec<u8>), ChunkError> {
        let mut frames = ChunkFrames::new(&*self.payload, &self.info)?;
        let mut chunk = begun(&mut frames, self.info.keyframes)?;
        let mut step = CoarseStep::default();
        while let Some(frame) = frames.next_frame()? {
            step.take(frame, &mut chunk)?;
        }
        step.end(&mut chunk)?;
        Ok(chunk.finish()?)
    }
}

/// A chunk that begins as the one that `frames` reads from its beginning.
pub(super) fn begun<R: io::BufRead>(
    frames: &mut ChunkFrames<R>,
    keyframes: u32,
) -> Result<ChunkBuilder, ChunkError> {
    let mut keyframe = Vec::new();
    while (keyframe.len() as u32) < keyframes
        && let Some(frame) = frames.next_frame()?
    {
        keyframe.push(frame);
    }
    Ok(ChunkBuilder::new(&keyframe)?)
}
