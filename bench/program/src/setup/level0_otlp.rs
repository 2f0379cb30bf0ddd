//! Level 0 that sends by OTLP, to a collector that takes nothing: what is to be sent is
//! gathered, kept and lost.

use std::io;

use tokio::runtime::{Builder, Runtime};

pub(super) type Keep = looptop_agent::Agent;

/// Nothing listens there.
const NOBODY: &str = "http://127.0.0.1:9";

pub(super) fn start(mut builder: Builder) -> io::Result<(Runtime, Keep)> {
    let runtime = builder.build()?;
    let agent = runtime.block_on(async { looptop_agent::Agent::builder().otlp(NOBODY).start() });
    Ok((runtime, agent))
}
