//! A trace for ui.perfetto.dev: a track for each worker with the polls that
//! frames caught in the act, one below it with its stalls and their stacks, and
//! counters for lag, queues, CPU and memory.

use std::{
    collections::{BTreeMap, BTreeSet},
    io::{self, Write},
    time::Duration,
};

use looptop_wire::proto::Frame;
use prost::Message;

use super::{
    trace_schema::{
        CLOCK_BOOTTIME, CLOCK_REALTIME, CallFrame, Callstack, Clock, ClockSnapshot,
        CounterDescriptor, DebugAnnotation, EventType, ProcessDescriptor, Trace, TracePacket,
        TrackDescriptor, TrackEvent, Unit, Value,
    },
    walk::{StallRow, Visitor, Walked, walk},
};
use crate::{
    escape::escaped,
    model::{Model, TextId, WorkerId, total},
    record::Recording,
};

/// All packets are of one writer.
const SEQUENCE: u32 = 1;
/// A poll that no later frame shows is over when this has passed at the latest.
const UNSEEN: Duration = Duration::from_millis(1);

/// Writes the trace of a recording.
pub fn write(recording: &Recording, out: &mut impl Write) -> io::Result<Walked> {
    let mut tracer = Tracer {
        out,
        tracks: BTreeSet::new(),
        session: 0,
        process: None,
        polls: BTreeMap::new(),
        last: Duration::ZERO,
    };
    let walked = walk(recording, &mut tracer)?;
    tracer.end_polls(|_| true)?;
    for stall in &walked.stalls {
        tracer.stall(stall)?;
    }
    Ok(walked)
}

/// What a track shows; its number in the trace follows from it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Track {
    Process,
    Worker(WorkerId),
    Stalls(WorkerId),
    /// Stalls of a thread that is no worker; 0 where the thread is unknown.
    ThreadStalls(u64),
    Lag(u32),
    Queue(u32),
    BlockingQueue(u32),
    Tasks,
    Cpu,
    Memory,
    Gauge(u32),
}

impl Track {
    /// Unique within the trace: kind, session, and whose.
    fn uuid(self, session: usize) -> u64 {
        let worker = |id: WorkerId| (u64::from(id.runtime.0) << 16) | u64::from(id.index & 0xffff);
        let (kind, whose) = match self {
            Track::Process => (1, 0),
            Track::Worker(id) => (2, worker(id)),
            Track::Stalls(id) => (3, worker(id)),
            Track::ThreadStalls(tid) => (4, tid & 0xffff_ffff),
            Track::Lag(runtime) => (5, runtime.into()),
            Track::Queue(runtime) => (6, runtime.into()),
            Track::BlockingQueue(runtime) => (7, runtime.into()),
            Track::Tasks => (8, 0),
            Track::Cpu => (9, 0),
            Track::Memory => (10, 0),
            Track::Gauge(name) => (11, name.into()),
        };
        (kind << 56) | ((session as u64 & 0xffff) << 40) | (whose & 0xff_ffff_ffff)
    }

    fn unit(self) -> Option<Unit> {
        match self {
            Track::Lag(_) => Some(Unit::TimeNs),
            Track::Queue(_) | Track::BlockingQueue(_) | Track::Tasks => Some(Unit::Count),
            Track::Memory => Some(Unit::SizeBytes),
            Track::Cpu | Track::Gauge(_) => Some(Unit::Unspecified),
            Track::Process | Track::Worker(_) | Track::Stalls(_) | Track::ThreadStalls(_) => None,
        }
    }
}

/// A poll in progress, as frames show it.
#[derive(Debug, Clone)]
struct Poll {
    started_ns: u64,
    begin: Duration,
    seen: Duration,
    name: String,
    task: Option<u64>,
    place: String,
}

struct Tracer<'a, W> {
    out: &'a mut W,
    tracks: BTreeSet<u64>,
    session: usize,
    /// Name and number of the observed process.
    process: Option<(String, Option<u32>)>,
    polls: BTreeMap<WorkerId, Poll>,
    last: Duration,
}

