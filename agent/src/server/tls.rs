//! TLS on the port, with certificates of viewers where the application wants them.

use std::fmt::Display;
use std::future::poll_fn;
use std::io;
use std::path::Path;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::AsyncWrite;
use tokio::net::TcpStream;
use tokio::sync::oneshot;
use tokio::time::{Instant, timeout, timeout_at};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::rustls::server::WebPkiClientVerifier;
use tokio_rustls::rustls::server::danger::ClientCertVerifier;
use tokio_rustls::rustls::{RootCertStore, ServerConfig};

use super::limits::FIRST_CALL;
use super::stream::{Io, Stream};
use super::visitor::Visitor;
use crate::access::counts::Closed;
use crate::access::settings::TlsFiles;

/// So long a viewer may take to read why it was turned away.
const LINGER: Duration = Duration::from_secs(1);

/// Greets viewers by TLS.
#[derive(Clone)]
pub(crate) struct Acceptor(TlsAcceptor);

impl Acceptor {
    /// With these files; `None` where none is given. Viewers without a certificate are
    /// greeted where a token suffices, or where no certificates are asked for.
    pub(crate) fn new(files: &TlsFiles, token_suffices: bool) -> Result<Option<Self>, String> {
        if !files.is_asked_for() {
            return Ok(None);
        }
        let (Some(certificate), Some(key)) = (&files.certificate, &files.key) else {
            return Err("TLS needs both LOOPTOP_TLS_CERT and LOOPTOP_TLS_KEY".into());
        };
        let provider = Arc::new(ring::default_provider());
        let chain = certificates(certificate, "LOOPTOP_TLS_CERT")?;
        let key = PrivateKeyDer::from_pem_file(key)
            .map_err(|error| unusable(key, "LOOPTOP_TLS_KEY", &error))?;
        let builder = ServerConfig::builder_with_provider(Arc::clone(&provider))
            .with_safe_default_protocol_versions()
            .map_err(|error| error.to_string())?;
        let builder = match &files.authority {
            None => builder.with_no_client_auth(),
            Some(authority) => {
                let verifier = verifier(authority, token_suffices, provider)?;
                builder.with_client_cert_verifier(verifier)
            }
        };
        let mut config = builder
            .with_single_cert(chain, key)
            .map_err(|error| unusable(certificate, "LOOPTOP_TLS_CERT", &error))?;
        // The first of these that a peer speaks as well: what only speaks gRPC says so.
        config.alpn_protocols = vec![b"h2".to_vec()];
        #[cfg(feature = "metrics")]
        config.alpn_protocols.insert(0, b"http/1.1".to_vec());
        Ok(Some(Self(TlsAcceptor::from(Arc::new(config)))))
    }

    /// Greets a new connection; `None` where it comes to nothing, which is counted.
    pub(super) async fn accept(
        &self,
        stream: TcpStream,
        visitor: Arc<Visitor>,
        mut closed: oneshot::Receiver<()>,
        since: Instant,
    ) -> Option<Io> {
        let greeting = self.0.accept(stream).into_fallible();
        let greeting = timeout_at(since + FIRST_CALL, greeting);
        let stream = tokio::select! {
            greeted = greeting => match greeted {
                Ok(Ok(stream)) => stream,
                Ok(Err((_, stream))) => {
                    visitor.closed(Closed::Tls);
                    linger(stream).await;
                    return None;
                }
                Err(_) => {
                    visitor.closed(Closed::Silent);
                    return None;
                }
            },
            _ = &mut closed => return None,
        };
        // They are verified where they were asked for, and not sent otherwise.
        if stream.get_ref().1.peer_certificates().is_some() {
            visitor.is_certified();
        }
        let stream = Stream::Tls(Box::new(stream));
        Some(Io::new(stream, visitor, closed, since))
    }
}

/// Takes what is on its way until the viewer closes its end: a connection that is closed
/// with bytes unread is reset, and the viewer would not read why it was turned away.
async fn linger(mut stream: TcpStream) {
    let ended = poll_fn(|context| Pin::new(&mut stream).poll_shutdown(context)).await;
    let rest = async {
        let mut bytes = [0; 1_024];
        while stream.readable().await.is_ok() {
            match stream.try_read(&mut bytes) {
                Ok(0) => return,
                Err(error) if error.kind() != io::ErrorKind::WouldBlock => return,
                Ok(_) | Err(_) => {}
            }
        }
    };
    if ended.is_ok() {
        drop(timeout(LINGER, rest).await);
    }
}

fn verifier(
    authority: &Path,
    token_suffices: bool,
    provider: Arc<tokio_rustls::rustls::crypto::CryptoProvider>,
) -> Result<Arc<dyn ClientCertVerifier>, String> {
    const VARIABLE: &str = "LOOPTOP_TLS_CLIENT_CA";
    let mut roots = RootCertStore::empty();
    for certificate in certificates(authority, VARIABLE)? {
        let added = roots.add(certificate);
        added.map_err(|error| unusable(authority, VARIABLE, &error))?;
    }
    let builder = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider);
    let builder = if token_suffices {
        builder.allow_unauthenticated()
    } else {
        builder
    };
    let built = builder.build();
    built.map_err(|error| unusable(authority, VARIABLE, &error))
}

fn certificates(path: &Path, variable: &str) -> Result<Vec<CertificateDer<'static>>, String> {
    let read = CertificateDer::pem_file_iter(path).and_then(Iterator::collect);
    let certificates: Vec<_> = read.map_err(|error| unusable(path, variable, &error))?;
    if certificates.is_empty() {
        return Err(unusable(path, variable, &"it holds no certificate"));
    }
    Ok(certificates)
}

fn unusable(path: &Path, variable: &str, error: &dyn Display) -> String {
    format!("{variable} ({}) cannot be used: {error}", path.display())
}
