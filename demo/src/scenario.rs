//! What a scenario is: the mistake, its cure, and what must be found.

use std::{fmt, io, str::FromStr};

use axum::Router;
use serde::Serialize;

use crate::{fixtures::Fixtures, load::Stream, scenarios::Neighbours, snippet};

/// Which twin of a scenario the load is sent to.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Mode {
    /// No load but the canary.
    Off,
    /// The mistake.
    Broken,
    /// The same work without the mistake.
    Fixed,
}

impl Mode {
    /// Every mode, in the order of the switch on stage.
    pub const ALL: [Mode; 3] = [Mode::Broken, Mode::Fixed, Mode::Off];

    /// The word on the command line, in paths and in JSON.
    pub fn as_str(self) -> &'static str {
        match self {
            Mode::Off => "off",
            Mode::Broken => "broken",
            Mode::Fixed => "fixed",
        }
    }
}

impl fmt::Display for Mode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for Mode {
    type Err = crate::registry::Unknown;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Mode::ALL
            .into_iter()
            .find(|mode| mode.as_str() == text)
            .ok_or_else(|| crate::registry::Unknown::new("mode", text, Mode::ALL.map(Mode::as_str)))
    }
}

/// The runtime flavour under observation.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Flavor {
    /// Several workers that steal from each other.
    MultiThread,
    /// One thread does everything.
    CurrentThread,
}

impl Flavor {
    /// Both flavours.
    pub const ALL: [Flavor; 2] = [Flavor::MultiThread, Flavor::CurrentThread];

    /// The word on the command line.
    pub fn as_str(self) -> &'static str {
        match self {
            Flavor::MultiThread => "multi-thread",
            Flavor::CurrentThread => "current-thread",
        }
    }
}

impl FromStr for Flavor {
    type Err = crate::registry::Unknown;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Flavor::ALL
            .into_iter()
            .find(|flavor| flavor.as_str() == text)
            .ok_or_else(|| {
                crate::registry::Unknown::new("flavor", text, Flavor::ALL.map(Flavor::as_str))
            })
    }
}

/// Why a worker does not get on, in the words of the screen and of `check`.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Serialize)]
pub enum Cause {
    /// On a CPU.
    #[serde(rename = "computing")]
    Computing,
    /// In a system call that is neither a lock nor a sleep.
    #[serde(rename = "system call")]
    SystemCall,
    /// In a sleep of the operating system.
    #[serde(rename = "sleeping")]
    Sleeping,
    /// Waiting for a lock or a condition.
    #[serde(rename = "lock")]
    Lock,
    /// Ready to run, but without a CPU.
    #[serde(rename = "starved by host")]
    StarvedByHost,
}

impl Cause {
    /// The word in `check --format json`.
    pub fn as_str(self) -> &'static str {
        match self {
            Cause::Computing => "computing",
            Cause::SystemCall => "system call",
            Cause::Sleeping => "sleeping",
            Cause::Lock => "lock",
            Cause::StarvedByHost => "starved by host",
        }
    }
}

/// A finding that `looptop check` must report for the broken twin.
#[derive(Clone, Copy, Debug)]
pub struct Expected {
    /// Id of the rule.
    pub rule: &'static str,
    /// The cause, where the rule has one; any of these where the evidence can
    /// fairly be read in more than one way.
    pub causes: &'static [Cause],
    /// Part of the culprit's symbol; empty where no function is to blame.
    pub function: &'static str,
    /// What the finding's location must be.
    pub at: At,
    /// Whether the outside view must find it too.
    pub outside: Outside,
}

/// Whether a finding must be found by who looks at the lab from outside, without an
/// agent in it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Outside {
    /// As the agent finds it.
    Found,
    /// The same, at another place: where a task waits, say, and not where it was spawned.
    FoundAt(At),
    /// It does not show outside, for this reason.
    Unseen(&'static str),
}

impl Outside {
    /// It must be found.
    pub fn is_found(self) -> bool {
        !matches!(self, Self::Unseen(_))
    }

    pub(crate) const WAKES: Self = Self::Unseen("wakes and polls leave no trace in memory");
    pub(crate) const POOL_QUEUE: Self =
        Self::Unseen("the queue and the bound of the blocking pool are not read");
    pub(crate) const POLLS: Self = Self::Unseen("how often a task was polled is not in memory");
    pub(crate) const BOXED: Self =
        Self::Unseen("tokio puts large futures into a box, which does not say its size");
    pub(crate) const UNREAPED: Self =
        Self::Unseen("ended tasks are in no list, and the memory is not searched for them");
    pub(crate) const GAUGES: Self =
        Self::Unseen("what the application measures itself is not read");
}

/// What the location of a finding points to.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum At {
    /// The innermost frame of the stack that is the lab's own: a line of the
    /// broken twin, or of the work that both twins do.
    Code,
    /// The line that spawned the task.
    Spawn,
    /// The finding has no place in the code.
    Nowhere,
}

