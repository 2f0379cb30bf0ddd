//! Totals of all tasks spawned at one location.

use std::time::Duration;

use looptop_wire::{histogram, proto::SpawnSite, recorded::SiteWindows};

use super::{LocationId, Moment, Task, TaskKind, TextId, ids::nanos};

/// A spawn location, or what stands for it, and the kind of its tasks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SiteKey {
    /// Where the tasks are spawned; `None` where the target does not say.
    pub location: Option<LocationId>,
    /// The type of their future, where that stands for the location.
    pub future: Option<TextId>,
    /// What they are.
    pub kind: TaskKind,
}

impl SiteKey {
    /// Of ids on the wire, of which 0 is none.
    pub(super) fn new(location: u32, future: u32, kind: TaskKind) -> Self {
        Self {
            location: (location != 0).then_some(LocationId(location)),
            future: (future != 0).then_some(TextId(future)),
            kind,
        }
    }

    /// The site of a task.
    pub fn of(task: &Task) -> Self {
        Self {
            location: task.location,
            future: task.future.filter(|_| task.location.is_none()),
            kind: task.kind,
        }
    }
}

/// What is known of a site.
#[derive(Debug, Clone, Default)]
pub struct Site {
    /// Tasks spawned here.
    pub spawned: u64,
    /// Those that ended.
    pub ended: u64,
    /// Polls of all of them.
    pub polls: u64,
    /// Time in finished polls.
    pub busy: Duration,
    /// The longest finished poll.
    pub longest_poll: Duration,
    /// Those that ended and whose result nobody has taken.
    pub unreaped: Option<u64>,
    /// Memory in bytes that these hold.
    pub unreaped_bytes: Option<u64>,
    /// When the first was spawned here.
    pub first_spawn: Option<Moment>,
    poll: Vec<(usize, u64)>,
    scheduled: Vec<(usize, u64)>,
    /// Totals at the start of the current and the previous window of a second.
    earlier: [Option<(Moment, Totals)>; 2],
}

/// What is compared to compute a rate.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Totals {
    spawned: u64,
    ended: u64,
    polls: u64,
    busy: Duration,
}

/// Rates of a site over the last one to two seconds.
#[derive(Debug, Clone, Copy, Default)]
pub struct SiteRates {
    /// Spawns per second.
    pub spawns: f64,
    /// Tasks that end per second.
    pub ends: f64,
    /// Polls per second.
    pub polls: f64,
    /// Busy seconds per second: 1 is a whole worker.
    pub busy: f64,
}

const WINDOW: Duration = Duration::from_secs(1);

impl Site {
    /// Tasks that are alive.
    pub fn live(&self) -> u64 {
        self.spawned.saturating_sub(self.ended)
    }

    /// The poll duration below which the share `quantile` (0 to 1) of all polls
    /// lie, exact to 25 %; `None` where the target keeps no histogram.
    pub fn poll_quantile(&self, quantile: f64) -> Option<Duration> {
        histogram::quantile(self.poll.iter().copied(), quantile).map(Duration::from_nanos)
    }

    /// The delay between wake and poll, likewise.
    pub fn scheduled_quantile(&self, quantile: f64) -> Option<Duration> {
        histogram::quantile(self.scheduled.iter().copied(), quantile).map(Duration::from_nanos)
    }

    /// Poll durations as pairs of histogram bucket and count.
    pub fn poll_histogram(&self) -> &[(usize, u64)] {
        &self.poll
    }

    /// Delays between wake and poll as pairs of histogram bucket and count.
    pub fn scheduled_histogram(&self) -> &[(usize, u64)] {
        &self.scheduled
    }

    /// Rates over the last one to two seconds; `None` before a second passed.
    pub fn rates(&self, now: Moment) -> Option<SiteRates> {
        let (at, earlier) = self.earlier.iter().flatten().next()?;
        let seconds = now.since(*at).as_secs_f64();
        if seconds < WINDOW.as_secs_f64() * 0.9 {
            return None;
        }
        let per = |now: u64, then: u64| now.saturating_sub(then) as f64 / seconds;
        Some(SiteRates {
            spawns: per(self.spawned, earlier.spawned),
            ends: per(self.ended, earlier.ended),
            polls: per(self.polls, earlier.polls),
            busy: self.busy.saturating_sub(earlier.busy).as_secs_f64() / seconds,
        })
    }

