//! What happens again and again is one row, and what only looks alike is not.

use std::{sync::Arc, time::Duration};

use looptop_wire::proto;

use crate::{
    app::{
        Event, State,
        fixtures::{starving_state, type_text},
    },
    model::{Moment, fixtures},
};

use super::tests::screen;

const MS: u64 = 1_000_000;
const NOW: Moment = Moment(20_100_000_000);

fn apply(state: &mut State, frame: proto::Frame) {
    let now = state.now;
    state.apply(Event::Frame(Arc::new(frame)), now);
    state.prepare();
}

/// The stall in progress of task 4, 31 shorter ones that a lock caused elsewhere on
/// two workers, and two of the host.
fn repeated() -> State {
    let mut state = starving_state();
    let mut frame = fixtures::frame(NOW);
    let stall = |id: u64, location, cause: proto::Cause, ago_ms: u64, ms: u64| proto::Stall {
        id,
        state: proto::StallState::Ended.into(),
        scope: proto::StallScope::OnePoll.into(),
        runtime: Some(0),
        worker: Some((id % 2) as u32),
        location,
        cause: cause.into(),
        started_at_ns: NOW.0 - ago_ms * MS,
        duration_ns: ms * MS,
        ..proto::Stall::default()
    };
    let locks = (0..31).map(|n| stall(10 + n, 2, proto::Cause::Lock, 6_000 - n * 190, 40 + n));
    let host = (0..2).map(|n| stall(50 + n, 3, proto::Cause::StarvedByHost, 900 - n * 500, 30));
    frame.stalls = locks.chain(host).collect();
    apply(&mut state, frame);
    state
}

#[test]
fn repeats_are_one_row_and_enter_shows_them() {
    for (width, height) in [(80, 24), (120, 40), (60, 15)] {
        let mut state = repeated();
        let mut shown = |keys: &str| {
            type_text(&mut state, keys);
            screen(&mut state, width, height)
        };
        let kinds = shown("4");
        assert!(kinds.contains("×31 in 6.0 s"), "{kinds}");
        insta::assert_snapshot!(format!("repeats_{width}x{height}"), kinds);
        let workers = shown("3");
        insta::assert_snapshot!(format!("repeats_workers_{width}x{height}"), workers);
    }
}

#[test]
fn a_group_opens_and_closes() {
    let mut state = repeated();
    type_text(&mut state, "4");
    let row = |shown: &str, what: &str| {
        let rows = shown.lines().skip(6);
        rows.filter(|line| line.contains(what)).count()
    };
    // The locks are the longest in total.
    type_text(&mut state, "\n");
    let shown = screen(&mut state, 120, 60);
    assert_eq!(row(&shown, "service.rs:41"), 31, "{shown}");
    assert_eq!(row(&shown, "starved by host"), 0, "{shown}");
    type_text(&mut state, "\u{1b}");
    let shown = screen(&mut state, 120, 60);
    assert_eq!(row(&shown, "service.rs:41"), 1, "{shown}");
    assert_eq!(row(&shown, "the host"), 1, "{shown}");
    // One by one, all of them.
    type_text(&mut state, "t");
    let shown = screen(&mut state, 120, 60);
    assert_eq!(row(&shown, "service.rs:41"), 31, "{shown}");
    assert_eq!(row(&shown, "starved by host"), 2, "{shown}");
}

#[test]
fn runtimes_are_told_apart() {
    let mut state = starving_state();
    let model = state.model();
    let name = model.runtimes[0].name.unwrap().0;
    let mut frame = fixtures::frame(NOW);
    let runtimes = 0..3;
    frame.strings = vec![proto::InternedString {
        id: 900,
        text: "actix-server worker".into(),
    }];
    frame.runtimes = runtimes
        .clone()
        .map(|id| proto::Runtime {
            id,
            name: if id == 0 { name } else { 900 },
            workers: 1,
            ..proto::Runtime::default()
        })
        .collect();
    frame.workers = runtimes
        .map(|runtime| proto::Worker {
            runtime,
            index: 0,
            state: proto::WorkerState::Parked.into(),
            ..proto::Worker::default()
        })
        .collect();
    apply(&mut state, frame);
    type_text(&mut state, "3");
    for (width, height) in [(80, 24), (120, 40), (60, 15)] {
        let name = format!("runtimes_{width}x{height}");
        insta::assert_snapshot!(name, screen(&mut state, width, height));
    }
}

#[test]
fn idle_tasks_are_found_by_their_present_spell() {
    let mut state = starving_state();
    type_text(&mut state, "2/idle>320ms\n");
    let shown = screen(&mut state, 200, 50);
    let ids: Vec<&str> = shown
        .lines()
        .filter(|line| line.contains("○ idle"))
        .filter_map(|line| {
            line.split_whitespace()
                .find(|word| word.parse::<u64>().is_ok())
        })
        .collect();
    assert_eq!(ids, ["111", "110", "109"], "{shown}");
    insta::assert_snapshot!("tasks_idle_200x50", shown);
    let waited = Duration::from_millis(407);
    let task = state.model().tasks.iter().find(|t| t.id.0 == 11).unwrap();
    assert_eq!(task.resting_for(state.model().now), Some(waited));
}
