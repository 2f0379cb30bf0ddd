//! The agent's port, as who speaks HTTP/1 to it finds it.

use std::net::SocketAddr;
use std::sync::OnceLock;

use looptop_agent::Agent;

use crate::guard::guarded;
use crate::http::ask;

fn address() -> SocketAddr {
    static AGENT: OnceLock<Agent> = OnceLock::new();
    let agent = AGENT.get_or_init(|| {
        let builder = Agent::builder().bind("127.0.0.1:0").socket(false);
        builder.metrics(true).install_subscriber(false).start()
    });
    agent.local_addr().expect("the agent listens")
}

/// The input is what is sent.
pub fn run(data: &[u8]) {
    let address = address();
    guarded(|| drop(ask(address, data)));
}
