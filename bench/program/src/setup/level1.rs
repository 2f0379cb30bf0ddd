//! looptop's level 1: tokio's tracing, with the agent's layer on a registry.

use std::io;

use tokio::runtime::{Builder, Runtime};
use tracing_subscriber::prelude::*;

pub(super) type Keep = looptop_agent::Agent;

pub(super) fn start(mut builder: Builder) -> io::Result<(Runtime, Keep)> {
    #[cfg(feature = "level1")]
    let layer = looptop_agent::layer();
    #[cfg(feature = "level1-nowakes")]
    let layer = looptop_agent::task_layer().without_wakers();
    tracing_subscriber::registry().with(layer).init();
    let runtime = builder.build()?;
    let agent = runtime.block_on(async { looptop_agent::init() });
    Ok((runtime, agent))
}
