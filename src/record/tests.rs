//! Whole recordings: written, read, cut, changed.

use std::time::Duration;

use looptop_wire::proto::{Frame, HelloResponse};
use proptest::prelude::*;

use super::{
    Recording, Step,
    format::{self, FILE_HEADER_LEN},
    history::{Bounds, History},
    recorder::Recorder,
    recording::OpenError,
    segments::{Ring, RingBounds},
    synthetic::{Session, Shape},
};
use crate::{
    diagnose::{Engine, Window},
    model::{Model, Moment},
};

const MS: u64 = 1_000_000;

/// A session's frames, and the recording of it.
fn recorded(shape: Shape, frames: usize) -> (HelloResponse, Vec<Frame>, Vec<u8>) {
    let mut session = Session::new(shape);
    let hello = session.hello();
    let frames: Vec<Frame> = (0..frames).map(|_| session.next_frame()).collect();
    let mut recorder = Recorder::new(Vec::new(), "127.0.0.1:6669", false).unwrap();
    recorder.connected(&hello).unwrap();
    for frame in &frames {
        recorder.frame(frame).unwrap();
    }
    (hello, frames, recorder.finish().unwrap())
}

/// All that a model shows, as text. The hash map's order is left out.
fn shown(model: &Model) -> String {
    let tasks: Vec<_> = model.tasks.iter().collect();
    let states: Vec<_> = (0..5)
        .filter_map(|n| n.try_into().ok().map(|state| model.tasks.count(state)))
        .collect();
    format!(
        "{:#?}",
        (
            (
                &model.session,
                model.now,
                model.since,
                model.complete,
                &model.texts
            ),
            (
                &model.runtimes,
                &model.workers,
                &model.threads,
                &model.process,
                &model.host
            ),
            (
                tasks,
                states,
                &model.sites,
                &model.stalls,
                &model.lag,
                &model.gauges,
                &model.loss,
                &model.coverage
            ),
            (
                model.resources.iter().collect::<Vec<_>>(),
                model.resources.ops().collect::<Vec<_>>(),
                model.resources.live_count(),
                model.resources.refused,
                &model.ended_cells,
            ),
        )
    )
}

#[track_caller]
fn assert_same(a: &Model, b: &Model, what: &str) {
    // Cheap, and all that a recording holds.
    assert!(a.keyframe() == b.keyframe(), "{what}");
}

#[track_caller]
fn assert_same_in_full(a: &Model, b: &Model, what: &str) {
    let (a, b) = (shown(a), shown(b));
    if a == b {
        return;
    }
    let differs = a
        .lines()
        .zip(b.lines())
        .enumerate()
        .find(|(_, (a, b))| a != b);
    let context: Vec<_> = match differs {
        Some((n, _)) => a.lines().skip(n.saturating_sub(12)).take(14).collect(),
        None => vec!["one is longer"],
    };
    panic!("{what}: {differs:?} after\n{}", context.join("\n"));
}

fn live(hello: &HelloResponse, frames: &[Frame]) -> Model {
    let mut model = Model::new(hello);
    for frame in frames {
        model.apply(frame).unwrap();
    }
    model
}

#[test]
fn a_keyframe_makes_an_equal_model() {
    for (tasks, frames) in [(20, 1), (20, 45), (12_000, 3)] {
        let shape = Shape {
            tasks,
            changed: tasks / 4,
            ..Shape::default()
        };
        let mut session = Session::new(shape);
        let hello = session.hello();
        let frames: Vec<_> = (0..frames).map(|_| session.next_frame()).collect();
        let model = live(&hello, &frames);
        let copy = live(&hello, &model.keyframe());
        assert_same_in_full(&model, &copy, "from the keyframe");
        assert_same(&model, &copy, "from the keyframe");
        let next = session.next_frame();
        let (mut model, mut copy) = (model, copy);
        model.apply(&next).unwrap();
        copy.apply(&next).unwrap();
        assert_same_in_full(&model, &copy, "a frame later");
    }
}

