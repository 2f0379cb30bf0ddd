//! A loop over changed recordings, for as long as `LOOPTOP_FUZZ_SECONDS` says:
//! `cargo test --release -p looptop --lib record::fuzz -- --ignored --nocapture`.
//!
//! Changes are made at all depths: to the file's bytes, to a chunk's bytes with
//! its checksums made right again, to the frames before compression, and to the
//! lines of a recording of console-subscriber.

use std::fmt::Write as _;

use std::time::{Duration, Instant};

use proptest::{
    prelude::*,
    test_runner::{RngAlgorithm, TestRng},
};

use super::{
    Recorder, Recording, Step,
    format::{BLOCK_HEADER_LEN, BlockHeader, BlockKind, FILE_HEADER_LEN, block_head},
    synthetic::{Session, Shape},
};
use crate::model::Model;

fn recording() -> Vec<u8> {
    let shape = Shape {
        tasks: 4,
        changed: 3,
        workers: 1,
        step_ns: 700_000_000,
    };
    let mut session = Session::new(shape);
    let mut recorder = Recorder::new(Vec::new(), "t", false).unwrap();
    recorder.connected(&session.hello()).unwrap();
    for _ in 0..30 {
        recorder.frame(&session.next_frame()).unwrap();
    }
    recorder.finish().unwrap()
}

fn console() -> Vec<u8> {
    let at = |ms: u64| {
        format!(
            r#"{{"secs_since_epoch":17,"nanos_since_epoch":{}}}"#,
            ms * 1_000_000
        )
    };
    let mut text = String::from("{\"v\":1}\n");
    for (n, kind) in ["Spawn", "Enter", "Exit", "Close"]
        .iter()
        .cycle()
        .take(40)
        .enumerate()
    {
        let fields = if *kind == "Spawn" {
            r#","fields":[{"name":"task.id","value":7}]"#
        } else {
            ""
        };
        let _ = writeln!(
            text,
            "{{\"{kind}\":{{\"id\":{},\"at\":{}{fields}}}}}",
            n / 4,
            at(n as u64 * 20)
        );
    }
    text.into_bytes()
}

/// Changes a few bytes: flips, boundary values, cuts, repetitions.
fn change(bytes: &mut Vec<u8>, rng: &mut TestRng) {
    for _ in 0..=rng.next_u32() % 4 {
        if bytes.is_empty() {
            return;
        }
        let at = rng.next_u32() as usize % bytes.len();
        let len = (1 + rng.next_u32() as usize % 16).min(bytes.len() - at);
        match rng.next_u32() % 7 {
            0 => bytes[at] ^= 1 << (rng.next_u32() % 8),
            1 => bytes[at] = rng.next_u32() as u8,
            2 => bytes[at..at + len].fill(0xff),
            3 => bytes[at..at + len].fill(0),
            4 => bytes.truncate(at),
            5 => {
                let piece = bytes[at..at + len].to_vec();
                let to = rng.next_u32() as usize % bytes.len();
                bytes.splice(to..to, piece);
            }
            _ => drop(bytes.drain(at..at + len)),
        }
    }
}

/// The blocks of a whole file: kind, info, payload.
fn blocks(file: &[u8]) -> Vec<(BlockKind, Vec<u8>, Vec<u8>)> {
    let mut blocks = Vec::new();
    let mut at = FILE_HEADER_LEN;
    while let Some(head) = file.get(at..at + BLOCK_HEADER_LEN) {
        let Some(header) = BlockHeader::parse(head.try_into().unwrap()) else {
            break;
        };
        let info = at + BLOCK_HEADER_LEN;
        let payload = info + usize::from(header.info_len);
        let end = payload + header.payload_len as usize;
        blocks.push((
            header.kind,
            file[info..payload].to_vec(),
            file[payload..end].to_vec(),
        ));
        at = end;
    }
    blocks
}

/// A file in which one block was changed, with right checksums.
fn changed_inside(file: &[u8], rng: &mut TestRng) -> Vec<u8> {
    let mut blocks = blocks(file);
    let which = rng.next_u32() as usize % blocks.len();
    let (kind, info, payload) = &mut blocks[which];
    match rng.next_u32() % 4 {
        0 => change(info, rng),
        1 => change(payload, rng),
        _ if *kind == BlockKind::Chunk => {
            let mut raw = zstd::decode_all(payload.as_slice()).unwrap();
            change(&mut raw, rng);
            *payload = zstd::encode_all(raw.as_slice(), 1).unwrap();
        }
        _ => change(payload, rng),
    }
    let mut changed = file[..FILE_HEADER_LEN].to_vec();
    for (kind, info, payload) in blocks {
        if let Some(head) = block_head(kind, &info, &payload) {
            changed.extend(head);
            changed.extend(payload);
        }
    }
    changed
}

/// Reads it as a replay would, with a seek.
fn read(bytes: Vec<u8>) -> usize {
    let Ok(recording) = Recording::from_bytes(bytes) else {
        return 0;
    };
    let mut model = Model::default();
    let mut frames = 0;
    for step in recording.frames() {
        match step {
            Step::Session(hello) => model = Model::new(&hello),
            Step::Frame(frame, _) => {
                let _ = model.apply(&frame);
                frames += 1;
            }
            Step::Gap(why) => assert!(!why.is_empty()),
        }
    }
    // A model made of anything can be recorded again.
    let mut copy = Model::default();
    for frame in model.keyframe() {
        let _ = copy.apply(&frame);
    }
    let _ = recording.extent();
    let _ = recording.model_at(recording.length() / 2);
    frames
}

/// The most memory that the process ever held, in MB, where the system says.
fn peak_mb() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find(|l| l.starts_with("VmHWM:"))?;
    Some(line.split_whitespace().nth(1)?.parse::<u64>().ok()? / 1_024)
}

fn run(duration: Duration, seed: &[u8; 32]) {
    let mut rng = TestRng::from_seed(RngAlgorithm::ChaCha, seed);
    let (file, console) = (recording(), console());
    let began = Instant::now();
    let (mut inputs, mut opened, mut frames) = (0u64, 0u64, 0usize);
    while began.elapsed() < duration {
        let bytes = match rng.next_u32() % 4 {
            0 => {
                let mut bytes = file.clone();
                change(&mut bytes, &mut rng);
                bytes
            }
            1 => {
                let mut bytes = console.clone();
                change(&mut bytes, &mut rng);
                bytes
            }
            _ => changed_inside(&file, &mut rng),
        };
        let read = read(bytes);
        inputs += 1;
        opened += u64::from(read > 0);
        frames += read;
    }
    println!(
        "{inputs} inputs in {} s, {opened} opened, {frames} frames read, peak memory {:?} MB",
        began.elapsed().as_secs(),
        peak_mb()
    );
}

#[test]
fn changed_recordings_are_read_without_a_panic() {
    run(Duration::from_secs(2), &[7; 32]);
}

#[test]
#[ignore = "runs for as long as LOOPTOP_FUZZ_SECONDS says"]
fn for_long() {
    let seconds = std::env::var("LOOPTOP_FUZZ_SECONDS")
        .ok()
        .and_then(|n| n.parse().ok());
    let seed = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    let mut bytes = [0; 32];
    bytes[..16].copy_from_slice(&seed.unwrap_or_default().as_nanos().to_le_bytes());
    println!("seed {bytes:?}");
    run(Duration::from_secs(seconds.unwrap_or(600)), &bytes);
}
