//! Whatever is encoded is decoded again; whatever arrives never panics.

use looptop_wire::{
    columns::{self, Row},
    intern::Interner,
    proto::{Frame, HelloResponse, InternedString, Stall, TaskState, Tasks},
    split::split,
};
use proptest::prelude::*;
use prost::Message;

prop_compose! {
    fn tasks()(rows in prop::collection::vec(any::<(u64, u64, u32, bool)>(), 0..200)) -> Tasks {
        Tasks {
            id: rows.iter().map(|r| r.0).collect(),
            busy_ns: rows.iter().map(|r| r.1).collect(),
            name: rows.iter().map(|r| r.2).collect(),
            state: rows.iter().map(|r| {
                i32::from(if r.3 { TaskState::Running } else { TaskState::Idle })
            }).collect(),
            ..Tasks::default()
        }
    }
}

prop_compose! {
    fn frame()(
        sequence in any::<u64>(),
        now_ns in any::<u64>(),
        tasks in prop::option::of(tasks()),
        texts in prop::collection::vec((any::<u32>(), ".{0,40}"), 0..50),
        stalls in prop::collection::vec(any::<(u64, Option<u32>, Option<u64>)>(), 0..20),
        forgotten_tasks in prop::collection::vec(any::<u64>(), 0..100),
    ) -> Frame {
        Frame {
            sequence,
            now_ns,
            tasks,
            strings: texts.into_iter().map(|(id, text)| InternedString { id, text }).collect(),
            stalls: stalls.into_iter().map(|(id, worker, tid)| {
                Stall { id, worker, tid, ..Stall::default() }
            }).collect(),
            forgotten_tasks,
            ..Frame::default()
        }
    }
}

/// Reads everything of a frame as a viewer would.
fn read(frame: &Frame) {
    for part in split(frame.clone()) {
        let Some(tasks) = &part.tasks else { continue };
        let _ = columns::check(tasks);
        for row in Row::all(tasks) {
            let _ = (
                row.id(),
                row.state(),
                row.kind(),
                row.name(),
                row.ended_at_ns(),
                row.wakes(),
            );
        }
    }
}

proptest! {
    #[test]
    fn a_frame_survives_the_wire(frame in frame()) {
        let bytes = frame.encode_to_vec();
        prop_assert_eq!(Frame::decode(bytes.as_slice()).unwrap(), frame);
    }

    #[test]
    fn arbitrary_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..2_000)) {
        let _ = HelloResponse::decode(bytes.as_slice());
        if let Ok(frame) = Frame::decode(bytes.as_slice()) {
            read(&frame);
        }
    }

    #[test]
    fn damaged_frames_never_panic(
        frame in frame(),
        flips in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..8),
        keep in any::<prop::sample::Index>(),
    ) {
        let mut bytes = frame.encode_to_vec();
        prop_assume!(!bytes.is_empty());
        for (at, value) in flips {
            let at = at.index(bytes.len());
            bytes[at] = value;
        }
        bytes.truncate(keep.index(bytes.len()) + 1);
        if let Ok(frame) = Frame::decode(bytes.as_slice()) {
            read(&frame);
        }
    }

    #[test]
    fn an_interned_text_keeps_its_id(texts in prop::collection::vec(".{0,20}", 0..100)) {
        let mut interner = Interner::default();
        let ids: Vec<_> = texts.iter().map(|t| interner.string(t)).collect();
        let sent = interner.take_strings();
        for (text, id) in texts.iter().zip(ids) {
            prop_assert_eq!(interner.string(text), id);
            match sent.iter().find(|s| s.id == id) {
                Some(s) => prop_assert_eq!(&s.text, text),
                None => prop_assert!(text.is_empty() && id == 0),
            }
        }
    }
}
