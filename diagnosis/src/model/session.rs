//! Who is observed, and what can be known of it.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use looptop_wire::proto::{self, HelloResponse};

use super::{Capability, Moment};

/// Whether one kind of insight is to be had.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Insight {
    /// The agent supplies it.
    Available,
    /// It does not, for the reason given as a sentence for the screen.
    Missing(String),
}

impl Insight {
    fn of(capability: &proto::Capability) -> Self {
        if capability.available {
            Self::Available
        } else {
            Self::Missing(capability.reason.clone())
        }
    }
}

/// What the target said of itself when the source attached.
#[derive(Debug, Clone, Default)]
pub struct Session {
    /// Differs between two starts of one program.
    pub id: String,
    /// The application's name.
    pub name: String,
    /// Process id, where known.
    pub pid: Option<u32>,
    /// Path of the binary; empty where unknown.
    pub exe: String,
    /// GNU build id of the binary; empty where unknown.
    pub build_id: Vec<u8>,
    /// The machine's name; empty where unknown.
    pub hostname: String,
    /// CPUs that the process may use, where known.
    pub cpus: Option<u32>,
    /// Version of the agent; empty for a target without one.
    pub agent_version: String,
    /// Version of tokio; empty where unknown.
    pub tokio_version: String,
    /// A poll over this is a stall.
    pub stall_threshold: Duration,
    /// How often the agent's watchdog looks.
    pub watchdog_interval: Duration,
    /// Wall clock at the clock's start, nanoseconds since the Unix epoch.
    pub started_unix_ns: u64,
    /// Wall clock at the process's start, where known.
    pub process_started_unix_ns: Option<u64>,
    /// The application's time is scaled for a demonstration; 1 in earnest.
    pub time_scale: f64,
    /// It is of one moment, in which a core dump was written: no time passes.
    pub core_dump: bool,
    insights: BTreeMap<i32, Insight>,
    /// Those that have changed since the hello.
    learned: BTreeSet<i32>,
}

/// A longer reason is no sentence.
const MAX_REASON: usize = 1 << 10;
/// The threshold for a target that names none.
const DEFAULT_STALL_THRESHOLD: Duration = Duration::from_millis(10);
/// What a minute of a slow rule is at least in a demonstration: a second.
const MAX_SCALE: f64 = 60.0;

impl Session {
    pub(super) fn new(hello: &HelloResponse) -> Self {
        let threshold = match hello.stall_threshold_ns {
            0 => DEFAULT_STALL_THRESHOLD,
            ns => Duration::from_nanos(ns),
        };
        Self {
            id: hello.session.clone(),
            name: hello.name.clone(),
            pid: (hello.pid != 0).then_some(hello.pid),
            exe: hello.exe.clone(),
            build_id: hello.build_id.clone(),
            hostname: hello.hostname.clone(),
            cpus: (hello.cpus != 0).then_some(hello.cpus),
            agent_version: hello.agent_version.clone(),
            tokio_version: hello.tokio_version.clone(),
            stall_threshold: threshold,
            watchdog_interval: Duration::from_nanos(hello.watchdog_interval_ns),
            started_unix_ns: hello.started_unix_ns,
            process_started_unix_ns: hello.process_started_unix_ns,
            time_scale: if hello.time_scale >= 1.0 {
                hello.time_scale.min(MAX_SCALE)
            } else {
                1.0
            },
            core_dump: hello.core_dump,
            insights: hello
                .capabilities
                .iter()
                .map(|c| (c.kind, Insight::of(c)))
                .collect(),
            learned: BTreeSet::new(),
        }
    }

    /// The program's file, where another one or none is in its place since it was started.
    pub fn replaced(&self) -> Option<&str> {
        // The kernel's mark.
        self.exe.strip_suffix(" (deleted)")
    }

    /// What can be known has changed: the application has set a subscriber, say.
    pub(super) fn learn(&mut self, capability: &proto::Capability) {
        if Capability::try_from(capability.kind).is_ok() && capability.reason.len() <= MAX_REASON {
            let insight = Insight::of(capability);
            if self.insights.get(&capability.kind) != Some(&insight) {
                self.insights.insert(capability.kind, insight);
                self.learned.insert(capability.kind);
            }
        }
    }

