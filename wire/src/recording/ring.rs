//! Chunks in memory, in a ring: the oldest goes where they have too many bytes, or
//! where it is too old. The history of the viewer's screen is one, the agent's flight
//! recorder another.

use std::{
    borrow::Borrow,
    collections::VecDeque,
    io::{self, BufRead},
    sync::Arc,
    time::Duration,
};

use crate::proto::Frame;

use super::{
    chunk::{ChunkBuilder, ChunkError, ChunkFrames},
    format::{ChunkInfo, Opening},
    writer::{Sink, Writer},
};

/// How much a ring holds. The newest chunk stays in any case.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Bounds {
    /// Compressed bytes of all chunks but the open one.
    pub bytes: usize,
    /// A chunk goes when all of it is older than this, by the clock of its frames.
    pub age: Option<Duration>,
}

/// The chunks, the newest of which may be open. `T` is what its owner keeps with each.
#[derive(Debug)]
pub struct ChunkRing<T> {
    bounds: Bounds,
    closed: VecDeque<Closed<T>>,
    open: Option<Open<T>>,
    bytes: usize,
}

#[derive(Debug)]
struct Open<T> {
    builder: ChunkBuilder,
    with: T,
}

#[derive(Debug)]
struct Closed<T> {
    info: ChunkInfo,
    /// Shared with those who write it to a file.
    payload: Arc<[u8]>,
    with: T,
}

/// One chunk of a ring, to be read with [`ChunkFrames`].
#[derive(Debug)]
pub struct Chunk<'a, T> {
    /// What it holds; of an open chunk, so far.
    pub info: &'a ChunkInfo,
    /// Its compressed frames.
    pub payload: &'a [u8],
    /// What the ring's owner keeps with it.
    pub with: &'a T,
}

impl<T> ChunkRing<T> {
    /// An empty one.
    pub fn new(bounds: Bounds) -> Self {
        Self {
            bounds,
            closed: VecDeque::new(),
            open: None,
            bytes: 0,
        }
    }

    /// From the next chunk on it holds so many bytes.
    pub fn hold(&mut self, bytes: usize) {
        self.bounds.bytes = bytes;
    }

    /// Drops everything.
    pub fn clear(&mut self) {
        self.closed.clear();
        self.open = None;
        self.bytes = 0;
    }

    /// Closes the open chunk and begins another with `keyframe`. After an error none
    /// is open.
    pub fn begin<F: Borrow<Frame>>(
        &mut self,
        keyframe: impl IntoIterator<Item = F>,
        with: T,
    ) -> io::Result<()> {
        self.close()?;
        let builder = ChunkBuilder::new(keyframe)?;
        self.open = Some(Open { builder, with });
        self.drop_oldest();
        Ok(())
    }

    /// Adds a frame to the open chunk; does nothing where none is open. `encoded` are
    /// the bytes of the frame where they are at hand. An error drops the open chunk.
    pub fn push(&mut self, frame: &Frame, encoded: Option<&[u8]>) -> io::Result<()> {
        let Some(open) = &mut self.open else {
            return Ok(());
        };
        let pushed = match encoded {
            Some(encoded) => open.builder.push_encoded(frame, encoded),
            None => open.builder.push(frame),
        };
        if pushed.is_err() {
            self.open = None;
        }
        pushed
    }

    /// Completes the open chunk, if there is one. An error drops it.
    pub fn close(&mut self) -> io::Result<()> {
        let Some(Open { builder, with }) = self.open.take() else {
            return Ok(());
        };
        let (info, payload) = builder.finish()?;
        self.bytes += payload.len();
        self.closed.push_back(Closed {
            info,
            payload: payload.into(),
            with,
        });
        self.drop_oldest();
        Ok(())
    }

    fn drop_oldest(&mut self) {
        let newest = self.infos().next_back().map_or(0, |info| info.last_ns);
        while self.closed.len() + usize::from(self.open.is_some()) > 1
            && let Some(oldest) = self.closed.front()
        {
            let age = Duration::from_nanos(newest.saturating_sub(oldest.info.last_ns));
            let is_old = self.bounds.age.is_some_and(|bound| age > bound);
            if !is_old && self.bytes <= self.bounds.bytes {
                break;
            }
            self.bytes -= oldest.payload.len();
            self.closed.pop_front();
        }
    }

    /// The chunk that is being written.
    pub fn open(&self) -> Option<&ChunkBuilder> {
        self.open.as_ref().map(|open| &open.builder)
    }

    /// What its owner keeps with the open chunk.
    pub fn with_open(&mut self) -> Option<&mut T> {
        self.open.as_mut().map(|open| &mut open.with)
    }

