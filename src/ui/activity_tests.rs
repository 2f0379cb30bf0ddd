//! What a task did over time, in its details.

use std::{sync::Arc, time::Duration};

use looptop_wire::proto::TaskState;

use crate::app::{
    Event, State, Tone,
    fixtures::{busy_minute, empty_state, type_text, watched_state},
};

use super::{
    Depth, Theme,
    tests::{draw, screen, text},
};

/// The line of a screen that begins with a word.
fn line(shown: &str, word: &str) -> String {
    let found = shown
        .lines()
        .find(|line| line.trim_start().starts_with(word));
    found.unwrap_or_default().trim().to_owned()
}

fn below(state: &mut State, height: u16) -> String {
    screen(state, 80, height)
}

#[test]
fn the_last_minute_of_a_task() {
    let mut state = watched_state(0);
    for (width, height) in [(80, 24), (120, 40), (200, 50)] {
        let name = format!("task_minute_{width}x{height}");
        insta::assert_snapshot!(name, screen(&mut state, width, height));
    }
    type_text(&mut state, "-");
    insta::assert_snapshot!("task_ten_seconds", screen(&mut state, 120, 40));

    let ascii = Theme::new(Depth::None, true);
    let shown = text(&draw(&mut state, 80, 24, &ascii));
    assert!(shown.is_ascii(), "{shown}");
}

#[test]
fn a_stall_differs_by_tone_too() {
    let mut state = watched_state(0);
    let theme = Theme::new(Depth::True, false);
    let buffer = draw(&mut state, 120, 40, &theme);
    let shown = text(&buffer);
    let y = shown
        .lines()
        .position(|l| l.trim_start().starts_with("busy  "))
        .unwrap();
    let row = |x: u16| &buffer[(x, y as u16)];
    let full = (0..120).filter(|x| row(*x).symbol() == "█");
    let tones: Vec<_> = full.map(|x| row(x).style().fg).collect();
    assert!(tones.len() >= 4, "{shown}");
    let critical = theme.style(Tone::Critical).fg;
    assert!(tones.iter().all(|tone| *tone == critical), "{tones:?}");
}

#[test]
fn what_was_not_observed_is_blank_and_says_so() {
    // Watched for the last 10 s alone, and nobody keeps the past.
    let mut state = watched_state(60);
    let shown = below(&mut state, 50);
    assert!(
        shown.contains("blank before it was observed, 10 s"),
        "{shown}"
    );
    let bars = line(&shown, "busy");
    let (_, bars) = bars.split_once("busy").unwrap();
    let blank = bars.chars().take_while(|c| *c == ' ').count();
    // 63 columns for a minute, and the padding of the name.
    assert!((52..=66).contains(&blank), "{blank}: {bars:?}");

    let mut state = empty_state();
    let (hello, frames) = busy_minute();
    let now = state.now;
    let connected = Event::Connected {
        hello: Box::new(hello),
        kind: crate::model::SourceKind::Agent,
    };
    state.apply(connected, now);
    let first = frames.into_iter().next().unwrap();
    state.apply(Event::Frame(Arc::new(first)), now);
    type_text(&mut state, "2/report\n\n");
    let shown = below(&mut state, 50);
    assert!(
        shown.contains("– not observed for long enough yet"),
        "{shown}"
    );
}

#[test]
fn a_target_that_does_not_tell_waits_says_why() {
    let mut state = empty_state();
    let (mut hello, frames) = busy_minute();
    let waits = looptop_wire::proto::CapabilityKind::Wakes;
    let waits = hello.capabilities.iter_mut().find(|c| c.kind() == waits);
    let waits = waits.unwrap();
    (waits.available, waits.reason) = (false, "hooks see no wakes".into());
    let now = state.now;
    let connected = Event::Connected {
        hello: Box::new(hello),
        kind: crate::model::SourceKind::Agent,
    };
    state.apply(connected, now);
    for (n, mut frame) in frames.into_iter().enumerate() {
        frame.tasks.as_mut().unwrap().scheduled_ns.clear();
        state.apply(Event::Frame(Arc::new(frame)), now);
        if n == 0 {
            type_text(&mut state, "2/report\n\n");
        }
    }
    let shown = below(&mut state, 90);
    assert!(line(&shown, "busy").contains('█'), "{shown}");
    // Once, however much it is the reason for.
    let reasons = shown.matches("hooks see no wakes").count();
    assert_eq!(reasons, 1, "{shown}");
    assert!(shown.contains("– scheduled, idle"), "{shown}");
}

#[test]
fn a_task_that_ended_is_blank_from_then_on() {
    let mut state = empty_state();
    let (hello, frames) = busy_minute();
    let now = state.now;
    let connected = Event::Connected {
        hello: Box::new(hello),
        kind: crate::model::SourceKind::Agent,
    };
    state.apply(connected, now);
    let end = Duration::from_secs(50).as_nanos() as u64;
    for (n, mut frame) in frames.into_iter().enumerate() {
        frame.stalls.clear();
        let at = frame.now_ns;
        let tasks = frame.tasks.as_mut().unwrap();
        if at > end {
            tasks.ended_at_ns[3] = end + 1;
            tasks.state[3] = TaskState::Completed.into();
        }
        state.apply(Event::Frame(Arc::new(frame)), now);
        if n == 0 {
            type_text(&mut state, "2/report\n\n");
        }
    }
    let shown = below(&mut state, 50);
    assert!(shown.contains("it ended 21 s ago"), "{shown}");
    // 21 of 60 s at the right.
    let bars = line(&shown, "idle").chars().count() - 13;
    assert!((40..45).contains(&bars), "{bars} of 63 columns\n{shown}");
}
