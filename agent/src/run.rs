//! Level 2 in one line.

use tokio::runtime;

use crate::agent::Builder;
use crate::hooks;

/// Runs `main` as `#[tokio::main]` does, on a multi-thread runtime with I/O and
/// time, whose tasks looptop sees by the runtime's own hooks (level 2).
///
/// ```no_run
/// looptop_agent::run(async {
///     // ... your application, in `fn main()`
/// })
/// ```
///
/// Tasks need `--cfg tokio_unstable`, as ever; without it this is level 0. No
/// `tracing` subscriber is installed: for names and wakes, at a higher cost, use
/// `#[tokio::main]` with [`init`](crate::init). Settings: [`Builder::run`]; a
/// runtime of another shape: [`instrument`](crate::instrument).
///
/// # Panics
///
/// Where the runtime cannot be built, as `#[tokio::main]` does.
pub fn run<F: Future>(main: F) -> F::Output {
    Builder::default().run(main)
}

impl Builder {
    /// As [`run`](crate::run), with these settings. The agent is the one that
    /// [`init`](crate::init) returns within `main`.
    ///
    /// # Panics
    ///
    /// Where the runtime cannot be built, as `#[tokio::main]` does.
    pub fn run<F: Future>(self, main: F) -> F::Output {
        let mut builder = runtime::Builder::new_multi_thread();
        let built = hooks::instrument(builder.enable_all()).build();
        #[allow(clippy::expect_used, reason = "documented, and what tokio does")]
        let runtime = built.expect("Failed building the Runtime");
        runtime.block_on(async {
            let _agent = self.install_subscriber(false).start();
            main.await
        })
    }
}
