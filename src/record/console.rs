//! Recordings of console-subscriber (`TOKIO_CONSOLE_RECORD_PATH`): a line of
//! JSON for each event of a task, translated into the frames that an agent would
//! have sent.
//!
//! They hold spawns, polls, wakes and ends with their instants, but no workers,
//! threads, resources or causes.

use std::{
    collections::{BTreeSet, HashMap, VecDeque},
    fs::File,
    io::{self, BufRead, BufReader, Read},
};

use looptop_wire::{
    columns::{self, Record},
    histogram,
    intern::Interner,
    proto::{self, CapabilityKind as Kind, Frame, HelloResponse, TaskKind, TaskState},
};
use serde::Deserialize;

use super::{
    recorder::Recorder,
    recording::{OpenError, Recording},
    store::Store,
    writer::Sink,
};

/// The version of the format that is understood.
const VERSION: u64 = 1;
/// A line is cut at this many bytes, and is then no event.
const MAX_LINE: u64 = 1 << 20;
/// Time between the frames that are made.
const STEP_NS: u64 = 100_000_000;
/// Without an event for this long, time passes in one step.
const MAX_QUIET_NS: u64 = 10_000_000_000;
/// A poll over this is a stall, as for a live console-subscriber.
const STALL_NS: u64 = 10_000_000;
/// Finished tasks that stay known.
const FINISHED: usize = 10_000;
/// Live tasks, at most; others are counted as lost.
const MAX_LIVE: usize = 1_000_000;

/// Opens such a recording, by way of a temporary file that is gone at once.
pub(super) fn open(store: &Store) -> Result<Recording, OpenError> {
    let input = BufReader::new(store.section(0, u64::MAX));
    let (file, remark) = convert(input, temporary()?)?;
    let len = file.metadata()?.len();
    Ok(Recording::from_store(Store::file(file, len))?.with_remark(remark))
}

/// A file without a name.
fn temporary() -> io::Result<File> {
    use std::sync::atomic::{AtomicU32, Ordering};
    static COUNT: AtomicU32 = AtomicU32::new(0);
    let n = COUNT.fetch_add(1, Ordering::Relaxed);
    let name = format!("looptop-{}-{n}", std::process::id());
    let path = std::env::temp_dir().join(name);
    let file = File::options()
        .read(true)
        .write(true)
        .create_new(true)
        .open(&path)?;
    std::fs::remove_file(&path)?;
    Ok(file)
}

#[derive(Debug, Deserialize)]
struct Header {
    v: u64,
}

#[derive(Debug, Deserialize)]
enum Event {
    Spawn {
        id: u64,
        at: Instant,
        #[serde(default)]
        fields: Vec<Field>,
    },
    Enter {
        id: u64,
        at: Instant,
    },
    Exit {
        id: u64,
        at: Instant,
    },
    Close {
        id: u64,
        at: Instant,
    },
    Waker {
        id: u64,
        op: WakeOp,
        at: Instant,
    },
}

/// As serde writes the wall clock.
#[derive(Debug, Clone, Copy, Deserialize)]
struct Instant {
    secs_since_epoch: u64,
    nanos_since_epoch: u32,
}

impl Instant {
    fn unix_ns(self) -> u64 {
        let secs = self.secs_since_epoch.saturating_mul(1_000_000_000);
        secs.saturating_add(self.nanos_since_epoch.into())
    }
}

#[derive(Debug, Deserialize)]
enum WakeOp {
    Wake { self_wake: bool },
    WakeByRef { self_wake: bool },
    Clone,
    Drop,
}

#[derive(Debug, Deserialize)]
struct Field {
    name: String,
    value: serde_json::Value,
}

impl Field {
    fn text(&self) -> String {
        match &self.value {
            serde_json::Value::String(text) => text.clone(),
            other => other.to_string(),
        }
    }
}

