//! A log line into a pipe that is full, under the lock of the one who writes.

use std::{
    io::{self, PipeWriter, Write},
    sync::{
        Arc, Mutex, PoisonError,
        mpsc::{self, SyncSender},
    },
    thread,
    time::Duration,
};

use anyhow::Context;
use axum::{Router, extract::State, routing::get};

use crate::{
    fixtures::slow_reader,
    load::{Shape, Stream},
    scenario::{At, Cause, Expected, Flavor, Outside, Scenario},
    service::task,
};

pub(super) const SCENARIO: Scenario = Scenario {
    id: "slow-log",
    caption: "who reads the log is slow: one worker waits in write, and the others for its lock",
    notes: "",
    watch: "canary p99",
    readings: &[],
    broken: "/basket/blocking-log",
    fixed: "/basket/non-blocking-log",
    expected: &[Expected {
        rule: "blocked-worker",
        causes: &[Cause::SystemCall],
        function: "slow_log::write_line",
        at: At::Code,
        outside: Outside::Found,
    }],
    flavors: &Flavor::ALL,
    workers: 2,
    source: super::source!("slow_log.rs"),
    routes: |_| {
        let pipe = slow_reader::start().context("could not start the log's reader")?;
        let lines = queue(pipe.try_clone()?).context("could not start the log's writer")?;
        Ok(Router::new()
            .route(
                "/basket/blocking-log",
                get(|State(log)| task("GET /basket/blocking-log", blocking(log))), // <- spawned here
            )
            .route(
                "/basket/non-blocking-log",
                get(|State(log)| task("GET /basket/non-blocking-log", non_blocking(log))),
            )
            .with_state(Log {
                pipe: Arc::new(Mutex::new(pipe)),
                lines,
            }))
    },
    load: |path| {
        vec![Stream {
            path,
            shape: Shape::Closed {
                clients: 8,
                pause: Duration::from_millis(40),
            },
        }]
    },
    backdrop: None,
};

/// Bytes of a line: the basket in full, as JSON.
const LINE: usize = 2048;
/// Lines that may wait for the one who writes them.
const WAITING: usize = 64;

#[derive(Clone)]
struct Log {
    pipe: Arc<Mutex<PipeWriter>>,
    lines: SyncSender<String>,
}

/// Lines that a thread of its own writes.
fn queue(mut pipe: PipeWriter) -> io::Result<SyncSender<String>> {
    let (lines, queue) = mpsc::sync_channel::<String>(WAITING);
    thread::Builder::new()
        .name("lab-log".into())
        .spawn(move || {
            // Until the lab ends.
            while let Ok(line) = queue.recv() {
                if pipe.write_all(line.as_bytes()).is_err() {
                    return;
                }
            }
        })?;
    Ok(lines)
}

fn basket_as_json() -> String {
    format!("{{\"basket\":\"{:LINE$}\"}}\n", "3 apples")
}

// [broken]
async fn blocking(log: Log) -> String {
    let written = write_line(&log.pipe, &basket_as_json());
    format!("{written:?}\n")
}

#[inline(never)]
fn write_line(pipe: &Mutex<PipeWriter>, line: &str) -> io::Result<()> {
    let mut pipe = pipe.lock().unwrap_or_else(PoisonError::into_inner);
    pipe.write_all(line.as_bytes()) // <- culprit
}
// [/broken]

// [fixed]
async fn non_blocking(log: Log) -> String {
    let queued = queue_line(&log.lines, basket_as_json());
    format!("written: {queued}\n")
}

fn queue_line(lines: &SyncSender<String>, line: String) -> bool {
    // A line for which there is no room is dropped: the service goes on.
    lines.try_send(line).is_ok()
}
// [/fixed]
