//! The gRPC server: its own OS thread with its own runtime, so that an
//! application whose workers are all blocked still answers.

use std::future::poll_fn;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use looptop_wire::proto;
use tokio::io::{AsyncRead, AsyncWrite};

use crate::config::Bind;
use crate::publish::feed;
use crate::sample::is_out_of_descriptors;
use crate::shared::Shared;

#[cfg(not(feature = "services"))]
mod alone;
#[cfg(feature = "services")]
mod with_services;

#[cfg(not(feature = "services"))]
use self::alone as service;
pub(crate) use self::service::Services;
#[cfg(feature = "services")]
use self::with_services as service;

/// The name of its thread.
pub(crate) const THREAD_NAME: &str = "looptop-agent";

/// How long to wait after the system refused a connection (no file descriptor
/// left, for example).
const ACCEPT_AGAIN: Duration = Duration::from_millis(200);
/// A viewer that does not answer this long is gone.
const KEEPALIVE: Duration = Duration::from_secs(10);

/// A bound socket.
#[derive(Debug)]
pub(crate) enum Listener {
    Tcp(std::net::TcpListener),
    #[cfg(unix)]
    Unix(std::os::unix::net::UnixListener, SocketFile),
}

impl Listener {
    /// Binds the address.
    pub(crate) fn bind(bind: &Bind) -> io::Result<Self> {
        match bind {
            Bind::Tcp(address) => {
                let listener = std::net::TcpListener::bind(address)?;
                listener.set_nonblocking(true)?;
                Ok(Self::Tcp(listener))
            }
            #[cfg(unix)]
            Bind::Unix(path) => {
                remove_stale_socket(path);
                let listener = std::os::unix::net::UnixListener::bind(path)?;
                listener.set_nonblocking(true)?;
                Ok(Self::Unix(listener, SocketFile(path.clone())))
            }
            #[cfg(not(unix))]
            Bind::Unix(_) => Err(io::Error::new(
                io::ErrorKind::Unsupported,
                "Unix sockets exist on Unix only",
            )),
        }
    }

    /// The address of a TCP socket, with the port that it really got.
    pub(crate) fn local_addr(&self) -> Option<SocketAddr> {
        match self {
            Self::Tcp(listener) => listener.local_addr().ok(),
            #[cfg(unix)]
            Self::Unix(..) => None,
        }
    }
}

/// The file of a Unix socket; removed when the agent ends.
#[cfg(unix)]
#[derive(Debug)]
pub(crate) struct SocketFile(std::path::PathBuf);

#[cfg(unix)]
impl Drop for SocketFile {
    fn drop(&mut self) {
        drop(std::fs::remove_file(&self.0));
    }
}

/// A socket that a process left behind which nobody listens to any more.
#[cfg(unix)]
fn remove_stale_socket(path: &std::path::Path) {
    use std::os::unix::fs::FileTypeExt;
    let is_socket = std::fs::metadata(path).is_ok_and(|m| m.file_type().is_socket());
    if is_socket && std::os::unix::net::UnixStream::connect(path).is_err() {
        drop(std::fs::remove_file(path));
    }
}

/// Serves until the agent is shut down; to be called on its own thread.
pub(crate) fn run(shared: &Arc<Shared>, listener: Listener, services: Services) {
    shared.enter_own_thread();
    let mut builder = tokio::runtime::Builder::new_current_thread();
    let runtime = match builder.enable_io().enable_time().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            crate::complain(&format!(
                "cannot start its runtime: {error}; nobody can attach"
            ));
            return;
        }
    };
    without_tracing(|| {
        runtime.block_on(async {
            let (feed, publish) = feed::new(shared);
            tokio::spawn(publish);
            #[cfg(feature = "flight-recorder")]
            crate::flight::start(shared, &feed);
            tokio::spawn(serve(Arc::clone(shared), listener, feed, services));
            shared.stopped().await;
        });
        // Connections and their tasks end here; nothing is waited for.
        runtime.shutdown_background();
    });
}

/// The agent's own tasks are nobody's business. Its layer skips them by their
/// thread; console-subscriber's would not, and a default subscriber of this
/// thread, which costs every event of every thread some nanoseconds, is only
/// worth it there.
fn without_tracing(run: impl FnOnce()) {
    #[cfg(feature = "console")]
    {
        tracing_core::dispatcher::with_default(&crate::console::deaf(), run);
    }
    #[cfg(not(feature = "console"))]
    run();
}

async fn serve(shared: Arc<Shared>, listener: Listener, feed: feed::Feed, services: Services) {
    let served = match listener {
        Listener::Tcp(listener) => match tokio::net::TcpListener::from_std(listener) {
            Ok(listener) => service::serve(shared, listener, feed, services).await,
            Err(error) => return complain_of(&error),
        },
        #[cfg(unix)]
        Listener::Unix(listener, _removed_at_the_end) => {
            match tokio::net::UnixListener::from_std(listener) {
                Ok(listener) => service::serve(shared, listener, feed, services).await,
                Err(error) => return complain_of(&error),
            }
        }
    };
    if let Err(error) = served {
        complain_of(&*error);
    }
}

fn complain_of(error: &dyn std::error::Error) {
    crate::complain(&format!(
        "its server failed: {error}; nobody can attach any more"
    ));
}

/// What a connection must be able to do.
#[cfg(feature = "services")]
trait Connection: AsyncRead + AsyncWrite + service::Connected + Unpin + Send + 'static {}
#[cfg(feature = "services")]
impl<C: AsyncRead + AsyncWrite + service::Connected + Unpin + Send + 'static> Connection for C {}

/// What a connection must be able to do.
#[cfg(not(feature = "services"))]
trait Connection: AsyncRead + AsyncWrite + Unpin + Send + 'static {}
#[cfg(not(feature = "services"))]
impl<C: AsyncRead + AsyncWrite + Unpin + Send + 'static> Connection for C {}

