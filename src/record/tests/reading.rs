//! What was recorded is read as it was.

use std::time::Duration;

use looptop_wire::proto::HelloResponse;

use super::{assert_same, assert_same_in_full, live, recorded};
use crate::{
    diagnose::{Engine, Window},
    model::Model,
    record::{
        Recorder, Recording, Step,
        synthetic::{Session, Shape},
    },
};

#[test]
fn a_keyframe_makes_an_equal_model() {
    for (tasks, frames) in [(20, 1), (20, 45), (12_000, 3)] {
        let shape = Shape {
            tasks,
            changed: tasks / 4,
            ..Shape::default()
        };
        let mut session = Session::new(shape);
        let hello = session.hello();
        let frames: Vec<_> = (0..frames).map(|_| session.next_frame()).collect();
        let model = live(&hello, &frames);
        let copy = live(&hello, &model.keyframe());
        assert_same_in_full(&model, &copy, "from the keyframe");
        assert_same(&model, &copy, "from the keyframe");
        let next = session.next_frame();
        let (mut model, mut copy) = (model, copy);
        model.apply(&next).unwrap();
        copy.apply(&next).unwrap();
        assert_same_in_full(&model, &copy, "a frame later");
    }
}

#[test]
fn what_was_recorded_is_read() {
    let (hello, frames, bytes) = recorded(Shape::default(), 400);
    let recording = Recording::from_bytes(bytes).unwrap();
    assert_eq!(recording.remark(), None);
    assert!(recording.chunks.len() > 3);
    assert_eq!(recording.length(), Duration::from_millis(39_900));
    let mut steps = recording.frames();
    let Some(Step::Session(read)) = steps.next() else {
        panic!("no session")
    };
    assert_eq!(*read, hello);
    let mut model = Model::new(&read);
    let keyframes = recording.chunks[0].info.keyframes as usize;
    let mut read = Vec::new();
    for step in steps {
        let Step::Frame(frame, at) = step else {
            panic!("{step:?}")
        };
        assert_eq!(at.as_nanos() as u64, frame.now_ns - frames[0].now_ns);
        model.apply(&frame).unwrap();
        read.push(*frame);
    }
    // The frame that was recorded first is in the keyframe.
    assert_eq!(read.len(), keyframes + frames.len() - 1);
    assert!(read[keyframes..] == frames[1..], "every frame as it was");
    assert_same(&live(&hello, &frames), &model, "in the end");
}

#[test]
fn seeking_is_the_same_as_reading_up_to_there() {
    let (hello, frames, bytes) = recorded(Shape::default(), 700);
    let recording = Recording::from_bytes(bytes).unwrap();
    let mut model = Model::new(&hello);
    for (n, frame) in frames.iter().enumerate() {
        model.apply(frame).unwrap();
        if n % 41 == 0 || n > 695 {
            let elapsed = Duration::from_nanos(frame.now_ns - frames[0].now_ns);
            assert_same(
                &model,
                &recording.model_at(elapsed).unwrap(),
                &format!("frame {n}"),
            );
            let between = elapsed + Duration::from_millis(40);
            assert_same(
                &model,
                &recording.model_at(between).unwrap(),
                "between two frames",
            );
        }
    }
    let beyond = recording.model_at(Duration::from_hours(1)).unwrap();
    assert_same_in_full(&model, &beyond, "beyond the end");
}

#[test]
fn stalls_are_marked_once() {
    let (_, _, bytes) = recorded(Shape::default(), 400);
    let extent = Recording::from_bytes(bytes).unwrap().extent();
    assert_eq!(extent.marks.len(), 20, "{:?}", extent.marks);
    let mark = extent.marks[0];
    assert_eq!((mark.at.as_millis(), mark.duration.as_millis()), (150, 150));
}

#[test]
fn a_second_process_is_a_session_of_its_own() {
    let mut recorder = Recorder::new(Vec::new(), "t", false).unwrap();
    for name in ["first", "second"] {
        let mut session = Session::new(Shape::default());
        recorder
            .connected(&HelloResponse {
                session: name.into(),
                ..session.hello()
            })
            .unwrap();
        for _ in 0..130 {
            recorder.frame(&session.next_frame()).unwrap();
        }
    }
    let recording = Recording::from_bytes(recorder.finish().unwrap()).unwrap();
    assert_eq!(recording.sessions().len(), 2);
    assert_eq!(recording.length(), Duration::from_millis(2 * 12_900));
    let seen = |ms| {
        recording
            .model_at(Duration::from_millis(ms))
            .unwrap()
            .session
            .id
    };
    assert_eq!(
        (seen(12_800), seen(13_000)),
        ("first".into(), "second".into())
    );
    let sessions = recording
        .frames()
        .filter(|s| matches!(s, Step::Session(_)))
        .count();
    assert_eq!(sessions, 2);
}

#[test]
fn the_findings_of_a_recording_are_those_of_the_live_target() {
    let (hello, frames, bytes) = recorded(Shape::default(), 600);
    let mut model = live(&hello, &frames[..1]);
    let mut engine = Engine::new(Window::Since(model.now));
    for frame in &frames[1..] {
        model.apply(frame).unwrap();
        engine.update(&model);
    }
    assert!(!engine.findings().is_empty());
    let mut replayed = Model::new(&hello);
    let mut again: Option<Engine> = None;
    for step in Recording::from_bytes(bytes).unwrap().frames() {
        let Step::Frame(frame, _) = step else {
            continue;
        };
        replayed.apply(&frame).unwrap();
        match &mut again {
            Some(engine) if !frame.more => engine.update(&replayed),
            None if replayed.complete => again = Some(Engine::new(Window::Since(replayed.now))),
            _ => {}
        }
    }
    let again = again.unwrap();
    assert_eq!(again.findings(), engine.findings());
    assert_eq!(
        again.verdict(&replayed).sentence,
        engine.verdict(&model).sentence
    );
}