    fn totals(&self) -> Totals {
        Totals {
            spawned: self.spawned,
            ended: self.ended,
            polls: self.polls,
            busy: self.busy,
        }
    }

    /// Adds its windows to those of a recording.
    pub(super) fn push_windows(&self, key: SiteKey, now: Moment, windows: &mut SiteWindows) {
        let both = self.earlier.iter().zip([false, true]);
        for ((at, then), newer) in both.filter_map(|(then, newer)| Some((then.as_ref()?, newer))) {
            windows.location.push(key.location.map_or(0, |id| id.0));
            windows.future.push(key.future.map_or(0, |id| id.0));
            windows.kind.push(key.kind.into());
            windows.newer.push(newer);
            windows.age_ns.push(now.0.wrapping_sub(at.0));
            windows
                .spawned
                .push(self.spawned.wrapping_sub(then.spawned));
            windows.ended.push(self.ended.wrapping_sub(then.ended));
            windows.polls.push(self.polls.wrapping_sub(then.polls));
            windows
                .busy_ns
                .push(nanos(self.busy).wrapping_sub(nanos(then.busy)));
        }
    }

    /// Takes over entry `i` of the windows of a recording.
    pub(super) fn restore_window(&mut self, windows: &SiteWindows, i: usize, now: Moment) {
        let before =
            |now: u64, column: &[u64]| now.wrapping_sub(column.get(i).copied().unwrap_or_default());
        let totals = Totals {
            spawned: before(self.spawned, &windows.spawned),
            ended: before(self.ended, &windows.ended),
            polls: before(self.polls, &windows.polls),
            busy: Duration::from_nanos(before(nanos(self.busy), &windows.busy_ns)),
        };
        let newer = windows.newer.get(i).copied().unwrap_or_default();
        let at = Moment(before(now.0, &windows.age_ns));
        self.earlier[usize::from(newer)] = Some((at, totals));
    }

    /// Moves the window on; to be called for every site at every frame.
    pub(super) fn tick(&mut self, now: Moment) {
        match self.earlier[1] {
            Some((at, _)) if now.since(at) < WINDOW => {}
            _ => self.earlier = [self.earlier[1], Some((now, self.totals()))],
        }
    }

    pub(super) fn update(&mut self, site: &SpawnSite) {
        self.spawned = site.spawned;
        self.ended = site.ended;
        self.polls = site.polls;
        self.busy = Duration::from_nanos(site.busy_ns);
        self.longest_poll = Duration::from_nanos(site.longest_poll_ns);
        self.unreaped = site.unreaped;
        self.unreaped_bytes = site.unreaped_bytes;
        self.first_spawn = site.first_spawn_at_ns.map(Moment);
        self.poll = pairs(&site.poll_bucket, &site.poll_count);
        self.scheduled = pairs(&site.scheduled_bucket, &site.scheduled_count);
    }
}

/// Buckets and counts as a peer sent them, in ascending order and in bounds.
fn pairs(buckets: &[u32], counts: &[u64]) -> Vec<(usize, u64)> {
    let mut pairs: Vec<_> = buckets
        .iter()
        .map(|b| *b as usize)
        .zip(counts.iter().copied())
        .filter(|(bucket, _)| *bucket < histogram::BUCKETS)
        .collect();
    pairs.sort_unstable_by_key(|(bucket, _)| *bucket);
    pairs.dedup_by_key(|(bucket, _)| *bucket);
    pairs.shrink_to_fit();
    pairs
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rates_come_from_a_window_of_one_to_two_seconds() {
        let mut site = Site::default();
        for ms in (0..5_000).step_by(100) {
            site.update(&SpawnSite {
                spawned: ms * 2,
                ..SpawnSite::default()
            });
            site.tick(Moment(ms * 1_000_000));
        }
        let rates = site.rates(Moment(4_900_000_000)).unwrap();
        assert!((rates.spawns - 2_000.0).abs() < 1.0, "{rates:?}");
    }

    #[test]
    fn a_hostile_histogram_is_put_in_order() {
        assert_eq!(pairs(&[9, 2, u32::MAX], &[1, 2, 3]), [(2, 2), (9, 1)]);
        assert_eq!(pairs(&[1, 2], &[5]), [(1, 5)]);
    }
}
