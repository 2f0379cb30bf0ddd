//! Samples over time: 60 s in steps of 100 ms, and 30 min in steps of 1 s.

use std::{collections::VecDeque, time::Duration};

use looptop_wire::recorded;

use super::{Moment, ids::nanos};

/// Step of the fine ring.
pub const FINE_STEP: Duration = Duration::from_millis(100);
/// Step of the coarse ring.
pub const COARSE_STEP: Duration = Duration::from_secs(1);
/// Steps in the fine ring: 60 s.
const FINE_LEN: usize = 600;
/// Steps in the coarse ring: 30 min.
const COARSE_LEN: usize = 1_800;

/// How several samples of one step become one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Merge {
    /// The largest: what starves must not be averaged away.
    Max,
    /// The mean.
    Mean,
}

/// The part of time that a chart shows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Span {
    /// The last 10 s.
    TenSeconds,
    /// The last minute.
    #[default]
    Minute,
    /// The last 5 minutes.
    FiveMinutes,
    /// The last 30 minutes.
    HalfHour,
}

impl Span {
    /// From the shortest to the longest.
    pub const ALL: [Span; 4] = [
        Span::TenSeconds,
        Span::Minute,
        Span::FiveMinutes,
        Span::HalfHour,
    ];

    /// How long it is.
    pub fn duration(self) -> Duration {
        Duration::from_secs(match self {
            Span::TenSeconds => 10,
            Span::Minute => 60,
            Span::FiveMinutes => 300,
            Span::HalfHour => 1_800,
        })
    }
}

/// A quantity over time. A step without a sample is unknown.
#[derive(Debug, Clone)]
pub struct Series {
    merge: Merge,
    fine: Ring,
    coarse: Ring,
}

#[derive(Debug, Clone)]
struct Ring {
    step_ns: u64,
    len: usize,
    /// Step number of the newest cell.
    head: u64,
    cells: VecDeque<Cell>,
}

/// The merged samples of one step, and how many there were.
#[derive(Debug, Clone, Copy, Default)]
struct Cell {
    value: f32,
    count: u32,
}

impl Series {
    /// An empty series.
    pub fn new(merge: Merge) -> Self {
        Self {
            merge,
            fine: Ring::new(FINE_STEP, FINE_LEN),
            coarse: Ring::new(COARSE_STEP, COARSE_LEN),
        }
    }

    /// Adds a sample. One that is older than the ring is ignored.
    pub fn push(&mut self, at: Moment, value: f64) {
        let value = value as f32;
        self.fine.push(self.merge, at, value);
        self.coarse.push(self.merge, at, value);
    }

    /// `columns` values that end at `now` and cover `span`, oldest first;
    /// `None` where there was no sample.
    pub fn columns(&self, now: Moment, span: Span, columns: usize) -> Vec<Option<f64>> {
        let ring = if span.duration() <= FINE_STEP * FINE_LEN as u32 {
            &self.fine
        } else {
            &self.coarse
        };
        let span_ns = nanos(span.duration());
        let column_ns = (span_ns / columns.max(1) as u64).max(1);
        (0..columns as u64)
            .rev()
            .map(|back| {
                // What lies before the clock's start was not observed.
                let to = now.0.checked_sub(back * column_ns).filter(|to| *to > 0)?;
                ring.between(self.merge, to.saturating_sub(column_ns), to)
            })
            .collect()
    }

    /// The samples of the last `window`, one a fine step, oldest first, those
    /// that are known.
    pub fn last(&self, now: Moment, window: Duration) -> impl Iterator<Item = f64> + '_ {
        self.fine.since(now.minus(window).0)
    }

    /// The newest sample.
    pub fn latest(&self) -> Option<f64> {
        self.fine
            .cells
            .iter()
            .rev()
            .find(|c| c.count > 0)
            .map(|c| f64::from(c.value))
    }

    /// The fine and the coarse steps, for a recording.
    pub(super) fn rings(&self) -> [recorded::Ring; 2] {
        [self.fine.to_wire(), self.coarse.to_wire()]
    }

    /// Takes over recorded steps in place of its own.
    pub(super) fn restore(&mut self, fine: &recorded::Ring, coarse: &recorded::Ring) {
        self.fine.restore(fine);
        self.coarse.restore(coarse);
    }
}

impl Ring {
    fn to_wire(&self) -> recorded::Ring {
        recorded::Ring {
            head: self.head,
            count: self.cells.iter().map(|c| c.count).collect(),
            value: self
                .cells
                .iter()
                .filter(|c| c.count > 0)
                .map(|c| c.value)
                .collect(),
        }
    }

    fn restore(&mut self, recorded: &recorded::Ring) {
        let mut values = recorded.value.iter().copied();
        let cell = |count: &u32| Cell {
            count: *count,
            value: if *count > 0 {
                values.next().unwrap_or_default()
            } else {
                0.0
            },
        };
        self.head = recorded.head.min(u64::MAX / self.step_ns);
        self.cells = recorded.count.iter().map(cell).collect();
        let excess = self.cells.len().saturating_sub(self.len);
        self.cells.drain(..excess);
    }

