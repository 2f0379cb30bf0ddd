//! A recording through the source, as the screen and `check` use it.

use std::time::Duration;

use tokio::time::timeout;

use super::*;
use crate::{
    model::Model,
    record::{
        Recorder,
        synthetic::{Session as Synthetic, Shape},
    },
    source::{Options, Source, Target, spawn},
};

/// Waits for whatever is expected for at most this long.
const PATIENCE: Duration = Duration::from_mins(1);

/// A recording of `seconds`, in a file.
fn file(seconds: usize) -> tempfile::NamedTempFile {
    let file = tempfile::NamedTempFile::new().unwrap();
    let mut session = Synthetic::new(Shape::default());
    let mut recorder = Recorder::new(file.reopen().unwrap(), "t", false).unwrap();
    recorder.connected(&session.hello()).unwrap();
    for _ in 0..=seconds * 10 {
        recorder.frame(&session.next_frame()).unwrap();
    }
    recorder.finish().unwrap();
    file
}

fn open(path: &Path, pace: Pace) -> Source {
    let target = Target::Recording(path.to_owned());
    let options = Options {
        pace,
        ..Options::default()
    };
    spawn(target, options, &tokio::runtime::Handle::current())
}

/// Takes events until `done` accepts one, with the model that they make.
async fn until(source: &mut Source, model: &mut Model, done: impl Fn(&Event) -> bool) -> Event {
    loop {
        let event = timeout(PATIENCE, source.recv())
            .await
            .expect("in time")
            .expect("an event");
        match &event {
            Event::Connected { hello, .. } => *model = Model::new(hello),
            Event::Frame(frame) => model.apply(frame).unwrap(),
            _ => {}
        }
        if done(&event) {
            return event;
        }
    }
}

fn arrived(event: &Event) -> bool {
    matches!(event, Event::Position(p) if p.arrived)
}

#[tokio::test]
async fn all_of_it_comes_as_fast_as_it_is_taken() {
    let file = file(60);
    let mut source = open(file.path(), Pace::Unlimited);
    let mut model = Model::default();
    let extent = until(&mut source, &mut model, |e| {
        matches!(e, Event::Recording(_))
    })
    .await;
    let Event::Recording(extent) = extent else {
        unreachable!()
    };
    assert_eq!(extent.length, Duration::from_mins(1));
    until(&mut source, &mut model, |e| matches!(e, Event::Ended)).await;
    let recording = Recording::open(file.path()).unwrap();
    let expected = recording.model_at(recording.length()).unwrap();
    assert!(model.keyframe() == expected.keyframe());
    assert!(
        source.recv().await.is_none(),
        "the source ends with the recording"
    );
}

#[tokio::test]
async fn it_is_held_and_goes_where_it_is_told() {
    let file = file(60);
    let recording = Recording::open(file.path()).unwrap();
    let mut source = open(file.path(), Pace::Timed(Speed::nearest(0.1)));
    let mut model = Model::default();
    until(&mut source, &mut model, arrived).await;
    assert!(source.command(Command::Pause));
    until(
        &mut source,
        &mut model,
        |e| matches!(e, Event::Position(p) if !p.playing),
    )
    .await;
    for seconds in [45, 3, 59, 0, 30] {
        let to = Duration::from_secs(seconds);
        assert!(source.command(Command::Seek(to)));
        let event = until(&mut source, &mut model, arrived).await;
        let Event::Position(position) = event else {
            unreachable!()
        };
        assert_eq!((position.elapsed, position.playing), (to, false));
        let expected = recording.model_at(to).unwrap();
        assert!(model.keyframe() == expected.keyframe(), "at {seconds} s");
    }
}

#[tokio::test]
async fn time_passes_at_the_speed_asked_for() {
    let file = file(60);
    let began = Instant::now();
    let mut source = open(file.path(), Pace::Timed(Speed::nearest(100.0)));
    let mut model = Model::default();
    until(&mut source, &mut model, |e| matches!(e, Event::Ended)).await;
    // It may take longer on a busy machine, but never less than it must.
    assert!(
        began.elapsed() >= Duration::from_millis(550),
        "{:?}",
        began.elapsed()
    );
    // From the end it begins anew.
    assert!(source.command(Command::Play));
    let event = until(&mut source, &mut model, arrived).await;
    assert!(matches!(event, Event::Position(p) if p.elapsed.is_zero() && p.playing));
}

#[tokio::test]
async fn what_cannot_be_opened_is_told_once() {
    let text = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(text.path(), "hello").unwrap();
    let cases = [
        (
            Path::new("/no/such/recording"),
            "there is no recording `/no/such/recording`",
        ),
        (
            text.path(),
            "it is not a recording: it begins with \"hello\"",
        ),
        (Path::new("/"), "it is a directory without recordings"),
    ];
    for (path, expected) in cases {
        let mut source = open(path, Pace::default());
        let event = until(&mut source, &mut Model::default(), |e| {
            matches!(e, Event::Lost { .. })
        })
        .await;
        let Event::Lost { problem, retry_in } = event else {
            unreachable!()
        };
        assert!(problem.to_string().contains(expected), "{problem}");
        assert_eq!(retry_in, None);
        assert!(source.recv().await.is_none());
    }
}

#[test]
fn speeds() {
    for (text, times) in [("1", 1.0), ("0.1", 0.1), ("2.5x", 2.5), ("100", 100.0)] {
        let speed: Speed = text.parse().unwrap();
        assert!((speed.times() - times).abs() < 1e-9, "{text}");
    }
    for text in ["0", "-1", "101", "NaN", "fast", ""] {
        assert!(text.parse::<Speed>().is_err(), "{text}");
    }
    let mut speed: Speed = "0.1".parse().unwrap();
    let mut steps = vec![speed.to_string()];
    while speed.faster() != speed {
        speed = speed.faster();
        assert_eq!(speed.slower().faster(), speed);
        steps.push(speed.to_string());
    }
    assert_eq!(steps.join(" "), "0.1x 0.2x 0.5x 1x 2x 5x 10x 20x 50x 100x");
}