#[test]
fn what_was_recorded_is_read() {
    let (hello, frames, bytes) = recorded(Shape::default(), 400);
    let recording = Recording::from_bytes(bytes).unwrap();
    assert_eq!(recording.remark(), None);
    assert!(recording.chunks.len() > 3);
    assert_eq!(recording.length(), Duration::from_millis(39_900));
    let mut steps = recording.frames();
    let Some(Step::Session(read)) = steps.next() else {
        panic!("no session")
    };
    assert_eq!(*read, hello);
    let mut model = Model::new(&read);
    let keyframes = recording.chunks[0].info.keyframes as usize;
    let mut read = Vec::new();
    for step in steps {
        let Step::Frame(frame, at) = step else {
            panic!("{step:?}")
        };
        assert_eq!(at.as_nanos() as u64, frame.now_ns - frames[0].now_ns);
        model.apply(&frame).unwrap();
        read.push(*frame);
    }
    // The frame that was recorded first is in the keyframe.
    assert_eq!(read.len(), keyframes + frames.len() - 1);
    assert!(read[keyframes..] == frames[1..], "every frame as it was");
    assert_same(&live(&hello, &frames), &model, "in the end");
}

#[test]
fn seeking_is_the_same_as_reading_up_to_there() {
    let (hello, frames, bytes) = recorded(Shape::default(), 700);
    let recording = Recording::from_bytes(bytes).unwrap();
    let mut model = Model::new(&hello);
    for (n, frame) in frames.iter().enumerate() {
        model.apply(frame).unwrap();
        if n % 41 == 0 || n > 695 {
            let elapsed = Duration::from_nanos(frame.now_ns - frames[0].now_ns);
            assert_same(
                &model,
                &recording.model_at(elapsed).unwrap(),
                &format!("frame {n}"),
            );
            let between = elapsed + Duration::from_millis(40);
            assert_same(
                &model,
                &recording.model_at(between).unwrap(),
                "between two frames",
            );
        }
    }
    let beyond = recording.model_at(Duration::from_hours(1)).unwrap();
    assert_same_in_full(&model, &beyond, "beyond the end");
}

#[test]
fn stalls_are_marked_once() {
    let (_, _, bytes) = recorded(Shape::default(), 400);
    let extent = Recording::from_bytes(bytes).unwrap().extent();
    assert_eq!(extent.marks.len(), 20, "{:?}", extent.marks);
    let mark = extent.marks[0];
    assert_eq!((mark.at.as_millis(), mark.duration.as_millis()), (150, 150));
}

#[test]
fn a_file_cut_at_any_byte_is_whole_up_to_its_last_chunk() {
    let shape = Shape {
        tasks: 3,
        changed: 2,
        workers: 1,
        step_ns: 1_000 * MS,
    };
    let (hello, frames, bytes) = recorded(shape, 40);
    let whole = Recording::from_bytes(bytes.clone()).unwrap();
    let chunk_ends: Vec<u64> = whole
        .chunks
        .iter()
        .map(|c| c.payload_at + u64::from(c.payload_len))
        .collect();
    assert!(chunk_ends.len() >= 3);
    for cut in 0..bytes.len() {
        let chunks = chunk_ends.iter().filter(|end| **end <= cut as u64).count();
        match Recording::from_bytes(&bytes[..cut]) {
            Ok(recording) => {
                assert_eq!(recording.chunks.len(), chunks, "cut at {cut}");
                assert!(recording.remark().is_some(), "cut at {cut}");
            }
            Err(OpenError::Empty) => assert_eq!(cut, 0),
            Err(OpenError::NothingWhole(n)) => assert_eq!((chunks, n), (0, cut as u64)),
            Err(error) => panic!("cut at {cut}: {error}"),
        }
    }
    // What is left is as it was.
    for (n, end) in chunk_ends.iter().enumerate() {
        let recording = Recording::from_bytes(&bytes[..*end as usize + 5]).unwrap();
        let remark = recording.remark().unwrap();
        assert!(
            remark.starts_with("the file was cut: its last 5 bytes"),
            "{remark}"
        );
        let last = recording.chunks[n].info.last_ns;
        let upto = frames.partition_point(|f| f.now_ns <= last);
        let model = recording.model_at(recording.length()).unwrap();
        assert_same(
            &live(&hello, &frames[..upto]),
            &model,
            "the last whole chunk",
        );
    }
}

/// Reads everything; the number of frames, and of gaps.
fn read_all(recording: &Recording) -> (usize, usize) {
    let mut model = Model::default();
    let (mut frames, mut gaps) = (0, 0);
    for step in recording.frames() {
        match step {
            Step::Session(hello) => model = Model::new(&hello),
            Step::Frame(frame, _) => {
                let _ = model.apply(&frame);
                frames += 1;
            }
            Step::Gap(_) => gaps += 1,
        }
    }
    (frames, gaps)
}

