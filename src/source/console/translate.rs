//! console-subscriber's updates in looptop's normal form.
//!
//! Nothing here does I/O or asks a clock, and nothing that a server sends can
//! make it panic or grow without bound.

use std::collections::HashMap;

use console_api::instrument::Update;
use looptop_wire::{
    proto::{Capability, CapabilityKind, Frame, HelloResponse, Loss, Tasks as Columns},
    split::split,
};

use super::{
    clock::{ServerClock, unix_ns},
    names::Names,
    resources::Resources,
    tasks::Tasks,
};
use crate::source::{
    host::Sample,
    outside::{self, Joins, Shown, View},
};

/// When an update came, by the viewer's clocks.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Received {
    /// Monotonic, from any fixed origin.
    pub(crate) local_ns: u64,
    /// Nanoseconds since the Unix epoch; only for a server that sends no time.
    pub(crate) unix_ns: u64,
}

/// What outlasts a connection, to recognise the same process after it.
///
/// The protocol has no session id. But the birth of a task or resource, in
/// nanoseconds, is stable for the life of the process and of no other, so one
/// that is known from before proves that the process is the same.
#[derive(Debug, Clone)]
pub(crate) struct Identity {
    session: String,
    clock: ServerClock,
    births: HashMap<u64, u64>,
}

/// The state of one connection.
#[derive(Debug)]
pub(crate) struct Translator {
    session: String,
    clock: ServerClock,
    names: Names,
    tasks: Tasks,
    resources: Resources,
    dropped_events: u64,
    sequence: u64,
    /// The newest instant of a frame: host samples run on a guessed clock.
    sent_ns: u64,
    complete: bool,
    /// Whether the process is looked at from outside, too.
    view: View,
}

impl Translator {
    /// Begins with the first update of a connection, to be given to
    /// [`Self::update`] afterwards. `known` is of the connection before.
    pub(crate) fn new(
        first: &Update,
        received: Received,
        known: Option<&Identity>,
        keep_ended: usize,
    ) -> Self {
        let continued = known.filter(|known| known.is_same_process(first));
        let (session, clock) = if let Some(known) = continued {
            (known.session.clone(), known.clock.clone())
        } else {
            let earliest = births(first).map(|(_, at)| at).min();
            let now = first.now.as_ref();
            let clock = ServerClock::new(now, earliest, received.unix_ns, received.local_ns);
            let origin = clock.origin_unix_ns();
            (format!("console-{origin:x}-{:x}", received.local_ns), clock)
        };
        Self {
            session,
            sent_ns: clock.now_ns(),
            clock,
            names: Names::default(),
            tasks: Tasks::new(keep_ended),
            resources: Resources::default(),
            dropped_events: 0,
            sequence: 0,
            complete: false,
            view: View::Off,
        }
    }

    /// What an agent would have answered. `host` is whether threads of the
    /// process can be read here, or why not; `view` whether all of it can.
    pub(super) fn hello(&mut self, host: Result<(), &str>, view: View) -> HelloResponse {
        self.view = view;
        HelloResponse {
            protocol: looptop_wire::PROTOCOL,
            session: self.session.clone(),
            started_unix_ns: self.clock.origin_unix_ns(),
            now_ns: self.clock.now_ns(),
            capabilities: capabilities(host, &self.view),
            ..HelloResponse::default()
        }
    }

