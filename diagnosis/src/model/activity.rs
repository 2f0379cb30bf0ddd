//! What one task did over the last minute. Kept for the task whose details are
//! open and for no other: its counters at each moment, some 600 of them.

use std::{collections::VecDeque, time::Duration};

use super::{FINE_STEP, Model, Moment, TaskId, ids::nanos};

/// How far back it reaches.
pub const ACTIVITY_WINDOW: Duration = Duration::from_mins(1);

/// The counters of one task over the last [`ACTIVITY_WINDOW`].
#[derive(Debug, Clone)]
pub struct Activity {
    task: TaskId,
    /// Oldest first, the newest at the last moment observed, others at least
    /// [`FINE_STEP`] apart. The first may lie before the window.
    samples: VecDeque<Sample>,
}

/// Absolute counters at a moment, what is in progress included.
#[derive(Debug, Clone, Copy)]
struct Sample {
    at: Moment,
    busy: Option<Duration>,
    scheduled: Option<Duration>,
}

/// What a task did in a part of time, as shares of that part, 0 to 1.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Share {
    /// In polls.
    pub busy: Option<f64>,
    /// Woken, but not polled.
    pub scheduled: Option<f64>,
}

impl Share {
    /// Waiting to be woken; `None` where either of the others is unknown.
    pub fn idle(&self) -> Option<f64> {
        Some((1.0 - self.busy? - self.scheduled?).max(0.0))
    }
}

impl Activity {
    /// Of a task that has not been observed yet.
    pub fn new(task: TaskId) -> Self {
        Self {
            task,
            samples: VecDeque::new(),
        }
    }

    /// The task.
    pub fn task(&self) -> TaskId {
        self.task
    }

    /// Takes the counters of the moment that `model` shows. One that is not
    /// newer than the last is ignored, and so is a task that is not held.
    pub fn observe(&mut self, model: &Model) {
        let Some(task) = model.tasks.get(self.task) else {
            return;
        };
        let at = model.now;
        self.push(Sample {
            at,
            busy: task.busy(at),
            scheduled: task.scheduled(at),
        });
    }

    /// Adds what `later` observed of the same task after this.
    pub fn go_on(&mut self, later: &Self) {
        for sample in &later.samples {
            self.push(*sample);
        }
    }

    fn push(&mut self, sample: Sample) {
        let at = sample.at;
        if self.samples.back().is_some_and(|last| at <= last.at) {
            return;
        }
        // The newest gives way until it is a whole step after the one before.
        let mut newest_first = self.samples.iter().rev();
        if let (Some(last), Some(before)) = (newest_first.next(), newest_first.next())
            && last.at.since(before.at) < FINE_STEP
        {
            self.samples.pop_back();
        }
        self.samples.push_back(sample);
        let begin = at.minus(ACTIVITY_WINDOW);
        while self.samples.get(1).is_some_and(|second| second.at <= begin) {
            self.samples.pop_front();
        }
    }

    /// How long before `now` observation began; `None` before two moments were
    /// observed.
    pub fn reach(&self, now: Moment) -> Option<Duration> {
        let first = self.samples.front().filter(|_| self.samples.len() > 1)?;
        Some(now.since(first.at))
    }

    /// `columns` shares that end at `now` and cover `window`, oldest first;
    /// `None` where nothing was observed, or the task had ended by `end`.
    ///
    /// A target that reports more rarely than there are columns is spread evenly
    /// over the time between its reports.
    pub fn columns(
        &self,
        now: Moment,
        window: Duration,
        columns: usize,
        end: Option<Moment>,
    ) -> Vec<Option<Share>> {
        let column_ns = (nanos(window) / columns.max(1) as u64).max(1);
        let end = end.map_or(now, |end| end.min(now));
        (0..columns as u64)
            .rev()
            .map(|back| {
                let to = now.0.checked_sub(back * column_ns)?;
                self.between(Moment(to.saturating_sub(column_ns)), Moment(to).min(end))
            })
            .collect()
    }

    /// The shares of the part of a time that was observed.
    fn between(&self, from: Moment, to: Moment) -> Option<Share> {
        let from = from.max(self.samples.front()?.at);
        let to = to.min(self.samples.back()?.at);
        if from >= to {
            return None;
        }
        let length = to.since(from).as_secs_f64();
        let share = |counter: fn(&Sample) -> Option<Duration>| {
            let spent = self.at(to, counter)? - self.at(from, counter)?;
            Some((spent / length).clamp(0.0, 1.0))
        };
        Some(Share {
            busy: share(|sample| sample.busy),
            scheduled: share(|sample| sample.scheduled),
        })
    }