impl<W: Write> Visitor for Tracer<'_, W> {
    fn session(&mut self, at: Duration, model: &Model, new: bool) -> io::Result<()> {
        self.end_polls(|_| true)?;
        if !new {
            return Ok(());
        }
        self.session += usize::from(self.process.is_some());
        let session = &model.session;
        self.process = Some((session.name.clone(), session.pid));
        self.descriptor(Track::Process, &session.name)?;
        let wall = session.started_unix_ns.saturating_add(model.now.0);
        let clock = |id, ns| Clock {
            clock_id: Some(id),
            timestamp: Some(ns),
        };
        self.packet(TracePacket {
            timestamp: Some(ns(at)),
            clock_snapshot: (session.started_unix_ns != 0).then(|| ClockSnapshot {
                clocks: vec![clock(CLOCK_BOOTTIME, ns(at)), clock(CLOCK_REALTIME, wall)],
            }),
            ..TracePacket::default()
        })
    }

    fn frame(&mut self, at: Duration, model: &Model, frame: &Frame) -> io::Result<()> {
        self.polls(at, model)?;
        self.counters(at, model, frame)?;
        self.last = at;
        Ok(())
    }
}

impl<W: Write> Tracer<'_, W> {
    fn packet(&mut self, packet: TracePacket) -> io::Result<()> {
        let packet = TracePacket {
            trusted_packet_sequence_id: Some(SEQUENCE),
            ..packet
        };
        // A trace of one packet: traces may be appended to one another.
        self.out.write_all(
            &Trace {
                packet: vec![packet],
            }
            .encode_to_vec(),
        )
    }

    fn event(&mut self, at: Duration, track: Track, event: TrackEvent) -> io::Result<()> {
        let track_uuid = Some(track.uuid(self.session));
        self.packet(TracePacket {
            timestamp: Some(ns(at)),
            track_event: Some(TrackEvent {
                track_uuid,
                ..event
            }),
            ..TracePacket::default()
        })
    }

    /// Names a track, once.
    fn descriptor(&mut self, track: Track, name: &str) -> io::Result<()> {
        let uuid = track.uuid(self.session);
        if !self.tracks.insert(uuid) {
            return Ok(());
        }
        let own = track == Track::Process;
        let (process_name, pid) = self.process.clone().unwrap_or_default();
        let process = own.then(|| ProcessDescriptor {
            // A number is needed; one that no other session has where it is unknown.
            pid: Some(pid.map_or(-1 - self.session as i32, |pid| pid as i32)),
            process_name: Some(shown(&process_name)),
        });
        self.packet(TracePacket {
            track_descriptor: Some(TrackDescriptor {
                uuid: Some(uuid),
                name: Some(shown(name)),
                process,
                parent_uuid: (!own).then(|| Track::Process.uuid(self.session)),
                counter: track.unit().map(|unit| CounterDescriptor {
                    unit: Some(unit.into()),
                }),
            }),
            ..TracePacket::default()
        })
    }

    fn polls(&mut self, at: Duration, model: &Model) -> io::Result<()> {
        let running = |id: &WorkerId| model.workers.get(id).and_then(|w| w.poll_started);
        self.end_polls(|(id, poll)| running(id).is_none_or(|at| at.0 != poll.started_ns))?;
        for worker in model.workers.values() {
            self.descriptor(Track::Worker(worker.id), &worker_name(model, worker.id))?;
            let Some(started) = worker.poll_started else {
                continue;
            };
            if let Some(poll) = self.polls.get_mut(&worker.id) {
                poll.seen = at;
                continue;
            }
            let task = worker.task.and_then(|id| model.tasks.get(id));
            let place = task.and_then(|t| model.location(t.location));
            let begin = at.saturating_sub(model.now.since(started));
            let poll = Poll {
                started_ns: started.0,
                // Frames may disagree by a little; slices of a track must not.
                begin: begin.max(if self.last > begin { begin } else { self.last }),
                seen: at,
                name: task
                    .map(|t| model.text(t.name))
                    .unwrap_or_default()
                    .to_owned(),
                task: worker.task.map(|id| id.0),
                place: place.map(|l| l.to_string()).unwrap_or_default(),
            };
            self.polls.insert(worker.id, poll);
        }
        Ok(())
    }

    /// Writes the polls that are over.
    fn end_polls(&mut self, over: impl Fn((&WorkerId, &Poll)) -> bool) -> io::Result<()> {
        let ended: Vec<WorkerId> = self
            .polls
            .iter()
            .filter(|entry| over(*entry))
            .map(|(id, _)| *id)
            .collect();
        for id in ended {
            let Some(poll) = self.polls.remove(&id) else {
                continue;
            };
            let name = [&poll.name, &poll.place]
                .into_iter()
                .find(|n| !n.is_empty());
            let begin = TrackEvent {
                r#type: Some(EventType::SliceBegin.into()),
                categories: vec!["poll".into()],
                name: Some(shown(name.map_or("poll", |n| n))),
                debug_annotations: annotations([
                    ("task", poll.task.map(Value::Uint)),
                    ("spawned at", text(&poll.place)),
                ]),
                ..TrackEvent::default()
            };
            self.event(poll.begin, Track::Worker(id), begin)?;
            let end = poll.seen.max(poll.begin + UNSEEN);
            self.event(end, Track::Worker(id), slice_end())?;
        }
        Ok(())
    }

    fn counters(&mut self, at: Duration, model: &Model, frame: &Frame) -> io::Result<()> {
        for samples in &frame.lag {
            let name = format!("lag of {}", runtime_name(model, samples.runtime));
            for (due, lag) in samples.at_ns.iter().zip(&samples.lag_ns) {
                let due = at.saturating_sub(Duration::from_nanos(model.now.0.saturating_sub(*due)));
                self.counter(due, Track::Lag(samples.runtime), &name, *lag as f64)?;
            }
        }
        for runtime in &model.runtimes {
            let id = runtime.id.0;
            let name = runtime_name(model, id);
            let local = model
                .workers
                .values()
                .filter(|w| w.id.runtime == runtime.id);
            let local = total(local.filter_map(|w| w.local_queue));
            let queue = runtime.global_queue.saturating_add(local) as f64;
            self.counter(at, Track::Queue(id), &format!("queue of {name}"), queue)?;
            if let Some(queue) = runtime.blocking_queue {
                let name = format!("blocking queue of {name}");
                self.counter(at, Track::BlockingQueue(id), &name, queue as f64)?;
            }
        }
        if !model.tasks.is_empty() {
            self.counter(
                at,
                Track::Tasks,
                "live tasks",
                model.tasks.live_count() as f64,
            )?;
        }
        if let Some(process) = &model.process {
            if let Some(cpus) = process.cpu_ratio() {
                self.counter(at, Track::Cpu, "CPUs used", cpus)?;
            }
            self.counter(
                at,
                Track::Memory,
                "resident memory",
                process.resident as f64,
            )?;
        }
        for (name, gauge) in &model.gauges {
            let title = model.texts.get(*name).to_owned();
            self.counter(at, Track::Gauge(name.0), &title, gauge.value)?;
        }
        Ok(())
    }

    fn counter(&mut self, at: Duration, track: Track, name: &str, value: f64) -> io::Result<()> {
        self.descriptor(track, name)?;
        let event = TrackEvent {
            r#type: Some(EventType::Counter.into()),
            double_counter_value: Some(value),
            ..TrackEvent::default()
        };
        self.event(at, track, event)
    }

    fn stall(&mut self, stall: &StallRow) -> io::Result<()> {
        self.session = stall.session;
        let track = match (stall.worker, stall.tid) {
            (Some(worker), _) => Track::Stalls(worker),
            (None, tid) => Track::ThreadStalls(tid.unwrap_or_default()),
        };
        let name = match track {
            Track::Stalls(id) => format!("worker {}.{} stalls", id.runtime, id.index),
            _ => format!("thread {} stalls", stall.tid.unwrap_or_default()),
        };
        self.descriptor(track, &name)?;
        let culprit = stall.stack.as_ref().and_then(|s| s.culprit.as_ref());
        let title = match culprit {
            Some(culprit) => format!("{} in {}", stall.cause_word(), culprit.function),
            None if stall.task.is_empty() => stall.cause_word().to_owned(),
            None => format!("{} in task {}", stall.cause_word(), stall.task),
        };
        let ms = |d: Duration| Value::Double(d.as_secs_f64() * 1e3);
        let begin = TrackEvent {
            r#type: Some(EventType::SliceBegin.into()),
            categories: vec!["stall".into()],
            name: Some(shown(&title)),
            callstack: callstack(stall),
            debug_annotations: annotations([
                ("culprit", culprit.and_then(|c| text(&c.location()?))),
                ("cause", text(stall.cause_word())),
                ("system call", text(&stall.syscall)),
                ("task", text(&stall.task)),
                ("task id", stall.task_id.map(Value::Uint)),
                ("spawned at", text(&stall.spawned_at)),
                ("cpu ms", stall.cpu.map(ms)),
                ("without a cpu ms", stall.run_queue.map(ms)),
                ("stack", text(&stall.functions().join("\n"))),
            ]),
            ..TrackEvent::default()
        };
        self.event(stall.at, track, begin)?;
        self.event(stall.end.max(stall.at), track, slice_end())
    }
}

