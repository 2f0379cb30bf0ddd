//! Recordings of the lab, made once: what was found then is found today, and the
//! screens look the same.
//!
//! They were made with `looptop record TARGET -o FILE --for 4s` (up to 20 s where a rule
//! takes longer) beside `looptop lab --scenario SCENARIO`, from a build whose paths were
//! remapped; `lock-order` and `futurelock` by `--for 14s` and `pid:N`, which has where
//! their tasks wait.
//! `sleep-in-handler.lab` is what a lab says of itself, by
//! `cargo test --test recordings a_lab_is_asked -- --ignored`.

#[cfg(feature = "demo")]
mod lab;
#[cfg(feature = "demo")]
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
const RECORDINGS: [(&str, &[&str]); 19] = [
    ("sleep-in-handler", &["blocked-worker"]),
    ("cpu-in-handler", &["blocked-worker"]),
    ("std-mutex-held", &["lock-convoy"]),
    ("busy-yield", &["self-wake-spin"]),
    ("pool-exhaustion", &["lock-convoy"]),
    ("healthy-busy", &[]),
    ("lock-order", &["deadlock"]),
    ("blocking-pool-full", &["blocking-pool-full"]),
    ("fire-and-forget-leak", &["task-leak"]),
    ("forgotten-sender", &["stuck-task"]),
    ("futurelock", &["futurelock"]),
    ("host-contention", &["host-starved"]),
    ("huge-future", &["large-future"]),
    ("lost-waker", &["lost-waker"]),
    ("nested-block-on", &["nested-runtime"]),
    ("never-yields", &["blocked-worker", "never-yielded"]),
    ("too-many-workers", &["too-many-workers"]),
    ("unbounded-queue", &["growing-queue"]),
    ("unreaped-tasks", &["unreaped-tasks"]),
];

/// Rules of a scenario with thousands of tasks, whose recording would be megabytes:
/// `LOOPTOP_SCENARIO=unbounded-fanout cargo test --test scenarios` shows them.
#[cfg(feature = "demo")]
const LIVE: &[&str] = &["slow-schedule", "task-flood"];

#[cfg(feature = "demo")]
#[test]
fn each_rule_that_a_scenario_shows_is_in_a_recording() {
    let recorded = || RECORDINGS.iter().flat_map(|(_, rules)| rules.iter());
    let scenarios = looptop_demo::scenarios().iter();
    let rules = scenarios.flat_map(|scenario| scenario.expected.iter().map(|e| e.rule));
    for rule in rules {
        let found = recorded().chain(LIVE).any(|known| *known == rule);
        assert!(found, "no recording shows {rule}");
    }
}

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

#[cfg(feature = "demo")]
#[test]
fn a_target_is_recorded_and_exported_as_a_profile() {
    use looptop_wire::pprof::schema::{Function, Profile};

    /// On a machine without a free CPU no stack is taken, or named, in time.
    const ATTEMPTS: usize = 5;

    let lab = lab::Lab::start("sleep-in-handler", "broken", "multi-thread");
    let export = || -> Profile {
        let folder = tempfile::tempdir().unwrap();
        let temporary = folder.path().join("tmp");
        let file = folder.path().join("stalls.pb.gz");
        std::fs::create_dir(&temporary).unwrap();
        let output = Command::new(env!("CARGO_BIN_EXE_looptop"))
            .args(["export", &lab.agent().to_string()])
            .args(["--format", "pprof", "--for", "3s", "-o"])
            .arg(&file)
            .env("TMPDIR", &temporary)
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{said}");
        let left = std::fs::read_dir(&temporary).unwrap().count();
        assert_eq!(left, 0, "the recording is temporary");
        let mut bytes = Vec::new();
        let mut gzip = flate2::read::GzDecoder::new(std::fs::File::open(&file).unwrap());
        std::io::Read::read_to_end(&mut gzip, &mut bytes).unwrap();
        prost::Message::decode(bytes.as_slice()).unwrap()
    };
    let is_culprit = |profile: &Profile, function: &Function| {
        let text = |at: i64| profile.string_table[at as usize].as_str();
        text(function.name).ends_with("wait_for_the_printer")
            && text(function.filename).ends_with("sleep_in_handler.rs")
    };
    let mut profile = export();
    for _ in 1..ATTEMPTS {
        if profile.function.iter().any(|f| is_culprit(&profile, f)) {
            break;
        }
        profile = export();
    }
    let mut functions = profile.function.iter();
    let culprit = functions.find(|function| is_culprit(&profile, function));
    let culprit = culprit.unwrap_or_else(|| panic!("{:?}", profile.string_table));
    let mut lines = profile.location.iter().flat_map(|location| &location.line);
    assert!(lines.any(|line| line.function_id == culprit.id && line.line > 0));
    assert!(profile.time_nanos > 0 && profile.duration_nanos > 0);
    let blocked: i64 = profile.sample.iter().map(|sample| sample.value[1]).sum();
    assert!(blocked > 100_000_000, "{blocked}");
    let text = |at: i64| profile.string_table[at as usize].as_str();
    let program = &profile.mapping[0];
    assert!(text(program.filename).contains("looptop"), "{program:?}");
    assert!(!text(program.build_id).is_empty(), "{program:?}");
}
