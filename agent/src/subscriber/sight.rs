//! Whether the agent sets its own subscriber, and whether tasks are seen.

use std::sync::Mutex;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::Relaxed;

use tokio::runtime::RuntimeMetrics;
use tracing_core::callsite::{DefaultCallsite, rebuild_interest_cache};
use tracing_core::dispatcher::{self, Dispatch};
use tracing_core::subscriber::NoSubscriber;
use tracing_core::{Kind, Level, Metadata, metadata};

use super::LAYER_TAKEN;
#[cfg(all(target_os = "linux", not(looptop_elsewhere)))]
use super::symbols;
use crate::config::Config;
use crate::layer::{Taken, own::TaskSubscriber, take_any};
use crate::sync::lock;

const ADD_LAYER: &str = "the application has a tracing subscriber without the agent's layer: add .with(looptop_agent::layer()) to its registry";
const NOT_SET: &str =
    "the application took looptop_agent::layer(), and has set no subscriber with it yet";
const HIDDEN: &str = "a filter hides `tokio::task`: give the filter to your fmt layer (`.with(fmt::layer().with_filter(filter))`), not to the whole registry";
const NONE_ARRIVES: &str = "tokio spawns tasks, and none of their spans arrives: look for a feature `max_level_...` or `release_max_level_...` of the crate `tracing`, which removes them";
const ASKED_NOT_TO: &str = "the application asked the agent not to install a tracing subscriber: add looptop_agent::layer() to its own";
const WITH_CONSOLE: &str = "with looptop-agent's feature `console` the agent sets a tracing subscriber only when asked: Agent::builder().install_subscriber(true), or LOOPTOP_TASKS=on";
#[cfg(all(target_os = "linux", not(looptop_elsewhere)))]
const OWN_SUBSCRIBER: &str = "the program has a tracing subscriber";
const OWN_LOGGER: &str = "the program has its logs from `tracing` by the crate `log`, which end as soon as a tracing subscriber is set";
const HOW_TO_LOG: &str = "set one that logs, with looptop_agent::layer() in it, or LOOPTOP_TASKS=on and do without these lines";
const HOW: &str = "add .with(looptop_agent::layer()) to its registry, or, where it never sets one, set LOOPTOP_TASKS=on";

/// What stands for a task's span when a subscriber is asked whether it wants one.
static SAMPLE: DefaultCallsite = DefaultCallsite::new(&SAMPLE_METADATA);
static SAMPLE_METADATA: Metadata<'static> = metadata! {
    name: "runtime.spawn",
    target: "tokio::task",
    level: Level::TRACE,
    fields: &[],
    callsite: &SAMPLE,
    kind: Kind::SPAN,
};

/// What is known of tasks, and why not more.
struct State {
    /// Why the agent has not set its subscriber, where it has not.
    refused: String,
    /// What was found when the subscriber was last asked.
    asked: Result<(), String>,
    arrivals: Arrivals,
}

static STATE: Mutex<State> = Mutex::new(State {
    refused: String::new(),
    asked: Ok(()),
    arrivals: Arrivals::new(),
});

/// When [`ask`] and [`count`] are due, ns.
static NEXT_ASK: AtomicU64 = AtomicU64::new(0);
static NEXT_COUNT: AtomicU64 = AtomicU64::new(0);
const EVERY_NS: u64 = 500_000_000;

fn is_due(next: &AtomicU64, now_ns: u64) -> bool {
    let due_ns = next.load(Relaxed);
    now_ns >= due_ns
        && next
            .compare_exchange(due_ns, now_ns + EVERY_NS, Relaxed, Relaxed)
            .is_ok()
}

/// Makes tasks visible where that cannot be in anybody's way, or is asked for.
/// Before the agent spawns anything.
pub(crate) fn install(config: &Config) {
    let refused = set(config).err().unwrap_or_default();
    let seen = who(&refused).and_then(|()| is_wanted());
    let mut state = lock(&STATE);
    state.refused = refused;
    state.asked = seen;
}

fn set(config: &Config) -> Result<(), String> {
    if LAYER_TAKEN.load(Relaxed) || !has_none() {
        return Ok(());
    }
    match config.install_subscriber {
        Some(true) => {}
        Some(false) => return Err(ASKED_NOT_TO.into()),
        // Its layer brings a registry, which looks like the application's.
        None if cfg!(feature = "console") => return Err(WITH_CONSOLE.into()),
        None => {
            if let Err(reason) = nobody_else_can() {
                let (why, how) = match reason {
                    OWN_LOGGER => (reason, HOW_TO_LOG),
                    reason => (reason, HOW),
                };
                return Err(format!("{why}, so the agent has not set its own: {how}"));
            }
        }
    }
    install_now();
    Ok(())
}

/// Whether it is certain that nobody else in this program wants to set one.
#[cfg(all(target_os = "linux", not(looptop_elsewhere)))]
fn nobody_else_can() -> Result<(), &'static str> {
    match symbols::others()? {
        symbols::Others::None => Ok(()),
        symbols::Others::Subscriber => Err(OWN_SUBSCRIBER),
        symbols::Others::Logger => Err(OWN_LOGGER),
    }
}

