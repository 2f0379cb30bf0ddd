//! What comes from outside, and what the connection does.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use looptop_wire::proto::{Frame, HelloResponse};

use super::Snapshot;
use crate::model::{Activity, Moment, Resolved, SourceKind, StackOf, TaskId};

/// What a source, or the symbolizer, reports. The run loop translates their own
/// events, so that nothing here depends on them.
#[derive(Debug)]
pub enum Event {
    /// An attempt to connect begins.
    Connecting {
        /// Attempts since the last session, from 1.
        attempt: u32,
    },
    /// A peer answered. The session id of before means the same process.
    Connected {
        /// Who answered.
        hello: Box<HelloResponse>,
        /// What kind of source it is.
        kind: SourceKind,
    },
    /// State or changes.
    Frame(Arc<Frame>),
    /// A recording has been opened.
    Opened {
        /// How long it is.
        length: Duration,
        /// Its stalls: when each began, and how long it took.
        marks: Vec<(Duration, Duration)>,
        /// What is missing of it.
        remark: Option<String>,
    },
    /// The player of a recording has moved.
    Position {
        /// Since the beginning.
        at: Duration,
        /// It plays, rather than being held.
        playing: bool,
        /// Recorded seconds in a second.
        speed: f64,
    },
    /// Part of a recording was left out, and why.
    Gap(String),
    /// What became of what was asked of the history, as a sentence.
    Notice(String),
    /// An earlier moment.
    Earlier(Box<Earlier>),
    /// The way forward has led to the present.
    Present {
        /// As in [`Earlier::epoch`].
        epoch: u64,
    },
    /// What the watched task did before a moment.
    Recalled {
        /// Up to that moment.
        activity: Activity,
        /// The one on a frozen screen, rather than that of the target.
        frozen: bool,
    },
    /// Recording began, or has ended.
    Recording {
        /// It began.
        begun: bool,
        /// To where, or what became of it.
        sentence: String,
    },
    /// Nothing has come for longer than expected.
    Silent {
        /// When something last came.
        since: Instant,
        /// Why, as a sentence.
        problem: String,
    },
    /// Another viewer paused the server; what is shown is old.
    Paused {
        /// When something last came.
        since: Instant,
        /// Who can have done it and what to do, as a sentence.
        problem: String,
    },
    /// The connection broke or could not be made.
    Lost {
        /// What was tried, what happened, what to do.
        problem: String,
        /// When the next attempt begins; `None` where none would help.
        retry_in: Option<Duration>,
    },
    /// Distributions of the task that [`Effect::WatchTask`] named.
    ///
    /// [`Effect::WatchTask`]: super::Effect::WatchTask
    TaskDetails(Box<Distributions>),
    /// How the lab does.
    Lab(super::lab::Update),
    /// A recording's end.
    Ended,
    /// A stack has names.
    Resolved {
        /// Whose stack it is.
        of: StackOf,
        /// The stack.
        stack: Arc<Resolved>,
    },
}

/// An earlier moment with its diagnosis.
#[derive(Debug)]
pub struct Earlier {
    /// The program as it was. Names of stacks are not in it.
    pub snapshot: Snapshot,
    /// The first moment that can be gone to.
    pub oldest: Moment,
    /// What the task did before that was watched when this was asked for.
    pub activity: Option<Activity>,
    /// [`State::epoch`] when this was asked for.
    ///
    /// [`State::epoch`]: super::State::epoch
    pub epoch: u64,
}

/// How long the polls of one task took, and its waits between wake and poll.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Distributions {
    /// The task.
    pub task: TaskId,
    /// Finished polls; `None` where the target does not report them.
    pub polls: Option<Distribution>,
    /// Finished waits; `None` where the target does not report them.
    pub scheduled: Option<Distribution>,
}

/// Durations in the buckets of [`looptop_wire::histogram`].
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Distribution {
    /// Bucket and count, in ascending order.
    pub counts: Vec<(usize, u64)>,
    /// Longer than the target's histogram reaches.
    pub outliers: u64,
    /// The longest of these.
    pub longest_outlier: Option<Duration>,
}

/// What the connection does.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Connection {
    /// An attempt is under way.
    Connecting {
        /// From 1.
        attempt: u32,
        /// The problem of the attempt before.
        problem: Option<String>,
    },
    /// Data comes.
    Live,
    /// It stands, but nothing comes.
    Silent {
        /// Since when.
        since: Instant,
        /// Why.
        problem: String,
    },
    /// It stands, but the server is paused.
    Paused {
        /// Since when.
        since: Instant,
        /// Why.
        problem: String,
    },
    /// It does not stand.
    Lost {
        /// Why.
        problem: String,
        /// The next attempt; `None` where none would help.
        retry_at: Option<Instant>,
    },
    /// The recording is at its end.
    Ended,
}

impl Connection {
    /// What it does once `event` has come; `None` where that says nothing of it.
    pub fn after(&self, event: &Event, now: Instant) -> Option<Self> {
        Some(match event {
            Event::Connecting { attempt } => {
                let problem = match self {
                    Self::Lost { problem, .. } => Some(problem.clone()),
                    Self::Connecting { problem, .. } => problem.clone(),
                    _ => None,
                };
                let attempt = *attempt;
                Self::Connecting { attempt, problem }
            }
            Event::Connected { .. } | Event::Frame(_) => Self::Live,
            Event::Silent { since, problem } => Self::Silent {
                since: *since,
                problem: problem.clone(),
            },
            Event::Paused { since, problem } => Self::Paused {
                since: *since,
                problem: problem.clone(),
            },
            Event::Lost { problem, retry_in } => Self::Lost {
                problem: problem.clone(),
                retry_at: retry_in.and_then(|wait| now.checked_add(wait)),
            },
            Event::Ended => Self::Ended,
            _ => return None,
        })
    }
}
