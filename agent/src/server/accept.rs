//! Taking connections from a listener, also when no descriptor is left.

use std::future::poll_fn;
use std::io;
use std::task::{Context, Poll};
use std::time::Duration;

use looptop_procfs::Connection;
use tokio::time::Instant;

use super::limits::{ACCEPTED_AT_ONCE, ACCEPTED_PER_S, Allowance};
use super::stream::Stream;
use super::visitor::Origin;
use crate::sample::is_out_of_descriptors;

/// How long to wait after the system refused a connection (no file descriptor
/// left, for example).
const ACCEPT_AGAIN: Duration = Duration::from_millis(200);

/// A socket that listens.
pub(super) trait Accept: Send + Sync + 'static {
    type Connection: Send + 'static;

    fn poll_accept(&self, context: &mut Context<'_>) -> Poll<io::Result<Self::Connection>>;
}

/// A new connection, and what is known of where it comes from.
pub(super) struct Arrival {
    pub(super) stream: Stream,
    pub(super) origin: Origin,
}

impl Accept for tokio::net::TcpListener {
    type Connection = Arrival;

    fn poll_accept(&self, context: &mut Context<'_>) -> Poll<io::Result<Arrival>> {
        self.poll_accept(context).map_ok(|(stream, peer)| {
            // Frames are small and due now.
            drop(stream.set_nodelay(true));
            let origin = match stream.local_addr() {
                Ok(own) if peer.ip().to_canonical().is_loopback() => Origin::Loopback(Connection {
                    end: peer,
                    other: own,
                }),
                _ => Origin::Network,
            };
            Arrival {
                stream: Stream::Tcp(stream),
                origin,
            }
        })
    }
}

#[cfg(unix)]
impl Accept for tokio::net::UnixListener {
    type Connection = Arrival;

    fn poll_accept(&self, context: &mut Context<'_>) -> Poll<io::Result<Arrival>> {
        self.poll_accept(context).map_ok(|(stream, _peer)| Arrival {
            origin: Origin::Socket(stream.peer_cred().ok().map(|peer| peer.uid())),
            stream: Stream::Unix(stream),
        })
    }
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

/// A listener with what it needs to accept when no descriptor is left.
pub(super) struct Acceptor<A> {
    listener: A,
    spares: Spares,
    began: Instant,
    allowance: Allowance,
}

impl<A: Accept> Acceptor<A> {
    pub(super) fn new(listener: A) -> Self {
        Self {
            listener,
            spares: Spares::default(),
            began: Instant::now(),
            allowance: Allowance::new(ACCEPTED_AT_ONCE, ACCEPTED_PER_S),
        }
    }

    /// The next connection: where the system refuses one, it is asked again a little
    /// later. Whoever connects all the time waits, which costs this process no CPU.
    pub(super) async fn next(&mut self) -> A::Connection {
        if !self.allowance.is_left(self.began.elapsed()) {
            tokio::time::sleep(self.allowance.until_left()).await;
        }
        self.allowance.use_up(1.0);
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
                Ok(connection) => {
                    #[cfg(feature = "planted")]
                    if std::env::var_os("LOOPTOP_PLANTED").is_some_and(|d| d == "descriptor") {
                        std::mem::forget(std::fs::File::open("/dev/null"));
                    }
                    return connection;
                }
                Err(_refused) => tokio::time::sleep(ACCEPT_AGAIN).await,
            }
        }
    }
}

#[cfg(all(test, unix))]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

    use super::*;

    /// Refuses so many times for want of a descriptor.
    struct Crowded(AtomicUsize);

    impl Accept for Crowded {
        type Connection = ();

        fn poll_accept(&self, _context: &mut Context<'_>) -> Poll<io::Result<()>> {
            let refusals = self.0.load(Relaxed);
            if refusals == 0 {
                return Poll::Ready(Ok(()));
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
            let is_accepted = matches!(answer, Poll::Ready(Ok(())));
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
