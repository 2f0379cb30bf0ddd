//! looptop's level 0: one line in `main`, no compiler flag.

use std::io;

use tokio::runtime::{Builder, Runtime};

pub(super) type Keep = looptop_agent::Agent;

pub(super) fn start(mut builder: Builder) -> io::Result<(Runtime, Keep)> {
    let runtime = builder.build()?;
    let agent = runtime.block_on(async { looptop_agent::init() });
    Ok((runtime, agent))
}
