//! What an agent sends: its hello and its frames become the model, the rules run over it.

use looptop_diagnosis::diagnose::waits::Graph;
use looptop_diagnosis::diagnose::{Engine, Window, gaps, remarks};
use looptop_diagnosis::model::Model;
use looptop_wire::live;
use looptop_wire::proto::{Frame, HelloResponse};
use prost::Message;

use crate::file::Input;
use crate::guard::guarded;

/// The input is messages, each with its length before it: the hello, then frames. Those of
/// a recording, which may hold more, where its first byte is odd.
pub fn run(data: &[u8]) {
    guarded(|| {
        let mut input = Input(data);
        let of_recording = input.byte() & 1 == 1;
        let hello = HelloResponse::decode(input.part()).unwrap_or_default();
        let mut model = Model::new(&hello);
        let mut engine = Engine::new(Window::Live);
        while !input.is_empty() {
            let Ok(frame) = Frame::decode(input.part()) else {
                continue;
            };
            if !of_recording && live::check(&frame).is_err() {
                continue;
            }
            let _ = model.apply(&frame);
            if !frame.more {
                engine.update(&model);
            }
        }
        look(&model, &mut engine);
    });
}

/// What screen and reports ask of a model, and a recording of it.
pub(crate) fn look(model: &Model, engine: &mut Engine) {
    engine.update(model);
    let _ = format!("{:?}", engine.verdict(model));
    let _ = format!("{:?}", engine.not_judged(model));
    let _ = (gaps(model), remarks(model));
    let graph = Graph::of(model);
    let _ = format!("{graph:?}");
    let mut copy = Model::default();
    for frame in model.keyframe() {
        let _ = copy.apply(&frame);
    }
}