#[test]
fn a_changed_bit_costs_one_chunk() {
    let shape = Shape {
        tasks: 3,
        changed: 2,
        workers: 1,
        step_ns: 1_000 * MS,
    };
    let (_, _, bytes) = recorded(shape, 40);
    let whole = Recording::from_bytes(bytes.clone()).unwrap();
    let (all, _) = read_all(&whole);
    for at in (0..bytes.len()).step_by(11) {
        let mut changed = bytes.clone();
        changed[at] ^= 1 << (at % 8);
        let recording = match Recording::from_bytes(changed) {
            Ok(recording) => recording,
            Err(error) => {
                let first = whole.chunks[0].payload_at as usize;
                assert!(at < first, "byte {at}: {error}");
                continue;
            }
        };
        let (frames, gaps) = read_all(&recording);
        let harmless = frames == all && gaps == 0;
        assert!(
            harmless || gaps == 1 || recording.remark().is_some(),
            "byte {at}"
        );
        assert!(frames * 2 > all, "byte {at}: {frames} of {all} frames");
    }
}

#[test]
fn what_is_no_recording_is_refused_with_a_sentence() {
    let header = |version: u32| {
        let mut header = format::file_header();
        header[8..12].copy_from_slice(&version.to_le_bytes());
        let crc = crc32fast::hash(&header[..12]);
        header[12..].copy_from_slice(&crc.to_le_bytes());
        header.to_vec()
    };
    let mut bad_crc = header(1);
    bad_crc[12] ^= 1;
    let cases: [(Vec<u8>, &str); 7] = [
        (Vec::new(), "it is empty"),
        (
            b"#!/bin/sh\necho hello\n".to_vec(),
            "it begins with \"#!/bin/sh\\necho h\"",
        ),
        (
            vec![0x7f, b'E', b'L', b'F', 2, 1, 1, 0],
            "it begins with the bytes 7f 45 4c 46",
        ),
        (
            header(2),
            "version 2 of the format, and this looptop reads up to 1; use a newer",
        ),
        (header(1), "cut before its first whole chunk (16 bytes)"),
        (
            header(1)[..9].to_vec(),
            "cut before its first whole chunk (9 bytes)",
        ),
        (bad_crc, "its header is damaged"),
    ];
    for (bytes, expected) in cases {
        let error = Recording::from_bytes(bytes).unwrap_err().to_string();
        assert!(error.contains(expected), "{error}");
    }
}

#[test]
fn a_newer_protocol_is_refused() {
    let mut recorder = Recorder::new(Vec::new(), "t", false).unwrap();
    let mut session = Session::new(Shape::default());
    let hello = HelloResponse {
        protocol: 99,
        ..session.hello()
    };
    recorder.connected(&hello).unwrap();
    recorder.frame(&session.next_frame()).unwrap();
    let bytes = recorder.finish().unwrap();
    let error = Recording::from_bytes(bytes).unwrap_err();
    assert!(
        matches!(error, OpenError::TooNew { found: 99, .. }),
        "{error}"
    );
}

#[test]
fn unknown_blocks_are_skipped() {
    let (_, _, bytes) = recorded(Shape::default(), 30);
    let block = format::block_head(format::BlockKind::Unknown(77), b"news", b"").unwrap();
    let mut extended = bytes[..FILE_HEADER_LEN].to_vec();
    extended.extend(&block);
    // Without the index, which now points to the wrong places.
    extended.extend(&bytes[FILE_HEADER_LEN..bytes.len() - 3]);
    let recording = Recording::from_bytes(extended).unwrap();
    assert_eq!(
        read_all(&recording),
        read_all(&Recording::from_bytes(bytes).unwrap())
    );
}