    /// What its owner keeps with each chunk, the oldest first.
    pub fn with_each(&self) -> impl DoubleEndedIterator<Item = &T> {
        let open = self.open.iter().map(|open| &open.with);
        self.closed.iter().map(|closed| &closed.with).chain(open)
    }

    /// The same, to be changed; with it when the chunk ends, ns.
    pub fn with_each_mut(&mut self) -> impl DoubleEndedIterator<Item = (u64, &mut T)> {
        let open = self.open.iter_mut();
        let open = open.map(|open| (open.builder.info().last_ns, &mut open.with));
        let closed = self.closed.iter_mut();
        let closed = closed.map(|closed| (closed.info.last_ns, &mut closed.with));
        closed.chain(open)
    }

    fn infos(&self) -> impl DoubleEndedIterator<Item = &ChunkInfo> {
        let open = self.open.iter().map(|open| open.builder.info());
        self.closed.iter().map(|closed| &closed.info).chain(open)
    }

    /// Compressed bytes of all chunks but the open one.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// The chunks that are `wanted`, the oldest first. An open one that cannot be
    /// compressed is left out.
    pub fn chunks(&mut self, wanted: impl Fn(&ChunkInfo) -> bool) -> Vec<Chunk<'_, T>> {
        let closed = self.closed.iter().filter(|closed| wanted(&closed.info));
        let mut chunks: Vec<_> = closed
            .map(|closed| Chunk {
                info: &closed.info,
                payload: &closed.payload,
                with: &closed.with,
            })
            .collect();
        if let Some(Open { builder, with }) = &mut self.open
            && wanted(builder.info())
            && let Ok((info, payload)) = builder.peek()
        {
            chunks.push(Chunk {
                info,
                payload,
                with,
            });
        }
        chunks
    }

    /// A copy of all chunks, each with what `of` makes of its owner's. Copies the bytes
    /// of the open one and shares the others, so that it can be written on another
    /// thread.
    pub fn copy<H>(&mut self, of: impl Fn(&T) -> H) -> Chunks<H> {
        let closed = self.closed.iter().map(|closed| Copied {
            info: closed.info.clone(),
            payload: Arc::clone(&closed.payload),
            with: of(&closed.with),
            is_open: false,
        });
        let mut list: Vec<_> = closed.collect();
        if let Some(Open { builder, with }) = &mut self.open
            && let Ok((info, payload)) = builder.peek()
        {
            list.push(Copied {
                info: info.clone(),
                payload: payload.into(),
                with: of(with),
                is_open: true,
            });
        }
        Chunks(list)
    }
}

/// What a [`ChunkRing`] held at one moment.
#[derive(Debug)]
pub struct Chunks<H>(Vec<Copied<H>>);

#[derive(Debug)]
struct Copied<H> {
    info: ChunkInfo,
    payload: Arc<[u8]>,
    with: H,
    /// Its compressed stream has not been ended.
    is_open: bool,
}

impl<H> Chunks<H> {
    /// There is none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// From the first to the last moment.
    pub fn length(&self) -> Duration {
        let first = self.0.first().map_or(0, |chunk| chunk.info.first_ns);
        let last = self.0.last().map_or(0, |chunk| chunk.info.last_ns);
        Duration::from_nanos(last.saturating_sub(first))
    }

    /// Writes them as a recording. `opening` is asked at each chunk whether a session
    /// begins with it.
    pub fn write<'a, W: Sink>(
        &'a self,
        sink: W,
        mut opening: impl FnMut(&'a H) -> Option<Opening>,
    ) -> io::Result<W> {
        let mut writer = Writer::new(sink)?;
        for chunk in &self.0 {
            if let Some(opening) = opening(&chunk.with) {
                writer.opening(&opening)?;
            }
            if chunk.is_open {
                let (info, payload) = chunk.ended().map_err(io::Error::other)?;
                writer.chunk(&info, &payload)?;
            } else {
                writer.chunk(&chunk.info, &chunk.payload)?;
            }
        }
        writer.finish()
    }
}

impl<H> Copied<H> {
    /// The same frames in a stream that ends, which is what a file holds.
    fn ended(&self) -> Result<(ChunkInfo, Vec<u8>), ChunkError> {
        let mut frames = ChunkFrames::new(&*self.payload, &self.info)?;
        let keyframe = first(&mut frames, self.info.keyframes)?;
        let mut chunk = ChunkBuilder::new(&keyframe)?;
        while let Some(frame) = frames.next_frame()? {
            chunk.push(&frame)?;
        }
        Ok(chunk.finish()?)
    }
}

