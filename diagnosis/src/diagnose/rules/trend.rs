//! Whether a quantity grows steadily.

use std::time::Duration;

use crate::model::Moment;

/// Each third of the time has at least this share of the growth: twice or half as
/// much as its even share is steady, a leap or a levelling off is not.
const SHARE: f64 = 1.0 / 6.0;

/// By how much a quantity grew from `from` to `to`, if it did in each third of the
/// time. `values` are its changes, or samples of it, oldest first; what held
/// before the first of them is not known.
pub(super) fn growth<'a>(
    values: &(impl DoubleEndedIterator<Item = &'a (Moment, f64)> + Clone),
    from: Moment,
    to: Moment,
) -> Option<f64> {
    let length = to.since(from);
    let at = |third: u32| -> Option<f64> {
        let moment = from.plus(length * third / 3);
        let before = values.clone().rev().find(|(at, _)| *at <= moment);
        before.map(|(_, value)| *value)
    };
    let marks = [at(0)?, at(1)?, at(2)?, at(3)?];
    let growth = marks[3] - marks[0];
    let steady = marks
        .windows(2)
        .all(|pair| pair[1] - pair[0] >= growth * SHARE);
    (growth > 0.0 && steady).then_some(growth)
}

/// Moments are spread over the time from the first of them to `now`, a share of
/// them in each third, and that time is at least `length`.
pub(super) fn is_spread(moments: &[Moment], now: Moment, length: Duration) -> bool {
    let Some(first) = moments.iter().min() else {
        return false;
    };
    let time = now.since(*first);
    if time < length {
        return false;
    }
    let mut thirds = [0usize; 3];
    for moment in moments {
        let share = moment.since(*first).as_secs_f64() / time.as_secs_f64().max(1e-9);
        thirds[((share * 3.0) as usize).min(2)] += 1;
    }
    let least = moments.len() as f64 * SHARE;
    thirds.iter().all(|n| *n as f64 >= least)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(second: u64) -> Moment {
        Moment(second * 1_000_000_000)
    }

    #[test]
    fn steady_growth_is_told_from_leaps_and_limits() {
        let grown = |value: fn(u64) -> f64, step: usize| {
            let values: Vec<_> = (0..=60).step_by(step).map(|s| (at(s), value(s))).collect();
            growth(&values.iter(), at(0), at(60))
        };
        for (what, value, step, expected) in [
            ("linear", (|s| s as f64) as fn(u64) -> f64, 1, Some(60.0)),
            ("every tenth second", |s| s as f64, 10, Some(60.0)),
            ("with teeth", |s| (s + s % 3) as f64, 1, Some(60.0)),
            ("a leap", |s| if s < 30 { 0.0 } else { 60.0 }, 1, None),
            ("levels off", |s| s.min(20) as f64, 1, None),
            ("constant", |_| 7.0, 1, None),
            ("falls", |s| 100.0 - s as f64, 1, None),
        ] {
            assert_eq!(grown(value, step), expected, "{what}");
        }
        let late: Vec<_> = (30..=60).map(|s| (at(s), s as f64)).collect();
        assert_eq!(growth(&late.iter(), at(0), at(60)), None, "not seen before");
    }

    #[test]
    fn a_start_up_is_not_spread_over_the_time_since() {
        let moments = |seconds: &mut dyn Iterator<Item = u64>| seconds.map(at).collect::<Vec<_>>();
        let minute = Duration::from_mins(1);
        for (what, moments, expected) in [
            ("one a second", moments(&mut (0..90)), true),
            (
                "bursts",
                moments(&mut (0..9).flat_map(|n| [n * 10; 5])),
                true,
            ),
            ("a start-up", moments(&mut (0..30)), false),
            ("none", vec![], false),
        ] {
            assert_eq!(is_spread(&moments, at(90), minute), expected, "{what}");
        }
        assert!(
            !is_spread(&moments(&mut (0..30)), at(31), minute),
            "too short"
        );
    }
}
