//! The history of a live session, and the recordings that are made of it.

use std::{io::Read, sync::Arc, time::Duration};

use looptop_wire::proto::Frame;

use super::MS;
use crate::{
    model::{Culprit, Model, Moment, Resolved, StackFrame, StackOf, StallId},
    record::{
        Recording,
        history::{Bounds, History, HistoryCopy},
        synthetic::{Session, Shape},
    },
};

/// A history of a whole session, with keyframes of the live models.
fn history(frames: usize, bounds: Bounds) -> (History<u64>, Vec<(Moment, Vec<Frame>)>) {
    let mut session = Session::new(Shape::default());
    let hello = session.hello();
    let mut history = History::new(bounds);
    history.begin(&hello);
    let mut model = Model::new(&hello);
    let mut seen = Vec::new();
    for n in 0..frames as u64 {
        let frame = session.next_frame();
        model.apply(&frame).unwrap();
        history.push(&frame, &model, n);
        if n % 61 == 0 || n + 5 > frames as u64 {
            seen.push((model.now, model.keyframe()));
        }
    }
    (history, seen)
}

#[test]
fn history_goes_back_to_any_frame() {
    let bounds = Bounds {
        fine: Duration::from_hours(1),
        ..Bounds::default()
    };
    let (mut history, seen) = history(900, bounds);
    for (at, expected) in &seen {
        let shown = history.at(*at).unwrap().model;
        assert_eq!(shown.now, *at);
        assert!(shown.keyframe() == *expected, "at {at:?}");
    }
    let newest = history.newest().unwrap();
    assert_eq!(newest, seen.last().unwrap().0);
    let mut at = newest;
    let mut steps = 0;
    while let Some(before) = history.before(at) {
        assert_eq!(history.after(before), Some(at));
        at = before;
        steps += 1;
    }
    assert_eq!((at, steps), (history.oldest().unwrap(), 899));
    assert_eq!(history.before(at), None);
    assert_eq!(history.note(newest).map(|(_, n)| *n), Some(899));
}

#[test]
fn history_walks_through_every_moment_of_a_time() {
    let (mut history, _) = history(300, Bounds::default());
    let mut moments: Vec<Moment> = history.notes().map(|(at, _)| at).collect();
    moments.dedup();
    let (from, until) = (moments[57], moments[211]);
    let mut seen = Vec::new();
    history.walk((from, until), usize::MAX, |model| seen.push(model.now));
    seen.dedup();
    // It begins with the chunk in which the time begins.
    assert!(
        seen[0] <= from && *seen.last().unwrap() == until,
        "{seen:?}"
    );
    let place = moments.iter().position(|at| *at == seen[0]).unwrap();
    assert_eq!(seen, moments[place..=211]);

    // With little room it is the end that counts.
    let mut seen = Vec::new();
    history.walk((from, until), 1, |model| seen.push(model.now));
    assert_eq!(seen.last(), Some(&until));
    assert!(seen[0] > from, "one chunk alone: {seen:?}");
}

#[test]
fn old_history_goes_in_steps_of_a_second_and_is_then_dropped() {
    let bounds = Bounds {
        fine: Duration::from_secs(20),
        age: Duration::from_mins(2),
        ..Bounds::default()
    };
    let (mut history, seen) = history(2_000, bounds);
    let newest = history.newest().unwrap();
    let reach = newest.since(history.oldest().unwrap());
    assert!((110..=140).contains(&reach.as_secs()), "{reach:?}");
    let old = newest.minus(Duration::from_mins(1));
    let (mut at, mut steps) = (old, 0);
    while let Some(before) = history
        .before(at)
        .filter(|at| newest.since(*at).as_secs() < 80)
    {
        assert!(at.since(before) <= Duration::from_secs(1));
        (at, steps) = (before, steps + 1);
    }
    // One more for each keyframe.
    assert!((20..=24).contains(&steps), "{steps} steps in 20 s");
    // A moment that can be gone to is as it was.
    let shown = history.at(old).unwrap().model;
    assert!(old.since(shown.now) < Duration::from_secs(1));
    let live = history.at(newest).unwrap().model.stalls.total_ended;
    let expected = live - 60_000 / 2_000;
    assert!(shown.stalls.total_ended.abs_diff(expected) <= 1);
    let (at, was) = seen.last().unwrap();
    assert!(history.at(*at).unwrap().model.keyframe() == *was);
}

#[test]
fn history_is_bounded_in_bytes() {
    let bounds = Bounds {
        bytes: 100_000,
        ..Bounds::default()
    };
    let (history, _) = history(3_000, bounds);
    assert!(history.bytes() <= 100_000, "{}", history.bytes());
    assert!(history.oldest() > Some(Moment(10_000 * MS)));
}