fn first<R: BufRead>(frames: &mut ChunkFrames<R>, count: u32) -> Result<Vec<Frame>, ChunkError> {
    let mut first = Vec::new();
    while (first.len() as u32) < count
        && let Some(frame) = frames.next_frame()?
    {
        first.push(frame);
    }
    Ok(first)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::recording::format::FILE_HEADER_LEN;

    fn frame(second: u64) -> Frame {
        Frame {
            now_ns: second * 1_000_000_000,
            // Something that does not compress well.
            forgotten_tasks: (1..200).map(|n| n * second * 0x9e37_79b9).collect(),
            ..Frame::default()
        }
    }

    /// Ten chunks of five frames each, a frame a second, numbered.
    fn ring(bounds: Bounds) -> ChunkRing<u64> {
        let mut ring = ChunkRing::new(bounds);
        for second in 0..50 {
            if second % 5 == 0 {
                ring.begin([frame(second)], second / 5).unwrap();
            } else {
                ring.push(&frame(second), None).unwrap();
            }
        }
        ring
    }

    const ALL: Bounds = Bounds {
        bytes: usize::MAX,
        age: None,
    };

    fn numbers(ring: &ChunkRing<u64>) -> Vec<u64> {
        ring.with_each().copied().collect()
    }

    #[test]
    fn what_is_over_the_bytes_goes_the_oldest_first() {
        let all = ring(ALL);
        assert_eq!(numbers(&all), [0, 1, 2, 3, 4, 5, 6, 7, 8, 9]);
        let bytes = all.bytes() / 2;
        let half = ring(Bounds { bytes, age: None });
        assert!(half.bytes() <= bytes, "{} of {bytes}", half.bytes());
        let left = numbers(&half);
        assert!((4..=6).contains(&left.len()), "{left:?}");
        assert_eq!(left.last(), Some(&9));
    }

    #[test]
    fn what_is_old_goes() {
        let bounds = Bounds {
            age: Some(Duration::from_secs(12)),
            ..ALL
        };
        // When the last chunk began at 45 s, the one before the last three ended at 29 s.
        assert_eq!(numbers(&ring(bounds)), [6, 7, 8, 9]);
    }

    #[test]
    fn the_newest_chunk_stays_whatever_its_size() {
        let none = Bounds {
            bytes: 0,
            age: None,
        };
        let mut ring = ring(none);
        assert_eq!((numbers(&ring), ring.bytes()), (vec![9], 0));
        ring.close().unwrap();
        assert_eq!(numbers(&ring), [9]);
        assert!(ring.bytes() > 0);
    }

    #[test]
    fn an_open_chunk_is_read_like_the_others() {
        let mut ring = ring(ALL);
        let chunks = ring.chunks(|info| info.last_ns >= 43_000_000_000);
        let seconds = |chunk: &Chunk<u64>| {
            let mut frames = ChunkFrames::new(chunk.payload, chunk.info).unwrap();
            let next = std::iter::from_fn(|| frames.next_frame().unwrap());
            next.map(|frame| frame.now_ns / 1_000_000_000).collect()
        };
        let read: Vec<Vec<u64>> = chunks.iter().map(seconds).collect();
        assert_eq!(read, [[40, 41, 42, 43, 44], [45, 46, 47, 48, 49]]);
        // It goes on as if nothing had been read.
        ring.push(&frame(50), None).unwrap();
        assert_eq!(ring.open().unwrap().info().frames, 6);
    }

    #[test]
    fn a_copy_is_written_with_its_open_chunk_ended() {
        let copy = ring(ALL).copy(|number| *number);
        assert_eq!(copy.length(), Duration::from_secs(49));
        let opening = |number: &u64| number.is_multiple_of(9).then(Opening::default);
        let written = copy.write(Vec::new(), opening).unwrap();
        let mut closed = ring(ALL);
        closed.close().unwrap();
        let copy = closed.copy(|number| *number);
        let expected = copy.write(Vec::new(), opening).unwrap();
        assert!(written.len() > FILE_HEADER_LEN && written == expected);
    }

    #[test]
    fn nothing_is_kept_before_a_chunk_begins() {
        let mut ring = ChunkRing::<()>::new(ALL);
        ring.push(&frame(1), None).unwrap();
        let copy = ring.copy(|()| ());
        assert!(copy.is_empty() && copy.length() == Duration::ZERO);
        ring.begin([frame(2)], ()).unwrap();
        ring.clear();
        assert!(ring.chunks(|_| true).is_empty());
    }
}
