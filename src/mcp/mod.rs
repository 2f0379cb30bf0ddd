//! `looptop mcp`: the same answers for assistants, by the Model Context Protocol.
//!
//! - `server`: what is said of it, and how a call finds its tool,
//! - `tools`: the tools, a file each, and the registry,
//! - `answer`: what a tool returns, small and harmless, or why it cannot,
//! - `sessions`: the targets that are watched, of which few are kept between calls,
//! - `session`: one of them,
//! - `found`: which target is meant where a call names none.
//!
//! Invariants:
//! - Nothing that a tool does changes a target or a file.
//! - Standard output is the protocol's alone.
//! - Text of a target is escaped, cut, and marked as what it is: data. Nothing of it is
//!   in what the server says of itself.

mod answer;
mod found;
mod server;
mod session;
mod sessions;
mod tools;

use std::sync::Arc;

use rmcp::{
    ServiceExt,
    service::{QuitReason, ServerInitializeError},
    transport::stdio,
};

use self::{server::Server, tools::Desk};

/// Which target calls are about that name none.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Otherwise {
    /// This one, as the user named it.
    Named(String),
    /// This one if something listens there, otherwise the only one of this machine.
    FoundAt(String),
}

/// Why the server ended before its client did.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// The client's first messages were none of the protocol.
    #[error(
        "no session of the Model Context Protocol began: {0}; an assistant starts `looptop mcp` \
         itself, docs/assistants.md says how it is configured"
    )]
    NoSession(Box<ServerInitializeError>),
    /// The server itself has failed.
    #[error("the server ended: {0}")]
    Failed(#[from] tokio::task::JoinError),
}

/// Serves on standard input and output until the input is closed.
pub async fn serve(otherwise: Otherwise) -> Result<(), ServeError> {
    let server = Server::new(Arc::new(Desk::new(otherwise)));
    let running = match server.serve(stdio()).await {
        Ok(running) => running,
        // Nobody has said anything.
        Err(ServerInitializeError::ConnectionClosed(_)) => return Ok(()),
        Err(error) => return Err(ServeError::NoSession(Box::new(error))),
    };
    match running.waiting().await? {
        QuitReason::JoinError(error) => Err(error.into()),
        _ => Ok(()),
    }
}
