//! Frames to and from one compressed chunk.

use std::{
    borrow::Borrow,
    io::{self, BufRead, Read, Write},
};

use crate::proto::{Frame, Stall, StallState};
use prost::Message;
use zstd::stream::raw::DParameter;

use super::format::{
    ChunkInfo, MAX_CHUNK_FRAMES, MAX_CHUNK_RAW, MAX_FRAME, MAX_MARKS, MAX_WINDOW_LOG, StallMark,
};

/// Level of compression: frames are written all the time, so speed comes first.
const LEVEL: i32 = 1;

/// Bytes of a length as Protobuf writes it.
const MAX_PREFIX: usize = 10;

/// A chunk that is being written.
pub struct ChunkBuilder {
    encoder: zstd::stream::write::Encoder<'static, Vec<u8>>,
    info: ChunkInfo,
    keyframe_bytes: u64,
    scratch: Vec<u8>,
}

impl std::fmt::Debug for ChunkBuilder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ChunkBuilder")
            .field("info", &self.info)
            .finish_non_exhaustive()
    }
}

impl ChunkBuilder {
    /// A chunk that begins with `keyframe`, whose frames share a moment.
    pub fn new<F: Borrow<Frame>>(keyframe: impl IntoIterator<Item = F>) -> io::Result<Self> {
        let mut chunk = Self {
            encoder: zstd::stream::write::Encoder::new(Vec::new(), LEVEL)?,
            info: ChunkInfo::default(),
            keyframe_bytes: 0,
            scratch: Vec::new(),
        };
        for frame in keyframe {
            let frame = frame.borrow();
            chunk.append(frame)?;
            if chunk.info.frames == 1 {
                chunk.info.first_ns = frame.now_ns;
            }
        }
        chunk.info.keyframes = chunk.info.frames;
        chunk.keyframe_bytes = chunk.info.raw_bytes;
        Ok(chunk)
    }

    /// Adds a frame of changes.
    pub fn push(&mut self, frame: &Frame) -> io::Result<()> {
        self.append(frame)?;
        for stall in &frame.stalls {
            self.mark(stall);
        }
        Ok(())
    }

    /// The same for a frame of which the bytes are at hand: they are written as they
    /// are, with whatever this version does not know of them.
    pub fn push_encoded(&mut self, frame: &Frame, encoded: &[u8]) -> io::Result<()> {
        self.write(frame, encoded)?;
        for stall in &frame.stalls {
            self.mark(stall);
        }
        Ok(())
    }

    fn append(&mut self, frame: &Frame) -> io::Result<()> {
        let mut scratch = std::mem::take(&mut self.scratch);
        scratch.clear();
        // Without `encode`, which computes all lengths once more to see if there
        // is room.
        frame.encode_raw(&mut scratch);
        let written = self.write(frame, &scratch);
        self.scratch = scratch;
        written
    }

    fn write(&mut self, frame: &Frame, encoded: &[u8]) -> io::Result<()> {
        let mut prefix = [0; MAX_PREFIX];
        let mut rest = prefix.as_mut_slice();
        prost::encode_length_delimiter(encoded.len(), &mut rest).map_err(io::Error::other)?;
        let unused = rest.len();
        let prefix = &prefix[..MAX_PREFIX - unused];
        self.encoder.write_all(prefix)?;
        self.encoder.write_all(encoded)?;
        self.info.frames += 1;
        self.info.raw_bytes += (prefix.len() + encoded.len()) as u64;
        self.info.last_ns = self.info.last_ns.max(frame.now_ns);
        Ok(())
    }

    fn mark(&mut self, stall: &Stall) {
        let marks = &mut self.info.stalls;
        let mark = StallMark {
            id: stall.id,
            started_ns: stall.started_at_ns,
            duration_ns: stall.duration_ns,
        };
        if let Some(known) = marks.iter_mut().find(|m| m.id == stall.id) {
            *known = mark;
        } else if marks.len() < MAX_MARKS {
            marks.push(mark);
        } else if stall.state() != StallState::Live
            && let Some(shortest) = marks.iter_mut().min_by_key(|m| m.duration_ns)
            && shortest.duration_ns < mark.duration_ns
        {
            *shortest = mark;
        }
    }

    /// What it holds so far.
    pub fn info(&self) -> &ChunkInfo {
        &self.info
    }

    /// Bytes of the keyframe, before compression.
    pub fn keyframe_bytes(&self) -> u64 {
        self.keyframe_bytes
    }

    /// Bytes of the frames after the keyframe, before compression.
    pub fn change_bytes(&self) -> u64 {
        self.info.raw_bytes - self.keyframe_bytes
    }

    /// There is no room for another frame.
    pub fn is_full(&self) -> bool {
        self.info.frames >= MAX_CHUNK_FRAMES / 2 || self.info.raw_bytes >= MAX_CHUNK_RAW / 2
    }

    /// Compressed bytes so far, as far as the encoder let go of them.
    pub fn compressed_len(&self) -> usize {
        self.encoder.get_ref().len()
    }

