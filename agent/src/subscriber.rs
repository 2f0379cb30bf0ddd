//! Installs level 1 where nobody else has a say.

#[cfg(feature = "tracing")]
use std::sync::atomic::AtomicBool;
#[cfg(all(tokio_unstable, feature = "tracing"))]
use std::sync::atomic::Ordering::Relaxed;

use crate::config::Config;

/// The application took the agent's layer, as a rule into its subscriber.
#[cfg(feature = "tracing")]
pub(crate) static LAYER_TAKEN: AtomicBool = AtomicBool::new(false);

/// Makes tasks visible if that can be done without touching anything of the
/// application's, else says in one sentence what to add.
#[cfg(all(tokio_unstable, feature = "tracing"))]
pub(crate) fn install(config: &Config) -> Result<(), String> {
    use tracing_core::dispatcher;
    use tracing_subscriber::layer::SubscriberExt;

    const ADD_LAYER: &str = "the application has a tracing subscriber without the agent's layer: add .with(looptop_agent::layer()) to its registry";
    if LAYER_TAKEN.load(Relaxed) {
        return Ok(());
    }
    if !config.install_subscriber {
        return Err("the application asked the agent not to install a tracing subscriber: add looptop_agent::layer() to its own".into());
    }
    let subscriber = tracing_subscriber::registry().with(crate::layer());
    match dispatcher::set_global_default(dispatcher::Dispatch::new(subscriber)) {
        Ok(()) => Ok(()),
        // There is one. (`dispatcher::has_been_set` would not tell: it counts
        // the scoped ones, which some threads set to see nothing.)
        Err(_) => Err(ADD_LAYER.into()),
    }
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