/// Lines of a file, the first and the last, from 1.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct Place {
    /// As the compiler records it: relative to the workspace.
    pub file: &'static str,
    /// First line.
    pub first: u32,
    /// Last line, inclusive.
    pub last: u32,
}

/// A mistake and its cure, with the load that shows both.
pub struct Scenario {
    /// Stable name, as on the command line.
    pub id: &'static str,
    /// One line for the stage.
    pub caption: &'static str,
    /// What the project's source notes say of it, with their figures; empty
    /// where they are silent.
    pub notes: &'static str,
    /// Which figure to watch when switching.
    pub watch: &'static str,
    /// What the lab shows beside latencies and live tasks.
    pub readings: &'static [&'static str],
    /// Endpoint of the broken twin; the same as `fixed` where there is no
    /// mistake to make.
    pub broken: &'static str,
    /// Endpoint of the fixed twin.
    pub fixed: &'static str,
    /// What must be found in the broken twin, and nothing else. The fixed twin
    /// is clean.
    pub expected: &'static [Expected],
    /// Flavours on which the broken twin shows what it is meant to show.
    pub flavors: &'static [Flavor],
    /// Workers with which the lab starts, unless set otherwise.
    pub workers: usize,
    /// Path of the source as the compiler records it, and its text.
    pub(crate) source: (&'static str, &'static str),
    /// The endpoints of both twins.
    pub(crate) routes: fn(&Fixtures) -> anyhow::Result<Router>,
    /// The load, the same for both twins but for the endpoint.
    pub(crate) load: fn(&'static str) -> Vec<Stream>,
    /// What else must go on while the load goes to an endpoint.
    pub(crate) backdrop: Option<Backdrop>,
}

/// Sets the scene for an endpoint, if it needs one; dropping it clears it.
pub(crate) type Backdrop = fn(&'static str) -> io::Result<Option<Neighbours>>;

impl Scenario {
    /// What `flavor` must show. Where several workers wait for one lock at once,
    /// that is one finding about the lock; on one thread there is nobody to wait
    /// beside, and it is one about the worker.
    pub fn expected_on(&self, flavor: Flavor) -> impl Iterator<Item = &Expected> {
        let of_worker = |e: &Expected| e.rule == "blocked-worker" && e.causes == [Cause::Lock];
        let of_lock = |e: &Expected| e.rule == "lock-convoy" && e.causes == [Cause::Lock];
        let both = self.expected.iter().any(of_worker) && self.expected.iter().any(of_lock);
        self.expected.iter().filter(move |e| match flavor {
            Flavor::MultiThread => !(both && of_worker(e)),
            Flavor::CurrentThread => !(both && of_lock(e)),
        })
    }

    /// The same for the outside view.
    pub fn expected_outside(&self, flavor: Flavor) -> impl Iterator<Item = &Expected> {
        let expected = self.expected_on(flavor);
        expected.filter(|e| e.outside.is_found())
    }

    /// Whether there is a mistake to switch on.
    pub fn has_broken_twin(&self) -> bool {
        self.broken != self.fixed
    }

    /// The endpoint to which the load goes in `mode`.
    pub fn endpoint(&self, mode: Mode) -> Option<&'static str> {
        match mode {
            Mode::Off => None,
            Mode::Broken => Some(self.broken),
            Mode::Fixed => Some(self.fixed),
        }
    }

    /// The code of a twin as it was compiled, short enough for a slide. Empty
    /// where `mode` has no twin.
    pub fn code(&self, mode: Mode) -> String {
        snippet::section(self.source.1, mode.as_str())
            .map(|section| section.text)
            .unwrap_or_default()
    }

    /// The findings that `mode` must yield.
    pub fn expected_in(&self, mode: Mode) -> &'static [Expected] {
        match mode {
            Mode::Broken => self.expected,
            Mode::Fixed | Mode::Off => &[],
        }
    }

    /// Where a finding must point, `None` if it has no place.
    pub fn place(&self, at: At) -> Option<Place> {
        match at {
            At::Code => snippet::section(self.source.1, "work")
                .or_else(|| snippet::section(self.source.1, "broken"))
                .map(|section| self.lines(section.first, section.last)),
            At::Spawn => snippet::marked(self.source.1, snippet::SPAWN_MARK)
                .map(|line| self.lines(line, line)),
            At::Nowhere => None,
        }
    }

    /// The line to blame: the guilty one of the broken twin, or the one that
    /// spawned too much.
    pub fn culprit(&self) -> Option<Place> {
        snippet::marked(self.source.1, snippet::CULPRIT_MARK)
            .or_else(|| snippet::marked(self.source.1, snippet::SPAWN_MARK))
            .map(|line| self.lines(line, line))
    }

    fn lines(&self, first: u32, last: u32) -> Place {
        Place {
            file: self.source.0,
            first,
            last,
        }
    }
}

impl fmt::Debug for Scenario {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Scenario")
            .field("id", &self.id)
            .finish_non_exhaustive()
    }
}
