//! A loopback HTTP service: one route, keep-alive, a task per connection.

use std::io::Write;

use axum::{Router, routing::get};
use tokio::{net::TcpListener, sync::oneshot};

use super::{Outcome, on_a_worker, until_dismissed};
use crate::{
    arguments::Arguments,
    setup::{self, Shape},
};

/// Prints its port and serves until standard input ends.
pub(crate) fn run(arguments: &Arguments) -> Outcome {
    let workers = usize::try_from(arguments.required("workers")?)?;
    let observed = setup::start(Shape::Workers(workers))?;
    let (dismiss, dismissed) = oneshot::channel::<()>();
    std::thread::spawn(move || {
        until_dismissed();
        drop(dismiss);
    });
    on_a_worker(&observed.runtime, async move {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await?;
        println!("port {}", listener.local_addr()?.port());
        std::io::stdout().flush()?;
        let routes = Router::new()
            .route("/", get(|| async { "Hello, world!" }))
            .route("/task", get(in_a_task));
        tokio::select! {
            served = axum::serve(listener, routes) => served,
            _ = dismissed => Ok(()),
        }
    })??;
    // Connections may still be open; nobody waits for them.
    observed.runtime.shutdown_background();
    Ok(())
}

/// The answer comes from a task of its own, as in services that spawn freely.
async fn in_a_task() -> &'static str {
    tokio::spawn(async { "Hello, world!" })
        .await
        .unwrap_or("the task failed")
}
