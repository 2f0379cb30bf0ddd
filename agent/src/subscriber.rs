//! Level 1 in an application that has not taken the agent's layer itself.

#[cfg(all(tokio_unstable, feature = "tracing"))]
#[cfg_attr(feature = "console", allow(dead_code))]
mod offer;

#[cfg(feature = "tracing")]
use std::sync::atomic::AtomicBool;
#[cfg(all(tokio_unstable, feature = "tracing"))]
use std::sync::atomic::Ordering::Relaxed;

#[cfg(all(tokio_unstable, feature = "tracing"))]
pub(crate) use self::offer::{callsite, is_one_threads, leave, settle, task_seen};
use crate::config::Config;

/// The application took the agent's layer, as a rule into its subscriber.
#[cfg(feature = "tracing")]
pub(crate) static LAYER_TAKEN: AtomicBool = AtomicBool::new(false);

#[cfg(all(tokio_unstable, feature = "tracing"))]
const ADD_LAYER: &str = "the application has a tracing subscriber without the agent's layer: add .with(looptop_agent::layer()) to its registry";

/// Makes tasks visible if that can be done without touching anything of the
/// application's, else says in one sentence what to add.
#[cfg(all(tokio_unstable, feature = "tracing"))]
pub(crate) fn install(config: &Config) -> Result<(), String> {
    if LAYER_TAKEN.load(Relaxed) {
        return Ok(());
    }
    if !config.install_subscriber {
        return Err("the application asked the agent not to install a tracing subscriber: add looptop_agent::layer() to its own".into());
    }
    #[cfg(feature = "console")]
    let made = install_now();
    #[cfg(not(feature = "console"))]
    let made = offer::make();
    made.map_err(str::to_owned)
}

/// With console-subscriber's layer, of which a process has one, there is nothing
/// to withdraw to; and its many callsites would have each thread remember that
/// it has no subscriber before there is one.
#[cfg(all(tokio_unstable, feature = "console"))]
fn install_now() -> Result<(), &'static str> {
    use tracing_core::dispatcher::{Dispatch, set_global_default};
    use tracing_subscriber::layer::SubscriberExt;

    let subscriber = tracing_subscriber::registry()
        .with(crate::layer::layer())
        .with(crate::console_layer());
    set_global_default(Dispatch::new(subscriber)).map_err(|_| ADD_LAYER)
}

/// Whether tasks are visible now, given what [`install`] said when the agent
/// started: the application may have brought its own subscriber since.
#[cfg(all(tokio_unstable, feature = "tracing"))]
pub(crate) fn state(at_start: &Result<(), String>) -> Result<(), String> {
    if LAYER_TAKEN.load(Relaxed) {
        return Ok(());
    }
    at_start.clone()?;
    if cfg!(feature = "console") {
        return Ok(());
    }
    offer::state().map_err(str::to_owned)
}

/// Says why tasks cannot be seen.
#[cfg(not(all(tokio_unstable, feature = "tracing")))]
pub(crate) fn install(_config: &Config) -> Result<(), String> {
    Err(if cfg!(feature = "tracing") {
        "tokio shows its tasks only when built with RUSTFLAGS=\"--cfg tokio_unstable\"".into()
    } else {
        "the application enables looptop-agent without its feature `tracing`".into()
    })
}

#[cfg(not(all(tokio_unstable, feature = "tracing")))]
pub(crate) fn state(at_start: &Result<(), String>) -> Result<(), String> {
    at_start.clone()
}

#[cfg(not(all(tokio_unstable, feature = "tracing")))]
pub(crate) fn settle(_now_ns: u64) {}

#[cfg(all(not(tokio_unstable), feature = "tracing"))]
pub(crate) fn task_seen() {}

#[cfg(all(not(tokio_unstable), feature = "tracing"))]
pub(crate) fn leave() {}

#[cfg(all(not(tokio_unstable), feature = "tracing"))]
pub(crate) fn callsite(_metadata: &'static tracing_core::Metadata<'static>) {}