    /// Translates an update: one frame, or several where it would be large.
    pub(crate) fn update(&mut self, update: Update, received: Received) -> Vec<Frame> {
        let now_ns = self.clock.advance(update.now.as_ref(), received.local_ns);
        self.names.register(update.new_metadata);
        let dropped = [
            update.task_update.as_ref().map(|u| u.dropped_events),
            update.resource_update.as_ref().map(|u| u.dropped_events),
            update.async_op_update.as_ref().map(|u| u.dropped_events),
        ];
        for count in dropped.into_iter().flatten() {
            self.dropped_events = self.dropped_events.saturating_add(count);
        }
        let (names, clock) = (&mut self.names, &self.clock);
        let changes = self.tasks.update(update.task_update, names, clock);
        let resources = self.resources.update(update.resource_update, names, clock);
        let async_ops = self
            .resources
            .update_ops(update.async_op_update, names, clock);

        let mut frames = Vec::new();
        if !changes.reused.is_empty() {
            frames.push(Frame {
                forgotten_tasks: changes.reused,
                more: true,
                ..Frame::default()
            });
        }
        frames.push(Frame {
            strings: self.names.interner().take_strings(),
            locations: self.names.interner().take_locations(),
            snapshot_complete: !std::mem::replace(&mut self.complete, true),
            tasks: changes.columns,
            forgotten_tasks: changes.forgotten,
            sites: changes.sites,
            loss: Some(self.loss()),
            resources,
            async_ops,
            ..Frame::default()
        });
        self.finish(frames, now_ns)
    }

    /// A sample of the host, on the server's clock as far as it can be guessed.
    pub(crate) fn host(&mut self, sample: Sample, received: Received) -> Vec<Frame> {
        let now_ns = self.clock.extrapolate(received.local_ns);
        let mut frame = sample.into_frame(|name| self.names.string(name));
        frame.strings = self.names.interner().take_strings();
        self.finish(vec![frame], now_ns)
    }

    /// The task that tokio counts with this number.
    pub(super) fn shown(&self, tokio_id: u64) -> Option<Shown> {
        self.tasks.shown(tokio_id)
    }

    /// What the server's clock shows, as far as that can be guessed.
    pub(super) fn clock_ns(&self, received: Received) -> u64 {
        self.clock.extrapolate(received.local_ns)
    }

    /// What is seen from outside.
    pub(super) fn outside(&mut self, joins: Joins, received: Received) -> Vec<Frame> {
        let now_ns = self.clock.extrapolate(received.local_ns);
        let changes = self.tasks.join(&joins.tasks, &joins.forgotten);
        let mut frames = Vec::new();
        if let Some(view) = joins.view.filter(|view| *view != self.view) {
            self.view = view;
            frames.push(Frame {
                tasks: Some(Columns {
                    capabilities: changing(&self.view),
                    ..Columns::default()
                }),
                ..Frame::default()
            });
        }
        frames.extend(joins.frames);
        if changes.columns.is_some() {
            frames.push(Frame {
                tasks: changes.columns,
                ..Frame::default()
            });
        }
        self.finish(frames, now_ns)
    }

    /// Numbers and dates the frames, so that neither goes back.
    fn finish(&mut self, frames: Vec<Frame>, now_ns: u64) -> Vec<Frame> {
        self.sent_ns = self.sent_ns.max(now_ns);
        let dated = frames.into_iter().map(|mut frame| {
            frame.now_ns = self.sent_ns;
            frame
        });
        let mut frames: Vec<Frame> = dated.flat_map(split).collect();
        for frame in &mut frames {
            self.sequence += 1;
            frame.sequence = self.sequence;
        }
        frames
    }

    fn loss(&self) -> Loss {
        Loss {
            tasks: self.tasks.lost() + self.resources.lost(),
            strings: self.names.refused(),
            history: self.tasks.forgotten(),
            console_events: self.dropped_events,
            ..Loss::default()
        }
    }

    /// What is needed to recognise this process on the next connection.
    pub(crate) fn identity(&self) -> Identity {
        let origin = self.clock.origin_unix_ns();
        let unix = |(id, at): (u64, u64)| (id, origin.saturating_add(at));
        let births = self.tasks.births().chain(self.resources.births());
        Identity {
            session: self.session.clone(),
            clock: self.clock.clone(),
            births: births.map(unix).collect(),
        }
    }
}