/// Translates the lines of `input` into a recording; with it a sentence about
/// what is missing.
pub(super) fn convert<W: Sink>(
    mut input: impl BufRead,
    sink: W,
) -> Result<(W, Option<String>), OpenError> {
    let mut line = Vec::new();
    next_line(&mut input, &mut line)?;
    match serde_json::from_slice::<Header>(&line) {
        Ok(Header { v: VERSION }) => {}
        Ok(Header { v }) => {
            return Err(OpenError::Console(format!(
                "it is a recording of console-subscriber in version {v} of its format, and this \
                 looptop reads version {VERSION}"
            )));
        }
        Err(_) => {
            return Err(OpenError::Foreign(super::scan::quote(
                &line[..line.len().min(40)],
            )));
        }
    }
    let mut translation = Translation::new(sink)?;
    let mut number = 1;
    let mut bad: Option<u64> = None;
    while next_line(&mut input, &mut line)? {
        number += 1;
        if let Some(bad) = bad {
            return Err(OpenError::Console(format!(
                "line {bad} of this recording of console-subscriber is no event"
            )));
        }
        match serde_json::from_slice(&line) {
            Ok(event) => translation.event(event)?,
            // A newer kind of event is left out; the last line may be cut.
            Err(_) if is_object(&line) => translation.skipped += 1,
            Err(_) => bad = Some(number),
        }
    }
    let skipped = translation.skipped;
    let sink = translation.finish()?;
    let mut remarks = Vec::new();
    if bad.is_some() {
        remarks.push("the file was cut: its last line is no whole event".to_owned());
    }
    if skipped > 0 {
        remarks.push(format!("{skipped} events of unknown kinds were left out"));
    }
    Ok((sink, (!remarks.is_empty()).then(|| remarks.join("; "))))
}

fn next_line(input: &mut impl BufRead, line: &mut Vec<u8>) -> io::Result<bool> {
    line.clear();
    let read = input.by_ref().take(MAX_LINE).read_until(b'\n', line)?;
    Ok(read > 0)
}

fn is_object(line: &[u8]) -> bool {
    serde_json::from_slice::<serde_json::Map<_, _>>(line).is_ok()
}

/// A task as the events describe it.
#[derive(Debug)]
struct Task {
    id: u64,
    name: u32,
    kind: TaskKind,
    location: u32,
    fields: u32,
    tokio_id: u64,
    spawned: u64,
    ended: Option<u64>,
    polls: u64,
    busy: u64,
    longest: u64,
    scheduled: u64,
    longest_scheduled: u64,
    wakes: u64,
    self_wakes: u64,
    clones: u64,
    drops: u64,
    last_wake: Option<u64>,
    /// Woken and not polled since.
    waiting: Option<u64>,
    poll: Option<u64>,
    /// The stall of the poll in progress.
    stall: Option<u64>,
}

#[derive(Debug, Default)]
struct Site {
    totals: proto::SpawnSite,
    polls: Vec<u64>,
    changed: bool,
}

struct Translation<W: Sink> {
    recorder: Recorder<W>,
    /// Wall clock at 0.
    origin: Option<u64>,
    now: u64,
    frame_at: u64,
    sequence: u64,
    interner: Interner,
    /// By the id of its span, which is used again after its end.
    live: HashMap<u64, Task>,
    changed: BTreeSet<u64>,
    ended: Vec<Task>,
    finished: VecDeque<u64>,
    forgotten: Vec<u64>,
    sites: HashMap<(u32, TaskKind), Site>,
    stalls: Vec<proto::Stall>,
    next_task: u64,
    next_stall: u64,
    lost: u64,
    skipped: u64,
}

impl<W: Sink> Translation<W> {
    fn new(sink: W) -> io::Result<Self> {
        Ok(Self {
            recorder: Recorder::new(sink, "console-subscriber", false)?,
            origin: None,
            now: 0,
            frame_at: 0,
            sequence: 0,
            interner: Interner::default(),
            live: HashMap::new(),
            changed: BTreeSet::new(),
            ended: Vec::new(),
            finished: VecDeque::new(),
            forgotten: Vec::new(),
            sites: HashMap::new(),
            stalls: Vec::new(),
            next_task: 0,
            next_stall: 0,
            lost: 0,
            skipped: 0,
        })
    }

