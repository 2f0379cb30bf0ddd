//! The server's wall-clock timestamps as a monotonic clock.
//!
//! Every instant that console-subscriber sends is on one wall clock, the
//! server's, and so is the `now` of each update. Only differences between them
//! are used, hence it does not matter how far the viewer's own clock is off.

use prost_types::Timestamp;

const SECOND: i128 = 1_000_000_000;
/// A first task older than this is not believed.
const MAX_AGE: i128 = 366 * 86_400 * SECOND;
/// `now` may run ahead of the viewer's clock by this much between two updates
/// (a clock that was set, a machine that slept).
const MAX_JUMP_NS: u64 = 86_400_000_000_000;

/// Nanoseconds since the Unix epoch; `None` for what is no timestamp.
pub(super) fn unix_ns(timestamp: &Timestamp) -> Option<i128> {
    let valid = (0..1_000_000_000).contains(&timestamp.nanos);
    valid.then(|| i128::from(timestamp.seconds) * SECOND + i128::from(timestamp.nanos))
}

/// A duration in nanoseconds; 0 for what is none.
pub(super) fn duration_ns(duration: Option<&prost_types::Duration>) -> u64 {
    let ns = duration.map_or(0, |d| i128::from(d.seconds) * SECOND + i128::from(d.nanos));
    u64::try_from(ns.max(0)).unwrap_or(u64::MAX)
}

/// The server's clock, 0 at its origin.
#[derive(Debug, Clone)]
pub(super) struct ServerClock {
    /// Nanoseconds since the Unix epoch on the server's clock.
    origin: i128,
    now_ns: u64,
    /// When `now_ns` was received, on the viewer's monotonic clock.
    local_ns: u64,
}

impl ServerClock {
    /// A clock that begins at `earliest`, where that is believable, and shows
    /// `now`. Without a `now` it borrows `viewer_unix_ns`.
    pub(super) fn new(
        now: Option<&Timestamp>,
        earliest: Option<i128>,
        viewer_unix_ns: u64,
        local_ns: u64,
    ) -> Self {
        let in_range = |now: &i128| (0..=i128::from(u64::MAX)).contains(now);
        let now = now.and_then(unix_ns).filter(in_range);
        let now = now.unwrap_or(i128::from(viewer_unix_ns));
        let believable = |at: &i128| *at >= 0 && (now - MAX_AGE..=now).contains(at);
        let origin = earliest.filter(believable).unwrap_or(now);
        Self {
            origin,
            now_ns: u64::try_from(now - origin).unwrap_or(0),
            local_ns,
        }
    }

    /// A clock that began at `origin_unix_ns` and shows `now_ns`, both of somebody
    /// else in the same process.
    pub(super) fn at_origin(origin_unix_ns: u64, now_ns: u64) -> Self {
        Self {
            origin: i128::from(origin_unix_ns),
            now_ns,
            local_ns: 0,
        }
    }

    /// Takes the `now` of an update that came at `local_ns`; never goes back.
    pub(super) fn advance(&mut self, now: Option<&Timestamp>, local_ns: u64) -> u64 {
        let expected = self.extrapolate(local_ns);
        let believable =
            |now: &u64| (self.now_ns..=expected.saturating_add(MAX_JUMP_NS)).contains(now);
        let stamped = now
            .and_then(unix_ns)
            .and_then(|now| u64::try_from(now - self.origin).ok())
            .filter(believable);
        self.now_ns = stamped.unwrap_or(expected);
        self.local_ns = self.local_ns.max(local_ns);
        self.now_ns
    }

    /// What the server's clock shows at `local_ns`, by the viewer's reckoning.
    pub(super) fn extrapolate(&self, local_ns: u64) -> u64 {
        let elapsed = local_ns.saturating_sub(self.local_ns);
        self.now_ns.saturating_add(elapsed)
    }

    /// The instant of the last update.
    pub(super) fn now_ns(&self) -> u64 {
        self.now_ns
    }

    /// An instant on this clock: not before its origin, not after its now.
    pub(super) fn at(&self, timestamp: Option<&Timestamp>) -> Option<u64> {
        let ns = unix_ns(timestamp?)? - self.origin;
        Some(u64::try_from(ns.clamp(0, i128::from(self.now_ns))).unwrap_or(0))
    }

    /// The origin, in nanoseconds since the Unix epoch.
    pub(super) fn origin_unix_ns(&self) -> u64 {
        u64::try_from(self.origin).unwrap_or(0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn at(seconds: i64, nanos: i32) -> Timestamp {
        Timestamp { seconds, nanos }
    }

    #[test]
    fn the_viewers_clock_does_not_matter() {
        for viewer in [0, 1_000_000_000_000, u64::MAX] {
            let earliest = Some(90 * SECOND);
            let mut clock = ServerClock::new(Some(&at(100, 5)), earliest, viewer, 77);
            assert_eq!(clock.now_ns(), 10_000_000_005);
            assert_eq!(clock.at(Some(&at(95, 0))), Some(5_000_000_000));
            assert_eq!(clock.advance(Some(&at(101, 5)), 999), 11_000_000_005);
            assert_eq!(clock.origin_unix_ns(), 90_000_000_000);
        }
    }

    #[test]
    fn what_is_absurd_is_clamped_or_ignored() {
        let mut clock = ServerClock::new(Some(&at(100, 0)), Some(90 * SECOND), 0, 0);
        assert_eq!(clock.at(Some(&at(-5, 0))), Some(0));
        assert_eq!(clock.at(Some(&at(i64::MAX, 0))), Some(10_000_000_000));
        assert_eq!(clock.at(Some(&at(95, -1))), None);
        assert_eq!(clock.at(None), None);
        let second = 1_000_000_000;
        assert_eq!(clock.advance(Some(&at(50, 0)), second), 11 * second);
        assert_eq!(
            clock.advance(Some(&at(i64::MAX, 0)), 2 * second),
            12 * second
        );
        assert_eq!(clock.advance(None, 3 * second), 13 * second);
        assert_eq!(clock.advance(Some(&at(104, 0)), 4 * second), 14 * second);
    }

    #[test]
    fn an_old_first_task_is_not_believed() {
        for earliest in [
            None,
            Some(-1),
            Some(i128::from(i64::MIN) * SECOND),
            Some(101 * SECOND),
        ] {
            let clock = ServerClock::new(Some(&at(100, 0)), earliest, 0, 0);
            assert_eq!(clock.now_ns(), 0, "{earliest:?}");
        }
    }

    #[test]
    fn durations() {
        let ns = |seconds, nanos| duration_ns(Some(&prost_types::Duration { seconds, nanos }));
        assert_eq!(ns(1, 5), 1_000_000_005);
        assert_eq!(ns(-1, 0), 0);
        assert_eq!(ns(i64::MAX, 0), u64::MAX);
        assert_eq!(duration_ns(None), 0);
    }

    proptest! {
        #[test]
        fn the_clock_never_goes_back(
            first: (i64, i32), earliest: Option<i64>,
            updates: Vec<(Option<(i64, i32)>, u64)>, asked: (i64, i32),
        ) {
            let first = at(first.0, first.1);
            let earliest = earliest.map(|s| i128::from(s) * SECOND);
            let mut clock = ServerClock::new(Some(&first), earliest, 1, 0);
            for (now, local) in updates {
                let before = clock.now_ns();
                let now = now.map(|(s, n)| at(s, n));
                prop_assert!(clock.advance(now.as_ref(), local) >= before);
                let instant = clock.at(Some(&at(asked.0, asked.1)));
                prop_assert!(instant.is_none_or(|ns| ns <= clock.now_ns()));
            }
        }
    }
}