impl Identity {
    fn is_same_process(&self, first: &Update) -> bool {
        births(first).any(|(id, at)| {
            let known = self.births.get(&id);
            known.is_some_and(|known| i128::from(*known) == at)
        })
    }
}

/// Ids and births, in nanoseconds since the Unix epoch, of all that `update`
/// brings.
fn births(update: &Update) -> impl Iterator<Item = (u64, i128)> {
    let tasks = update.task_update.iter().flat_map(|u| &u.stats_update);
    let tasks = tasks.map(|(id, stats)| (*id, stats.created_at.as_ref()));
    let resources = update.resource_update.iter().flat_map(|u| &u.stats_update);
    let resources = resources.map(|(id, stats)| (*id, stats.created_at.as_ref()));
    let all = tasks.chain(resources);
    all.filter_map(|(id, at)| Some((id, unix_ns(at?)?)))
}

/// What the server does not report, and a view from outside may show; and what that does
/// not show either.
const UNREPORTED: [(CapabilityKind, &str); 9] = [
    (CapabilityKind::Workers, "worker threads"),
    (CapabilityKind::WorkerThreads, "worker threads"),
    (CapabilityKind::Stalls, "stalls, only polls that still run"),
    (CapabilityKind::Cause, "why a poll takes long"),
    (CapabilityKind::Stacks, "stacks"),
    (CapabilityKind::WorkerPolls, "what worker threads do"),
    (
        CapabilityKind::ScheduleLatency,
        "single waits, only their sum, and that since 0.1.9",
    ),
    (CapabilityKind::BlockingPool, "the blocking pool"),
    (CapabilityKind::Lag, "loop lag"),
];

fn capabilities(host: Result<(), &str>, view: &View) -> Vec<Capability> {
    use CapabilityKind as Kind;
    let supplied = [
        Kind::Tasks,
        Kind::TaskNames,
        Kind::Wakes,
        Kind::Wakers,
        Kind::Resources,
        Kind::Console,
    ];
    let available = supplied.map(|kind| capability(kind, None));
    let threads = capability(Kind::Threads, host.err().map(str::to_owned));
    let others = changing(view)
        .into_iter()
        .filter(|c| c.kind() != Kind::Threads);
    available
        .into_iter()
        .chain(others)
        .chain([threads])
        .collect()
}

/// What can be known, where that depends on whether the process is looked at.
fn changing(view: &View) -> Vec<Capability> {
    let unreported = UNREPORTED.map(|(kind, what)| capability(kind, unseen(kind, what, view)));
    let mut all = Vec::from(unreported);
    if let View::Is { no_names, .. } = view {
        all.push(capability(CapabilityKind::Threads, None));
        let no_names = no_names.clone();
        all.extend(no_names.map(|why| capability(CapabilityKind::Coverage, Some(why))));
    }
    all
}

/// Why it is not known; `None` where it is seen from outside.
fn unseen(kind: CapabilityKind, what: &str, view: &View) -> Option<String> {
    const AGENT: &str = "add looptop_agent::init() to the application";
    let not = format!("console-subscriber does not report {what}");
    let never = outside::why_never(kind);
    Some(match (view, never) {
        (View::Is { no_stalls, .. }, None) => {
            let why = no_stalls.as_ref()?;
            format!("{not}, and from outside it is not seen: {why}")
        }
        (View::Is { .. }, Some(why)) => {
            format!("{not}, and from outside it is not known: {why}; {AGENT}")
        }
        (View::Begins, None) => format!("{not}; the process is about to be looked at from outside"),
        (View::Not(why), None) => {
            format!("{not}, and its process is not looked at from outside: {why}; or {AGENT}")
        }
        (View::Off, _) | (View::Begins | View::Not(_), Some(_)) => format!("{not}; {AGENT}"),
    })
}

fn capability(kind: CapabilityKind, missing: Option<String>) -> Capability {
    Capability {
        kind: kind.into(),
        available: missing.is_none(),
        reason: missing.unwrap_or_default(),
    }
}