    fn event(&mut self, event: Event) -> io::Result<()> {
        let (Event::Spawn { at, .. }
        | Event::Enter { at, .. }
        | Event::Exit { at, .. }
        | Event::Close { at, .. }
        | Event::Waker { at, .. }) = &event;
        let at = self.advance(at.unix_ns())?;
        match event {
            Event::Spawn { id, fields, .. } => self.spawn(id, at, &fields),
            Event::Enter { id, .. } => self.enter(id, at),
            Event::Exit { id, .. } => self.exit(id, at),
            Event::Close { id, .. } => self.close(id, at),
            Event::Waker { id, op, .. } => self.waker(id, &op, at),
        }
        Ok(())
    }

    /// Lets time pass up to an event, and makes the frames that are due. Threads
    /// record on their own, so events may be a little out of order.
    fn advance(&mut self, unix_ns: u64) -> io::Result<u64> {
        let Some(origin) = self.origin else {
            self.origin = Some(unix_ns);
            self.recorder.connected(&hello(unix_ns))?;
            return Ok(0);
        };
        let at = unix_ns.saturating_sub(origin);
        while at >= self.frame_at {
            self.now = self.now.max(self.frame_at);
            self.emit()?;
            let quiet = at.saturating_sub(self.frame_at) > MAX_QUIET_NS;
            self.frame_at = if quiet {
                at
            } else {
                self.frame_at.saturating_add(STEP_NS)
            };
            if at == u64::MAX {
                break;
            }
        }
        self.now = self.now.max(at);
        Ok(at)
    }

    fn spawn(&mut self, span: u64, at: u64, fields: &[Field]) {
        if self.live.contains_key(&span) {
            self.close(span, at);
        }
        if self.live.len() >= MAX_LIVE {
            self.lost += 1;
            return;
        }
        self.next_task += 1;
        let find = |name: &str| fields.iter().find(|f| f.name == name);
        let number = |name: &str| find(name).and_then(|f| f.text().parse::<u64>().ok());
        let known = [
            "task.name",
            "task.id",
            "kind",
            "loc.file",
            "loc.line",
            "loc.col",
        ];
        let others = fields.iter().filter(|f| !known.contains(&f.name.as_str()));
        let others: Vec<_> = others.map(|f| format!("{}={}", f.name, f.text())).collect();
        let line = |name| number(name).unwrap_or_default() as u32;
        let kind = match find("kind").map(Field::text).as_deref() {
            Some("task") => TaskKind::Task,
            Some("local") => TaskKind::Local,
            Some("blocking") => TaskKind::Blocking,
            Some("block_on") => TaskKind::BlockOn,
            _ => TaskKind::Unknown,
        };
        let location = find("loc.file").map_or(0, |file| {
            self.interner
                .location(&file.text(), line("loc.line"), line("loc.col"))
        });
        let name = find("task.name").map(Field::text).unwrap_or_default();
        let task = Task {
            id: self.next_task,
            name: self.interner.string(&name),
            kind,
            location,
            fields: self.interner.string(&others.join(" ")),
            tokio_id: number("task.id").unwrap_or_default(),
            spawned: at,
            ended: None,
            polls: 0,
            busy: 0,
            longest: 0,
            scheduled: 0,
            longest_scheduled: 0,
            wakes: 0,
            self_wakes: 0,
            clones: 0,
            drops: 0,
            last_wake: None,
            // It is scheduled from the start.
            waiting: Some(at),
            poll: None,
            stall: None,
        };
        let site = self.sites.entry((location, kind)).or_default();
        site.totals.spawned += 1;
        site.changed = true;
        self.live.insert(span, task);
        self.changed.insert(span);
    }

    fn enter(&mut self, span: u64, at: u64) {
        let Some(task) = self.live.get_mut(&span) else {
            return;
        };
        task.polls += 1;
        task.poll = Some(at);
        if let Some(since) = task.waiting.take() {
            let waited = at.saturating_sub(since);
            task.scheduled += waited;
            task.longest_scheduled = task.longest_scheduled.max(waited);
        }
        self.changed.insert(span);
    }