    /// A counter in seconds at a moment between two samples.
    fn at(&self, at: Moment, counter: fn(&Sample) -> Option<Duration>) -> Option<f64> {
        let later = self.samples.partition_point(|sample| sample.at < at);
        let later = self.samples.get(later)?;
        let value = counter(later)?.as_secs_f64();
        if later.at == at {
            return Some(value);
        }
        let earlier = self.samples.partition_point(|sample| sample.at < at);
        let earlier = self.samples.get(earlier.checked_sub(1)?)?;
        let before = counter(earlier)?.as_secs_f64();
        let part = at.since(earlier.at).as_secs_f64() / later.at.since(earlier.at).as_secs_f64();
        Some(before + (value - before) * part)
    }
}

#[cfg(test)]
mod tests {
    use looptop_wire::proto::{Frame, Tasks};

    use super::*;

    const TASK: TaskId = TaskId(7);

    /// Observes frames of (ms, busy ms, scheduled ms).
    fn observed(samples: impl IntoIterator<Item = (u64, u64, Option<u64>)>) -> Activity {
        let mut model = Model::default();
        let mut activity = Activity::new(TASK);
        for (at, busy, scheduled) in samples {
            let frame = Frame {
                now_ns: at * 1_000_000,
                tasks: Some(Tasks {
                    id: vec![TASK.0],
                    busy_ns: vec![busy * 1_000_000],
                    scheduled_ns: scheduled.map(|ms| ms * 1_000_000).into_iter().collect(),
                    ..Tasks::default()
                }),
                ..Frame::default()
            };
            model.apply(&frame).unwrap();
            activity.observe(&model);
        }
        activity
    }

    const fn at(ms: u64) -> Moment {
        Moment(ms * 1_000_000)
    }

    fn busy(activity: &Activity, now: Moment, seconds: u64, columns: usize) -> Vec<Option<u32>> {
        let window = Duration::from_secs(seconds);
        let shares = activity.columns(now, window, columns, None);
        let percent = |share: Option<Share>| Some((share?.busy? * 100.0).round() as u32);
        shares.into_iter().map(percent).collect()
    }

    #[test]
    fn shares_are_those_of_each_column() {
        let activity = observed([
            (10_000, 0, Some(0)),
            (11_000, 1_000, Some(0)),
            (12_000, 1_000, Some(250)),
            (13_000, 1_500, Some(750)),
        ]);
        let columns = activity.columns(at(13_000), Duration::from_secs(4), 4, None);
        let share = |busy, scheduled| {
            Some(Share {
                busy: Some(busy),
                scheduled: Some(scheduled),
            })
        };
        assert_eq!(
            columns,
            [None, share(1.0, 0.0), share(0.0, 0.25), share(0.5, 0.5)]
        );
        assert_eq!(columns[2].unwrap().idle(), Some(0.75));
        assert_eq!(activity.reach(at(13_000)), Some(Duration::from_secs(3)));
    }

    #[test]
    fn rare_reports_are_spread_and_what_was_not_observed_stays_unknown() {
        let activity = observed([(20_000, 0, None), (22_000, 1_000, None)]);
        assert_eq!(
            busy(&activity, at(23_000), 4, 8),
            [
                None,
                None,
                Some(50),
                Some(50),
                Some(50),
                Some(50),
                None,
                None
            ]
        );
        let share = activity.columns(at(22_000), Duration::from_secs(1), 1, None)[0].unwrap();
        assert_eq!((share.scheduled, share.idle()), (None, None));
        let ended = activity.columns(at(22_000), Duration::from_secs(2), 2, Some(at(21_000)));
        assert!(ended[0].is_some() && ended[1].is_none());
    }

    #[test]
    fn a_moment_alone_tells_nothing() {
        let activity = observed([(5_000, 4_000, Some(1))]);
        assert_eq!(busy(&activity, at(5_000), 1, 2), [None, None]);
        assert_eq!(activity.reach(at(5_000)), None);
        assert_eq!(busy(&Activity::new(TASK), at(5_000), 1, 1), [None]);
    }

    #[test]
    fn it_is_bounded_however_often_and_long_a_target_reports() {
        let every_5_ms = (0..30_000).map(|n| (n * 5, n, Some(0)));
        let activity = observed(every_5_ms);
        assert!(activity.samples.len() <= 603, "{}", activity.samples.len());
        let reach = activity.reach(activity.samples.back().unwrap().at).unwrap();
        assert!(reach >= ACTIVITY_WINDOW && reach < ACTIVITY_WINDOW + FINE_STEP);
        let shares = busy(&activity, at(149_995), 60, 60);
        assert!(shares.iter().all(|share| *share == Some(20)), "{shares:?}");
    }
}
