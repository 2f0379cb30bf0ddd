//! JSON and CSV: samples and stalls as plain numbers.

use std::{
    io::{self, Write},
    time::Duration,
};

use looptop_wire::proto::Frame;
use serde::Serialize;

use super::{
    Table,
    walk::{StallRow, Visitor, Walked, walk},
};
use crate::{
    dump::Dump,
    escape::escaped,
    model::{Model, StallScope, TaskState, total},
    record::Recording,
};

/// Version of the JSON; it grows when a reader of the older one would misread.
pub const SCHEMA: u32 = 1;

/// The numbers of one frame. Unknown is `null`, or an empty cell.
#[derive(Debug, Clone, Serialize)]
struct Sample {
    /// Process, counted from 0.
    session: usize,
    /// Seconds since the recording's beginning.
    at_s: f64,
    /// Wall clock, milliseconds since 1970.
    unix_ms: Option<u64>,
    /// Largest loop lag in this frame, of all runtimes.
    lag_ms: Option<f64>,
    /// Tasks in all queues of workers and runtimes.
    queue: Option<u64>,
    /// Jobs that wait for a thread of the blocking pool.
    blocking_queue: Option<u64>,
    tasks_live: Option<usize>,
    tasks_scheduled: Option<usize>,
    /// Mean busy share of the workers over a second, 0 to 1.
    workers_busy: Option<f64>,
    workers_stalled: usize,
    /// CPUs that the process used over a second.
    cpus: Option<f64>,
    memory_bytes: Option<u64>,
}

const SAMPLE_COLUMNS: &str = "session,at_s,unix_ms,lag_ms,queue,blocking_queue,tasks_live,\
                              tasks_scheduled,workers_busy,workers_stalled,cpus,memory_bytes";

/// A stall. Unknown is `null`, or an empty cell.
#[derive(Debug, Clone, Serialize)]
struct StallEntry {
    session: usize,
    id: u64,
    at_s: f64,
    duration_ms: f64,
    /// False: it was still in progress when the recording ended.
    ended: bool,
    /// It may have been several polls that the agent could not distinguish.
    several_polls: bool,
    runtime: Option<u32>,
    worker: Option<u32>,
    tid: Option<u64>,
    task: Option<String>,
    task_id: Option<u64>,
    spawned_at: Option<String>,
    cause: &'static str,
    syscall: Option<String>,
    cpu_ms: Option<f64>,
    run_queue_ms: Option<f64>,
    culprit: Option<String>,
    function: Option<String>,
    /// Innermost first.
    stack: Vec<String>,
}

const STALL_COLUMNS: &str = "session,id,at_s,duration_ms,ended,several_polls,runtime,worker,tid,\
                             task,task_id,spawned_at,cause,syscall,cpu_ms,run_queue_ms,culprit,\
                             function,stack";

/// A process.
#[derive(Debug, Clone, Serialize)]
struct SessionEntry {
    name: String,
    pid: Option<u32>,
    start_s: f64,
    target: String,
    redacted: bool,
    hostname: String,
    exe: String,
    agent_version: String,
    tokio_version: String,
    /// Wall clock at the beginning of the process's clock.
    started_unix_ns: u64,
}

/// Where the tasks of a process waited when its recording ended, as `looptop dump` says it.
#[derive(Debug, Clone, Serialize)]
struct WaitsEntry {
    session: usize,
    #[serde(flatten)]
    dump: Dump,
}

fn waits(session: usize, dump: &Dump, recording: &Recording) -> WaitsEntry {
    let known = recording.sessions().get(session);
    WaitsEntry {
        session,
        dump: Dump {
            target: known.map_or_else(String::new, |known| known.target.clone()),
            ..dump.clone()
        },
    }
}