/// A socket that listens.
trait Accept: Send + Sync + 'static {
    type Connection: Connection;

    fn poll_accept(&self, context: &mut Context<'_>) -> Poll<io::Result<Self::Connection>>;
}

/// Descriptors that are kept for the moment when the application has used up all
/// others: then a viewer is needed most.
#[derive(Debug, Default)]
struct Spares(Vec<std::fs::File>);

/// More than one, because the application asks for descriptors at the same time.
const SPARES: usize = 4;
/// When to try to have all of them again.
const REFILL: Duration = Duration::from_secs(1);

impl Spares {
    /// Takes as many as there are.
    fn refill(&mut self) {
        while self.0.len() < SPARES {
            match std::fs::File::open("/dev/null") {
                Ok(file) => self.0.push(file),
                Err(_none_left) => return,
            }
        }
    }

    fn are_missing(&self) -> bool {
        self.0.len() < SPARES
    }

    /// The next connection, with the spare descriptors where no other is left.
    fn poll_accept<A: Accept>(
        &mut self,
        listener: &A,
        context: &mut Context<'_>,
    ) -> Poll<io::Result<A::Connection>> {
        match listener.poll_accept(context) {
            Poll::Ready(Err(error)) if is_out_of_descriptors(&error) && !self.0.is_empty() => {
                self.0.clear();
                listener.poll_accept(context)
            }
            other => other,
        }
    }
}

impl Accept for tokio::net::TcpListener {
    type Connection = tokio::net::TcpStream;

    fn poll_accept(&self, context: &mut Context<'_>) -> Poll<io::Result<Self::Connection>> {
        self.poll_accept(context).map_ok(|(stream, _peer)| {
            // Frames are small and due now.
            drop(stream.set_nodelay(true));
            stream
        })
    }
}

#[cfg(unix)]
impl Accept for tokio::net::UnixListener {
    type Connection = tokio::net::UnixStream;

    fn poll_accept(&self, context: &mut Context<'_>) -> Poll<io::Result<Self::Connection>> {
        self.poll_accept(context).map_ok(|(stream, _peer)| stream)
    }
}

/// A listener with what it needs to accept when no descriptor is left.
struct Acceptor<A> {
    listener: A,
    spares: Spares,
}

impl<A: Accept> Acceptor<A> {
    fn new(listener: A) -> Self {
        Self {
            listener,
            spares: Spares::default(),
        }
    }

    /// The next connection: where the system refuses one, it is asked again a little
    /// later.
    async fn next(&mut self) -> A::Connection {
        loop {
            self.spares.refill();
            let missing = self.spares.are_missing();
            let (listener, spares) = (&self.listener, &mut self.spares);
            let accept = poll_fn(|context| spares.poll_accept(listener, context));
            let accepted = if missing {
                match tokio::time::timeout(REFILL, accept).await {
                    Ok(accepted) => accepted,
                    Err(_nobody_came) => continue,
                }
            } else {
                accept.await
            };
            match accepted {
                Ok(connection) => return connection,
                Err(_refused) => tokio::time::sleep(ACCEPT_AGAIN).await,
            }
        }
    }
}

/// Names for the frames of a viewer that cannot read the binary.
async fn resolve(
    #[allow(unused_variables, reason = "only with symbols")] shared: &Arc<Shared>,
    frames: Vec<proto::CodeAddress>,
) -> proto::ResolveFramesResponse {
    #[cfg(all(
        feature = "symbols",
        target_os = "linux",
        any(target_arch = "x86_64", target_arch = "aarch64")
    ))]
    return crate::symbols_of::resolve(shared, frames).await;
    #[cfg(not(all(
        feature = "symbols",
        target_os = "linux",
        any(target_arch = "x86_64", target_arch = "aarch64")
    )))]
    proto::ResolveFramesResponse {
        frames: vec![proto::ResolvedFrame::default(); frames.len()],
        reason: "this agent reads no symbols (its feature `symbols`, on Linux): run the viewer where it can read the binary".into(),
    }
}

#[cfg(all(test, unix))]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

    use super::*;

    /// Refuses so many times for want of a descriptor.
    struct Crowded(AtomicUsize);

    impl Accept for Crowded {
        type Connection = tokio::io::DuplexStream;

        fn poll_accept(&self, _context: &mut Context<'_>) -> Poll<io::Result<Self::Connection>> {
            let refusals = self.0.load(Relaxed);
            if refusals == 0 {
                return Poll::Ready(Ok(tokio::io::duplex(1).0));
            }
            self.0.store(refusals - 1, Relaxed);
            Poll::Ready(Err(io::Error::from_raw_os_error(libc::EMFILE)))
        }
    }

    #[test]
    fn a_viewer_gets_the_spare_descriptors_when_there_is_no_other() {
        let mut context = Context::from_waker(std::task::Waker::noop());
        for (refusals, accepted, spares_left) in [(0, true, SPARES), (1, true, 0), (2, false, 0)] {
            let mut spares = Spares::default();
            spares.refill();
            assert!(!spares.are_missing());
            let listener = Crowded(AtomicUsize::new(refusals));
            let answer = spares.poll_accept(&listener, &mut context);
            let is_accepted = matches!(answer, Poll::Ready(Ok(_)));
            assert_eq!(
                (is_accepted, spares.0.len()),
                (accepted, spares_left),
                "{refusals}"
            );
            // Without spares nothing is tried twice.
            let listener = Crowded(AtomicUsize::new(1));
            let mut none = Spares::default();
            assert!(matches!(
                none.poll_accept(&listener, &mut context),
                Poll::Ready(Err(_))
            ));
        }
    }
}
