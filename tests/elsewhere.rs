//! A build as of a system that is not Linux, where no stack can be captured, no thread be
//! read, and no process be looked at from outside: the agent and the viewer do what they
//! can there, and each thing that is missing says why.
//!
//! `RUSTFLAGS="--cfg tokio_unstable --cfg looptop_elsewhere" cargo test --test elsewhere \
//! --target-dir target/elsewhere` runs it on Linux.
#![cfg(all(
    feature = "demo",
    not(all(target_os = "linux", not(looptop_elsewhere)))
))]

mod lab;

use std::{
    process::{Command, Output},
    time::Duration,
};

use looptop::{
    model::{Capability, Model, SourceKind},
    source::{self, Event, Options, ProblemKind, Target},
};
use serde_json::Value;
use tokio::time::{Instant, timeout_at};

use lab::{LOOPTOP, Lab};

const PATIENCE: Duration = Duration::from_mins(1);

fn looptop(arguments: &[&str]) -> Output {
    Command::new(LOOPTOP).args(arguments).output().unwrap()
}

/// What it prints, on both streams.
fn said(output: &Output) -> String {
    let [out, err] = [&output.stdout, &output.stderr].map(|bytes| String::from_utf8_lossy(bytes));
    format!("{out}{err}")
}

async fn attached(target: Target) -> Model {
    let runtime = tokio::runtime::Handle::current();
    let mut source = source::spawn(target, Options::default(), &runtime);
    let deadline = Instant::now() + PATIENCE;
    let mut model: Option<Model> = None;
    loop {
        match timeout_at(deadline, source.recv()).await.unwrap() {
            Some(Event::Connected { hello, kind }) => {
                assert_eq!(kind, SourceKind::Agent);
                model = Some(Model::new(&hello));
            }
            Some(Event::Frame(frame)) => {
                let model = model.as_mut().unwrap();
                model.apply(&frame).unwrap();
                if model.complete && model.tasks.live_count() > 0 {
                    return model.clone();
                }
            }
            Some(Event::Connecting { .. }) => {}
            other => panic!("{other:?}"),
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn each_thing_that_cannot_be_known_says_why() {
    let lab = Lab::start("sleep-in-handler", "broken", "multi-thread");
    let model = attached(lab.agent().to_string().parse().unwrap()).await;
    let missing = |kind| model.session.missing(kind).map(ToString::to_string);
    // Each that the protocol has: 0 is none.
    for kind in (1..100).filter_map(|kind| Capability::try_from(kind).ok()) {
        if let Some(why) = missing(kind) {
            assert!(!why.trim().is_empty(), "{kind:?} is missing for no reason");
        }
    }
    for kind in [
        Capability::WorkerThreads,
        Capability::Threads,
        Capability::Cause,
        Capability::Stacks,
        Capability::Coverage,
        Capability::Waits,
    ] {
        let why = missing(kind).unwrap_or_else(|| panic!("{kind:?} cannot be there"));
        assert!(why.contains("Linux"), "{kind:?}: {why}");
    }
    for kind in [
        Capability::Tasks,
        Capability::Workers,
        Capability::WorkerPolls,
        Capability::Lag,
        Capability::Wakes,
    ] {
        assert_eq!(missing(kind), None, "{kind:?}");
    }
}

#[test]
fn a_long_poll_is_found_with_its_task_and_the_place_that_spawned_it() {
    let lab = Lab::start("sleep-in-handler", "broken", "multi-thread");
    let arguments = ["--for", "3s", "--warmup", "1s", "--timeout", "20s"];
    let output = looptop(
        &[
            &["check", &lab.agent().to_string(), "--format", "json"],
            &arguments[..],
        ]
        .concat(),
    );
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    let findings = report["findings"].as_array().unwrap();
    let of_the_handler = findings.iter().find(|finding| {
        let location = finding["location"].as_str().unwrap_or_default();
        location.contains("sleep_in_handler.rs") && finding["severity"] != "notice"
    });
    let of_the_handler = of_the_handler.unwrap_or_else(|| panic!("{report:#}"));
    let remedy = of_the_handler["remedy"].as_str().unwrap_or_default();
    assert!(remedy.contains("no stack is captured"), "{remedy}");
    assert_eq!(output.status.code(), Some(1), "{}", said(&output));
}

#[test]
fn nothing_starves_a_healthy_lab() {
    let lab = Lab::start("healthy-busy", "off", "multi-thread");
    let arguments = ["--for", "3s", "--warmup", "3s", "--timeout", "20s"];
    let output = looptop(&[&["check", &lab.agent().to_string()], &arguments[..]].concat());
    let text = said(&output);
    assert_eq!(output.status.code(), Some(0), "{text}");
    assert!(text.contains("HEALTHY"), "{text}");
}

#[tokio::test]
async fn a_process_that_cannot_be_looked_at_is_no_mystery() {
    let runtime = tokio::runtime::Handle::current();
    let target = Target::Process(std::process::id());
    let mut source = source::spawn(target, Options::default(), &runtime);
    let deadline = Instant::now() + PATIENCE;
    let problem = loop {
        match timeout_at(deadline, source.recv()).await.unwrap() {
            Some(Event::Connecting { .. }) => {}
            Some(Event::Lost { problem, retry_in }) => {
                assert_eq!(retry_in, None, "it will never be different");
                break problem;
            }
            other => panic!("{other:?}"),
        }
    };
    assert_eq!(problem.kind, ProblemKind::Unsupported);
    let text = problem.to_string();
    assert!(text.contains("Linux on x86-64"), "{text}");
}

#[test]
fn a_core_dump_is_refused_with_a_reason() {
    let core = tempfile::NamedTempFile::new().unwrap();
    let core = format!("core:{}", core.path().display());
    for arguments in [&["dump", &core][..], &["check", &core]] {
        let output = looptop(arguments);
        let text = said(&output);
        assert_ne!(output.status.code(), Some(0), "{arguments:?}: {text}");
        assert!(text.contains("Linux"), "{arguments:?}: {text}");
    }
}