    fn new(step: Duration, len: usize) -> Self {
        Self {
            step_ns: nanos(step),
            len,
            head: 0,
            cells: VecDeque::new(),
        }
    }

    fn push(&mut self, merge: Merge, at: Moment, value: f32) {
        let step = at.0 / self.step_ns;
        if self.cells.is_empty() {
            self.head = step;
            self.cells.push_back(Cell::default());
        }
        if step > self.head {
            let ahead = (step - self.head).min(self.len as u64);
            self.cells.extend((0..ahead).map(|_| Cell::default()));
            self.head = step;
            while self.cells.len() > self.len {
                self.cells.pop_front();
            }
        }
        // Samples may come late (a lag probe reports when it ran, for when it
        // was due), so the ring can grow at its old end until it is full.
        let back = self.head - step;
        if back >= self.len as u64 {
            return;
        }
        while self.cells.len() as u64 <= back {
            self.cells.push_front(Cell::default());
        }
        let index = self.cells.len() - 1 - back as usize;
        self.cells[index].add(merge, value);
    }

    /// Step number of the oldest cell.
    fn tail(&self) -> u64 {
        (self.head + 1).saturating_sub(self.cells.len() as u64)
    }

    fn between(&self, merge: Merge, from: u64, to: u64) -> Option<f64> {
        let first = from / self.step_ns;
        let last = (to - 1).max(from) / self.step_ns;
        let mut sum = Cell::default();
        for step in first.max(self.tail())..=last.min(self.head) {
            let cell = self.cells.get((step - self.tail()) as usize)?;
            if cell.count > 0 {
                sum.add(merge, cell.value);
            }
        }
        (sum.count > 0).then_some(f64::from(sum.value))
    }

    fn since(&self, from: u64) -> impl Iterator<Item = f64> + '_ {
        let skip = (from / self.step_ns).saturating_sub(self.tail()) as usize;
        self.cells
            .iter()
            .skip(skip)
            .filter(|c| c.count > 0)
            .map(|c| f64::from(c.value))
    }
}

impl Cell {
    fn add(&mut self, merge: Merge, value: f32) {
        self.value = match merge {
            _ if self.count == 0 => value,
            Merge::Max => self.value.max(value),
            Merge::Mean => {
                let n = self.count as f32;
                (self.value * n + value) / (n + 1.0)
            }
        };
        // A recording may say any count.
        self.count = self.count.saturating_add(1);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn at(ms: u64) -> Moment {
        Moment(ms * 1_000_000)
    }

    #[test]
    fn steps_without_samples_are_unknown() {
        let mut series = Series::new(Merge::Max);
        series.push(at(60_000), 1.0);
        series.push(at(60_050), 3.0);
        series.push(at(60_350), 2.0);
        let last_second = series.columns(at(60_400), Span::TenSeconds, 100);
        assert_eq!(last_second[95..], [None, Some(3.0), None, None, Some(2.0)]);
        assert_eq!(series.latest(), Some(2.0));
    }

    #[test]
    fn a_span_that_reaches_before_the_clocks_start_ends_at_now() {
        let mut series = Series::new(Merge::Max);
        series.push(at(500), 1.0);
        series.push(at(4_950), 2.0);
        let columns = series.columns(at(5_000), Span::TenSeconds, 10);
        assert_eq!(columns[..5], [None; 5]);
        assert_eq!((columns[5], columns[9]), (Some(1.0), Some(2.0)));
    }

    #[test]
    fn a_late_sample_finds_its_step() {
        let mut series = Series::new(Merge::Max);
        series.push(at(10_000), 1.0);
        series.push(at(9_000), 7.0);
        assert_eq!(
            series
                .last(at(10_000), Duration::from_secs(5))
                .collect::<Vec<_>>(),
            [7.0, 1.0]
        );
    }

    #[test]
    fn means_and_maxima_over_wide_columns() {
        for (merge, expected) in [(Merge::Max, 9.0), (Merge::Mean, 4.5)] {
            let mut series = Series::new(merge);
            for n in 0..10 {
                series.push(at(50_000 + n * 1_000), n as f64);
            }
            let columns = series.columns(at(60_000), Span::TenSeconds, 1);
            assert!((columns[0].unwrap() - expected).abs() < 0.01, "{merge:?}");
        }
    }

    #[test]
    fn rings_are_bounded_and_survive_leaps() {
        let mut series = Series::new(Merge::Max);
        for n in 0..100_000 {
            series.push(at(n * 100), 1.0);
        }
        series.push(Moment(u64::MAX), 5.0);
        series.push(at(0), 5.0);
        assert!(series.fine.cells.len() <= FINE_LEN && series.coarse.cells.len() <= COARSE_LEN);
        assert_eq!(series.latest(), Some(5.0));
    }
}
