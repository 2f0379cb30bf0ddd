//! Recordings of the lab, made once: what was found then is found today, and the
//! screens look the same.
//!
//! They were made with `looptop record TARGET -o FILE --for 4s` beside `looptop
//! demo SCENARIO --workers 2`, from a build whose paths were remapped.

#[path = "recordings/pictures.rs"]
mod pictures;

use std::{
    path::{Path, PathBuf},
    process::Command,
    sync::Arc,
    time::Instant,
};

use looptop::{
    app::{Action, Event, Options, State, ViewId, update},
    record::{Recording, Step},
    ui::{Depth, Theme, render},
};
use ratatui::{Terminal, backend::TestBackend, layout::Size};

/// Each recording, and the rules that find something in it, as warning or worse.
const RECORDINGS: [(&str, &[&str]); 6] = [
    ("sleep-in-handler", &["blocked-worker"]),
    ("cpu-in-handler", &["blocked-worker"]),
    ("std-mutex-held", &["lock-convoy"]),
    ("busy-yield", &["self-wake-spin"]),
    ("pool-exhaustion", &["lock-convoy"]),
    ("healthy-busy", &[]),
];

fn path(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("tests/recordings/{name}.looptop"))
}

#[test]
fn what_was_found_is_found() {
    for (name, expected) in RECORDINGS {
        let output = Command::new(env!("CARGO_BIN_EXE_looptop"))
            .args(["check", "--format", "json"])
            .arg(path(name))
            .output()
            .unwrap();
        let report: serde_json::Value =
            serde_json::from_slice(&output.stdout).unwrap_or_else(|error| {
                panic!(
                    "{name}: {error} {}",
                    String::from_utf8_lossy(&output.stderr)
                )
            });
        let findings = report["findings"].as_array().unwrap().iter();
        let grave = findings.filter(|f| f["severity"] != "notice");
        let mut rules: Vec<&str> = grave.map(|f| f["rule"].as_str().unwrap()).collect();
        rules.sort_unstable();
        rules.dedup();
        assert_eq!(rules, expected, "{name}: {report:#}");
        assert_eq!(output.status.code(), Some(i32::from(!expected.is_empty())));
        for finding in report["findings"].as_array().unwrap() {
            if finding["rule"] == "blocked-worker" && finding["severity"] != "notice" {
                assert!(finding["function"].is_string(), "{name}: {finding:#}");
            }
        }
    }
}

#[test]
fn damage_is_reported_by_whoever_reads_the_file() {
    let directory = tempfile::tempdir().unwrap();
    let mut bytes = std::fs::read(path("sleep-in-handler")).unwrap();
    bytes.truncate(bytes.len() - 40);
    let cut = directory.path().join("cut.looptop");
    std::fs::write(&cut, bytes).unwrap();
    let copy = directory.path().join("copy.looptop");
    let (cut, copy) = (cut.to_str().unwrap(), copy.to_str().unwrap());
    for args in [
        &["check", cut][..],
        &["record", cut, "-o", copy],
        &["export", cut, "--format", "folded"],
    ] {
        let output = Command::new(env!("CARGO_BIN_EXE_looptop"))
            .args(args)
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        let sentence = "looptop: the file was cut: its last ";
        assert!(said.contains(sentence), "{args:?}: {said}");
    }
}

/// The state of the screen at the end of a recording.
fn at_the_end(name: &str, size: Size) -> State {
    let now = Instant::now();
    let options = Options {
        target: format!("{name}.looptop"),
        ..Options::default()
    };
    let mut state = State::new(options, now);
    state.size = size;
    let recording = Recording::open(&path(name)).unwrap();
    for step in recording.frames() {
        let event = match step {
            Step::Session(hello) => Event::Connected {
                hello: Box::new(hello.as_ref().clone()),
                kind: looptop::model::SourceKind::Replay,
            },
            Step::Frame(frame, _) => Event::Frame(Arc::from(frame)),
            Step::Gap(why) => panic!("{name}: {why}"),
        };
        state.apply(event, now);
    }
    state
}

fn screen(name: &str, view: ViewId, size: Size) -> String {
    let mut state = at_the_end(name, size);
    update(&mut state, Action::Show(view));
    state.prepare();
    let mut terminal = Terminal::new(TestBackend::new(size.width, size.height)).unwrap();
    let theme = Theme::new(Depth::None, false);
    terminal
        .draw(|frame| render(&state, &theme, frame))
        .unwrap();
    terminal.backend().to_string()
}

#[test]
fn the_screens_look_the_same() {
    let size = Size::new(100, 30);
    for (name, _) in RECORDINGS {
        for view in [ViewId::Overview, ViewId::Stalls] {
            let shown = screen(name, view, size);
            insta::assert_snapshot!(format!("{name}-{view:?}").to_lowercase(), shown);
        }
    }
}
