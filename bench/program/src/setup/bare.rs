//! Nobody watches. Also for the controls, in which tokio is built to be watched
//! and nobody does.

use std::io;

use tokio::runtime::{Builder, Runtime};

pub(super) struct Keep;

pub(super) fn start(mut builder: Builder) -> io::Result<(Runtime, Keep)> {
    Ok((builder.build()?, Keep))
}