/// Writes one JSON object.
pub fn write_json(recording: &Recording, out: &mut impl Write) -> io::Result<Walked> {
    let sessions: Vec<SessionEntry> = recording.sessions().iter().map(session).collect();
    let extent = recording.extent();
    write!(
        out,
        "{{\n\"schema\":{SCHEMA},\n\"length_s\":{},\n",
        round(extent.length.as_secs_f64())
    )?;
    writeln!(out, "\"sessions\":{},", json(&sessions)?)?;
    writeln!(out, "\"samples\":[")?;
    let mut samples = Samples::new(out, |out: &mut _, sample: &Sample, first| {
        write!(out, "{}{}", if first { "" } else { ",\n" }, json(sample)?)
    });
    let walked = walk(recording, &mut samples)?;
    writeln!(out, "\n],\n\"stalls\":[")?;
    for (n, stall) in walked.stalls.iter().enumerate() {
        let comma = if n == 0 { "" } else { ",\n" };
        write!(out, "{comma}{}", json(&entry(stall))?)?;
    }
    writeln!(out, "\n],\n\"waits\":[")?;
    for (n, (session, dump)) in walked.waits.iter().enumerate() {
        let comma = if n == 0 { "" } else { ",\n" };
        let dump = waits(*session, dump, recording);
        write!(out, "{comma}{}", json(&dump)?)?;
    }
    let mut missing = walked.gaps.clone();
    missing.extend(extent.remark);
    writeln!(out, "\n],\n\"missing\":{}\n}}", json(&missing)?)?;
    Ok(walked)
}

/// Writes one table, as RFC 4180 has it, with a line of column names.
pub fn write_csv(recording: &Recording, table: Table, out: &mut impl Write) -> io::Result<Walked> {
    match table {
        Table::Samples => {
            writeln!(out, "{SAMPLE_COLUMNS}\r")?;
            let mut samples = Samples::new(out, |out, sample, _| {
                writeln!(out, "{}\r", sample_row(sample))
            });
            walk(recording, &mut samples)
        }
        Table::Stalls => {
            let mut samples = Samples::new(&mut *out, |_, _, _| Ok(()));
            let walked = walk(recording, &mut samples)?;
            writeln!(out, "{STALL_COLUMNS}\r")?;
            for stall in &walked.stalls {
                writeln!(out, "{}\r", stall_row(&entry(stall)))?;
            }
            Ok(walked)
        }
    }
}

fn json(value: &impl Serialize) -> io::Result<String> {
    serde_json::to_string(value).map_err(io::Error::other)
}

/// Turns frames into samples.
struct Samples<'a, W, F> {
    out: &'a mut W,
    emit: F,
    session: Option<usize>,
    first: bool,
}

impl<'a, W, F> Samples<'a, W, F>
where
    F: FnMut(&mut W, &Sample, bool) -> io::Result<()>,
{
    fn new(out: &'a mut W, emit: F) -> Self {
        Self {
            out,
            emit,
            session: None,
            first: true,
        }
    }
}

impl<W, F> Visitor for Samples<'_, W, F>
where
    F: FnMut(&mut W, &Sample, bool) -> io::Result<()>,
{
    fn session(&mut self, _: Duration, _: &Model, new: bool) -> io::Result<()> {
        if new {
            self.session = Some(self.session.map_or(0, |n| n + 1));
        }
        Ok(())
    }

    fn frame(&mut self, at: Duration, model: &Model, frame: &Frame) -> io::Result<()> {
        let sample = sample(self.session.unwrap_or_default(), at, model, frame);
        (self.emit)(self.out, &sample, std::mem::take(&mut self.first))
    }
}

fn sample(session: usize, at: Duration, model: &Model, frame: &Frame) -> Sample {
    let known = !model.tasks.is_empty();
    let wall = model.session.started_unix_ns;
    let lag = frame.lag.iter().flat_map(|l| &l.lag_ns).max();
    let busy: Vec<f64> = model
        .workers
        .values()
        .filter_map(crate::model::Worker::busy_ratio)
        .collect();
    let blocking = model.runtimes.iter().filter_map(|r| r.blocking_queue);
    Sample {
        session,
        at_s: round(at.as_secs_f64()),
        unix_ms: (wall != 0).then(|| wall.saturating_add(model.now.0) / 1_000_000),
        lag_ms: lag.map(|ns| round(*ns as f64 / 1e6)),
        queue: (!model.runtimes.is_empty()).then(|| {
            let global = model.runtimes.iter().map(|r| r.global_queue);
            let local = model.workers.values().filter_map(|w| w.local_queue);
            total(global.chain(local))
        }),
        blocking_queue: blocking.reduce(u64::saturating_add),
        tasks_live: known.then(|| model.tasks.live_count()),
        tasks_scheduled: known.then(|| model.tasks.count(TaskState::Scheduled)),
        workers_busy: (!busy.is_empty())
            .then(|| round(busy.iter().sum::<f64>() / busy.len() as f64)),
        workers_stalled: model.stalled_workers(),
        cpus: model
            .process
            .as_ref()
            .and_then(crate::model::Process::cpu_ratio)
            .map(round),
        memory_bytes: model.process.as_ref().map(|p| p.resident),
    }
}

