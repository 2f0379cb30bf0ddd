//! The one task that is looked at closely: what it did before now.

use crate::model::{Activity, Moment, TaskId};

use super::{Details, State};

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

    /// Begins with what is known at this moment; whoever keeps the past adds to
    /// it with [`Self::recall`].
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

    /// The moments up to which the past of the watched task is still to be
    /// recalled: that of the target, and that on screen where it is another.
    pub fn to_recall(&self) -> Vec<Moment> {
        let frozen = self.frozen.as_ref();
        let shown = frozen.map(|f| (f.snapshot.model.now, &f.activity));
        let live = (self.live.model.now, &self.activity);
        let is_new = |(now, activity): &(Moment, &Option<Activity>)| {
            let reach = activity.as_ref().and_then(|a| a.reach(*now));
            reach.is_none()
        };
        let moments = [Some(live), shown].into_iter().flatten();
        moments.filter(is_new).map(|(now, _)| now).collect()
    }

    /// Takes what the past tells of the watched task up to a moment.
    pub fn recall(&mut self, until: Moment, past: Activity) {
        if until == self.live.model.now {
            self.activity = Some(past.clone());
        }
        if let Some(frozen) = &mut self.frozen
            && frozen.snapshot.model.now == until
        {
            frozen.activity = Some(past);
        }
    }
}
