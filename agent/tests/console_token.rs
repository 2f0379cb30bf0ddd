//! Beside a token console-subscriber's service is off; in a process of its own, which has
//! one such service.
#![cfg(all(tokio_unstable, feature = "console"))]

mod viewer;

use console_api::instrument::InstrumentRequest;
use console_api::instrument::instrument_client::InstrumentClient;
use looptop_agent::Agent;
use looptop_wire::proto::CapabilityKind;
use viewer::client_runtime;

#[test]
fn the_instrument_service_is_off_beside_a_token() {
    let agent = Agent::builder()
        .bind("127.0.0.1:0")
        .token("correct-horse-battery-staple")
        .install_subscriber(false)
        .start();
    let address = agent.local_addr().expect("a TCP port");
    client_runtime().block_on(async {
        let endpoint = tonic::transport::Endpoint::from_shared(format!("http://{address}"));
        let channel = endpoint.expect("an address").connect().await;
        let mut client = InstrumentClient::new(channel.expect("it listens"));
        let updates = client.watch_updates(InstrumentRequest {}).await;
        let status = updates.expect_err("it is off");
        assert!(
            status.message().contains("LOOPTOP_CONSOLE=on"),
            "{status:?}"
        );
    });
    let console = viewer::hello(address).capabilities.into_iter();
    let mut console = console.filter(|c| c.kind() == CapabilityKind::Console);
    let console = console.next().expect("it is listed");
    assert!(!console.available && console.reason.contains("LOOPTOP_CONSOLE=on"));
    agent.shutdown();
}