#[cfg(not(all(target_os = "linux", not(looptop_elsewhere))))]
fn nobody_else_can() -> Result<(), &'static str> {
    Err("whether the program has a tracing subscriber of its own cannot be seen on this system")
}

fn install_now() {
    #[cfg(not(feature = "console"))]
    let dispatch = Dispatch::new(TaskSubscriber::new());
    #[cfg(feature = "console")]
    let dispatch = {
        use tracing_subscriber::layer::SubscriberExt;
        let registry = tracing_subscriber::registry().with(crate::layer::layer());
        Dispatch::new(registry.with(crate::console_layer()))
    };
    if dispatcher::set_global_default(dispatch).is_ok() {
        // A callsite that was first met meanwhile found no subscriber.
        rebuild_interest_cache();
    }
}

/// Whether this thread, as a rule the process, has no subscriber.
fn has_none() -> bool {
    dispatcher::get_default(Dispatch::is::<NoSubscriber>)
}

/// Whether tasks are seen, or the sentence why not.
pub(crate) fn state() -> Result<(), String> {
    let state = lock(&STATE);
    match &state.asked {
        Ok(()) if state.arrivals.are_missing() => Err(NONE_ARRIVES.into()),
        // A subscriber that only some threads have.
        Err(_) if state.arrivals.any && LAYER_TAKEN.load(Relaxed) => Ok(()),
        asked => asked.clone(),
    }
}

/// Asks the subscriber again, twice a second: the application may have set it
/// since, or another filter. Called on a thread of the application's, by a task: a
/// filter that blocks must not hold up the agent's own threads.
pub(crate) fn ask(now_ns: u64) {
    if !is_due(&NEXT_ASK, now_ns) {
        return;
    }
    let refused = lock(&STATE).refused.clone();
    let asked = who(&refused).and_then(|()| is_wanted());
    lock(&STATE).asked = asked;
}

/// Compares the tasks that tokio counts with the spans that come.
pub(crate) fn count<'a>(now_ns: u64, runtimes: impl Iterator<Item = &'a RuntimeMetrics>) {
    if !is_due(&NEXT_COUNT, now_ns) {
        return;
    }
    let spawned = runtimes.map(RuntimeMetrics::spawned_tasks_count).sum();
    let mut state = lock(&STATE);
    let before = state.arrivals.missed;
    state.arrivals.saw(spawned, take_any());
    let begins_to_miss = before == 0 && state.arrivals.missed > 0;
    drop(state);
    if begins_to_miss && dispatcher::get_default(Dispatch::is::<TaskSubscriber>) {
        // Who met a callsite while the agent was setting its subscriber may have
        // written down, a moment later, that there is none.
        rebuild_interest_cache();
    }
}

/// Whether the process's subscriber is one that knows of tasks.
fn who(refused: &str) -> Result<(), String> {
    dispatcher::get_default(|subscriber| {
        if subscriber.is::<TaskSubscriber>() || subscriber.is::<Taken>() {
            return Ok(());
        }
        Err(if !subscriber.is::<NoSubscriber>() {
            ADD_LAYER.to_owned()
        } else if LAYER_TAKEN.load(Relaxed) {
            NOT_SET.to_owned()
        } else {
            refused.to_owned()
        })
    })
}

/// Whether the process's subscriber would take a task's span.
fn is_wanted() -> Result<(), String> {
    let wanted = dispatcher::get_default(|subscriber| subscriber.enabled(&SAMPLE_METADATA));
    wanted.then_some(()).ok_or_else(|| HIDDEN.to_owned())
}

/// Whether the spans of tasks come at all.
#[derive(Debug)]
struct Arrivals {
    /// Tasks that tokio has spawned until the last look.
    spawned: u64,
    /// Looks in a row between which tasks were spawned and no span came.
    missed: u32,
    /// A span came before the last look.
    any: bool,
}

/// A task that is counted and its span that is seen may fall on two sides of a look.
const SURE: u32 = 2;

impl Arrivals {
    const fn new() -> Self {
        Self {
            spawned: u64::MAX,
            missed: 0,
            any: false,
        }
    }

    /// So many tasks were spawned in all, and a span came since the last time, or
    /// none did.
    fn saw(&mut self, spawned: u64, any: bool) {
        if any {
            self.missed = 0;
        } else if spawned > self.spawned {
            self.missed = self.missed.saturating_add(1);
        }
        self.spawned = spawned;
        self.any = any;
    }

    fn are_missing(&self) -> bool {
        self.missed >= SURE
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_are_missing_where_tasks_are_spawned_time_and_again_without_any() {
        let mut arrivals = Arrivals::new();
        // Those that were spawned before the first look prove nothing.
        arrivals.saw(50, false);
        arrivals.saw(50, false);
        assert!(!arrivals.are_missing(), "nothing is spawned");
        arrivals.saw(51, false);
        assert!(!arrivals.are_missing(), "its span may have come before");
        arrivals.saw(52, true);
        arrivals.saw(53, false);
        assert!(!arrivals.are_missing());
        arrivals.saw(53, false);
        arrivals.saw(54, false);
        assert!(arrivals.are_missing());
        arrivals.saw(55, true);
        assert!(!arrivals.are_missing(), "the filter was changed");
    }
}
