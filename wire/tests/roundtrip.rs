//! Whatever is encoded is decoded again; whatever arrives never panics.

use looptop_wire::{
    columns::{self, Record, Row, Writer},
    intern::Interner,
    proto::{Certainty, Frame, HelloResponse, InternedString, Stall, TaskKind, TaskState, Tasks},
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

prop_compose! {
    /// A task of which anything may be unknown; the id is for the caller to set.
    fn record()(
        state in 0..5,
        kind in 0..5,
        certainty in 0..3,
        small in any::<[Option<u32>; 6]>(),
        large in any::<[Option<u64>; 5]>(),
        numbers in any::<[Option<u64>; 10]>(),
        instants in any::<[Option<Option<u64>>; 5]>(),
    ) -> Record {
        // 0 says none in these columns, and the last value of all has no successor.
        let small = small.map(|n| n.filter(|n| *n != 0).map(|n| n.min(u32::MAX - 1)));
        let large = large.map(|n| n.filter(|n| *n != 0));
        let instants = instants.map(|at| at.map(|at| at.map(|ns| ns.min(u64::MAX - 1))));
        let [runtime, name, location, fields, future, future_location] = small;
        let [parent, tid, size_bytes, original_size_bytes, tokio_id] = large;
        Record {
            id: 0,
            state: TaskState::try_from(state).unwrap(),
            kind: TaskKind::try_from(kind).unwrap(),
            future_certainty: Certainty::try_from(certainty).unwrap(),
            runtime,
            name,
            location,
            parent,
            tid,
            size_bytes,
            original_size_bytes,
            tokio_id,
            fields,
            future,
            future_location,
            spawned_at_ns: numbers[0],
            polls: numbers[1],
            busy_ns: numbers[2],
            scheduled_ns: numbers[3],
            longest_poll_ns: numbers[4],
            longest_scheduled_ns: numbers[5],
            wakes: numbers[6],
            self_wakes: numbers[7],
            waker_clones: numbers[8],
            waker_drops: numbers[9],
            ended_at_ns: instants[0],
            last_wake_at_ns: instants[1],
            poll_started_at_ns: instants[2],
            lock_wait_since_ns: instants[3],
            idle_since_ns: instants[4],
        }
    }
}

/// Reads everything of a frame as a viewer would.
fn read(frame: &Frame) {
    for part in split(frame.clone()) {
        let Some(tasks) = &part.tasks else { continue };
        let _ = columns::check(tasks);
        for row in Row::all(tasks) {
            let _ = row.record();
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
    fn tasks_are_read_as_they_were_written(
        // Some share what is known of them, so that they share a message.
        kinds in prop::collection::vec(record(), 1..4),
        which in prop::collection::vec(any::<prop::sample::Index>(), 0..60),
    ) {
        let records: Vec<Record> = (0..)
            .zip(&which)
            .map(|(id, which)| Record { id, ..*which.get(&kinds) })
            .collect();
        let mut writer = Writer::default();
        for record in &records {
            writer.push(record);
        }
        let mut read = Vec::new();
        for tasks in writer.finish() {
            let tasks = Tasks::decode(tasks.encode_to_vec().as_slice()).unwrap();
            prop_assert_eq!(columns::check(&tasks), Ok(()));
            read.extend(Row::all(&tasks).map(|row| row.record()));
        }
        read.sort_by_key(|record| record.id);
        prop_assert_eq!(read, records);
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