fn stack(n: u64) -> Resolved {
    Resolved {
        frames: vec![StackFrame {
            function: format!("app::work_{n}"),
            ..StackFrame::default()
        }],
        culprit: Some(Culprit {
            function: format!("app::work_{n}"),
            ..Culprit::default()
        }),
        ..Resolved::default()
    }
}

/// A history of 100 s, of which only the last 20 can be gone to in full, with a
/// connection that breaks off halfway, and the models that were live. Each stall
/// gets its names a frame after it began.
fn broken_off() -> (History<()>, Vec<Model>) {
    let mut history = History::new(Bounds {
        fine: Duration::from_secs(20),
        ..Bounds::default()
    });
    let mut session = Session::new(Shape::default());
    let hello = session.hello();
    history.begin(&hello);
    let mut model = Model::new(&hello);
    let mut seen = Vec::new();
    for n in 0..1_000 {
        let frame = session.next_frame();
        model.apply(&frame).unwrap();
        history.push(&frame, &model, ());
        for id in frame.stalls.iter().map(|stall| StallId(stall.id)) {
            let stack = Arc::new(stack(id.0));
            history.name(&StackOf::Stall(id), &stack);
            model.stalls.resolve(id, stack);
        }
        if n == 500 {
            // The same state in another connection's words.
            history.begin(&hello);
        }
        seen.push(model.clone());
    }
    (history, seen)
}

fn written(copy: &HistoryCopy) -> Recording {
    let bytes = copy.write(Vec::new(), "127.0.0.1:6669").unwrap();
    Recording::from_bytes(bytes).unwrap()
}

#[test]
fn a_written_history_shows_what_the_screen_did() {
    let (mut history, seen) = broken_off();
    let recording = written(&history.copy());
    assert_eq!(recording.remark(), None);
    assert_eq!(recording.sessions()[0].target, "127.0.0.1:6669");
    let oldest = history.oldest().unwrap();
    let length = history.newest().unwrap().since(oldest);
    assert_eq!(recording.length(), length);
    assert_eq!(history.copy().length(), length);
    let moments: Vec<Moment> = history.notes().map(|(at, ())| at).collect();
    assert!(moments.len() < 600, "{} are not thinned", moments.len());
    for at in moments.into_iter().rev().step_by(7) {
        let read = recording.model_at(at.since(oldest)).unwrap().keyframe();
        let shown = history.at(at).unwrap().model.keyframe();
        assert!(read == shown, "as the screen shows it at {at:?}");
        let live = seen.iter().find(|model| model.now == at).unwrap();
        assert!(read == live.keyframe(), "as it was live at {at:?}");
    }
    // Each stall, those of thinned seconds as well, once and with its names.
    assert_eq!(recording.extent().marks.len(), 50);
    let read = recording.model_at(length).unwrap();
    for id in (1..=50).map(StallId) {
        let stall = read.stalls.get(id).unwrap();
        assert_eq!(stall.resolved.as_deref(), Some(&stack(id.0)));
    }
}

#[test]
fn every_chunk_of_the_file_is_a_stream_that_ends() {
    let (mut history, _) = broken_off();
    let recording = written(&history.copy());
    for chunk in &*recording.chunks {
        let mut payload = Vec::new();
        recording.stores[chunk.part]
            .section(chunk.payload_at, chunk.payload_len.into())
            .read_to_end(&mut payload)
            .unwrap();
        let raw = zstd::decode_all(payload.as_slice()).unwrap();
        assert_eq!(raw.len() as u64, chunk.info.raw_bytes);
    }
}

#[test]
fn the_history_goes_on_as_if_nothing_had_been_written() {
    let run = |save: bool| {
        let mut session = Session::new(Shape::default());
        let hello = session.hello();
        let mut history = History::new(Bounds::default());
        history.begin(&hello);
        let mut model = Model::new(&hello);
        for n in 0..300 {
            let frame = session.next_frame();
            model.apply(&frame).unwrap();
            history.push(&frame, &model, ());
            if save && n % 37 == 0 {
                written(&history.copy());
            }
        }
        history
    };
    let (mut plain, mut saved) = (run(false), run(true));
    let moments: Vec<Moment> = plain.notes().map(|(at, ())| at).collect();
    assert!(saved.notes().map(|(at, ())| at).eq(moments.iter().copied()));
    for at in moments.into_iter().rev().step_by(7) {
        let (plain, saved) = (plain.at(at).unwrap(), saved.at(at).unwrap());
        assert!(plain.model.keyframe() == saved.model.keyframe());
    }
    let lengths = |history: &mut History<()>| -> Vec<u32> {
        let chunks = written(&history.copy()).chunks;
        chunks.iter().map(|chunk| chunk.info.frames).collect()
    };
    assert_eq!(lengths(&mut plain), lengths(&mut saved));
}

#[test]
fn an_empty_history_has_an_empty_copy() {
    let mut history: History<()> = History::new(Bounds::default());
    assert!(history.copy().is_empty());
    assert_eq!(history.copy().length(), Duration::ZERO);
}
