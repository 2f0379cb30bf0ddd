//! Threads that hold a lock for which others wait, and suspended tasks that do.

use std::sync::Arc;

use looptop_wire::proto::{self, StackSample};

use super::{Culprit, LocationId, Resolved, TaskId, TextId, Tid, stall::bounded};

/// A thread that holds a lock, or a task that is suspended while it does.
#[derive(Debug, Clone, PartialEq)]
pub struct Holder {
    /// The thread; 0 where it is a task that is suspended.
    pub tid: Tid,
    /// Its name.
    pub thread: Option<TextId>,
    /// The lock itself says so; otherwise it is probable, since the thread's
    /// stack points at the lock.
    pub certain: bool,
    /// The task in poll there, or that is suspended.
    pub task: Option<TaskId>,
    /// Where it was spawned.
    pub location: Option<LocationId>,
    /// Its name.
    pub task_name: Option<TextId>,
    /// The system call that it is in; `None`: in none, or unknown.
    pub doing: Option<TextId>,
    /// What the call works on.
    pub object: Option<TextId>,
    /// Its stack, as addresses; without frames where it could not be read.
    pub stack: StackSample,
    /// Its stack with names, once they were looked up.
    pub resolved: Option<Arc<Resolved>>,
}

impl Holder {
    /// The task that holds it while it is suspended.
    pub fn suspended(&self) -> Option<TaskId> {
        self.task.filter(|_| self.tid == Tid(0))
    }

    /// The user's code that holds the lock, and what it calls.
    pub fn culprit(&self) -> Option<&Culprit> {
        self.resolved.as_ref()?.culprit.as_ref()
    }

    /// `earlier` is what was known of the same stall's holder.
    pub(super) fn new(holder: &proto::LockHolder, earlier: Option<&Self>) -> Self {
        let text = |id: u32| (id != 0).then_some(TextId(id));
        let stack = holder.stack.as_ref().map(bounded).unwrap_or_default();
        let same = earlier.filter(|e| e.stack.frames == stack.frames);
        Self {
            tid: Tid(holder.tid),
            thread: text(holder.name),
            certain: holder.certain,
            task: holder.task.map(TaskId),
            location: (holder.location != 0).then_some(LocationId(holder.location)),
            task_name: text(holder.task_name),
            doing: text(holder.doing),
            object: text(holder.object),
            resolved: same.and_then(|e| e.resolved.clone()),
            stack,
        }
    }

    pub(super) fn to_wire(&self) -> proto::LockHolder {
        let text = |id: Option<TextId>| id.map_or(0, |id| id.0);
        proto::LockHolder {
            tid: self.tid.0,
            name: text(self.thread),
            stack: Some(self.stack.clone()),
            certain: self.certain,
            task: self.task.map(|id| id.0),
            location: self.location.map_or(0, |id| id.0),
            task_name: text(self.task_name),
            doing: text(self.doing),
            object: text(self.object),
        }
    }
}
