//! Installs level 1 where nobody else has a say.

use crate::config::Config;

/// Makes tasks visible if that can be done without touching anything of the
/// application's, else says in one sentence what to add.
#[cfg(all(tokio_unstable, feature = "tracing"))]
pub(crate) fn install(config: &Config) -> Result<(), String> {
    use tracing_core::dispatcher;
    use tracing_subscriber::layer::SubscriberExt;

    const ADD_LAYER: &str = "the application has a tracing subscriber without the agent's layer: add .with(looptop_agent::layer()) to its registry";
    if crate::layer::installed() {
        return Ok(());
    }
    if dispatcher::has_been_set() {
        return Err(ADD_LAYER.into());
    }
    if !config.install_subscriber {
        return Err("the application asked the agent not to install a tracing subscriber: add looptop_agent::layer() to its own".into());
    }
    let subscriber = tracing_subscriber::registry().with(crate::layer());
    match dispatcher::set_global_default(dispatcher::Dispatch::new(subscriber)) {
        Ok(()) => Ok(()),
        // Somebody was faster.
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
