//! Recordings, looptop's and console-subscriber's: they come from anywhere.

use looptop::record::format::{BlockKind, block_head, file_header};
use looptop::record::{Recording, Step};
use looptop_diagnosis::diagnose::{Engine, Window};
use looptop_diagnosis::model::Model;

use crate::file::Input;
use crate::guard::guarded;

/// The input: an even byte and a file; or an odd one and blocks, which get the checksums that
/// keep chance out. A block is its kind (one with the bit of 4: a chunk that is to be
/// packed), its info and its payload, with their lengths before them.
pub fn run(data: &[u8]) {
    let mut input = Input(data);
    let file = if input.byte() & 1 == 0 {
        input.0.to_vec()
    } else {
        blocks(input)
    };
    guarded(|| read(file));
}

fn blocks(mut input: Input<'_>) -> Vec<u8> {
    let mut file = file_header().to_vec();
    while !input.is_empty() {
        let kind = input.byte();
        let (info, payload) = (input.part(), input.part());
        let packed = (kind & 4 != 0).then(|| zstd::encode_all(payload, 1).expect("bytes"));
        let payload = packed.as_deref().unwrap_or(payload);
        let kind = if packed.is_some() {
            BlockKind::Chunk
        } else {
            BlockKind::from(kind & 3)
        };
        if let Some(head) = block_head(kind, info, payload) {
            file.extend(head);
            file.extend(payload);
        }
    }
    file
}

/// Reads it as a replay does, with a seek.
fn read(bytes: Vec<u8>) {
    let recording = match Recording::from_bytes(bytes) {
        Ok(recording) => recording,
        Err(error) => return drop(error.to_string()),
    };
    let mut model = Model::default();
    let mut engine = Engine::new(Window::Live);
    for step in recording.frames() {
        match step {
            Step::Session(hello) => model = Model::new(&hello),
            Step::Frame(frame, _) => {
                let _ = model.apply(&frame);
                if !frame.more {
                    engine.update(&model);
                }
            }
            Step::Gap(why) => assert!(!why.is_empty()),
        }
    }
    crate::frames::look(&model, &mut engine);
    let _ = (recording.extent(), recording.remark());
    let _ = recording.model_at(recording.length() / 2);
}