#[test]
fn a_second_process_is_a_session_of_its_own() {
    let mut recorder = Recorder::new(Vec::new(), "t", false).unwrap();
    for name in ["first", "second"] {
        let mut session = Session::new(Shape::default());
        recorder
            .connected(&HelloResponse {
                session: name.into(),
                ..session.hello()
            })
            .unwrap();
        for _ in 0..130 {
            recorder.frame(&session.next_frame()).unwrap();
        }
    }
    let recording = Recording::from_bytes(recorder.finish().unwrap()).unwrap();
    assert_eq!(recording.sessions().len(), 2);
    assert_eq!(recording.length(), Duration::from_millis(2 * 12_900));
    let seen = |ms| {
        recording
            .model_at(Duration::from_millis(ms))
            .unwrap()
            .session
            .id
    };
    assert_eq!(
        (seen(12_800), seen(13_000)),
        ("first".into(), "second".into())
    );
    let sessions = recording
        .frames()
        .filter(|s| matches!(s, Step::Session(_)))
        .count();
    assert_eq!(sessions, 2);
}

#[test]
fn hostile_claims_cost_nothing() {
    let (_, _, bytes) = recorded(Shape::default(), 30);
    let whole = Recording::from_bytes(bytes.clone()).unwrap();
    let chunk = &whole.chunks[0];
    // A chunk that claims four billion frames, and one of 256 MiB that is not there.
    let mut info = chunk.info.clone();
    (info.frames, info.raw_bytes) = (u32::MAX, u64::MAX);
    let payload = &bytes[chunk.payload_at as usize..][..chunk.payload_len as usize];
    let head_at = bytes
        .windows(4)
        .position(|w| w == format::BLOCK_MAGIC)
        .unwrap();
    let opening = &bytes[head_at..];
    let next = opening[4..]
        .windows(4)
        .position(|w| w == format::BLOCK_MAGIC)
        .unwrap()
        + 4;
    let block = |info: &format::ChunkInfo, payload: &[u8]| {
        let info = prost::Message::encode_to_vec(info);
        let mut block = format::block_head(format::BlockKind::Chunk, &info, payload).unwrap();
        block.extend(payload);
        block
    };
    let mut file = bytes[..head_at + next].to_vec();
    file.extend(block(&info, payload));
    // A frame that claims to be longer than any.
    let long = zstd::encode_all(&[0xff, 0xff, 0xff, 0xff, 0x0f, 1, 2][..], 1).unwrap();
    file.extend(block(&info, &long));
    // A gibibyte of empty frames.
    let bomb = zstd::encode_all(std::io::Read::take(std::io::repeat(0), 1 << 26), 1).unwrap();
    file.extend(block(&info, &bomb));
    let recording = Recording::from_bytes(file).unwrap();
    let gaps: Vec<String> = recording
        .frames()
        .filter_map(|s| {
            if let Step::Gap(why) = s {
                Some(why)
            } else {
                None
            }
        })
        .collect();
    assert_eq!(gaps.len(), 2, "{gaps:?}");
    assert!(gaps[0].contains("frames fewer than it says"), "{gaps:?}");
    assert!(gaps[1].contains("a frame of 4294967295 bytes"), "{gaps:?}");
}

#[test]
fn redacting_leaves_no_name_and_no_field() {
    let mut recorder = Recorder::new(Vec::new(), "t", true).unwrap();
    let mut session = Session::new(Shape::default());
    recorder.connected(&session.hello()).unwrap();
    for _ in 0..250 {
        recorder.frame(&session.next_frame()).unwrap();
    }
    let recording = Recording::from_bytes(recorder.finish().unwrap()).unwrap();
    assert!(recording.sessions()[0].redacted);
    let mut all = String::new();
    for step in recording.frames_at(Duration::from_secs(15)) {
        if let Step::Frame(frame, _) = step {
            let _ = std::fmt::Write::write_fmt(&mut all, format_args!("{frame:?}"));
        }
    }
    for gone in ["http::conn", "ticker", "report", "url=", "customer"] {
        assert!(!all.contains(gone), "{gone} is still there");
    }
    for kept in [
        "src/service.rs",
        "tokio-rt-worker",
        "clock_nanosleep",
        "/app/synthetic",
    ] {
        assert!(all.contains(kept), "{kept} is gone");
    }
    let model = recording.model_at(Duration::from_secs(20)).unwrap();
    let task = model.tasks.live().next().unwrap();
    assert_eq!((task.name, task.fields), (None, None));
    assert!(model.location(task.location).is_some());
}

