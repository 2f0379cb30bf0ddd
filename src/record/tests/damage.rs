//! What is cut, changed, newer, foreign or hostile.

use looptop_wire::proto::HelloResponse;
use proptest::prelude::*;

use super::{MS, assert_same, live, read_all, recorded};
use crate::record::{
    Recorder, Recording, Step,
    format::{self, FILE_HEADER_LEN},
    recording::OpenError,
    synthetic::{Session, Shape},
};

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
