//! The Lab view and presenter mode as snapshots, at sizes of a desk and a stage.

use std::sync::Arc;

use looptop_wire::proto;
use proptest::prelude::*;

use crate::{
    app::{
        Action, Event, State, Twin,
        fixtures::{crowd, empty_state, type_text},
        lab::Update,
        lab_tests::{lab_state, report},
        update,
    },
    model::fixtures,
};

use super::{
    Depth, Theme,
    tests::{draw, screen, text},
};

const SIZES: [(u16, u16); 3] = [(80, 24), (100, 30), (120, 40)];

fn opened(keys: &str) -> State {
    let mut state = lab_state();
    type_text(&mut state, keys);
    state
}

#[test]
fn lab_view() {
    let mut state = opened("7");
    for (width, height) in SIZES {
        let name = format!("lab_live_{width}x{height}");
        insta::assert_snapshot!(name, screen(&mut state, width, height));
    }
    let shown = text(&draw(&mut state, 80, 24, &Theme::new(Depth::None, true)));
    assert!(shown.is_ascii(), "{shown}");
    insta::assert_snapshot!("lab_live_ascii", shown);

    type_text(&mut state, "jb");
    insta::assert_snapshot!("lab_switching", screen(&mut state, 80, 24));
}

#[test]
fn lab_view_without_a_lab() {
    let mut state = opened("7");
    let now = state.now;
    state.apply(
        Event::Lab(Update::Lost("the lab has not answered for 3 s".into())),
        now,
    );
    let shown = screen(&mut state, 80, 24);
    assert!(
        shown.contains("the lab has not answered for 3 s"),
        "{shown}"
    );
    state.apply(Event::Lab(Update::Absent), now);
    insta::assert_snapshot!("lab_absent", screen(&mut state, 80, 24));
}

#[test]
fn presenter() {
    let mut state = opened("p");
    for (width, height) in SIZES {
        let name = format!("presenter_{width}x{height}");
        insta::assert_snapshot!(name, screen(&mut state, width, height));
    }
    insta::assert_snapshot!("presenter_60x15", screen(&mut state, 60, 15));
    let shown = text(&draw(&mut state, 100, 30, &Theme::new(Depth::None, true)));
    assert!(shown.is_ascii(), "{shown}");
    insta::assert_snapshot!("presenter_ascii", shown);

    state.note_key(crate::app::Key::Char('f'));
    type_text(&mut state, "j");
    let shown = screen(&mut state, 100, 30);
    assert!(shown.contains("[ f ]  fixed: the same work"), "{shown}");
    assert!(shown.contains("next: cpu-in-handler"), "{shown}");
}

#[test]
fn presenter_of_a_healthy_twin_and_of_no_lab() {
    let mut state = crowd(50);
    report(&mut state, |s| {
        let before = s.before.take().unwrap();
        s.twin = Some(Twin::Fixed);
        s.now = before.figures;
    });
    let now = state.now;
    let frame = proto::Frame {
        runtimes: vec![proto::Runtime::default()],
        workers: vec![proto::Worker::default()],
        ..fixtures::frame(state.model().now)
    };
    state.apply(Event::Frame(Arc::new(frame)), now);
    type_text(&mut state, "p");
    insta::assert_snapshot!("presenter_healthy", screen(&mut state, 100, 30));

    let mut state = crate::app::fixtures::starving_state();
    type_text(&mut state, "p");
    insta::assert_snapshot!("presenter_no_lab", screen(&mut state, 100, 30));
    let mut state = empty_state();
    type_text(&mut state, "p");
    let shown = screen(&mut state, 100, 30);
    assert!(
        shown.contains("no data yet") && shown.contains("loop lag p99"),
        "{shown}"
    );
}

#[test]
fn nothing_on_a_stage_blinks() {
    let mut state = opened("p");
    let buffer = draw(&mut state, 100, 30, &Theme::new(Depth::True, false));
    let blink = ratatui::style::Modifier::SLOW_BLINK | ratatui::style::Modifier::RAPID_BLINK;
    assert!(buffer.content.iter().all(|c| !c.modifier.intersects(blink)));
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 40, ..ProptestConfig::default() })]
    #[test]
    fn nothing_panics_whatever_a_lab_tells(
        width in 1u16..200, height in 1u16..70,
        id in ".{0,60}", caption in any::<String>(), code in any::<String>(),
        rate in any::<f64>(), micros in any::<u64>(), entries in 0usize..40,
        keys in prop::collection::vec(0usize..70, 0..12),
    ) {
        let mut state = lab_state();
        report(&mut state, |s| {
            s.scenario = id.clone();
            s.caption = caption;
            s.broken_code = code;
            s.now.requests_per_s = Some(rate);
            s.now.canary.p99 = Some(std::time::Duration::from_micros(micros));
            s.scenarios.resize_with(entries, Default::default);
            s.now.readings = vec![(id, rate)];
        });
        for start in ["7", "p"] {
            type_text(&mut state, start);
            for n in &keys {
                if let Some(binding) = crate::app::bindings::all().nth(*n) {
                    update(&mut state, binding.action.clone());
                }
                draw(&mut state, width, height, &Theme::new(Depth::True, false));
            }
            update(&mut state, Action::Back);
        }
    }
}
