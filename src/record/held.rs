//! A history as a recording: what is over can be kept all the same.

use std::{io, sync::Arc, time::Duration};

use looptop_wire::proto::HelloResponse;

use super::{
    chunk::{ChunkError, ChunkFrames},
    format::{ChunkInfo, Opening},
    history::begun,
    recorder::RECORDER,
    writer::{Sink, Writer},
};

/// What a [`History`](super::History) held at one moment. It shares the bytes, so
/// it is cheap to take and can be written on another thread.
#[derive(Debug)]
pub struct Held {
    chunks: Vec<HeldChunk>,
}

#[derive(Debug)]
pub(super) struct HeldChunk {
    /// Of the connection that brought it.
    pub(super) hello: Arc<HelloResponse>,
    pub(super) info: ChunkInfo,
    pub(super) payload: Arc<[u8]>,
    /// Its compressed stream has not been ended.
    pub(super) open: bool,
}

impl Held {
    pub(super) fn new(chunks: Vec<HeldChunk>) -> Self {
        Self { chunks }
    }

    /// Nothing is held.
    pub fn is_empty(&self) -> bool {
        self.chunks.is_empty()
    }

    /// From the first to the last moment.
    pub fn length(&self) -> Duration {
        let first = self.chunks.first().map_or(0, |c| c.info.first_ns);
        let last = self.chunks.last().map_or(0, |c| c.info.last_ns);
        Duration::from_nanos(last.saturating_sub(first))
    }

    /// Writes it as a recording of `target`, named as the user did.
    pub fn write<W: Sink>(&self, sink: W, target: &str) -> io::Result<W> {
        let mut writer = Writer::new(sink)?;
        let mut before: Option<&Arc<HelloResponse>> = None;
        for chunk in &self.chunks {
            // Another connection gives the texts other ids.
            if before.is_none_or(|before| !Arc::ptr_eq(before, &chunk.hello)) {
                writer.opening(&Opening {
                    hello: Some(HelloResponse::clone(&chunk.hello)),
                    recorder: RECORDER.into(),
                    target: target.to_owned(),
                    redacted: false,
                })?;
            }
            before = Some(&chunk.hello);
            if chunk.open {
                let (info, payload) = chunk.ended().map_err(io::Error::other)?;
                writer.chunk(&info, &payload)?;
            } else {
                writer.chunk(&chunk.info, &chunk.payload)?;
            }
        }
        writer.finish()
    }
}

impl HeldChunk {
    /// The same frames in a stream that ends, which is what a file holds.
    fn ended(&self) -> Result<(ChunkInfo, Vec<u8>), ChunkError> {
        let mut frames = ChunkFrames::new(&*self.payload, &self.info)?;
        let mut chunk = begun(&mut frames, self.info.keyframes)?;
        while let Some(frame) = frames.next_frame()? {
            chunk.push(&frame)?;
        }
        Ok(chunk.finish()?)
    }
}

#[cfg(test)]
mod tests {
    use std::io::Read;

    use super::*;
    use crate::{
        model::{Culprit, Model, Moment, Resolved, StackFrame, StackOf, StallId},
        record::{
            History, Recording,
            history::Bounds,
            synthetic::{Session, Shape},
        },
    };

    fn stack(n: u64) -> Resolved {
        Resolved {
            frames: vec![StackFrame {
                function: format!("app::work_{n}"),
                ..StackFrame::default()
            }],
            culprit: Some(Culprit {
                function: format!("app::work_{n}"),
                ..Culprit::default()
            }),
            ..Resolved::default()
        }
    }

    /// A history of 100 s, the last 20 of them fine, with a connection that
    /// breaks halfway, and the models that were live. Each stall gets its names
    /// a frame after it began.
    fn history() -> (History<()>, Vec<Model>) {
        let mut history = History::new(Bounds {
            fine: Duration::from_secs(20),
            ..Bounds::default()
        });
        let mut session = Session::new(Shape::default());
        let hello = session.hello();
        history.begin(&hello);
        let mut model = Model::new(&hello);
        let mut seen = Vec::new();
        for n in 0..1_000 {
            let frame = session.next_frame();
            model.apply(&frame).unwrap();
            history.push(&frame, &model, ());
            for id in frame.stalls.iter().map(|stall| StallId(stall.id)) {
                let stack = Arc::new(stack(id.0));
                history.name(&StackOf::Stall(id), &stack);
                model.stalls.resolve(id, stack);
            }
            if n == 500 {
                // The same state in another connection's words.
                history.begin(&hello);
            }
            seen.push(model.clone());
        }
        (history, seen)
    }

