//! tokio-console can attach to the agent's port.
#![cfg(all(tokio_unstable, feature = "console"))]

mod viewer;

use std::time::Duration;

use console_api::instrument::InstrumentRequest;
use console_api::instrument::instrument_client::InstrumentClient;
use looptop_agent::Agent;
use viewer::{Viewer, client_runtime};

#[test]
fn the_instrument_service_shows_tasks_on_the_same_port() {
    let mut builder = tokio::runtime::Builder::new_multi_thread();
    let runtime = builder
        .worker_threads(1)
        .enable_all()
        .build()
        .expect("a runtime");
    let agent = Agent::builder()
        .bind("127.0.0.1:0")
        .runtime("main", runtime.handle())
        .install_subscriber(true)
        .start();
    let address = agent.local_addr().expect("a TCP port");
    let name = "seen by tokio-console";
    let task = tokio::task::Builder::new().name(name);
    let task = task.spawn_on(std::future::pending::<()>(), runtime.handle());
    drop(task);

    let found = client_runtime().block_on(async {
        let endpoint = tonic::transport::Endpoint::from_shared(format!("http://{address}"));
        let channel = endpoint
            .expect("an address")
            .connect()
            .await
            .expect("it listens");
        let mut client = InstrumentClient::new(channel);
        let updates = client.watch_updates(InstrumentRequest {}).await;
        let mut updates = updates.expect("the service is there").into_inner();
        let search = async {
            while let Some(update) = updates.message().await.expect("a good stream") {
                let tasks = update.task_update.unwrap_or_default().new_tasks;
                if format!("{tasks:?}").contains(name) {
                    return true;
                }
            }
            false
        };
        tokio::time::timeout(Duration::from_secs(20), search).await
    });
    assert_eq!(found, Ok(true));
    // Both services at once.
    let viewer = Viewer::attach(address);
    viewer.until("a frame", |seen| (!seen.frames.is_empty()).then_some(()));
    agent.shutdown();
}
