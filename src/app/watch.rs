//! The one task that is looked at closely: what it did before now.

use crate::model::{Activity, Moment, TaskId};

use super::{Details, State};

/// Moments up to which a task's history is to be looked up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Recall {
    /// Of the target.
    pub live: Option<Moment>,
    /// Of a frozen screen.
    pub frozen: Option<Moment>,
}

impl State {
    /// The task whose details are open.
    pub fn watched(&self) -> Option<TaskId> {
        match self.details {
            Some(Details::Task(id)) => Some(id),
            _ => None,
        }
    }

    /// What the watched task did up to the moment on screen.
    pub fn activity(&self) -> Option<&Activity> {
        let shown = match &self.frozen {
            Some(frozen) => frozen.activity.as_ref(),
            None => self.activity.as_ref(),
        };
        shown.filter(|activity| Some(activity.task()) == self.watched())
    }

    /// Begins with what is known at this moment; whoever holds the history adds to
    /// it with [`Self::recalled`].
    pub(super) fn observe_anew(&mut self, task: Option<TaskId>) {
        let begin = |model| {
            let mut activity = Activity::new(task?);
            activity.observe(model);
            Some(activity)
        };
        self.activity = begin(&self.live.model);
        if let Some(frozen) = &mut self.frozen {
            frozen.activity = begin(&frozen.snapshot.model);
        }
    }

    /// The moments up to which the history of the watched task is still to be
    /// looked up: that of the target, and that of a frozen screen.
    pub fn to_recall(&self) -> Recall {
        let new = |activity: &Option<Activity>, now: Moment| {
            let reach = activity.as_ref().and_then(|a| a.reach(now));
            reach.is_none().then_some(now)
        };
        let frozen = self.frozen.as_ref();
        Recall {
            live: new(&self.activity, self.live.model.now),
            frozen: frozen.and_then(|f| new(&f.activity, f.snapshot.model.now)),
        }
    }

    /// Takes what the history holds of the watched task.
    pub(super) fn recalled(&mut self, mut earlier: Activity, frozen: bool) {
        let activity = match &mut self.frozen {
            Some(shown) if frozen => &mut shown.activity,
            None if frozen => return,
            _ => &mut self.activity,
        };
        // What was observed since it was asked for comes after it.
        if let Some(activity) = activity.as_mut().filter(|a| a.task() == earlier.task()) {
            earlier.go_on(activity);
            *activity = earlier;
        }
    }
}