    /// What has changed since the hello, as the target reported it.
    pub(super) fn learned(&self) -> impl Iterator<Item = proto::Capability> {
        self.learned.iter().filter_map(|kind| {
            let (available, reason) = match self.insights.get(kind)? {
                Insight::Available => (true, String::new()),
                Insight::Missing(reason) => (false, reason.clone()),
            };
            Some(proto::Capability {
                kind: *kind,
                available,
                reason,
            })
        })
    }

    /// Can `kind` be known of this target?
    pub fn has(&self, kind: Capability) -> bool {
        matches!(self.insights.get(&kind.into()), Some(Insight::Available))
    }

    /// A worker has been reported: a runtime was registered after the target
    /// greeted, so what it then could not supply for want of one it can now. A runtime
    /// that was `found` from outside has no probe for lag.
    pub(super) fn sees_workers(&mut self, found: bool) {
        let lag = (!found).then_some(Capability::Lag);
        for kind in [Capability::Workers, Capability::Stalls]
            .into_iter()
            .chain(lag)
        {
            if let Some(insight) = self.insights.get_mut(&kind.into()) {
                *insight = Insight::Available;
            }
        }
    }

    /// What the target says it cannot supply, with the reasons.
    pub fn all_missing(&self) -> impl Iterator<Item = (Capability, &str)> {
        self.insights
            .iter()
            .filter_map(|(kind, insight)| match insight {
                Insight::Available => None,
                Insight::Missing(reason) => {
                    Some((Capability::try_from(*kind).ok()?, reason.as_str()))
                }
            })
    }

    /// Why `kind` is not known; `None` where it is.
    pub fn missing(&self, kind: Capability) -> Option<&str> {
        match self.insights.get(&kind.into()) {
            Some(Insight::Available) => None,
            Some(Insight::Missing(reason)) => Some(reason),
            None => Some("the target does not report it"),
        }
    }

    /// The time after which a slow rule (a leak, a growing queue) is sure.
    pub fn scaled(&self, duration: Duration) -> Duration {
        if self.time_scale > 1.0 {
            duration.div_f64(self.time_scale)
        } else {
            duration
        }
    }

    /// How long the process has been running at `now`; since its agent started
    /// where more is not known.
    pub fn uptime(&self, now: Moment) -> Duration {
        let before = self
            .process_started_unix_ns
            .map_or(0, |started| self.started_unix_ns.saturating_sub(started));
        Duration::from_nanos(now.0.saturating_add(before))
    }
}

#[cfg(test)]
mod tests {
    use looptop_wire::proto::{self, Frame, Tasks};

    use super::*;
    use crate::model::{Model, fixtures};

    /// The application sets a filter while it is observed, and takes it away again.
    #[test]
    fn what_can_be_known_may_change_and_survives_a_keyframe() {
        let report = |available, reason: &str| Frame {
            tasks: Some(Tasks {
                capabilities: vec![proto::Capability {
                    kind: Capability::Tasks.into(),
                    available,
                    reason: reason.to_owned(),
                }],
                ..Tasks::default()
            }),
            ..fixtures::frame(Moment(7))
        };
        let hello = fixtures::hello();
        let mut model = Model::new(&hello);
        assert_eq!(model.session.learned().count(), 0);
        model.apply(&report(false, "a filter")).unwrap();
        assert_eq!(model.session.missing(Capability::Tasks), Some("a filter"));
        let mut copy = Model::new(&hello);
        for frame in model.keyframe() {
            copy.apply(&frame).unwrap();
        }
        assert_eq!(copy.session.missing(Capability::Tasks), Some("a filter"));
        model.apply(&report(true, "")).unwrap();
        assert!(model.session.has(Capability::Tasks));
        model.apply(&report(false, &"x".repeat(2_000))).unwrap();
        assert!(model.session.has(Capability::Tasks), "no sentence");
    }
}