    fn exit(&mut self, span: u64, at: u64) {
        let Some(task) = self.live.get_mut(&span) else {
            return;
        };
        let Some(started) = task.poll.take() else {
            return;
        };
        let took = at.saturating_sub(started);
        task.busy += took;
        task.longest = task.longest.max(took);
        let site = self.sites.entry((task.location, task.kind)).or_default();
        site.totals.polls += 1;
        site.totals.busy_ns += took;
        site.totals.longest_poll_ns = site.totals.longest_poll_ns.max(took);
        site.polls.resize(histogram::BUCKETS, 0);
        site.polls[histogram::bucket(took)] += 1;
        site.changed = true;
        if took > STALL_NS && is_async(task.kind) {
            let id = task.stall.take().unwrap_or_else(|| {
                self.next_stall += 1;
                self.next_stall
            });
            self.stalls
                .push(stall(id, task, started, took, proto::StallState::Ended));
        }
        self.changed.insert(span);
    }

    fn close(&mut self, span: u64, at: u64) {
        self.exit(span, at);
        let Some(mut task) = self.live.remove(&span) else {
            return;
        };
        self.changed.remove(&span);
        task.ended = Some(at);
        let site = self.sites.entry((task.location, task.kind)).or_default();
        site.totals.ended += 1;
        site.changed = true;
        self.finished.push_back(task.id);
        self.ended.push(task);
    }

    fn waker(&mut self, span: u64, op: &WakeOp, at: u64) {
        let Some(task) = self.live.get_mut(&span) else {
            return;
        };
        match op {
            WakeOp::Clone => task.clones += 1,
            WakeOp::Drop => task.drops += 1,
            WakeOp::Wake { self_wake } | WakeOp::WakeByRef { self_wake } => {
                // `wake` takes the waker, and with it its reference.
                task.drops += u64::from(matches!(op, WakeOp::Wake { .. }));
                task.wakes += 1;
                task.self_wakes += u64::from(*self_wake);
                task.last_wake = Some(at);
                task.waiting.get_or_insert(at);
            }
        }
        self.changed.insert(span);
    }

    /// Makes a frame of what changed.
    fn emit(&mut self) -> io::Result<()> {
        self.running_stalls();
        let mut tasks = proto::Tasks::default();
        for span in std::mem::take(&mut self.changed) {
            if let Some(task) = self.live.get(&span) {
                columns::push(&mut tasks, &record(task));
            }
        }
        for task in std::mem::take(&mut self.ended) {
            columns::push(&mut tasks, &record(&task));
        }
        let mut sites = Vec::new();
        for ((location, kind), site) in &mut self.sites {
            if std::mem::take(&mut site.changed) {
                sites.push(site.record(*location, *kind));
            }
        }
        self.sequence += 1;
        let frame = Frame {
            sequence: self.sequence,
            now_ns: self.now,
            snapshot_complete: self.sequence == 1,
            strings: self.interner.take_strings(),
            locations: self.interner.take_locations(),
            tasks: Some(tasks),
            forgotten_tasks: std::mem::take(&mut self.forgotten),
            sites,
            stalls: std::mem::take(&mut self.stalls),
            loss: Some(proto::Loss {
                tasks: self.lost,
                strings: self.interner.refused(),
                ..proto::Loss::default()
            }),
            ..Frame::default()
        };
        // A task is reported to have ended before it is forgotten.
        let excess = self.finished.len().saturating_sub(FINISHED);
        self.forgotten.extend(self.finished.drain(..excess));
        self.recorder.frame(&frame)
    }

    /// Polls that run for longer than the threshold are stalls in progress.
    fn running_stalls(&mut self) {
        for task in self.live.values_mut().filter(|t| is_async(t.kind)) {
            let Some(started) = task.poll else { continue };
            let age = self.now.saturating_sub(started);
            if age <= STALL_NS {
                continue;
            }
            let id = *task.stall.get_or_insert_with(|| {
                self.next_stall += 1;
                self.next_stall
            });
            self.stalls
                .push(stall(id, task, started, age, proto::StallState::Live));
        }
    }

