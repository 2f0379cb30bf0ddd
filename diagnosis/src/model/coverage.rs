//! What the agent does not watch: threads that run tokio although no registered
//! runtime has them.

use std::time::Duration;

use looptop_wire::proto;

use super::{Model, Moment, Tid};

pub use looptop_wire::proto::StrangerKind;

/// The newest census of the process's threads.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Coverage {
    /// Threads that run tokio for a runtime that nobody registered.
    pub strangers: Vec<Stranger>,
    /// Threads whose stacks could not be read so far.
    pub unread: u32,
    /// Threads that were not looked at, over the agent's bound.
    pub skipped: u32,
}

/// A thread whose stack stands in tokio's scheduler or in a task's poll.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stranger {
    /// The thread.
    pub tid: Tid,
    /// What it does there.
    pub kind: StrangerKind,
    /// When it was first seen so.
    pub since: Moment,
    /// CPU that it has used since then.
    pub cpu: Option<Duration>,
    /// One long poll of it that computes is distinguished from many short ones.
    pub polls_distinguished: bool,
}

/// More strangers than this are not held, whatever a peer sends.
const MAX_STRANGERS: usize = 1_024;

impl Coverage {
    pub(super) fn new(update: &proto::Coverage) -> Self {
        let stranger = |s: &proto::Stranger| Stranger {
            tid: Tid(s.tid),
            kind: s.kind(),
            since: Moment(s.since_ns),
            cpu: s.cpu_ns.map(Duration::from_nanos),
            polls_distinguished: s.polls_distinguished,
        };
        Self {
            strangers: update
                .strangers
                .iter()
                .take(MAX_STRANGERS)
                .map(stranger)
                .collect(),
            unread: update.unread_threads,
            skipped: update.skipped_threads,
        }
    }

    pub(super) fn to_wire(&self) -> proto::Coverage {
        let stranger = |s: &Stranger| proto::Stranger {
            tid: s.tid.0,
            kind: s.kind.into(),
            since_ns: s.since.0,
            cpu_ns: s.cpu.map(super::ids::nanos),
            polls_distinguished: s.polls_distinguished,
        };
        proto::Coverage {
            strangers: self.strangers.iter().map(stranger).collect(),
            unread_threads: self.unread,
            skipped_threads: self.skipped,
        }
    }

    /// Those that drive a runtime which nobody registered. A thread in `block_on`
    /// of a multi-thread runtime drives none, and that runtime may be known.
    pub fn unregistered(&self) -> impl Iterator<Item = &Stranger> {
        let drives =
            |s: &&Stranger| matches!(s.kind, StrangerKind::Worker | StrangerKind::CurrentThread);
        self.strangers.iter().filter(drives)
    }
}

impl Model {
    /// Whether an agent in the process reports, and not another kind of source.
    pub fn has_agent(&self) -> bool {
        !self.session.agent_version.is_empty()
    }

    /// Tasks that tokio counts on the registered runtimes; `None` where none is
    /// known.
    pub fn counted_tasks(&self) -> Option<u64> {
        let mut alive = self.runtimes.iter().filter(|r| !r.gone).peekable();
        alive.peek()?;
        Some(super::total(alive.map(|r| r.live_tasks)))
    }
}