    fn written(held: &Held) -> Recording {
        let bytes = held.write(Vec::new(), "127.0.0.1:6669").unwrap();
        Recording::from_bytes(bytes).unwrap()
    }

    #[test]
    fn a_written_history_shows_what_the_screen_did() {
        let (mut history, seen) = history();
        let recording = written(&history.held());
        assert_eq!(recording.remark(), None);
        assert_eq!(recording.sessions()[0].target, "127.0.0.1:6669");
        let oldest = history.oldest().unwrap();
        let length = history.newest().unwrap().since(oldest);
        assert_eq!(recording.length(), length);
        assert_eq!(history.held().length(), length);
        let moments: Vec<Moment> = history.notes().map(|(at, ())| at).collect();
        assert!(moments.len() < 600, "{} are not thinned", moments.len());
        for at in moments.into_iter().rev().step_by(7) {
            let read = recording.model_at(at.since(oldest)).unwrap().keyframe();
            let shown = history.at(at).unwrap().model.keyframe();
            assert!(read == shown, "as the screen goes back to {at:?}");
            let live = seen.iter().find(|model| model.now == at).unwrap();
            let fine = history.newest().unwrap().since(at) < Duration::from_secs(20);
            assert!(!fine || read == live.keyframe(), "as it was live at {at:?}");
        }
        // Each stall, those of thinned seconds as well, once and with its names.
        assert_eq!(recording.extent().marks.len(), 50);
        let read = recording.model_at(length).unwrap();
        for id in (1..=50).map(StallId) {
            let stall = read.stalls.get(id).unwrap();
            assert_eq!(stall.resolved.as_deref(), Some(&stack(id.0)));
        }
    }

    #[test]
    fn every_chunk_of_the_file_is_a_stream_that_ends() {
        let (mut history, _) = history();
        let recording = written(&history.held());
        for chunk in &*recording.chunks {
            let mut payload = Vec::new();
            recording.stores[chunk.part]
                .section(chunk.payload_at, chunk.payload_len.into())
                .read_to_end(&mut payload)
                .unwrap();
            let raw = zstd::decode_all(payload.as_slice()).unwrap();
            assert_eq!(raw.len() as u64, chunk.info.raw_bytes);
        }
    }

    #[test]
    fn the_history_goes_on_as_if_nothing_had_been_written() {
        let run = |save: bool| {
            let mut session = Session::new(Shape::default());
            let hello = session.hello();
            let mut history = History::new(Bounds::default());
            history.begin(&hello);
            let mut model = Model::new(&hello);
            for n in 0..300 {
                let frame = session.next_frame();
                model.apply(&frame).unwrap();
                history.push(&frame, &model, ());
                if save && n % 37 == 0 {
                    written(&history.held());
                }
            }
            history
        };
        let (mut plain, mut saved) = (run(false), run(true));
        let moments: Vec<Moment> = plain.notes().map(|(at, ())| at).collect();
        assert!(saved.notes().map(|(at, ())| at).eq(moments.iter().copied()));
        for at in moments.into_iter().rev().step_by(7) {
            let (plain, saved) = (plain.at(at).unwrap(), saved.at(at).unwrap());
            assert!(plain.model.keyframe() == saved.model.keyframe());
        }
        let lengths = |history: &mut History<()>| {
            let held = history.held();
            held.chunks
                .iter()
                .map(|c| c.info.frames)
                .collect::<Vec<_>>()
        };
        assert_eq!(lengths(&mut plain), lengths(&mut saved));
    }

    #[test]
    fn nothing_held_is_told() {
        let mut history: History<()> = History::new(Bounds::default());
        assert!(history.held().is_empty());
        assert_eq!(history.held().length(), Duration::ZERO);
    }
}