    fn finish(mut self) -> io::Result<W> {
        if self.origin.is_some() {
            self.emit()?;
        }
        self.recorder.finish()
    }
}

/// Those of the blocking pool may block, and the one of `block_on` is, for
/// console-subscriber, in one poll as long as it lasts.
fn is_async(kind: TaskKind) -> bool {
    !matches!(kind, TaskKind::Blocking | TaskKind::BlockOn)
}

fn stall(
    id: u64,
    task: &Task,
    started: u64,
    duration: u64,
    state: proto::StallState,
) -> proto::Stall {
    proto::Stall {
        id,
        state: state.into(),
        scope: proto::StallScope::OnePoll.into(),
        task: Some(task.id),
        location: task.location,
        name: task.name,
        started_at_ns: started,
        duration_ns: duration,
        ..proto::Stall::default()
    }
}

impl Site {
    fn record(&self, location: u32, kind: TaskKind) -> proto::SpawnSite {
        let counts = self
            .polls
            .iter()
            .enumerate()
            .filter(|(_, count)| **count > 0);
        let (poll_bucket, poll_count) = counts
            .map(|(bucket, count)| (bucket as u32, *count))
            .unzip();
        proto::SpawnSite {
            location,
            kind: kind.into(),
            poll_bucket,
            poll_count,
            ..self.totals.clone()
        }
    }
}

fn record(task: &Task) -> Record {
    let state = match task {
        Task { ended: Some(_), .. } => TaskState::Completed,
        Task { poll: Some(_), .. } => TaskState::Running,
        Task {
            waiting: Some(_), ..
        } => TaskState::Scheduled,
        _ => TaskState::Idle,
    };
    Record {
        id: task.id,
        state,
        kind: task.kind,
        name: Some(task.name),
        location: Some(task.location),
        fields: Some(task.fields),
        tokio_id: Some(task.tokio_id),
        spawned_at_ns: Some(task.spawned),
        ended_at_ns: Some(task.ended),
        polls: Some(task.polls),
        busy_ns: Some(task.busy),
        longest_poll_ns: Some(task.longest),
        scheduled_ns: Some(task.scheduled),
        longest_scheduled_ns: Some(task.longest_scheduled),
        wakes: Some(task.wakes),
        self_wakes: Some(task.self_wakes),
        last_wake_at_ns: Some(task.last_wake),
        poll_started_at_ns: Some(task.poll),
        waker_clones: Some(task.clones),
        waker_drops: Some(task.drops),
        ..Record::default()
    }
}

