//! The console source against an unchanged application with the real
//! console-subscriber.

use std::process::Command as Process;

use console_api::instrument::{PauseRequest, instrument_client::InstrumentClient};
use looptop::source::{Command, Event, ProblemKind};
use looptop_wire::proto::{CapabilityKind, HelloResponse, TaskKind, TaskState};

use crate::{
    observed::until_memory,
    programs::App,
    script::{attach, until, until_connected, until_frame, until_lost, until_silent},
};

const PROGRAM: &str = "console_app";
const ADDRESS: &str = "127.0.0.1:0";

fn is_available(hello: &HelloResponse, kind: CapabilityKind) -> bool {
    let found = hello.capabilities.iter().find(|c| c.kind() == kind);
    found.unwrap().available
}

#[tokio::test]
async fn tasks_states_and_polls_that_still_run() {
    let app = App::start(PROGRAM, &[ADDRESS]);
    let mut source = attach(&app.address);
    let hello = until_connected(&mut source).await;
    assert_eq!(hello.pid, app.child.id());
    assert_eq!(hello.name, "console_app");
    assert!(is_available(&hello, CapabilityKind::Tasks));
    assert!(!is_available(&hello, CapabilityKind::Workers));
    assert!(is_available(&hello, CapabilityKind::Threads));

    let memory = until_memory(&mut source, |memory| {
        memory.age("greedy") > 1_500_000_000
            && memory.age("on the pool") > 1_500_000_000
            && memory.age("blocks") > 200_000_000
            && memory
                .named("burn")
                .is_some_and(|task| task.self_wakes > 100)
            && memory.named("short").is_some_and(|task| task.polls > 10)
            && memory
                .tasks
                .values()
                .any(|t| t.state == TaskState::Completed)
            && memory
                .named("sleeper")
                .is_some_and(|t| t.state == TaskState::Idle)
            && !memory.threads.is_empty()
    })
    .await;

    let sleepers = memory.tasks.values().filter(|t| t.name == "sleeper");
    assert_eq!(sleepers.count(), 3);
    for name in ["sleeper", "short", "burn", "blocks", "greedy", "big"] {
        let task = memory.named(name).unwrap();
        assert_eq!(task.kind, TaskKind::Task, "{name}");
        assert!(task.file.ends_with("console_app.rs"), "{task:?}");
    }
    let greedy = memory.named("greedy").unwrap();
    assert_eq!(greedy.state, TaskState::Running);
    assert_eq!((greedy.polls, greedy.busy_ns), (1, 0), "its first poll");
    assert_eq!(
        memory.named("on the pool").unwrap().kind,
        TaskKind::Blocking
    );
    // tokio boxes it in a debug build, and records the size only then.
    if cfg!(debug_assertions) {
        assert!(memory.named("big").unwrap().original_size > 4_096);
    }
    assert!(memory.tasks.values().any(|t| t.kind == TaskKind::BlockOn));
    assert!(!memory.resources.is_empty(), "timers");
    let workers = memory.named("tokio worker thread");
    assert_eq!(workers.unwrap().kind, TaskKind::Blocking);
    assert!(memory.threads["console_subscri"] > 0);
}

#[tokio::test]
async fn a_frozen_process_is_told_apart_and_goes_on() {
    let app = App::start(PROGRAM, &[ADDRESS]);
    let mut source = attach(&app.address);
    until_frame(&mut source).await;
    app.signal(nix::sys::signal::Signal::SIGSTOP);
    let problem = until_silent(&mut source).await;
    assert_eq!(problem.kind, ProblemKind::Stopped);
    let pid = app.child.id();
    assert!(
        problem.advice.contains(&format!("kill -CONT {pid}")),
        "{problem}"
    );

    // Who attaches now learns it as well.
    let late = until_silent(&mut attach(&app.address)).await;
    assert_eq!(late.kind, ProblemKind::Stopped);

    app.signal(nix::sys::signal::Signal::SIGCONT);
    until_frame(&mut source).await;
}

