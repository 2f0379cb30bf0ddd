//! What is seen from outside joins the server's session.

use looptop_wire::{
    columns::Record,
    proto::{Certainty, Worker},
};

use super::*;
use crate::source::outside::{Joins, Shown};

/// A task by the server's id, with tokio's.
fn numbered(id: u64, tokio_id: u64) -> Task {
    task(id, vec![field("task.id", Value::U64Val(tokio_id))])
}

/// What was read of a task, by tokio's id.
fn read(tokio_id: u64, future: u32) -> Record {
    Record {
        id: tokio_id,
        tokio_id: Some(tokio_id),
        runtime: Some(0),
        future: Some(future),
        future_certainty: Certainty::Certain,
        future_location: Some(future + 1),
        ..Record::default()
    }
}

fn joins(tasks: Vec<Record>, forgotten: Vec<u64>) -> Joins {
    Joins {
        tasks,
        forgotten,
        ..Joins::default()
    }
}

/// Ids with futures and polls, in order.
fn futures(frames: &[Frame]) -> Vec<(u64, Option<u32>, Option<u64>)> {
    let mut found: Vec<_> = rows(frames)
        .values()
        .map(|row| (row.id(), row.future(), row.polls()))
        .collect();
    found.sort_unstable();
    found
}

fn first() -> Update {
    let stats = Stats {
        poll_stats: polled(-2.0, Some(-1.5), 4, 1.0),
        ..born(-3.0)
    };
    let tasks = vec![numbered(1, 41), numbered(2, 42)];
    update(0.0, tasks, vec![(1, stats), (2, stats)])
}

#[test]
fn a_future_is_matched_by_tokios_id_and_the_servers_counts_stay() {
    let (mut translator, _) = translate(first());
    // 77 is not the server's, or not yet.
    let frames = translator.outside(joins(vec![read(42, 9), read(77, 9)], vec![]), received(0.5));
    assert_eq!(futures(&frames), [(2, Some(9), Some(4))]);
    let rows = rows(&frames);
    let row = &rows[&2];
    assert_eq!((row.runtime(), row.future_location()), (Some(0), Some(10)));
    // The same once more is no change.
    let frames = translator.outside(joins(vec![read(42, 9)], vec![]), received(0.6));
    assert!(futures(&frames).is_empty());
    // It comes with the server's next word, too, and with its announcement.
    let stats = vec![(2, born(-3.0)), (3, born(0.9))];
    let frames = translator.update(update(1.0, vec![numbered(3, 77)], stats), received(1.0));
    assert_eq!(
        futures(&frames),
        [(2, Some(9), Some(0)), (3, Some(9), Some(0))]
    );
}

#[test]
fn who_has_ended_is_matched_no_more() {
    let (mut translator, _) = translate(first());
    assert_eq!(translator.shown(42).map(|shown| shown.id), Some(2));
    let ended = Stats {
        dropped_at: at(0.5),
        ..born(-3.0)
    };
    translator.update(update(1.0, vec![], vec![(2, ended)]), received(1.0));
    assert_eq!(translator.shown(42), None);
    assert_eq!(translator.shown(0), None);
    // What was read is forgotten with the task.
    translator.outside(joins(vec![read(50, 9)], vec![]), received(1.1));
    translator.outside(joins(vec![], vec![50]), received(1.2));
    let stats = vec![(5, born(1.0))];
    let frames = translator.update(update(2.0, vec![numbered(5, 50)], stats), received(2.0));
    assert_eq!(futures(&frames), [(5, None, Some(0))]);
}

#[test]
fn frames_are_numbered_and_dated_with_the_servers() {
    let (mut translator, frames) = translate(first());
    let before = frames.last().unwrap();
    let location = rows(&frames)[&1].location().unwrap();
    let shown = Shown { id: 1, location };
    assert_eq!(translator.shown(41), Some(shown));
    let worker = Worker {
        task: Some(1),
        ..Worker::default()
    };
    let seen = Joins {
        frames: vec![Frame {
            workers: vec![worker],
            ..Frame::default()
        }],
        tasks: vec![read(41, 9)],
        ..Joins::default()
    };
    let frames = translator.outside(seen, received(0.25));
    let numbers: Vec<u64> = frames.iter().map(|frame| frame.sequence).collect();
    assert_eq!(numbers, [before.sequence + 1, before.sequence + 2]);
    for frame in &frames {
        assert_eq!(frame.now_ns, before.now_ns + SECOND / 4);
        assert!(!frame.snapshot_complete, "that was the server's");
    }
}

#[test]
fn what_can_be_known_follows_the_view() {
    use CapabilityKind::{Lag, Stacks};
    let is = |no_stalls: Option<&str>| View::Is {
        no_stalls: no_stalls.map(str::to_owned),
        no_names: None,
    };
    let not = View::Not("it belongs to another user".to_owned());
    for (view, kind, words) in [
        (View::Off, Stacks, Some("does not report stacks; add")),
        (View::Begins, Stacks, Some("is about to be looked at")),
        (
            not.clone(),
            Stacks,
            Some("it belongs to another user; or add"),
        ),
        (is(None), Stacks, None),
        (
            is(Some("no symbols")),
            Stacks,
            Some("it is not seen: no symbols"),
        ),
        (View::Off, Lag, Some("does not report loop lag; add")),
        (not, Lag, Some("does not report loop lag; add")),
        (is(None), Lag, Some("from outside it is not known: a probe")),
    ] {
        let (mut translator, _) = translate(first());
        let hello = translator.hello(Ok(()), view.clone());
        let reason = |capabilities: &[looptop_wire::proto::Capability]| {
            let found = capabilities.iter().find(|c| c.kind() == kind).unwrap();
            (!found.available).then(|| found.reason.clone())
        };
        let said = reason(&hello.capabilities);
        assert_eq!(said.is_some(), words.is_some(), "{view:?} {said:?}");
        let has = |reason: &str| words.is_some_and(|words| reason.contains(words));
        assert!(said.as_deref().is_none_or(has), "{view:?} {said:?}");
        assert!(!said.clone().unwrap_or_default().contains(". "));

        // The same where it turns out later.
        let (mut translator, _) = translate(first());
        translator.hello(Ok(()), View::Begins);
        let seen = Joins {
            view: Some(view.clone()),
            ..Joins::default()
        };
        let frames = translator.outside(seen, received(0.5));
        if view == View::Begins {
            assert!(frames.is_empty(), "it is known");
        } else {
            let tasks = frames[0].tasks.as_ref().unwrap();
            assert_eq!(reason(&tasks.capabilities), said);
        }
    }
}
