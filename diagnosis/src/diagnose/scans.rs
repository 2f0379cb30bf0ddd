//! When all tasks are passed over, and for what.
//!
//! A pass over 100,000 tasks takes milliseconds, and there are several: for some rules one
//! each, for what is remembered, for the verdict. Of many tasks no two are made at one look
//! where looks are close together, so that no key waits for more than one.

use std::{collections::BTreeMap, time::Duration};

use looptop_waits::FEW_TASKS;

use crate::model::{Model, Moment};

/// Often enough for rules that speak of a second and more.
pub(super) const SCAN_STEP: Duration = Duration::from_millis(900);
/// Looks further apart than this have all passes that are due.
const CLOSE: Duration = Duration::from_millis(300);
/// One that is so late is not put off again.
const LATE: Duration = Duration::from_millis(1_800);

/// What a pass is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Scan {
    /// What only shows over time.
    Memory,
    /// A rule.
    Rule(&'static str),
    /// The words of a verdict without findings.
    Quiet,
}

/// When each pass was made last.
#[derive(Debug, Clone, Default)]
pub(super) struct Scans {
    made: BTreeMap<Scan, Moment>,
    looked_at: Option<Moment>,
}

/// The passes of one look.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Due {
    All,
    These(Vec<Scan>),
}

impl Due {
    pub(super) fn has(&self, scan: Scan) -> bool {
        match self {
            Self::All => true,
            Self::These(these) => these.contains(&scan),
        }
    }

    pub(super) fn are_all(&self) -> bool {
        *self == Self::All
    }
}

impl Scans {
    /// Which are to be made at a look at `model`.
    pub(super) fn due(&mut self, model: &Model) -> Due {
        if model.tasks.len() <= FEW_TASKS || model.session.core_dump {
            return Due::All;
        }
        let rules = super::rules::ALL.iter().filter(|rule| rule.scans_tasks);
        let rules = rules.map(|rule| Scan::Rule(rule.id));
        let all = [Scan::Memory].into_iter().chain(rules).chain([Scan::Quiet]);
        Due::These(self.these(model.now, all))
    }

    fn these(&mut self, now: Moment, all: impl Iterator<Item = Scan>) -> Vec<Scan> {
        let before = self.looked_at.replace(now);
        let is_close = before.is_some_and(|before| now.since(before) < CLOSE);
        let age = |scan: &Scan| self.made.get(scan).map(|at| now.since(*at));
        let due = all.map(|scan| (age(&scan), scan));
        let mut due: Vec<_> = due
            .filter(|(age, _)| age.is_none_or(|age| age >= SCAN_STEP))
            .collect();
        // Those that were never made first, and then the oldest.
        due.sort_by_key(|(age, _)| std::cmp::Reverse(age.unwrap_or(Duration::MAX)));
        if before.is_none() || is_close {
            let is_late = |age: Option<Duration>| age.is_some_and(|age| age >= LATE);
            let late = due.iter().filter(|(age, _)| is_late(*age)).count();
            due.truncate(late.max(1));
        }
        let due: Vec<Scan> = due.into_iter().map(|(_, scan)| scan).collect();
        self.made.extend(due.iter().map(|scan| (*scan, now)));
        due
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALL: [Scan; 3] = [Scan::Memory, Scan::Rule("a-rule"), Scan::Quiet];

    fn passes(every_ms: u64, looks: u64) -> Vec<usize> {
        let mut scans = Scans::default();
        let look = |n| scans.these(Moment(n * every_ms * 1_000_000), ALL.into_iter());
        (0..looks).map(look).map(|made| made.len()).collect()
    }

    #[test]
    fn looks_that_are_close_together_have_one_pass_each() {
        let made = passes(100, 100);
        assert!(made.iter().all(|made| *made <= 1), "{made:?}");
        assert_eq!(made[..3], [1, 1, 1]);
        // Each of them once in nine looks.
        assert_eq!(made.iter().sum::<usize>(), 34);
    }

    #[test]
    fn looks_that_are_far_apart_have_all_of_them() {
        let made = passes(1_000, 10);
        assert_eq!(made[0], 1, "the first rows come first");
        assert_eq!(made[1..], [3; 9]);
    }

    #[test]
    fn none_is_put_off_for_long() {
        let mut scans = Scans::default();
        let rules = [
            "a", "b", "c", "d", "e", "f", "g", "h", "i", "j", "k", "l", "m", "n", "o", "p", "q",
            "r", "s", "t", "u", "v", "w", "x",
        ];
        let mut made: BTreeMap<Scan, Moment> = BTreeMap::new();
        for n in 0..100 {
            let now = Moment(n * 100_000_000);
            for scan in scans.these(now, rules.into_iter().map(Scan::Rule)) {
                if let Some(before) = made.insert(scan, now) {
                    assert!(now.since(before) <= LATE + Duration::from_millis(800));
                }
            }
        }
        assert_eq!(made.len(), rules.len());
    }
}
