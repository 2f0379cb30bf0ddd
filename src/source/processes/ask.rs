//! What answers at a socket: an agent's `Hello`, console-subscriber's
//! `Instrument`, or nothing of ours.

use std::time::Duration;

use console_api::instrument::{TaskDetailsRequest, instrument_client::InstrumentClient};
use looptop_wire::{
    PROTOCOL,
    proto::{Capability, CapabilityKind, HelloRequest, agent_client::AgentClient},
};
use tokio::time::{Instant, timeout_at};
use tonic::Code;

use super::super::{connect, target::Target};

/// What answered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Answer {
    /// An agent of the application with this name; with console-subscriber's
    /// service on the same port or without. A session is that of all its sockets.
    Agent {
        name: String,
        console: bool,
        session: String,
        pid: u32,
    },
    /// An agent that wants a token, which is shown to nobody who was merely found.
    WantsToken,
    /// An agent that does not show itself to this user.
    Closed,
    /// console-subscriber.
    Console,
}

/// Asks `target`; `None` where it is something else or does not answer in time.
pub(super) async fn ask(target: &Target, patience: Duration) -> Option<Answer> {
    let deadline = Instant::now() + patience;
    timeout_at(deadline, greet(target, deadline)).await.ok()?
}

async fn greet(target: &Target, deadline: Instant) -> Option<Answer> {
    let link = connect::open(target, deadline).await.ok()?;
    let request = HelloRequest {
        protocol: PROTOCOL,
        viewer: concat!("looptop ls ", env!("CARGO_PKG_VERSION")).into(),
    };
    match AgentClient::new(link.channel.clone()).hello(request).await {
        Ok(hello) => {
            let hello = hello.into_inner();
            let has_console = |c: &Capability| c.available && c.kind() == CapabilityKind::Console;
            return Some(Answer::Agent {
                console: hello.capabilities.iter().any(has_console),
                name: hello.name,
                session: hello.session,
                pid: hello.pid,
            });
        }
        Err(status) if status.code() == Code::Unimplemented => {}
        Err(status) if status.code() == Code::Unauthenticated => return Some(Answer::WantsToken),
        Err(status) if status.code() == Code::PermissionDenied => return Some(Answer::Closed),
        Err(_) => return None,
    }
    // No task is named: a console refuses that with this code, which costs it
    // nothing, unlike a stream of updates.
    let request = TaskDetailsRequest { id: None };
    let mut console = InstrumentClient::new(link.channel);
    let refused = console.watch_task_details(request).await.err()?;
    (refused.code() == Code::InvalidArgument).then_some(Answer::Console)
}
