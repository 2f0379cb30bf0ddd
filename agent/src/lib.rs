#![doc = include_str!("../README.md")]
#![deny(unsafe_code)]
#![warn(missing_docs)]
// What only Linux's parts ask for.
#![cfg_attr(
    not(all(target_os = "linux", not(looptop_elsewhere), target_arch = "x86_64")),
    allow(dead_code)
)]

mod access;
mod agent;
// Registers and stacks of other threads, and the TSC, cannot be read without.
#[allow(unsafe_code)]
mod capture;
mod cells;
#[cfg_attr(not(tokio_unstable), allow(dead_code))]
#[allow(unsafe_code)]
mod clock;
mod config;
#[cfg(feature = "console")]
mod console;
#[cfg_attr(
    not(all(target_os = "linux", not(looptop_elsewhere))),
    allow(dead_code)
)]
mod coverage;
mod drivers;
mod evidence;
#[cfg(feature = "flight-recorder")]
mod flight;
mod gauge;
mod hello;
mod holder;
mod hooks;
mod ids;
#[cfg(feature = "tracing")]
mod layer;
mod level;
#[cfg(feature = "metrics")]
mod metrics;
#[cfg(feature = "console")]
mod mute;
#[cfg(feature = "otlp")]
mod otlp;
mod probe;
mod procfs;
mod publish;
#[cfg(feature = "rt-multi-thread")]
mod run;
mod runtimes;
mod sample;
mod server;
mod shared;
// Without tokio_unstable nothing fills the table and the slots.
#[cfg_attr(not(tokio_unstable), allow(dead_code))]
mod slot;
mod stall;
mod subscriber;
#[cfg(all(
    feature = "symbols",
    target_os = "linux",
    not(looptop_elsewhere),
    any(target_arch = "x86_64", target_arch = "aarch64")
))]
mod symbols_of;
mod sync;
#[cfg_attr(not(tokio_unstable), allow(dead_code))]
#[cfg_attr(
    not(feature = "tracing"),
    allow(dead_code, reason = "half of it is what the layer sees")
)]
mod task;
#[cfg(feature = "test")]
pub mod testing;
mod thread_clock;
#[cfg_attr(
    not(all(feature = "otlp", feature = "tracing")),
    path = "without_traces.rs"
)]
mod traces;
#[cfg(all(
    feature = "waits",
    target_os = "linux",
    not(looptop_elsewhere),
    target_arch = "x86_64"
))]
mod waits;
mod watchdog;
#[cfg(not(all(
    feature = "waits",
    target_os = "linux",
    not(looptop_elsewhere),
    target_arch = "x86_64"
)))]
mod without_waits;
mod worker_map;

#[cfg(not(all(
    feature = "waits",
    target_os = "linux",
    not(looptop_elsewhere),
    target_arch = "x86_64"
)))]
use without_waits as waits;

pub use access::Permission;
pub use access::reading::Reader;
pub use agent::{Agent, Builder, StartError};
pub use gauge::gauge;
pub use hooks::{Hooks, instrument};
#[cfg(feature = "tracing")]
pub use layer::TaskLayer;
#[cfg(feature = "test")]
pub use looptop_agent_macros::test;
#[cfg(feature = "rt-multi-thread")]
pub use run::run;
/// Collects the services of [`Builder::services`].
#[cfg(feature = "services")]
pub use tonic::service::RoutesBuilder;

/// Starts the agent with its defaults, inside an async context of tokio.
///
/// Never panics and never fails: where the agent cannot start it says so in one
/// sentence on standard error, and the application goes on. Called again, it
/// watches the runtime of the caller as well, if it is another, and returns the
/// agent that already runs. `LOOPTOP=off` makes it do nothing.
///
/// An application with a `tracing` subscriber of its own puts [`layer`] into it, and
/// sets it before or after this call; tasks that are spawned before are not shown.
/// Where the program has none the agent sets its own; see
/// [`Builder::install_subscriber`].
///
/// Outside a runtime, in a synchronous `main`, the agent starts with none to watch:
/// let each runtime call [`register_current`], or see [`Agent::register_runtime`].
#[inline(never)]
pub fn init() -> Agent {
    let here = 0u8;
    if let Some(agent) = agent::first() {
        agent.register_current_from(Some(std::ptr::from_ref(&here).addr() as u64));
        return agent;
    }
    let started = Agent::builder().start_from(std::ptr::from_ref(&here).addr() as u64);
    started.unwrap_or_else(|error| {
        complain(&error.to_string());
        Agent::none()
    })
}

/// Watches the runtime of the calling thread with the agent that
/// [`init`] has started, unless it is watched already; see
/// [`Agent::register_current`].
#[inline(never)]
pub fn register_current() -> bool {
    agent::first().is_some_and(|agent| agent.register_current())
}

/// The `tracing` layer that shows every task (level 1), for an application with
/// a subscriber of its own; with the feature `console`, console-subscriber's
/// layer as well.
///
/// ```
/// use tracing_subscriber::prelude::*;
///
/// tracing_subscriber::registry().with(looptop_agent::layer()).init();
/// ```
///
/// Install it before the first task is spawned, before or after [`init`]. It sees tasks only where tokio
/// is built with `--cfg tokio_unstable`.
#[cfg(feature = "tracing")]
pub fn layer<S>() -> impl tracing_subscriber::Layer<S> + Send + Sync
where
    S: tracing_core::Subscriber + for<'a> tracing_subscriber::registry::LookupSpan<'a>,
{
    let layer = task_layer();
    #[cfg(feature = "console")]
    let layer = tracing_subscriber::Layer::and_then(layer, console_layer());
    layer
}

/// The agent's layer alone, without console-subscriber's; see
/// [`TaskLayer::without_wakers`] for what can be left out of it.
#[cfg(feature = "tracing")]
pub fn task_layer<S>() -> TaskLayer<S>
where
    S: tracing_core::Subscriber + for<'a> tracing_subscriber::registry::LookupSpan<'a>,
{
    subscriber::LAYER_TAKEN.store(true, std::sync::atomic::Ordering::Relaxed);
    layer::layer()
}

/// console-subscriber's layer alone, filtered as its own `spawn` does; `None`
/// where this process has taken it before, also through [`layer`].
#[cfg(feature = "console")]
pub fn console_layer<S>() -> Option<impl tracing_subscriber::Layer<S> + Send + Sync>
where
    S: tracing_core::Subscriber + for<'a> tracing_subscriber::registry::LookupSpan<'a>,
{
    if config::is_switched_off(config::environment) {
        return None;
    }
    console::layer()
}

/// Runs `work`; tasks that it spawns from the calling thread are not shown.
///
/// For what an application runs beside its work: a load generator, a tool of its
/// own. A current-thread runtime that is driven inside stays out altogether.
///
/// ```
/// let runtime = tokio::runtime::Builder::new_current_thread().build()?;
/// looptop_agent::unobserved(|| runtime.block_on(async { /* ... */ }));
/// # Ok::<(), std::io::Error>(())
/// ```
pub fn unobserved<R>(work: impl FnOnce() -> R) -> R {
    task::seen(false, work)
}

/// The opposite, within [`unobserved`].
pub fn observed<R>(work: impl FnOnce() -> R) -> R {
    task::seen(true, work)
}

/// One sentence for whoever runs the application. A closed standard error is no
/// reason to panic.
fn complain(sentence: &str) {
    use std::io::Write;
    drop(writeln!(std::io::stderr(), "looptop-agent: {sentence}"));
}
