//! Without the feature `tls`: a target that wants it gets a sentence.

use std::io;

use tokio::net::TcpStream;

use super::super::{Problem, ProblemKind};

/// Refuses.
#[allow(clippy::unused_async, reason = "the other one waits")]
pub(in crate::source) async fn connect(_: TcpStream, host: &str) -> Result<TcpStream, Problem> {
    Err(Problem::new(
        ProblemKind::Unsupported,
        format!("{host} is asked for by https://, which this looptop was built without"),
        "build it with its feature `tls`",
    ))
}

/// Nothing here fails by TLS.
pub(in crate::source) fn sentence(_: &io::Error) -> Option<(String, &'static str)> {
    None
}