#[test]
fn the_findings_of_a_recording_are_those_of_the_live_target() {
    let (hello, frames, bytes) = recorded(Shape::default(), 600);
    let mut model = live(&hello, &frames[..1]);
    let mut engine = Engine::new(Window::Since(model.now));
    for frame in &frames[1..] {
        model.apply(frame).unwrap();
        engine.update(&model);
    }
    assert!(!engine.findings().is_empty());
    let mut replayed = Model::new(&hello);
    let mut again: Option<Engine> = None;
    for step in Recording::from_bytes(bytes).unwrap().frames() {
        let Step::Frame(frame, _) = step else {
            continue;
        };
        replayed.apply(&frame).unwrap();
        match &mut again {
            Some(engine) if !frame.more => engine.update(&replayed),
            None if replayed.complete => again = Some(Engine::new(Window::Since(replayed.now))),
            _ => {}
        }
    }
    let again = again.unwrap();
    assert_eq!(again.findings(), engine.findings());
    assert_eq!(
        again.verdict(&replayed).sentence,
        engine.verdict(&model).sentence
    );
}

#[test]
fn a_ring_of_files_is_one_recording_and_keeps_the_newest() {
    let directory = tempfile::tempdir().unwrap();
    let bounds = RingBounds {
        age: None,
        bytes: Some(1 << 20),
    };
    let shape = Shape {
        tasks: 250,
        changed: 60,
        ..Shape::default()
    };
    let mut session = Session::new(shape);
    let hello = session.hello();
    let (mut ring, file) = Ring::new(directory.path(), bounds).unwrap();
    let mut recorder = Recorder::new(file, "t", false).unwrap();
    recorder.connected(&hello).unwrap();
    let mut model = Model::new(&hello);
    let mut dropped = 0;
    let mut files = 1;
    while files < 20 {
        let frame = session.next_frame();
        model.apply(&frame).unwrap();
        recorder.frame(&frame).unwrap();
        if ring.is_due(recorder.bytes()) {
            let next = ring.open().unwrap();
            let done = recorder.rotate(next).unwrap();
            ring.closed(done.metadata().unwrap().len()).unwrap();
            files += 1;
            dropped += 1;
        }
    }
    drop(recorder.finish().unwrap());
    let kept: Vec<_> = std::fs::read_dir(directory.path()).unwrap().collect();
    let bytes: u64 = kept
        .iter()
        .map(|e| e.as_ref().unwrap().metadata().unwrap().len())
        .sum();
    assert!(
        kept.len() > 3 && kept.len() < dropped,
        "{} files",
        kept.len()
    );
    assert!(bytes <= 1 << 20, "{bytes} bytes");
    let recording = Recording::open(directory.path()).unwrap();
    assert_eq!((recording.sessions().len(), recording.remark()), (1, None));
    let sessions = recording
        .frames()
        .filter(|s| matches!(s, Step::Session(_)))
        .count();
    assert_eq!(sessions, 1, "without a gap");
    let last = recording.model_at(recording.length()).unwrap();
    assert_same(&last, &model, "in the end");
    // Each of them is whole by itself, and later ones go on counting.
    let first = kept[0].as_ref().unwrap().path();
    assert_eq!(Recording::open(&first).unwrap().remark(), None);
    assert!(Ring::new(directory.path(), bounds).is_ok());
    assert!(
        Recording::open(directory.path()).is_ok(),
        "one was just begun"
    );
}

/// A history of a whole session, with keyframes of the live models.
fn history(frames: usize, bounds: Bounds) -> (History<u64>, Vec<(Moment, Vec<Frame>)>) {
    let mut session = Session::new(Shape::default());
    let hello = session.hello();
    let mut history = History::new(bounds);
    history.begin(&hello);
    let mut model = Model::new(&hello);
    let mut seen = Vec::new();
    for n in 0..frames as u64 {
        let frame = session.next_frame();
        model.apply(&frame).unwrap();
        history.push(&frame, &model, n);
        if n % 61 == 0 || n + 5 > frames as u64 {
            seen.push((model.now, model.keyframe()));
        }
    }
    (history, seen)
}

