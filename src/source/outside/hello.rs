//! Who is looked at, and what cannot be known from outside.

use looptop_symbols::scheduler::Unknown;
use looptop_wire::proto::{Capability, CapabilityKind as Kind, HelloResponse};

/// The words of what would supply an insight.
const AGENT: &str = "looptop_agent::init() in the program would";
const TRACING: &str = "looptop_agent::init() in the program, built with --cfg tokio_unstable and \
                       tokio's `tracing`, would";

/// Wakes, and what is counted from them.
const NO_WAKES: &str = "wakes leave no trace that could be read from outside";

/// What cannot be read of a process, or only by an effect on it: why, and what would show
/// it.
const NEVER: [(Kind, &str, &str); 9] = [
    (
        Kind::TaskNames,
        "the names that a program gives its tasks are not in them, to be read from outside",
        TRACING,
    ),
    (Kind::Wakes, NO_WAKES, TRACING),
    (Kind::ScheduleLatency, NO_WAKES, TRACING),
    (
        Kind::WorkerPolls,
        "how often workers poll is not read from outside",
        AGENT,
    ),
    (
        Kind::BlockingPool,
        "the blocking pool's queue is not read from outside",
        AGENT,
    ),
    (
        Kind::Lag,
        "a probe for it would have to run in the program",
        AGENT,
    ),
    (
        Kind::Console,
        "no console-subscriber is in the program",
        "console_subscriber::init() would",
    ),
    (
        Kind::Resources,
        "of locks, timers and channels only those that tasks wait for are read (view Waits)",
        "looptop_agent::init() beside console-subscriber would",
    ),
    (Kind::Wakers, NO_WAKES, TRACING),
];

/// Why a kind of insight is not to be had from outside, in words that follow others.
pub(in crate::source) fn why_never(kind: Kind) -> Option<&'static str> {
    let never = NEVER.iter().find(|(of, ..)| *of == kind);
    never.map(|(_, why, _)| *why)
}

/// Why some kinds of insight are missing here.
#[derive(Debug, Clone, Default)]
pub(super) struct Missing {
    /// Why tasks cannot be listed.
    pub(super) tasks: Option<String>,
    /// Why stalls cannot be watched.
    pub(super) stalls: Option<String>,
    /// Why they are watched of tasks alone, and threads known by these.
    pub(super) names: Option<String>,
}

/// What is not seen where symbols do not name tokio's scheduler.
pub(super) fn polls_of_tasks_only(why: Unknown) -> String {
    let why = match why {
        Unknown::Stripped => {
            "the program is stripped: no names, and the future of block_on is not watched; \
             build it without `strip`"
        }
        Unknown::Unreadable | Unknown::NoScheduler => {
            return format!("{why}: the future of block_on is not watched");
        }
    };
    why.to_owned()
}

/// What can be known.
pub(super) fn capabilities(missing: &Missing) -> Vec<Capability> {
    let available = |kind: Kind| Capability {
        kind: kind.into(),
        available: true,
        reason: String::new(),
    };
    let unless = |kind: Kind, why: &Option<String>| Capability {
        available: why.is_none(),
        reason: why.clone().unwrap_or_default(),
        ..available(kind)
    };
    let never = NEVER.iter().map(|(kind, why, what)| Capability {
        available: false,
        reason: format!("{why}; {what} show it"),
        ..available(*kind)
    });
    let stalls = [
        Kind::Stalls,
        Kind::Cause,
        Kind::Stacks,
        Kind::Workers,
        Kind::WorkerThreads,
    ];
    std::iter::once(available(Kind::Threads))
        .chain(stalls.map(|kind| unless(kind, &missing.stalls)))
        .chain([Kind::Tasks, Kind::Waits].map(|kind| unless(kind, &missing.tasks)))
        // Said only where it is not so: nobody registers runtimes here.
        .chain(missing.names.iter().map(|why| Capability {
            kind: Kind::Coverage.into(),
            available: false,
            reason: why.clone(),
        }))
        .chain(never)
        .collect()
}

/// What is known without a look at the program's memory; `hello` has what procfs says.
pub(super) fn complete(
    hello: HelloResponse,
    missing: &Missing,
    tokio_version: String,
    now_ns: u64,
) -> HelloResponse {
    HelloResponse {
        protocol: looptop_wire::PROTOCOL,
        now_ns,
        tokio_version,
        capabilities: capabilities(missing),
        ..hello
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whatever_is_missing_has_one_sentence_that_says_what_would_supply_it() {
        let missing = Missing {
            tasks: Some("no task of tokio was found in the program".to_owned()),
            ..Missing::default()
        };
        for capability in capabilities(&missing) {
            let reason = &capability.reason;
            assert_eq!(capability.available, reason.is_empty(), "{capability:?}");
            assert!(!reason.contains(". "), "{reason}");
        }
        let kinds: std::collections::BTreeSet<i32> =
            capabilities(&missing).iter().map(|c| c.kind).collect();
        let waits = Kind::Waits as i32;
        let all = (1..=16).chain([waits]).collect();
        assert_eq!(kinds, all, "each once, but for the census");
    }
}
