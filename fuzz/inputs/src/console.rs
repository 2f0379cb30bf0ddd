//! What console-subscriber sends.

use console_api::instrument::Update;
use looptop::source::console::translated;
use looptop_diagnosis::diagnose::{Engine, Window};
use looptop_diagnosis::model::Model;
use prost::Message;

use crate::file::Input;
use crate::guard::guarded;

/// The input is updates, each with its length before it.
pub fn run(data: &[u8]) {
    guarded(|| {
        let mut input = Input(data);
        let mut updates = Vec::new();
        while !input.is_empty() {
            updates.extend(Update::decode(input.part()));
        }
        let mut engine = Engine::new(Window::Live);
        let Some((hello, frames)) = translated(updates) else {
            return;
        };
        let mut model = Model::new(&hello);
        for frame in frames {
            let applied = model.apply(&frame);
            assert_eq!(applied, Ok(()), "a translated frame is sound");
            if !frame.more {
                engine.update(&model);
            }
        }
        crate::frames::look(&model, &mut engine);
    });
}
