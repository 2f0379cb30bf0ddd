//! The first bytes of a peer, kept to recognise what it is when it is not ours.

use std::{
    io,
    pin::Pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::{Context, Poll, ready},
};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::{access, problem::quote};

/// How many bytes are kept.
const KEPT: usize = 256;

/// The first bytes that came from a peer, and how TLS with it failed.
#[derive(Debug, Clone, Default)]
pub(super) struct Sniffed(Arc<Mutex<Kept>>);

#[derive(Debug, Default)]
struct Kept {
    bytes: Vec<u8>,
    failure: Option<Failure>,
}

/// What is wrong, and what to do about it.
type Failure = (String, &'static str);

/// What the first bytes say.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Answer {
    /// Nothing has come.
    Nothing,
    /// HTTP/2.
    Http2,
    /// Something else, described for a sentence.
    Other(String),
}

impl Sniffed {
    /// What the bytes so far say.
    pub(super) fn answer(&self) -> Answer {
        describe(&self.kept().bytes)
    }

    /// How TLS failed after both ends had agreed upon it: the application says only then
    /// what it thinks of a viewer's certificate.
    pub(super) fn failure(&self) -> Option<Failure> {
        self.kept().failure.clone()
    }

    fn kept(&self) -> MutexGuard<'_, Kept> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn keep(&self, bytes: &[u8]) {
        let kept = &mut self.kept().bytes;
        let room = KEPT - kept.len().min(KEPT);
        kept.extend_from_slice(&bytes[..bytes.len().min(room)]);
    }

    fn keep_failure(&self, error: &io::Error) {
        if let Some(failure) = access::sentence(error) {
            self.kept().failure = Some(failure);
        }
    }
}

/// What a peer is that begins with `bytes`.
pub(super) fn describe(bytes: &[u8]) -> Answer {
    // An HTTP/2 server begins with a SETTINGS frame (type 4) of stream 0.
    let settings = [4, 0, 0, 0, 0, 0];
    match bytes {
        [] => Answer::Nothing,
        [_, _, _, kind, _, stream @ ..] if *kind == settings[0] && stream.starts_with(&[0; 4]) => {
            Answer::Http2
        }
        [0x15 | 0x16, 3, ..] => Answer::Other("TLS".into()),
        _ => {
            let text = String::from_utf8_lossy(bytes);
            let mut lines = text.lines().map(str::trim).filter(|line| !line.is_empty());
            match lines.next() {
                // HTTP/0.9 has no status line.
                Some(line) if line.starts_with('<') => {
                    Answer::Other(format!("HTTP with a page: {}", quote(line)))
                }
                Some(line) if line.chars().filter(|c| c.is_control()).count() * 4 < line.len() => {
                    Answer::Other(quote(line))
                }
                _ => Answer::Other("a binary protocol".into()),
            }
        }
    }
}

/// A stream whose first incoming bytes are kept.
#[derive(Debug)]
pub(super) struct Sniffer<S> {
    stream: S,
    sniffed: Sniffed,
    seen: usize,
}

impl<S> Sniffer<S> {
    pub(super) fn new(stream: S, sniffed: Sniffed) -> Self {
        Self {
            stream,
            sniffed,
            seen: 0,
        }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Sniffer<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        let read = ready!(Pin::new(&mut self.stream).poll_read(cx, buf));
        if let Err(error) = read {
            self.sniffed.keep_failure(&error);
            return Poll::Ready(Err(error));
        }
        if self.seen < KEPT {
            let new = buf.filled().get(before..).unwrap_or_default();
            self.seen += new.len();
            self.sniffed.keep(new);
        }
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Sniffer<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn peers_are_told_by_their_first_bytes() {
        let other = |text: &str| Answer::Other(text.into());
        let cases: [(&[u8], Answer); 9] = [
            (b"", Answer::Nothing),
            (&[0, 0, 0, 4, 0, 0, 0, 0, 0], Answer::Http2),
            (&[0, 0, 18, 4, 0, 0, 0, 0, 0, 0, 3], Answer::Http2),
            (
                b"HTTP/1.1 400 Bad Request\r\nServer: x\r\n",
                other("HTTP/1.1 400 Bad Request"),
            ),
            (
                b"<!DOCTYPE HTML>\n<html>",
                other("HTTP with a page: <!DOCTYPE HTML>"),
            ),
            (b"SSH-2.0-OpenSSH_9.6\r\n", other("SSH-2.0-OpenSSH_9.6")),
            (&[0x15, 3, 3, 0, 2, 2, 70], other("TLS")),
            (&[0xff, 0, 1, 2, 3, 4], other("a binary protocol")),
            (b"-ERR \x1b[2J\n", other("-ERR \\u{1b}[2J")),
        ];
        for (bytes, expected) in cases {
            assert_eq!(describe(bytes), expected, "{bytes:?}");
        }
    }
}