fn hello(origin: u64) -> HelloResponse {
    let supplied = [
        Kind::Tasks,
        Kind::TaskNames,
        Kind::Wakes,
        Kind::Wakers,
        Kind::Stalls,
    ];
    let kinds = (1..=16).filter_map(|n| Kind::try_from(n).ok());
    HelloResponse {
        protocol: looptop_wire::PROTOCOL,
        session: format!("console-recording-{origin:x}"),
        started_unix_ns: origin,
        stall_threshold_ns: STALL_NS,
        capabilities: kinds
            .map(|kind| proto::Capability {
                kind: kind.into(),
                available: supplied.contains(&kind),
                reason: if supplied.contains(&kind) {
                    String::new()
                } else {
                    "a recording of console-subscriber does not hold it".to_owned()
                },
            })
            .collect(),
        ..HelloResponse::default()
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn at(ms: u64) -> String {
        let ns = ms * 1_000_000;
        let (secs, nanos) = (1_700_000_000 + ns / 1_000_000_000, ns % 1_000_000_000);
        format!(r#"{{"secs_since_epoch":{secs},"nanos_since_epoch":{nanos}}}"#)
    }

    fn event(kind: &str, id: u64, ms: u64, rest: &str) -> String {
        format!(r#"{{"{kind}":{{"id":{id},"at":{}{rest}}}}}"#, at(ms))
    }

    fn lines() -> Vec<String> {
        let fields = r#","fields":[{"name":"kind","value":"task"},{"name":"task.name","value":"worker"},{"name":"task.id","value":17},{"name":"url","value":"/x"}]"#;
        vec![
            r#"{"v":1}"#.to_owned(),
            event("Spawn", 4, 0, fields),
            event("Enter", 4, 2, ""),
            event("Waker", 4, 3, r#","op":"Clone""#),
            event("Exit", 4, 5, ""),
            event(
                "Waker",
                4,
                400,
                r#","op":{"WakeByRef":{"self_wake":false}}"#,
            ),
            event("Enter", 99, 401, ""),
            event("Enter", 4, 410, ""),
            event("Exit", 4, 910, ""),
            event("Close", 4, 1_000, ""),
            event("Spawn", 4, 1_500, fields),
            event("Enter", 4, 1_600, ""),
        ]
    }

    fn open(text: &str) -> Result<Recording, OpenError> {
        Recording::from_bytes(text.as_bytes())
    }

    #[test]
    fn events_become_tasks_and_stalls() {
        let recording = open(&lines().join("\n")).unwrap();
        assert_eq!(recording.remark(), None);
        let during = recording.model_at(Duration::from_millis(700)).unwrap();
        let live: Vec<_> = during.stalls.live().collect();
        assert_eq!(live.len(), 1);
        assert_eq!(live[0].started.0, 410_000_000);
        let end = recording.model_at(Duration::from_secs(10)).unwrap();
        let stall = end.stalls.ended().next().unwrap();
        assert_eq!((stall.duration.as_millis(), end.stalls.len()), (500, 1));
        assert_eq!(end.text(stall.name), "worker");
        let tasks: Vec<_> = end.tasks.iter().collect();
        assert_eq!(tasks.len(), 2, "a span id is used again: another task");
        let first = tasks.iter().find(|t| !t.is_live()).unwrap();
        assert_eq!(
            (first.polls, first.wakes, first.tokio_id),
            (Some(2), Some(1), Some(17))
        );
        assert_eq!(first.finished_busy, Some(Duration::from_millis(503)));
        assert_eq!(first.finished_scheduled, Some(Duration::from_millis(12)));
        assert_eq!(end.text(first.fields), "url=/x");
        let second = tasks.iter().find(|t| t.is_live()).unwrap();
        assert_eq!(second.state, TaskState::Running);
    }

    #[test]
    fn bad_lines() {
        let whole = lines().join("\n");
        let cut = open(&whole[..whole.len() - 9]).unwrap();
        assert!(cut.remark().unwrap().starts_with("the file was cut"));
        let unknown = whole.replace(r#"{"Enter":{"id":99"#, r#"{"Leap":{"id":99"#);
        let remark = open(&unknown).unwrap().remark().unwrap().to_owned();
        assert_eq!(remark, "1 events of unknown kinds were left out");
        for (text, expected) in [
            (
                whole.replace(r#"{"v":1}"#, r#"{"v":2}"#),
                "version 2 of its format",
            ),
            (
                whole.replace(r#"{"Enter":{"id":99"#, "oops"),
                "line 7 of this recording",
            ),
            (r#"{"v":1}"#.to_owned(), "cut before its first whole chunk"),
            (
                r#"{"name":"something else"}"#.to_owned(),
                "it is not a recording",
            ),
        ] {
            let error = open(&text).unwrap_err().to_string();
            assert!(error.contains(expected), "{error}");
        }
    }

    #[test]
    fn leaps_of_the_clock_cost_nothing() {
        let mut lines = lines();
        lines.push(r#"{"Exit":{"id":4,"at":{"secs_since_epoch":18446744073709551615,"nanos_since_epoch":4294967295}}}"#.into());
        lines.push(event("Enter", 4, 1_700, ""));
        let recording = open(&lines.join("\n")).unwrap();
        assert!(recording.frames().count() < 100);
    }
}