#[tokio::test]
async fn a_process_that_ends_is_lost() {
    let app = App::start(PROGRAM, &[ADDRESS]);
    let mut source = attach(&app.address);
    until_frame(&mut source).await;
    drop(app);
    assert_eq!(until_lost(&mut source).await.0.kind, ProblemKind::Closed);
    assert_eq!(until_lost(&mut source).await.0.kind, ProblemKind::Refused);
}

#[tokio::test]
async fn another_viewer_pauses_it() {
    let app = App::start(PROGRAM, &[ADDRESS]);
    let mut source = attach(&app.address);
    until_frame(&mut source).await;
    let url = format!("http://{}", app.address);
    let mut other = InstrumentClient::connect(url).await.unwrap();
    other.pause(PauseRequest {}).await.unwrap();
    assert_eq!(until_silent(&mut source).await.kind, ProblemKind::Paused);
    assert!(source.command(Command::Resume));
    until(&mut source, |event| match event {
        Event::Frame(frame) => frame.into_frame().tasks,
        _ => None,
    })
    .await;
}

#[tokio::test]
async fn details_of_one_task() {
    let app = App::start(PROGRAM, &[ADDRESS]);
    let mut source = attach(&app.address);
    let memory = until_memory(&mut source, |memory| {
        memory.named("sleeper").is_some_and(|task| task.polls > 5)
    })
    .await;
    let (id, _) = memory
        .tasks
        .iter()
        .find(|(_, task)| task.name == "sleeper")
        .unwrap();
    assert!(source.command(Command::WatchTask(Some(*id))));
    // The first poll was not woken for, so that there may be one delay less.
    let count = |counts: &Option<looptop::source::DurationCounts>| {
        let counts = &counts.as_ref().unwrap().counts;
        counts.iter().map(|(_, n)| n).sum::<u64>()
    };
    let details = until(&mut source, |event| match event {
        Event::TaskDetails(details) => {
            let grown = count(&details.polls) > 5 && count(&details.scheduled) > 5;
            grown.then_some(details)
        }
        _ => None,
    })
    .await;
    assert_eq!(details.task, *id);

    // One that does not exist has none, and does no harm.
    assert!(source.command(Command::WatchTask(Some(u64::MAX))));
    until_frame(&mut source).await;
}

/// `looptop check` against the program: rule and task of each finding.
fn findings(app: &App) -> Vec<(String, String)> {
    let output = Process::new(env!("CARGO_BIN_EXE_looptop"))
        .args(["check", &app.address, "--for", "3s", "--warmup", "1s"])
        .args(["--timeout", "60s", "--format", "json"])
        .output()
        .unwrap();
    let problem = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{problem}");
    let report: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    let text = |finding: &serde_json::Value, name: &str| {
        finding[name].as_str().unwrap_or_default().to_owned()
    };
    let findings = report["findings"].as_array().unwrap().iter();
    findings
        .map(|f| (text(f, "rule"), text(f, "title")))
        .collect()
}

#[test]
fn a_check_names_the_culprits_and_no_one_else() {
    let app = App::start(PROGRAM, &[ADDRESS, "lost-waker"]);
    let deadline = std::time::Instant::now() + std::time::Duration::from_mins(2);
    let found = loop {
        let found = findings(&app);
        let has = |rule: &str, task: &str| {
            let matches = |(r, title): &(String, String)| r == rule && title.contains(task);
            found.iter().any(matches)
        };
        if has("lost-waker", "lost")
            && has("blocked-worker", "never_yields")
            && has("blocked-worker", "blocks_its_worker")
        {
            break found;
        }
        assert!(std::time::Instant::now() < deadline, "{found:#?}");
    };
    // How long healthy tasks run is the loaded machine's doing; what they are
    // is not.
    for (rule, title) in found {
        let culprit = match rule.as_str() {
            "lost-waker" => "lost",
            "never-yielded" => "greedy",
            "self-wake-spin" => "burn",
            _ => continue,
        };
        assert!(title.contains(culprit), "{rule}: {title}");
    }
}
