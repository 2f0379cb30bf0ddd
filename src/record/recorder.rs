//! A source's events become chunks.

use std::{io, time::Duration};

use looptop_wire::{
    MAX_MESSAGE_BYTES,
    proto::{Frame, HelloResponse},
    split::split,
};
use prost::Message;

use super::{
    chunk::ChunkBuilder,
    format::Opening,
    redact::Redactor,
    writer::{Sink, Writer},
};
use crate::model::{Model, Resolved, StackOf, named_stack};

/// A chunk lasts at least this long, so that a busy target does not drown in
/// keyframes.
const MIN_CHUNK: Duration = Duration::from_secs(2);
/// A crash loses at most this much; more only where a keyframe is large.
const MAX_CHUNK: Duration = Duration::from_secs(10);
const MAX_LARGE_CHUNK: Duration = Duration::from_secs(30);
/// A keyframe over this many bytes is large.
const LARGE_KEYFRAME: u64 = 1 << 20;
/// A chunk with fewer bytes of changes is not closed for its size.
const MIN_CHANGES: u64 = 256 << 10;
/// A source that has not sent all it knew by then is recorded as it is.
const PATIENCE: Duration = Duration::from_secs(2);

/// Who writes, for the opening.
pub(super) const RECORDER: &str = concat!("looptop ", env!("CARGO_PKG_VERSION"));

/// So many times a large keyframe do changes outweigh before the next: where all
/// of 100,000 tasks change every second, their keyframes would cost as much as
/// they.
const LARGE_FACTOR: u64 = 4;

/// Whether a chunk is due to be closed, so that reading any moment of it costs
/// no more than about two keyframes, five where they are large.
pub(super) fn is_due(chunk: &ChunkBuilder) -> bool {
    let info = chunk.info();
    let age = Duration::from_nanos(info.last_ns.saturating_sub(info.first_ns));
    let large = chunk.keyframe_bytes() > LARGE_KEYFRAME;
    let factor = if large { LARGE_FACTOR } else { 1 };
    let enough = factor * chunk.keyframe_bytes().max(MIN_CHANGES);
    let outweighed = chunk.change_bytes() >= enough;
    age >= if large { MAX_LARGE_CHUNK } else { MAX_CHUNK }
        || (age >= MIN_CHUNK && outweighed)
        || chunk.is_full()
}

/// Records one file.
#[derive(Debug)]
pub struct Recorder<W: Sink> {
    writer: Writer<W>,
    target: String,
    redactor: Option<Redactor>,
    redact: bool,
    model: Model,
    hello: Option<HelloResponse>,
    chunk: Option<ChunkBuilder>,
    frames: u64,
}

impl<W: Sink> Recorder<W> {
    /// A recording of `target`, named as the user did. `redact` leaves out the
    /// names and fields of tasks.
    pub fn new(sink: W, target: &str, redact: bool) -> io::Result<Self> {
        Ok(Self {
            writer: Writer::new(sink)?,
            target: target.to_owned(),
            redactor: None,
            redact,
            model: Model::default(),
            hello: None,
            chunk: None,
            frames: 0,
        })
    }

    /// A session begins, or a connection to the same one anew.
    pub fn connected(&mut self, hello: &HelloResponse) -> io::Result<()> {
        self.close_chunk()?;
        self.model = Model::new(hello);
        self.redactor = self.redact.then(Redactor::default);
        self.hello = Some(hello.clone());
        let opening = self.opening();
        self.writer.opening(&opening)
    }

    fn opening(&self) -> Opening {
        Opening {
            hello: self.hello.clone(),
            recorder: RECORDER.into(),
            target: self.target.clone(),
            redacted: self.redact,
        }
    }

    /// Ends the file and goes on in another, so that either can be read alone
    /// and both as one. Gives the first back.
    pub fn rotate(&mut self, sink: W) -> io::Result<W> {
        let begun = self.chunk.is_some();
        self.close_chunk()?;
        let done = std::mem::replace(&mut self.writer, Writer::new(sink)?);
        if self.hello.is_some() {
            let opening = self.opening();
            self.writer.opening(&opening)?;
        }
        if begun {
            self.open_chunk()?;
        }
        done.finish()
    }

    /// A frame of the session. What comes before the first [`connected`] is
    /// left out.
    ///
    /// [`connected`]: Self::connected
    pub fn frame(&mut self, frame: &Frame) -> io::Result<()> {
        self.received(frame, None)
    }

    /// The same, with the bytes in which the frame came.
    pub fn received(&mut self, frame: &Frame, encoded: Option<&[u8]>) -> io::Result<()> {
        if self.hello.is_none() {
            return Ok(());
        }
        let redacted;
        let frame = match &mut self.redactor {
            Some(redactor) => {
                redacted = redactor.frame(frame.clone());
                &redacted
            }
            None => frame,
        };
        // What is malformed is left out of the model, here as when reading.
        let _ = self.model.apply(frame);
        let ready = !frame.more && self.is_ready();
        match &mut self.chunk {
            Some(chunk) => {
                self.frames += 1;
                match encoded.filter(|e| self.redactor.is_none() && e.len() <= MAX_MESSAGE_BYTES) {
                    Some(encoded) => chunk.push_encoded(frame, encoded)?,
                    None => push(chunk, frame)?,
                }
                let due = !frame.more && is_due(chunk);
                if due {
                    self.close_chunk()?;
                    self.open_chunk()?;
                }
            }
            None if ready => self.open_chunk()?,
            None => {}
        }
        Ok(())
    }

    /// The names of a stack, to be stored with the frames.
    pub fn name(&mut self, of: &StackOf, stack: &Resolved) -> io::Result<()> {
        let frame = Frame {
            now_ns: self.model.now.0,
            names: vec![named_stack(vec![of.clone()], stack)],
            ..Frame::default()
        };
        self.frame(&frame)
    }

    fn is_ready(&self) -> bool {
        let watched = self.model.since.map(|since| self.model.now.since(since));
        self.model.complete || watched.is_some_and(|watched| watched >= PATIENCE)
    }

    fn open_chunk(&mut self) -> io::Result<()> {
        self.chunk = Some(ChunkBuilder::new(self.model.keyframes())?);
        Ok(())
    }

    fn close_chunk(&mut self) -> io::Result<()> {
        if let Some(chunk) = self.chunk.take() {
            let (info, payload) = chunk.finish()?;
            self.writer.chunk(&info, &payload)?;
        }
        Ok(())
    }

    /// The model of what was recorded.
    pub fn model(&self) -> &Model {
        &self.model
    }

    /// Something is being recorded: a session has sent what it knew.
    pub fn has_begun(&self) -> bool {
        self.chunk.is_some()
    }

    /// Frames recorded after the first keyframe.
    pub fn frames(&self) -> u64 {
        self.frames
    }

    /// Bytes that are safe in the file.
    pub fn bytes(&self) -> u64 {
        self.writer.len()
    }

    /// Writes what is still open, and the index.
    pub fn finish(mut self) -> io::Result<W> {
        if self.chunk.is_none() && self.model.since.is_some() {
            self.open_chunk()?;
        }
        self.close_chunk()?;
        self.writer.finish()
    }
}

/// Adds a frame; one over the wire's bound becomes several.
fn push(chunk: &mut ChunkBuilder, frame: &Frame) -> io::Result<()> {
    let plain = frame.history.is_none() && frame.names.is_empty();
    if !plain || frame.encoded_len() <= MAX_MESSAGE_BYTES {
        return chunk.push(frame);
    }
    split(frame.clone())
        .iter()
        .try_for_each(|part| chunk.push(part))
}
