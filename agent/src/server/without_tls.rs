//! Without the feature `tls`: a program that asks for it gets a sentence.

use std::sync::Arc;

use tokio::net::TcpStream;
use tokio::sync::oneshot;
use tokio::time::Instant;

use super::stream::Io;
use super::visitor::Visitor;
use crate::access::settings::TlsFiles;

/// There is none.
#[derive(Clone)]
#[allow(dead_code, reason = "it is never made")]
pub(crate) struct Acceptor;

impl Acceptor {
    /// Refuses files of TLS, or everybody would think that connections are encrypted.
    pub(crate) fn new(files: &TlsFiles, _token_suffices: bool) -> Result<Option<Self>, String> {
        if files.is_asked_for() {
            return Err(
                "TLS is asked for (LOOPTOP_TLS_*), and the application enables looptop-agent \
                 without its feature `tls`"
                    .into(),
            );
        }
        Ok(None)
    }

    #[allow(clippy::unused_async, reason = "the other one waits")]
    pub(super) async fn accept(
        &self,
        _: TcpStream,
        _: Arc<Visitor>,
        _: oneshot::Receiver<()>,
        _: Instant,
    ) -> Option<Io> {
        None
    }
}
