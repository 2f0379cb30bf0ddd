//! Level 1 in an application that has not taken the agent's layer itself.
//!
//! There is one global `tracing` subscriber for a process, set once; whoever comes
//! second gets an error, of which many applications make a panic. So the agent sets
//! one where nobody else can ([`symbols`]), or where it is asked to, and at once,
//! before anything is spawned. `docs/adr/0001-subscriber.md` has the reasons.

#[cfg(all(tokio_unstable, feature = "tracing"))]
mod sight;
#[cfg(all(
    tokio_unstable,
    feature = "tracing",
    target_os = "linux",
    not(looptop_elsewhere)
))]
mod symbols;

#[cfg(feature = "tracing")]
use std::sync::atomic::AtomicBool;

#[cfg(all(tokio_unstable, feature = "tracing"))]
pub(crate) use self::sight::{ask, count, install, state};

/// The application took the agent's layer, as a rule into its subscriber.
#[cfg(feature = "tracing")]
pub(crate) static LAYER_TAKEN: AtomicBool = AtomicBool::new(false);

#[cfg(not(all(tokio_unstable, feature = "tracing")))]
pub(crate) fn install(_: &crate::config::Config) {}

#[cfg(not(all(tokio_unstable, feature = "tracing")))]
pub(crate) fn ask(_now_ns: u64) {}

#[cfg(not(all(tokio_unstable, feature = "tracing")))]
pub(crate) fn count<'a>(_now_ns: u64, _: impl Iterator<Item = &'a tokio::runtime::RuntimeMetrics>) {
}

/// Says why tasks cannot be seen.
#[cfg(not(all(tokio_unstable, feature = "tracing")))]
pub(crate) fn state() -> Result<(), String> {
    Err(if cfg!(feature = "tracing") {
        "tokio shows its tasks only when built with RUSTFLAGS=\"--cfg tokio_unstable\"".into()
    } else {
        "the application enables looptop-agent without its feature `tracing`".into()
    })
}
