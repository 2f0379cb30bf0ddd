//! Events become tasks, spawn sites and stalls, and these become frames.

use std::{
    collections::{BTreeSet, HashMap, VecDeque},
    io,
};

use looptop_wire::{
    columns::{self, Record},
    histogram,
    intern::Interner,
    proto::{self, CapabilityKind as Kind, Frame, HelloResponse, TaskKind, TaskState},
};

use super::event::{Event, Field, WakeOp};
use crate::record::{recorder::Recorder, writer::Sink};

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

/// Makes the frames.
pub(super) struct Translation<W: Sink> {
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
    /// Events of kinds that are not known.
    pub(super) skipped: u64,
}

impl<W: Sink> Translation<W> {
    pub(super) fn new(sink: W) -> io::Result<Self> {
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

    pub(super) fn event(&mut self, event: Event) -> io::Result<()> {
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

    pub(super) fn finish(mut self) -> io::Result<W> {
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
