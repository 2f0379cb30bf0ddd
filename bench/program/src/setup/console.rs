//! console-subscriber as its README says.

use std::io;

use tokio::runtime::{Builder, Runtime};

pub(super) struct Keep;

pub(super) fn start(mut builder: Builder) -> io::Result<(Runtime, Keep)> {
    console_subscriber::init();
    Ok((builder.build()?, Keep))
}