    /// What it holds so far, and the compressed bytes of that.
    pub fn peek(&mut self) -> io::Result<(&ChunkInfo, &[u8])> {
        self.encoder.flush()?;
        Ok((&self.info, self.encoder.get_ref()))
    }

    /// Ends the chunk.
    pub fn finish(mut self) -> io::Result<(ChunkInfo, Vec<u8>)> {
        self.info.stalls.sort_unstable_by_key(|m| m.started_ns);
        Ok((self.info, self.encoder.finish()?))
    }
}

/// Why a chunk cannot be read on.
#[derive(Debug, thiserror::Error)]
pub enum ChunkError {
    /// Reading or unpacking failed.
    #[error("it cannot be unpacked: {0}")]
    Io(#[from] io::Error),
    /// A frame is longer than any that is written.
    #[error("it holds a frame of {0} bytes, more than the bound of {MAX_FRAME}")]
    FrameTooLong(u64),
    /// There is more in it than it says.
    #[error("it holds more than it says")]
    TooLong,
    /// It ends before it has all that it says.
    #[error("it holds {0} frames fewer than it says")]
    TooShort(u32),
    /// The bytes of a frame are none.
    #[error("it holds something that is no frame: {0}")]
    Decode(#[from] prost::DecodeError),
}

/// The frames of a chunk, one at a time: memory is bounded by the largest frame,
/// whatever the chunk claims.
pub struct ChunkFrames<R: BufRead> {
    decoder: zstd::stream::read::Decoder<'static, R>,
    left: u32,
    raw_left: u64,
    scratch: Vec<u8>,
}

impl<R: BufRead> std::fmt::Debug for ChunkFrames<R> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ChunkFrames")
            .field("left", &self.left)
            .finish_non_exhaustive()
    }
}

impl<R: BufRead> ChunkFrames<R> {
    /// Reads a payload that `info` describes.
    pub fn new(payload: R, info: &ChunkInfo) -> io::Result<Self> {
        let mut decoder = zstd::stream::read::Decoder::with_buffer(payload)?;
        decoder.set_parameter(DParameter::WindowLogMax(MAX_WINDOW_LOG))?;
        Ok(Self {
            decoder,
            left: info.frames.min(MAX_CHUNK_FRAMES),
            raw_left: info.raw_bytes.min(MAX_CHUNK_RAW),
            scratch: Vec::new(),
        })
    }

    /// The next frame; `None` after the last.
    pub fn next_frame(&mut self) -> Result<Option<Frame>, ChunkError> {
        if self.left == 0 {
            return Ok(None);
        }
        let Some(len) = self.read_len()? else {
            return Err(ChunkError::TooShort(self.left));
        };
        if len > MAX_FRAME as u64 {
            return Err(ChunkError::FrameTooLong(len));
        }
        self.scratch.clear();
        let read = (&mut self.decoder)
            .take(len)
            .read_to_end(&mut self.scratch)?;
        if (read as u64) < len {
            return Err(ChunkError::TooShort(self.left));
        }
        self.consume(len)?;
        self.left -= 1;
        Ok(Some(Frame::decode(self.scratch.as_slice())?))
    }

    fn consume(&mut self, len: u64) -> Result<(), ChunkError> {
        self.raw_left = self.raw_left.checked_sub(len).ok_or(ChunkError::TooLong)?;
        Ok(())
    }

    /// A length as Protobuf writes it; `None` at the end.
    fn read_len(&mut self) -> Result<Option<u64>, ChunkError> {
        let mut len = 0u64;
        for shift in (0..35).step_by(7) {
            let mut byte = [0];
            if self.decoder.read(&mut byte)? == 0 {
                return Ok(None);
            }
            self.consume(1)?;
            len |= u64::from(byte[0] & 0x7f) << shift;
            if byte[0] & 0x80 == 0 {
                return Ok(Some(len));
            }
        }
        Err(ChunkError::FrameTooLong(len))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_are_the_same_whether_they_come_encoded_or_not() {
        let frame = |now_ns| Frame {
            now_ns,
            forgotten_tasks: (0..now_ns * 100).collect(),
            ..Frame::default()
        };
        let mut chunk = ChunkBuilder::new([frame(1), frame(1)]).unwrap();
        chunk.push(&frame(2)).unwrap();
        chunk
            .push_encoded(&frame(3), &frame(3).encode_to_vec())
            .unwrap();
        // A field of a version to come: number 1000, a varint.
        let mut later = frame(4).encode_to_vec();
        later.extend([0xc0, 0x3e, 0x01]);
        chunk.push_encoded(&frame(4), &later).unwrap();
        let (info, payload) = chunk.finish().unwrap();
        assert_eq!((info.first_ns, info.last_ns), (1, 4));
        assert_eq!((info.keyframes, info.frames), (2, 5));
        let mut frames = ChunkFrames::new(&*payload, &info).unwrap();
        for now_ns in [1, 1, 2, 3, 4] {
            assert_eq!(frames.next_frame().unwrap(), Some(frame(now_ns)));
        }
        assert_eq!(frames.next_frame().unwrap(), None);
        assert_eq!(frames.raw_left, 0, "the info counts every byte");
    }
}