#[test]
fn history_goes_back_to_any_frame() {
    let bounds = Bounds {
        fine: Duration::from_hours(1),
        ..Bounds::default()
    };
    let (mut history, seen) = history(900, bounds);
    for (at, expected) in &seen {
        let past = history.at(*at).unwrap();
        assert_eq!(past.model.now, *at);
        assert!(past.model.keyframe() == *expected, "at {at:?}");
    }
    let newest = history.newest().unwrap();
    assert_eq!(newest, seen.last().unwrap().0);
    let mut at = newest;
    let mut steps = 0;
    while let Some(before) = history.before(at) {
        assert_eq!(history.after(before), Some(at));
        at = before;
        steps += 1;
    }
    assert_eq!((at, steps), (history.oldest().unwrap(), 899));
    assert_eq!(history.before(at), None);
    assert_eq!(history.note(newest).map(|(_, n)| *n), Some(899));
}

#[test]
fn history_walks_through_every_moment_of_a_time() {
    let (mut history, _) = history(300, Bounds::default());
    let mut moments: Vec<Moment> = history.notes().map(|(at, _)| at).collect();
    moments.dedup();
    let (from, until) = (moments[57], moments[211]);
    let mut seen = Vec::new();
    history.walk((from, until), usize::MAX, |model| seen.push(model.now));
    seen.dedup();
    // It begins with the chunk in which the time begins.
    assert!(
        seen[0] <= from && *seen.last().unwrap() == until,
        "{seen:?}"
    );
    let place = moments.iter().position(|at| *at == seen[0]).unwrap();
    assert_eq!(seen, moments[place..=211]);

    // With little room it is the end that counts.
    let mut seen = Vec::new();
    history.walk((from, until), 1, |model| seen.push(model.now));
    assert_eq!(seen.last(), Some(&until));
    assert!(seen[0] > from, "one chunk alone: {seen:?}");
}

#[test]
fn old_history_is_thinned_to_seconds_and_then_dropped() {
    let bounds = Bounds {
        fine: Duration::from_secs(20),
        age: Duration::from_mins(2),
        ..Bounds::default()
    };
    let (mut history, seen) = history(2_000, bounds);
    let newest = history.newest().unwrap();
    let kept = newest.since(history.oldest().unwrap());
    assert!((110..=140).contains(&kept.as_secs()), "{kept:?}");
    let old = newest.minus(Duration::from_mins(1));
    let (mut at, mut steps) = (old, 0);
    while let Some(before) = history
        .before(at)
        .filter(|at| newest.since(*at).as_secs() < 80)
    {
        assert!(at.since(before) <= Duration::from_secs(1));
        (at, steps) = (before, steps + 1);
    }
    // One more for each keyframe.
    assert!((20..=24).contains(&steps), "{steps} steps in 20 s");
    // What happened in between is still there: every stall.
    let past = history.at(old).unwrap();
    assert!(old.since(past.model.now) < Duration::from_secs(1));
    assert!(seen.iter().any(|(at, _)| *at > old));
    let live = history.at(newest).unwrap().model.stalls.total_ended;
    let expected = live - 60_000 / 2_000;
    assert!(past.model.stalls.total_ended.abs_diff(expected) <= 1);
}

#[test]
fn history_is_bounded_in_bytes() {
    let bounds = Bounds {
        bytes: 100_000,
        ..Bounds::default()
    };
    let (history, _) = history(3_000, bounds);
    assert!(history.bytes() <= 100_000, "{}", history.bytes());
    assert!(history.oldest() > Some(Moment(10_000 * MS)));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn arbitrary_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..2_000)) {
        if let Ok(recording) = Recording::from_bytes(bytes) {
            read_all(&recording);
        }
    }

    #[test]
    fn arbitrary_chunks_never_panic(raw in prop::collection::vec(any::<u8>(), 0..500), frames in 0..50u32) {
        let (_, _, bytes) = recorded(Shape { tasks: 2, changed: 1, workers: 1, step_ns: MS }, 2);
        let payload = zstd::encode_all(raw.as_slice(), 1).unwrap();
        let info = format::ChunkInfo { frames, raw_bytes: 4_096, ..Default::default() };
        let info = prost::Message::encode_to_vec(&info);
        let mut file = bytes[..bytes.len() - 20].to_vec();
        let cut = Recording::from_bytes(file.clone()).unwrap();
        let end = cut.chunks[0].payload_at + u64::from(cut.chunks[0].payload_len);
        file.truncate(end as usize);
        file.extend(format::block_head(format::BlockKind::Chunk, &info, &payload).unwrap());
        file.extend(&payload);
        let recording = Recording::from_bytes(file).unwrap();
        prop_assert_eq!(recording.chunks.len(), 2);
        read_all(&recording);
    }
}
