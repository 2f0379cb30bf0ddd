//! Screens of a process that is seen from outside.

use std::sync::Arc;

use looptop_wire::proto;

use crate::{
    app::{
        Event, State,
        fixtures::{empty_state, outside_state, type_text},
    },
    model::{Moment, fixtures},
};

use super::tests::screen;

const NOW: Moment = Moment(20_100_000_000);

#[test]
fn a_process_seen_from_outside() {
    for (name, keys) in [
        ("overview", "1"),
        ("tasks", "2"),
        ("tasks_by_future", "2tt"),
        ("workers", "3"),
        ("stalls", "4"),
        ("resources", "5"),
        ("threads", "6"),
        ("stall", "4\n"),
        ("task", "2/render\n\n"),
        ("task_guessed", "2/sweep\n\n"),
        ("task_whole_name", "2/Upgradeable\n\na"),
    ] {
        for (width, height) in [(80, 24), (120, 40), (200, 50)] {
            let mut state = outside_state();
            type_text(&mut state, keys);
            let name = format!("outside_{name}_{width}x{height}");
            insta::assert_snapshot!(name, screen(&mut state, width, height));
        }
    }
}

#[test]
fn a_core_dump_is_of_one_moment_and_never_live() {
    let mut hello = fixtures::outside_hello();
    hello.core_dump = true;
    for capability in &mut hello.capabilities {
        // As its source says it.
        if capability.kind == i32::from(proto::CapabilityKind::Stalls) {
            capability.available = false;
            capability.reason = "a core dump is one moment".to_owned();
        }
    }
    let mut state = empty_state();
    state.options.target = "core:/var/crash/shop.core".to_owned();
    let now = state.now;
    let read = |state: &mut State, event: Event| {
        state.apply(event, now);
        state.prepare();
        screen(state, 120, 40)
    };
    // A large one takes its time, before anything is known of it and later.
    let slow = || Event::Silent {
        since: now,
        problem: "core:/var/crash/shop.core is being read for 2.0 s".to_owned(),
    };
    let mut shown = vec![read(&mut state, slow())];
    assert!(shown[0].contains("◌ READING"), "{}", shown[0]);
    let hello = Box::new(hello);
    let kind = crate::model::SourceKind::Core;
    read(&mut state, Event::Connected { hello, kind });
    // Of a poll nobody knows how long it has lasted.
    let mut frame = fixtures::outside_frame(Moment(20_000_000_000));
    for worker in &mut frame.workers {
        if worker.state == i32::from(proto::WorkerState::Stalled) {
            worker.state = proto::WorkerState::Polling.into();
        }
    }
    for stall in &mut frame.stalls {
        (stall.started_at_ns, stall.duration_ns) = (frame.now_ns, 0);
    }
    read(&mut state, Event::Frame(Arc::new(frame)));
    shown.push(read(&mut state, slow()));
    state.apply(Event::Ended, now);
    for keys in ["1", "3", "4", "4\n"] {
        type_text(&mut state, keys);
        shown.push(screen(&mut state, 120, 40));
        let last = &shown[shown.len() - 1];
        assert!(last.contains("core dump of "), "{last}");
        assert!(last.contains("■ CORE"), "{last}");
    }
    for shown in &shown {
        for word in [
            "● LIVE",
            "■ LIVE",
            "SILENT",
            "BLOCKED",
            "NO DATA",
            "■ now",
            "CONNECTING",
        ] {
            assert!(!shown.contains(word), "{word}: {shown}");
        }
    }
    assert!(shown[4].contains("Polls by culprit"), "{}", shown[4]);
}

/// The same with what a frame adds.
fn with(change: impl FnOnce(&mut proto::Frame)) -> State {
    let mut state = outside_state();
    let mut frame = fixtures::frame(NOW);
    change(&mut frame);
    let now = state.now;
    state.apply(Event::Frame(Arc::new(frame)), now);
    state.prepare();
    state
}

#[test]
fn what_nobody_can_count_takes_no_column_and_the_help_says_so() {
    let mut state = outside_state();
    type_text(&mut state, "2");
    let shown = screen(&mut state, 200, 50);
    let heads = shown.lines().nth(6).unwrap();
    for (title, is_there) in [("NAME", true), ("LOCATION", true), ("POLL", true)]
        .into_iter()
        .chain([("BUSY", false), ("WAKES", false), ("LONGEST", false)])
    {
        assert_eq!(heads.contains(title), is_there, "{title} in {heads}");
    }
    // The one that runs comes first, as nobody knows who is busy.
    let first = shown.lines().nth(7).unwrap();
    assert!(first.contains("● running"), "{first}");
    type_text(&mut state, "?");
    let help = screen(&mut state, 120, 200);
    let words: Vec<&str> = help.split_whitespace().collect();
    let words = words.join(" ");
    assert!(words.contains("left out, because nothing in this session can say it: BUSY%"));
    // Whoever names one in the configuration sees it.
    state.options.columns = toml::from_str("tasks = ['name', 'wakes']").unwrap();
    type_text(&mut state, "\u{1b}");
    let chosen = screen(&mut state, 80, 24);
    assert!(chosen.lines().nth(6).unwrap().contains("WAKES"), "{chosen}");
}

#[test]
fn a_turn_of_a_scheduler_is_not_said_to_be_one_poll() {
    let mut state = with(|frame| {
        frame.stalls = vec![proto::Stall {
            id: 9,
            state: proto::StallState::Live.into(),
            scope: proto::StallScope::OneTurn.into(),
            runtime: Some(0),
            worker: Some(2),
            tid: Some(5_002),
            started_at_ns: NOW.0 - 2_000_000_000,
            duration_ns: 2_000_000_000,
            cause: proto::Cause::Computing.into(),
            ..proto::Stall::default()
        }];
    });
    type_text(&mut state, "4t/length>1s\n\n");
    insta::assert_snapshot!("outside_turn_80x24", screen(&mut state, 80, 24));
}

#[test]
fn threads_that_must_not_be_stopped_are_said_to_be() {
    let mut state = with(|frame| {
        frame.strings = vec![proto::InternedString {
            id: 900,
            text: "thread 77 of gdb traces it".into(),
        }];
        frame.outside = Some(proto::Outside {
            looks: 3_000,
            read: 31,
            no_sampler: 900,
            no_stop: 900,
            ..proto::Outside::default()
        });
    });
    type_text(&mut state, "6");
    let shown = screen(&mut state, 120, 24);
    assert!(shown.contains("0 stopped, no stop permitted"), "{shown}");
}

#[test]
fn a_stripped_program_has_no_worker_before_a_long_poll() {
    let mut hello = fixtures::outside_hello();
    hello.capabilities.push(proto::Capability {
        kind: crate::model::Capability::Coverage.into(),
        available: false,
        reason: "the program is stripped: functions have no names".into(),
    });
    let mut state = crate::app::fixtures::empty_state();
    let now = state.now;
    let event = Event::Connected {
        hello: Box::new(hello),
        kind: crate::model::SourceKind::Outside,
    };
    state.apply(event, now);
    for second in [18_900_000_000, 20_000_000_000] {
        let mut frame = fixtures::outside_frame(Moment(second));
        (frame.workers, frame.stalls) = (Vec::new(), Vec::new());
        state.apply(Event::Frame(Arc::new(frame)), now);
    }
    state.prepare();
    for (name, keys) in [("overview", "1"), ("workers", "3")] {
        type_text(&mut state, keys);
        let name = format!("outside_stripped_{name}_80x24");
        insta::assert_snapshot!(name, screen(&mut state, 80, 24));
    }
}