fn ns(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

fn shown(name: &str) -> String {
    escaped(name).into_owned()
}

fn slice_end() -> TrackEvent {
    TrackEvent {
        r#type: Some(EventType::SliceEnd.into()),
        ..TrackEvent::default()
    }
}

fn text(text: &str) -> Option<Value> {
    // Newlines separate the frames of a stack; all else is shown escaped.
    let lines: Vec<_> = text.split('\n').map(escaped).collect();
    (!text.is_empty()).then(|| Value::Text(lines.join("\n")))
}

fn annotations<const N: usize>(list: [(&str, Option<Value>); N]) -> Vec<DebugAnnotation> {
    let known = list.into_iter().filter(|(_, value)| value.is_some());
    known
        .map(|(name, value)| DebugAnnotation {
            name: Some(name.into()),
            value,
        })
        .collect()
}

fn callstack(stall: &StallRow) -> Option<Callstack> {
    let named = stall
        .stack
        .as_ref()
        .filter(|stack| !stack.frames.is_empty());
    let frames: Vec<CallFrame> = if let Some(stack) = named {
        let frames = stack.frames.iter().rev();
        frames
            .map(|f| CallFrame {
                function_name: Some(shown(&f.function)),
                source_file: (!f.file.is_empty()).then(|| shown(&f.file)),
                line_number: (f.line > 0).then_some(f.line),
            })
            .collect()
    } else {
        let addresses = stall.addresses.iter().rev();
        addresses
            .map(|name| CallFrame {
                function_name: Some(shown(&name.to_string())),
                ..CallFrame::default()
            })
            .collect()
    };
    (!frames.is_empty()).then_some(Callstack { frames })
}

fn runtime_name(model: &Model, id: u32) -> String {
    let runtime = model.runtimes.iter().find(|r| r.id.0 == id);
    match runtime.map(|r| model.text(r.name)).unwrap_or_default() {
        "" => format!("runtime {id}"),
        name => name.to_owned(),
    }
}

fn worker_name(model: &Model, id: WorkerId) -> String {
    if model.runtimes.len() > 1 {
        return format!("{} worker {}", runtime_name(model, id.runtime.0), id.index);
    }
    let tid = model.workers.get(&id).and_then(|w| w.tid);
    let name = tid
        .and_then(|tid| model.threads.get(&tid))
        .and_then(|t| t.name);
    match name
        .map(|TextId(id)| model.texts.get(TextId(id)))
        .unwrap_or_default()
    {
        "" => format!("worker {}", id.index),
        thread => format!("worker {} ({thread})", id.index),
    }
}
