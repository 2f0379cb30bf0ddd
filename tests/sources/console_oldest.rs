//! The console source against the oldest console-subscriber that builds with
//! today's tokio, 0.1.8.

use std::process::Command as Process;

use looptop::source::{Command, Event, TaskDetails};
use looptop_wire::proto::{CapabilityKind, TaskKind, TaskState};

use crate::{
    observed::until_memory,
    programs::App,
    script::{attach, until, until_connected},
};

const PROGRAM: &str = "console_app_oldest";

#[tokio::test]
async fn tasks_a_poll_that_blocks_resources_and_what_waits() {
    let app = App::start(PROGRAM, &[]);
    let mut source = attach(&app.address);
    let hello = until_connected(&mut source).await;
    assert_eq!(hello.pid, app.child.id());
    let waits = CapabilityKind::ScheduleLatency;
    let waits = hello.capabilities.iter().find(|c| c.kind() == waits);
    let reason = &waits.unwrap().reason;
    assert!(reason.contains("0.1.9"), "{reason}");

    let memory = until_memory(&mut source, |memory| {
        memory.age("blocks") > 200_000_000
            && memory.named("blocks").is_some_and(|t| t.busy_ns > 0)
            && memory
                .named("sleeper")
                .is_some_and(|t| t.state == TaskState::Idle && t.polls > 5)
            && memory.named("waiter").is_some()
            && !memory.ops.is_empty()
    })
    .await;
    for name in ["waiter", "sleeper", "blocks"] {
        let task = memory.named(name).unwrap();
        assert_eq!(task.kind, TaskKind::Task, "{name}");
        assert!(task.file.ends_with("console_app_oldest.rs"), "{task:?}");
        assert_eq!(task.scheduled_ns, None, "not sent, hence not 0: {task:?}");
    }
    let blocks = memory.named("blocks").unwrap();
    assert_eq!(blocks.state, TaskState::Running);
    let named = |type_name: &str| memory.resources.iter().any(|name| name == type_name);
    assert!(named("Semaphore") && named("Sleep"), "{memory:#?}");
    let (waiter, _) = memory
        .tasks
        .iter()
        .find(|(_, task)| task.name == "waiter")
        .unwrap();
    let waits = |(task, source): &(u64, String)| task == waiter && source.contains("acquire");
    assert!(memory.ops.iter().any(waits), "{memory:#?}");
}

#[tokio::test]
async fn its_histogram_of_one_tasks_polls_is_read() {
    let app = App::start(PROGRAM, &[]);
    let mut source = attach(&app.address);
    let memory = until_memory(&mut source, |memory| {
        memory.named("sleeper").is_some_and(|task| task.polls > 5)
    })
    .await;
    let mut tasks = memory.tasks.iter();
    let (id, _) = tasks.find(|(_, task)| task.name == "sleeper").unwrap();
    assert!(source.command(Command::WatchTask(Some(*id))));
    let TaskDetails {
        polls, scheduled, ..
    } = until(&mut source, |event| match event {
        Event::TaskDetails(details) => Some(*details),
        _ => None,
    })
    .await;
    assert!(polls.unwrap().counts.iter().map(|(_, n)| n).sum::<u64>() > 5);
    assert_eq!(scheduled, None, "it has none");
}

#[test]
fn a_check_names_the_task_that_blocks() {
    let app = App::start(PROGRAM, &[]);
    let output = Process::new(env!("CARGO_BIN_EXE_looptop"))
        .args(["check", &app.address, "--for", "4s", "--warmup", "1s"])
        .args(["--timeout", "60s", "--format", "json"])
        .output()
        .unwrap();
    let problem = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{problem}");
    let report: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    let findings = report["findings"].as_array().unwrap();
    let blocked = findings.iter().find(|f| {
        let location = f["location"].as_str().unwrap_or_default();
        f["rule"] == "blocked-worker" && location.contains("console_app_oldest.rs")
    });
    assert!(blocked.is_some(), "{report:#}");
}
