//! Reading a recording from any chunk on.

use std::{
    io::{self, BufReader, Read},
    sync::Arc,
    time::Duration,
};

use looptop_wire::proto::{Frame, HelloResponse};

use super::{
    chunk::{ChunkError, ChunkFrames},
    recording::{ChunkEntry, Recording},
    store::Section,
};
use crate::model::Model;

/// What a reader meets.
#[derive(Debug)]
pub enum Step {
    /// A session begins, or goes on after a gap: the frames that follow begin
    /// with a keyframe, and what earlier ones brought is void.
    Session(Arc<HelloResponse>),
    /// A frame, and its moment since the beginning of the recording.
    Frame(Box<Frame>, Duration),
    /// Something could not be read and was left out, as a sentence.
    Gap(String),
}

/// The steps of a recording, in order. Memory is bounded by the largest frame
/// ([`super::format::MAX_FRAME`]).
#[derive(Debug)]
pub struct Frames {
    recording: Recording,
    next: usize,
    /// The chunk that is being read.
    open: Option<ChunkFrames<BufReader<Section>>>,
    /// Leading frames of the open chunk that repeat what is known.
    skip: u32,
    /// The session whose frames were read up to here without a gap.
    current: Option<usize>,
}

impl Frames {
    pub(super) fn new(recording: Recording, chunk: usize) -> Self {
        Self {
            recording,
            next: chunk,
            open: None,
            skip: 0,
            current: None,
        }
    }

    /// Opens the next chunk; a step where something is to be reported before its
    /// frames.
    fn open_next(&mut self) -> Option<Step> {
        let chunk = self.recording.chunks.get(self.next)?;
        // Of a ring, files in between may be gone.
        let before = self.next.checked_sub(1).map(|n| &self.recording.chunks[n]);
        let adjoins = before.is_some_and(|before| before.info.last_ns == chunk.info.first_ns);
        let continues = adjoins && self.current == Some(chunk.session);
        self.current = Some(chunk.session);
        match self.open_chunk(chunk) {
            Ok(frames) => {
                self.skip = if continues { chunk.info.keyframes } else { 0 };
                self.open = Some(frames);
                let session = &self.recording.sessions[chunk.session];
                (!continues).then(|| Step::Session(Arc::clone(&session.hello)))
            }
            Err(error) => Some(self.give_up(&error)),
        }
    }

    fn open_chunk(
        &self,
        chunk: &ChunkEntry,
    ) -> Result<ChunkFrames<BufReader<Section>>, ChunkError> {
        let store = &self.recording.stores[chunk.part];
        let section = || store.section(chunk.payload_at, chunk.payload_len.into());
        if checksum(section())? != chunk.payload_crc {
            return Err(io::Error::other("its checksum is wrong").into());
        }
        Ok(ChunkFrames::new(
            BufReader::with_capacity(64 << 10, section()),
            &chunk.info,
        )?)
    }

    /// Leaves the rest of the chunk out.
    fn give_up(&mut self, error: &ChunkError) -> Step {
        let chunk = self.recording.chunks.get(self.next);
        let (start, end) =
            chunk.map_or((0.0, 0.0), |c| (c.start.as_secs_f64(), c.end.as_secs_f64()));
        self.open = None;
        self.current = None;
        self.next += 1;
        Step::Gap(format!(
            "the chunk from {start:.1} s to {end:.1} s was left out: {error}"
        ))
    }
}

impl Iterator for Frames {
    type Item = Step;

    fn next(&mut self) -> Option<Step> {
        loop {
            let Some(open) = &mut self.open else {
                self.recording.chunks.get(self.next)?;
                if let Some(step) = self.open_next() {
                    return Some(step);
                }
                continue;
            };
            match open.next_frame() {
                Ok(Some(_)) if self.skip > 0 => self.skip -= 1,
                Ok(Some(frame)) => {
                    let chunk = &self.recording.chunks[self.next];
                    let session = &self.recording.sessions[chunk.session];
                    let at = session.elapsed(frame.now_ns).clamp(chunk.start, chunk.end);
                    return Some(Step::Frame(Box::new(frame), at));
                }
                Ok(None) => {
                    self.open = None;
                    self.next += 1;
                }
                Err(error) => return Some(self.give_up(&error)),
            }
        }
    }
}

fn checksum(mut section: Section) -> io::Result<u32> {
    let mut crc = crc32fast::Hasher::new();
    let mut buffer = vec![0; 64 << 10];
    loop {
        match section.read(&mut buffer)? {
            0 => return Ok(crc.finalize()),
            n => crc.update(&buffer[..n]),
        }
    }
}

impl Recording {
    /// The model as it was at `elapsed` since the beginning; `None` where all
    /// chunks before are damaged.
    pub fn model_at(&self, elapsed: Duration) -> Option<Model> {
        let mut model: Option<Model> = None;
        for step in self.frames_at(elapsed) {
            match step {
                // What begins later is not of this moment.
                Step::Frame(_, at) if at > elapsed && model.is_some() => break,
                Step::Session(_) if model.is_some() => break,
                Step::Session(hello) => model = Some(Model::new(&hello)),
                Step::Frame(frame, _) => {
                    if let Some(model) = &mut model {
                        // What is malformed is left out, as it was live.
                        let _ = model.apply(&frame);
                    }
                }
                Step::Gap(_) => {}
            }
        }
        model
    }
}
