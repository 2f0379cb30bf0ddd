//! looptop's level 2: the runtime's hooks, without tokio's tracing.

use std::io;

use tokio::runtime::{Builder, Runtime};

pub(super) type Keep = looptop_agent::Agent;

pub(super) fn start(mut builder: Builder) -> io::Result<(Runtime, Keep)> {
    looptop_agent::instrument(&mut builder);
    let runtime = builder.build()?;
    let agent = runtime.block_on(async { looptop_agent::init() });
    Ok((runtime, agent))
}
