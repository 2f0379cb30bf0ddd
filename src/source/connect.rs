//! Opening a connection, so that each way to fail has its own error.

use std::{io, sync::Mutex, time::Duration};

use hyper_util::rt::TokioIo;
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    net::TcpStream,
    time::{Instant, timeout, timeout_at},
};
use tonic::{
    Status,
    service::interceptor::InterceptedService,
    transport::{Endpoint, Uri},
};

use super::{
    access::{self, Calls, Shown},
    problem::{Problem, ProblemKind},
    sniff::{self, Answer, Sniffed, Sniffer},
    target::Target,
};

/// Within this time of the beginning of an attempt the user learns when
/// nothing has come; of the 2 s that are promised it leaves some for the rest.
pub(super) const PATIENCE: Duration = Duration::from_millis(1_500);

/// How long a peer that hung up is asked what it is.
const PROBE: Duration = Duration::from_millis(300);

/// HTTP/2 pings, so that a host that vanished is noticed. A frozen process is
/// noticed much earlier by its silence, and gets this long to come back before
/// the connection is given up.
const PING_EVERY: Duration = Duration::from_secs(5);
pub(super) const PING_TIMEOUT: Duration = Duration::from_secs(25);

/// Enough for a snapshot of some megabytes without a round trip each 64 KiB.
const WINDOW_BYTES: u32 = 4 << 20;

trait Io: AsyncRead + AsyncWrite + Send + Unpin {}
impl<S: AsyncRead + AsyncWrite + Send + Unpin> Io for S {}

/// A connection, and the first bytes that came on it.
#[derive(Debug, Clone)]
pub(super) struct Link {
    pub(super) channel: Calls,
    pub(super) sniffed: Sniffed,
    /// What its calls show of this viewer.
    pub(super) shown: Shown,
}

/// Connects to `target`; `deadline` bounds name resolution and connecting.
pub(super) async fn open(target: &Target, deadline: Instant) -> Result<Link, Problem> {
    let stream = dial(target, deadline).await?;
    let sniffed = Sniffed::default();
    let stream = Sniffer::new(stream, sniffed.clone());
    let authority = match target {
        Target::Tcp { .. } | Target::Number(_) => format!("http://{target}"),
        // TLS is ours; tonic, where another crate has switched on its own, would begin it
        // once more for an https:// address.
        Target::Tls { .. } => target.to_string().replacen("https://", "http://", 1),
        _ => "http://localhost".into(),
    };
    let mut endpoint = Endpoint::from_shared(authority)
        .unwrap_or_else(|_| Endpoint::from_static("http://localhost"));
    if let Target::Tls { .. } = target
        && let Ok(origin) = target.to_string().parse()
    {
        endpoint = endpoint.origin(origin);
    }
    let endpoint = endpoint
        .http2_keep_alive_interval(PING_EVERY)
        .keep_alive_timeout(PING_TIMEOUT)
        .keep_alive_while_idle(true)
        .initial_stream_window_size(WINDOW_BYTES)
        .initial_connection_window_size(2 * WINDOW_BYTES);
    // The stream is given out once: a channel that reconnects by itself would
    // hide that the session ended.
    let once = Mutex::new(Some(stream));
    let connector = tower::service_fn(move |_: Uri| {
        let stream = once.lock().ok().and_then(|mut stream| stream.take());
        let stream = stream.map(TokioIo::new);
        std::future::ready(stream.ok_or_else(|| io::Error::from(io::ErrorKind::NotConnected)))
    });
    match endpoint.connect_with_connector(connector).await {
        Ok(channel) => {
            let shown = Shown::to(target);
            Ok(Link {
                channel: InterceptedService::new(channel, shown.clone()),
                sniffed,
                shown,
            })
        }
        Err(error) => Err(failed_call(target, &Status::from_error(error.into()), &sniffed).await),
    }
}

/// Whether anything listens at `target`. One that does not answer in time does: what it
/// is shows when it is attached to.
pub(super) async fn is_listening(target: &Target) -> bool {
    match dial(target, Instant::now() + PATIENCE).await {
        Ok(_) => true,
        Err(problem) => problem.kind != ProblemKind::Refused,
    }
}

/// The problem behind a failed call. Where the peer hung up without a word it
/// is asked, on a second connection, in HTTP/1.
pub(super) async fn failed_call(target: &Target, status: &Status, sniffed: &Sniffed) -> Problem {
    if let Some((what, advice)) = sniffed.failure() {
        return Problem::new(ProblemKind::Tls, format!("{target}: {what}"), advice);
    }
    if sniffed.answer() != Answer::Nothing {
        return Problem::call(target, status, sniffed);
    }
    match timeout(PROBE, probe(target)).await {
        Ok(Some(text)) => Problem::other_protocol(target, &text),
        _ => Problem::hangs_up(target),
    }
}

/// What answers an HTTP/1 request, described; `None` where nothing does.
async fn probe(target: &Target) -> Option<String> {
    let mut stream = dial(target, Instant::now() + PROBE).await.ok()?;
    let request = b"GET / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";
    stream.write_all(request).await.ok()?;
    let mut answer = vec![0; 256];
    let n = stream.read(&mut answer).await.ok()?;
    match sniff::describe(answer.get(..n)?) {
        Answer::Other(text) => Some(text),
        Answer::Nothing | Answer::Http2 => None,
    }
}

async fn dial(target: &Target, deadline: Instant) -> Result<Box<dyn Io>, Problem> {
    let began = Instant::now();
    let dialled = match (target.tcp(), target) {
        (Some((host, port)), _) => timeout_at(deadline, dial_tcp(target, host, port)).await,
        (None, Target::Unix(path)) => timeout_at(deadline, dial_unix(target, path)).await,
        (None, _) => Ok(Err(Problem::connecting(
            target,
            &io::ErrorKind::Unsupported.into(),
        ))),
    };
    dialled.unwrap_or_else(|_| Err(Problem::connect_timeout(target, began.elapsed())))
}

/// Tries each address of `host` in turn; of several failures the first counts.
async fn dial_tcp(target: &Target, host: &str, port: u16) -> Result<Box<dyn Io>, Problem> {
    let addresses = tokio::net::lookup_host((host, port))
        .await
        .map_err(|error| Problem::unknown_host(host, &error))?;
    let mut first_error = None;
    for address in addresses {
        match TcpStream::connect(address).await {
            Ok(stream) => {
                // A lost `nodelay` costs latency, nothing else.
                let _ = stream.set_nodelay(true);
                if let Target::Tls { .. } = target {
                    return Ok(Box::new(access::connect(stream, host).await?));
                }
                return Ok(Box::new(stream));
            }
            Err(error) => first_error = first_error.or(Some(error)),
        }
    }
    Err(match first_error {
        Some(error) => Problem::connecting(target, &error),
        None => Problem::unknown_host(host, &io::Error::other("the name has no address")),
    })
}

#[cfg(unix)]
async fn dial_unix(target: &Target, path: &std::path::Path) -> Result<Box<dyn Io>, Problem> {
    match tokio::net::UnixStream::connect(path).await {
        Ok(stream) => {
            let server = stream.peer_cred();
            let server = server.map_err(|error| Problem::connecting(target, &error))?;
            access::believe(path, server.uid())?;
            Ok(Box::new(stream))
        }
        Err(error) => Err(Problem::connecting(target, &error)),
    }
}

#[cfg(not(unix))]
async fn dial_unix(target: &Target, _: &std::path::Path) -> Result<Box<dyn Io>, Problem> {
    let error = io::Error::from(io::ErrorKind::Unsupported);
    Err(Problem::connecting(target, &error))
}
