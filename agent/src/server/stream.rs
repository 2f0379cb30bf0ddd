//! The bytes of a connection, which end when it is to be closed.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::sync::oneshot;
use tokio::time::{Instant, Sleep, sleep_until};

use super::limits::FIRST_CALL;
use super::visitor::Visitor;

/// One of the ways by which bytes come.
pub(super) enum Stream {
    Tcp(tokio::net::TcpStream),
    #[cfg(unix)]
    Unix(tokio::net::UnixStream),
    #[cfg(feature = "tls")]
    Tls(Box<tokio_rustls::server::TlsStream<tokio::net::TcpStream>>),
}

/// Does the same with each of them.
macro_rules! each {
    ($stream:expr, $inner:ident => $do:expr) => {
        match $stream {
            Stream::Tcp($inner) => $do,
            #[cfg(unix)]
            Stream::Unix($inner) => $do,
            #[cfg(feature = "tls")]
            Stream::Tls($inner) => $do,
        }
    };
}

/// A connection that is closed when others need its place, or when it is overdue.
pub(super) struct Io {
    stream: Stream,
    pub(super) visitor: Arc<Visitor>,
    closed: oneshot::Receiver<()>,
    since: Instant,
    clock: Pin<Box<Sleep>>,
    /// What is read before the stream: it was read to see which protocol is spoken.
    #[cfg(feature = "metrics")]
    unread: Vec<u8>,
}

impl Io {
    pub(super) fn new(
        stream: Stream,
        visitor: Arc<Visitor>,
        closed: oneshot::Receiver<()>,
        since: Instant,
    ) -> Self {
        Self {
            stream,
            visitor,
            closed,
            since,
            clock: Box::pin(sleep_until(since + FIRST_CALL)),
            #[cfg(feature = "metrics")]
            unread: Vec::new(),
        }
    }

    /// The next reads yield these bytes.
    #[cfg(feature = "metrics")]
    pub(super) fn unread(&mut self, bytes: Vec<u8>) {
        self.unread = bytes;
    }

    /// Ready when the connection is to be closed. Asked at reads and at writes: a peer
    /// that takes nothing is never read from.
    fn poll_closed(&mut self, context: &mut Context<'_>) -> Poll<io::Error> {
        if Pin::new(&mut self.closed).poll(context).is_ready() {
            return Poll::Ready(io::ErrorKind::ConnectionAborted.into());
        }
        while self.clock.as_mut().poll(context).is_ready() {
            match self.visitor.overdue(self.since.elapsed()) {
                Ok(left) => self.clock.as_mut().reset(Instant::now() + left),
                Err(why) => {
                    self.visitor.closed(why);
                    return Poll::Ready(io::ErrorKind::TimedOut.into());
                }
            }
        }
        Poll::Pending
    }
}

impl AsyncRead for Io {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if let Poll::Ready(error) = self.poll_closed(context) {
            return Poll::Ready(Err(error));
        }
        #[cfg(feature = "metrics")]
        if !self.unread.is_empty() {
            let count = self.unread.len().min(buffer.remaining());
            buffer.put_slice(&self.unread[..count]);
            self.unread.drain(..count);
            return Poll::Ready(Ok(()));
        }
        each!(&mut self.stream, inner => Pin::new(inner).poll_read(context, buffer))
    }
}

impl AsyncWrite for Io {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        if let Poll::Ready(error) = self.poll_closed(context) {
            return Poll::Ready(Err(error));
        }
        each!(&mut self.stream, inner => Pin::new(inner).poll_write(context, bytes))
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        if let Poll::Ready(error) = self.poll_closed(context) {
            return Poll::Ready(Err(error));
        }
        each!(&mut self.stream, inner => Pin::new(inner).poll_write_vectored(context, bytes))
    }

    fn is_write_vectored(&self) -> bool {
        each!(&self.stream, inner => inner.is_write_vectored())
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        if let Poll::Ready(error) = self.poll_closed(context) {
            return Poll::Ready(Err(error));
        }
        each!(&mut self.stream, inner => Pin::new(inner).poll_flush(context))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        each!(&mut self.stream, inner => Pin::new(inner).poll_shutdown(context))
    }
}
