//! Whole recordings: written, read, cut, changed.

mod damage;
mod history;
mod reading;

use looptop_wire::proto::{Frame, HelloResponse};

use super::{
    Recording, Step,
    recorder::Recorder,
    synthetic::{Session, Shape},
};
use crate::model::Model;

const MS: u64 = 1_000_000;

/// A session's frames, and the recording of it.
fn recorded(shape: Shape, frames: usize) -> (HelloResponse, Vec<Frame>, Vec<u8>) {
    let mut session = Session::new(shape);
    let hello = session.hello();
    let frames: Vec<Frame> = (0..frames).map(|_| session.next_frame()).collect();
    let mut recorder = Recorder::new(Vec::new(), "127.0.0.1:6669", false).unwrap();
    recorder.connected(&hello).unwrap();
    for frame in &frames {
        recorder.frame(frame).unwrap();
    }
    (hello, frames, recorder.finish().unwrap())
}

/// All that a model shows, as text. The hash map's order is left out.
fn shown(model: &Model) -> String {
    let tasks: Vec<_> = model.tasks.iter().collect();
    let states: Vec<_> = (0..5)
        .filter_map(|n| n.try_into().ok().map(|state| model.tasks.count(state)))
        .collect();
    format!(
        "{:#?}",
        (
            (
                &model.session,
                model.now,
                model.since,
                model.complete,
                &model.texts
            ),
            (
                &model.runtimes,
                &model.workers,
                &model.threads,
                &model.process,
                &model.host
            ),
            (
                tasks,
                states,
                &model.sites,
                &model.stalls,
                &model.lag,
                &model.gauges,
                &model.loss,
                &model.coverage
            ),
            (
                model.resources.iter().collect::<Vec<_>>(),
                model.resources.ops().collect::<Vec<_>>(),
                model.resources.live_count(),
                model.resources.refused,
                &model.ended_cells,
                model.waits.tasks().collect::<Vec<_>>(),
                model.waits.threads().collect::<Vec<_>>(),
                model.waits.resources().collect::<Vec<_>>(),
                model.waits.read(),
            ),
        )
    )
}

#[track_caller]
fn assert_same(a: &Model, b: &Model, what: &str) {
    // Cheap, and all that a recording holds.
    assert!(a.keyframe() == b.keyframe(), "{what}");
}

#[track_caller]
fn assert_same_in_full(a: &Model, b: &Model, what: &str) {
    let (a, b) = (shown(a), shown(b));
    if a == b {
        return;
    }
    let differs = a
        .lines()
        .zip(b.lines())
        .enumerate()
        .find(|(_, (a, b))| a != b);
    let context: Vec<_> = match differs {
        Some((n, _)) => a.lines().skip(n.saturating_sub(12)).take(14).collect(),
        None => vec!["one is longer"],
    };
    panic!("{what}: {differs:?} after\n{}", context.join("\n"));
}

fn live(hello: &HelloResponse, frames: &[Frame]) -> Model {
    let mut model = Model::new(hello);
    for frame in frames {
        model.apply(frame).unwrap();
    }
    model
}

/// Reads everything; the number of frames, and of gaps.
fn read_all(recording: &Recording) -> (usize, usize) {
    let mut model = Model::default();
    let (mut frames, mut gaps) = (0, 0);
    for step in recording.frames() {
        match step {
            Step::Session(hello) => model = Model::new(&hello),
            Step::Frame(frame, _) => {
                let _ = model.apply(&frame);
                frames += 1;
            }
            Step::Gap(_) => gaps += 1,
        }
    }
    (frames, gaps)
}
