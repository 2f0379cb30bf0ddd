//! How the program is observed. Each configuration is a file here with the same
//! two items; everything else is the same source in every build.
//!
//! - `Keep`: what must live as long as the runtime,
//! - `start(builder)`: the runtime, observed as that configuration's users are
//!   told to.

#[cfg(any(feature = "bare", feature = "unstable", feature = "nosub"))]
#[path = "bare.rs"]
mod chosen;
#[cfg(feature = "console")]
#[path = "console.rs"]
mod chosen;
#[cfg(feature = "dial9")]
#[path = "dial9.rs"]
mod chosen;
#[cfg(feature = "level0")]
#[path = "level0.rs"]
mod chosen;
#[cfg(feature = "level0-otlp")]
#[path = "level0_otlp.rs"]
mod chosen;
#[cfg(any(feature = "level1", feature = "level1-nowakes"))]
#[path = "level1.rs"]
mod chosen;
#[cfg(feature = "level2")]
#[path = "level2.rs"]
mod chosen;
#[cfg(feature = "registry")]
#[path = "registry.rs"]
mod chosen;
#[cfg(feature = "hooks")]
#[path = "hooks.rs"]
mod chosen;

use std::{io, time::Duration};

use tokio::runtime::{Builder, Runtime};

/// A runtime, and whatever watches it. The runtime is dropped first.
pub(crate) struct Observed {
    pub(crate) runtime: Runtime,
    _keep: chosen::Keep,
}

/// Shape of a runtime.
#[derive(Clone, Copy)]
pub(crate) enum Shape {
    CurrentThread,
    Workers(usize),
}

/// Builds and observes a runtime with I/O and time.
pub(crate) fn start(shape: Shape) -> io::Result<Observed> {
    let mut builder = match shape {
        Shape::CurrentThread => Builder::new_current_thread(),
        Shape::Workers(workers) => {
            let mut builder = Builder::new_multi_thread();
            builder.worker_threads(workers);
            builder
        }
    };
    builder.enable_all();
    let (runtime, keep) = chosen::start(builder)?;
    runtime.spawn(tick());
    Ok(Observed {
        runtime,
        _keep: keep,
    })
}

/// Every real service has a timer somewhere. Without one, tokio never reads its
/// clock, and the first timer (an observer's own, say) costs every turn of the
/// runtime some nanoseconds that are not the observer's.
async fn tick() {
    loop {
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}
