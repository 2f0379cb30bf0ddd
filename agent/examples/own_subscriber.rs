//! An application with a `tracing` subscriber and filters of its own. The filter is
//! given to the layer that prints: one of the whole subscriber would hide tokio's
//! spans from looptop as well. The span around a task gives it its name.
//!
//! ```text
//! cargo run -p looptop-agent --example own_subscriber
//! looptop
//! ```

use std::time::Duration;

use tracing::{Instrument, info_span};
use tracing_subscriber::{Layer, filter::Targets, fmt, prelude::*};

#[tokio::main]
async fn main() {
    let text = std::env::var("RUST_LOG").unwrap_or_else(|_| "info".to_owned());
    let filter: Targets = text.parse().unwrap_or_default();
    tracing_subscriber::registry()
        .with(looptop_agent::layer())
        .with(
            fmt::layer()
                .with_writer(std::io::stderr)
                .with_filter(filter),
        )
        .init();
    let agent = looptop_agent::init();
    if let Some(address) = agent.local_addr() {
        println!("attach with: looptop {address}");
    }
    let serve = async {
        loop {
            tracing::debug!("a request");
            blocking_handler();
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    // Its name in looptop: "connection peer=10.0.0.1:5".
    let peer = "10.0.0.1:5";
    tokio::spawn(serve.instrument(info_span!("connection", peer)));
    // The application ends with its standard input.
    let end = tokio::task::spawn_blocking(|| std::io::read_to_string(std::io::stdin()));
    drop(end.await);
}

/// The mistake.
fn blocking_handler() {
    std::thread::sleep(Duration::from_millis(150));
}