fn session(session: &crate::record::recording::SessionEntry) -> SessionEntry {
    let hello = &session.hello;
    SessionEntry {
        name: hello.name.clone(),
        pid: (hello.pid != 0).then_some(hello.pid),
        start_s: round(session.start.as_secs_f64()),
        target: session.target.clone(),
        redacted: session.redacted,
        hostname: hello.hostname.clone(),
        exe: hello.exe.clone(),
        agent_version: hello.agent_version.clone(),
        tokio_version: hello.tokio_version.clone(),
        started_unix_ns: hello.started_unix_ns,
    }
}

fn entry(stall: &StallRow) -> StallEntry {
    let some = |text: &str| (!text.is_empty()).then(|| text.to_owned());
    let ms = |d: Duration| round(d.as_secs_f64() * 1e3);
    let culprit = stall.stack.as_ref().and_then(|s| s.culprit.as_ref());
    StallEntry {
        session: stall.session,
        id: stall.id.0,
        at_s: round(stall.at.as_secs_f64()),
        duration_ms: ms(stall.duration),
        ended: stall.ended,
        several_polls: matches!(stall.scope, StallScope::UpTo61Polls | StallScope::OneTurn),
        runtime: stall.worker.map(|w| w.runtime.0),
        worker: stall.worker.map(|w| w.index),
        tid: stall.tid,
        task: some(&stall.task),
        task_id: stall.task_id,
        spawned_at: some(&stall.spawned_at),
        cause: stall.cause_word(),
        syscall: some(&stall.syscall),
        cpu_ms: stall.cpu.map(ms),
        run_queue_ms: stall.run_queue.map(ms),
        culprit: culprit.and_then(crate::model::Culprit::location),
        function: culprit.map(|c| c.function.clone()),
        stack: stall.functions(),
    }
}

/// To microseconds of a millisecond, or of a second.
fn round(value: f64) -> f64 {
    (value * 1e6).round() / 1e6
}

fn cell<T: ToString>(value: Option<T>) -> String {
    value.map(|v| quoted(&v.to_string())).unwrap_or_default()
}

/// A cell as RFC 4180 has it. What a spreadsheet would take for a formula gets
/// an apostrophe, because task names come from the target.
fn quoted(text: &str) -> String {
    let text = escaped(text);
    let formula = text.starts_with(['=', '+', '@'])
        || (text.starts_with('-') && text.parse::<f64>().is_err());
    let text = if formula {
        format!("'{text}")
    } else {
        text.into_owned()
    };
    if text.contains([',', '"']) {
        return format!("\"{}\"", text.replace('"', "\"\""));
    }
    text
}

fn sample_row(s: &Sample) -> String {
    [
        s.session.to_string(),
        s.at_s.to_string(),
        cell(s.unix_ms),
        cell(s.lag_ms),
        cell(s.queue),
        cell(s.blocking_queue),
        cell(s.tasks_live),
        cell(s.tasks_scheduled),
        cell(s.workers_busy),
        s.workers_stalled.to_string(),
        cell(s.cpus),
        cell(s.memory_bytes),
    ]
    .join(",")
}

fn stall_row(s: &StallEntry) -> String {
    [
        s.session.to_string(),
        s.id.to_string(),
        s.at_s.to_string(),
        s.duration_ms.to_string(),
        s.ended.to_string(),
        s.several_polls.to_string(),
        cell(s.runtime),
        cell(s.worker),
        cell(s.tid),
        cell(s.task.as_ref()),
        cell(s.task_id),
        cell(s.spawned_at.as_ref()),
        s.cause.to_owned(),
        cell(s.syscall.as_ref()),
        cell(s.cpu_ms),
        cell(s.run_queue_ms),
        cell(s.culprit.as_ref()),
        cell(s.function.as_ref()),
        quoted(&s.stack.join(" < ")),
    ]
    .join(",")
}
