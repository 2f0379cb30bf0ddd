//! What reports the tasks of this process, and therefore what can be said of them.

use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

use looptop_wire::proto::CapabilityKind;

/// Some runtime was built with the agent's hooks (level 2).
static HOOKED: AtomicBool = AtomicBool::new(false);
/// tokio measures the delays of tasks on such a runtime.
static HOOKED_DELAYS: AtomicBool = AtomicBool::new(false);
/// The agent's layer was set to leave wakers alone.
static WAKERS_LEFT: AtomicBool = AtomicBool::new(false);

/// A runtime is being built with the agent's hooks.
pub(crate) fn hooked(delays: bool) {
    if cfg!(tokio_unstable) {
        HOOKED.store(true, Relaxed);
        HOOKED_DELAYS.fetch_or(delays, Relaxed);
    }
}

/// The application's layer sees no wakers.
#[cfg(feature = "tracing")]
pub(crate) fn leave_wakers() {
    WAKERS_LEFT.store(true, Relaxed);
}

/// Where tasks come from. With both levels active a task of an instrumented
/// runtime is the layer's, so that what the layer knows it knows of all tasks.
#[derive(Clone, Debug)]
pub(crate) struct Levels {
    /// Level 1, or why not.
    pub(crate) traced: Result<(), String>,
    /// The layer sees wakers.
    pub(crate) wakers: bool,
    /// Level 2.
    pub(crate) hooked: bool,
    /// Level 2 measures delays.
    pub(crate) delays: bool,
}

impl Levels {
    /// As they are now, given what is known of level 1.
    pub(crate) fn now(traced: Result<(), String>) -> Self {
        Self {
            traced,
            wakers: !WAKERS_LEFT.load(Relaxed),
            hooked: HOOKED.load(Relaxed),
            delays: HOOKED_DELAYS.load(Relaxed),
        }
    }

    /// Whether tasks have what `kind` stands for, or the sentence why not.
    pub(crate) fn know(&self, kind: CapabilityKind) -> Result<(), String> {
        const WITHOUT_WAKERS: &str =
            "the application's layer leaves wakers out (TaskLayer::without_wakers)";
        const NO_DELAYS: &str = "the hooks of level 2 report it only with looptop-agent's feature `schedule-latency` and Hooks::track_schedule_latency()";
        let traced = self.traced.as_ref().map_err(|reason| {
            if self.hooked {
                format!("the hooks of level 2 do not report it, and level 1 is missing: {reason}")
            } else if cfg!(tokio_unstable) {
                format!("{reason}; or build the runtime with looptop_agent::instrument()")
            } else {
                reason.clone()
            }
        });
        let wakes = || match (&traced, self.wakers) {
            (Ok(()), false) => Err(WITHOUT_WAKERS.to_owned()),
            (Err(reason), _) => Err(reason.clone()),
            (Ok(()), true) => Ok(()),
        };
        match kind {
            CapabilityKind::Tasks if self.hooked => Ok(()),
            CapabilityKind::ScheduleLatency if self.hooked && self.traced.is_err() => {
                self.delays.then_some(()).ok_or_else(|| NO_DELAYS.into())
            }
            CapabilityKind::Wakes | CapabilityKind::Wakers | CapabilityKind::ScheduleLatency => {
                wakes()
            }
            _ => traced.map(|&()| ()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_each_mix_of_levels_tells() {
        use CapabilityKind::{ScheduleLatency, TaskNames, Tasks, Wakers, Wakes};
        const KINDS: [CapabilityKind; 5] = [Tasks, TaskNames, Wakes, Wakers, ScheduleLatency];
        let no = || Err("no layer".to_owned());
        let level = |traced, wakers, hooked, delays| Levels {
            traced,
            wakers,
            hooked,
            delays,
        };
        // Which of the kinds there are, and what the reasons for others hold.
        let cases: [(&str, Levels, [bool; 5], &str); 7] = [
            (
                "level 0",
                level(no(), true, false, false),
                [false; 5],
                "no layer",
            ),
            ("level 1", level(Ok(()), true, false, false), [true; 5], ""),
            (
                "level 1 without wakers",
                level(Ok(()), false, false, false),
                [true, true, false, false, false],
                "without_wakers",
            ),
            (
                "level 2",
                level(no(), true, true, false),
                [true, false, false, false, false],
                "level 2",
            ),
            (
                "level 2 with delays",
                level(no(), true, true, true),
                [true, false, false, false, true],
                "no layer",
            ),
            ("both", level(Ok(()), true, true, false), [true; 5], ""),
            (
                "both, without wakers",
                level(Ok(()), false, true, true),
                [true, true, false, false, false],
                "without_wakers",
            ),
        ];
        for (name, levels, expected, reason) in cases {
            let known = KINDS.map(|kind| levels.know(kind));
            assert_eq!(known.each_ref().map(Result::is_ok), expected, "{name}");
            for why in known.into_iter().filter_map(Result::err) {
                assert!(why.contains(reason), "{name}: {why}");
            }
        }
    }
}
