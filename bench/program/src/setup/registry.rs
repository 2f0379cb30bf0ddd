//! What level 1 cannot do without: tokio's tracing, a registry that keeps its
//! spans, and a layer that is told of tasks and wakers.

use std::io;

use tokio::runtime::{Builder, Runtime};
use tracing_subscriber::{
    Layer, Registry, filter::filter_fn, layer::SubscriberExt, util::SubscriberInitExt,
};

pub(super) type Keep = ();

/// Is told, and does nothing.
struct Nothing;

impl Layer<Registry> for Nothing {}

pub(super) fn start(mut builder: Builder) -> io::Result<(Runtime, Keep)> {
    let concerns_tasks = filter_fn(|metadata| metadata.target().starts_with("tokio::task"));
    tracing_subscriber::registry()
        .with(Nothing.with_filter(concerns_tasks))
        .try_init()
        .map_err(io::Error::other)?;
    Ok((builder.build()?, ()))
}
