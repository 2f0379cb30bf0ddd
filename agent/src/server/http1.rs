//! `/metrics`, and with the feature `pprof` the profile of what has blocked, by HTTP/1.1,
//! beside gRPC on the agent's port and alone on one of its own.
//!
//! Which of both a connection speaks its first bytes say: gRPC's begin with the preface of
//! HTTP/2, which no request of HTTP/1 does. What is served here are pages to `GET` and
//! `HEAD`, so it needs no library: a head with a bound, no body, an answer with a length.

use std::future::poll_fn;
use std::io;
use std::net::IpAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use bytes::{Buf, Bytes};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::timeout;

use super::limits::{HEADER_BYTES, KEEPALIVE, MAX_REQUEST_BYTES};
use super::stream::Io;
use super::visitor::{Denied, Kind, Visitor};
use crate::access::{Permission, token};
use crate::metrics::{self, CONTENT_TYPE, Shown};
use crate::publish::feed::Feed;

/// So long a peer may take to read the last answer.
const LINGER: Duration = Duration::from_secs(1);
/// Where the page is.
const METRICS: &str = "/metrics";
/// Where the profile is: what scrapers of pprof ask for, as `/debug/pprof/block` of Go's.
const PROFILE: &str = "/debug/pprof/stalls";
/// How a request begins that is answered here, beside gRPC.
const BEGINNINGS: [&[u8]; 2] = [b"GET ", b"HEAD "];

/// Whether the peer has begun a request of HTTP/1. What was read is read again.
pub(super) async fn is_spoken(io: &mut Io) -> io::Result<bool> {
    let mut first = Vec::new();
    loop {
        let is_begun = BEGINNINGS.iter().any(|begin| first.starts_with(begin));
        let may_be = BEGINNINGS.iter().any(|begin| begin.starts_with(&first));
        if is_begun || !may_be || read(io, &mut first, 5).await? == 0 {
            io.unread(first);
            return Ok(is_begun);
        }
    }
}

/// Serves one connection until either end closes it.
pub(super) async fn serve(mut io: Io, feed: Feed) {
    let visitor = Arc::clone(&io.visitor);
    let mut bytes = Vec::new();
    loop {
        let head = match head(&mut io, &mut bytes).await {
            Ok(Head::Whole(head)) => head,
            Ok(Head::TooLong) => {
                let answer = Answer::sentence(431, "the head of the request is too long");
                drop(send(&mut io, answer, false).await);
                return linger(&mut io).await;
            }
            Ok(Head::Closed) | Err(_) => return,
        };
        let call = visitor.call();
        let (answer, goes_on) = match Request::parse(&head) {
            Some(request) => {
                let answer = answer(&request, &visitor, &feed).await;
                (answer.for_method(request.method), request.goes_on)
            }
            None => (
                Answer::sentence(400, "this is no request of HTTP/1.1"),
                false,
            ),
        };
        if send(&mut io, answer, goes_on).await.is_err() {
            return;
        }
        if !goes_on {
            return linger(&mut io).await;
        }
        drop(call);
    }
}

async fn answer(request: &Request<'_>, visitor: &Arc<Visitor>, feed: &Feed) -> Answer {
    if !["GET", "HEAD"].contains(&request.method) {
        return Answer::sentence(405, "the page is read by GET");
    }
    let is_profile = cfg!(feature = "pprof") && request.path == PROFILE;
    if request.path != METRICS && !is_profile {
        let there_is = if cfg!(feature = "pprof") {
            "there is /metrics, /debug/pprof/stalls, and gRPC for looptop"
        } else {
            "there is /metrics, and gRPC for looptop"
        };
        return Answer::sentence(404, there_is);
    }
    // A page in a browser of this machine whose name was made to lead here could read it.
    if visitor.is_local() && request.token.is_none() && !is_own_name(request.host) {
        return Answer::sentence(
            403,
            "the request names another host than this machine: name it by its address or a token",
        );
    }
    #[cfg(feature = "pprof")]
    if is_profile {
        return profile(request, visitor, feed).await;
    }
    let permission = match visitor.may_scrape(request.token) {
        Ok(permission) => permission,
        Err(denied) => return Answer::denied_metrics(denied),
    };
    let shown = match permission {
        Permission::Numbers => Shown::Numbers,
        Permission::Names | Permission::Memory => Shown::Names,
    };
    match metrics::scrape(visitor.shared(), feed, shown).await {
        Ok(page) => Answer {
            status: 200,
            content_type: CONTENT_TYPE,
            body: page,
            has_body: true,
        },
        Err(why) => Answer::sentence(503, why),
    }
}

/// Stacks, for who may see names: who may scrape `/metrics` alone may not.
#[cfg(feature = "pprof")]
async fn profile(request: &Request<'_>, visitor: &Arc<Visitor>, feed: &Feed) -> Answer {
    if let Err(denied) = visitor.may(Permission::Names, request.token) {
        return Answer::denied(denied, "");
    }
    let Ok(seconds) = request.seconds() else {
        return Answer::sentence(400, "seconds is a whole number, at least 1");
    };
    match metrics::profile(visitor.shared(), feed, seconds).await {
        Ok(file) => Answer {
            status: 200,
            // It is compressed in itself, as Go's are.
            content_type: "application/octet-stream",
            body: file,
            has_body: true,
        },
        Err(why) => Answer::sentence(503, why),
    }
}

/// Whether a `Host` is an address, or what this machine calls itself.
fn is_own_name(host: &str) -> bool {
    let name = match host.strip_prefix('[') {
        Some(v6) => v6.split(']').next().unwrap_or_default(),
        None => host.split(':').next().unwrap_or_default(),
    };
    let is_this = |own: String| own.eq_ignore_ascii_case(name);
    host.is_empty()
        || name.parse::<IpAddr>().is_ok()
        || name.eq_ignore_ascii_case("localhost")
        || crate::sample::hostname().is_some_and(is_this)
}

/// What of a request matters here.
#[derive(Debug, PartialEq, Eq)]
struct Request<'a> {
    method: &'a str,
    path: &'a str,
    /// Behind the question mark.
    #[cfg_attr(not(feature = "pprof"), allow(dead_code))]
    query: &'a str,
    host: &'a str,
    token: Option<&'a [u8]>,
    /// The peer wants to go on after the answer.
    goes_on: bool,
}

impl<'a> Request<'a> {
    /// `None` where it is none, and where it has a body, which is not read.
    fn parse(head: &'a [u8]) -> Option<Self> {
        let head = std::str::from_utf8(head).ok()?;
        let mut lines = head.split("\r\n");
        let mut words = lines.next()?.split(' ');
        let (method, target, version) = (words.next()?, words.next()?, words.next()?);
        if words.next().is_some() || !["HTTP/1.1", "HTTP/1.0"].contains(&version) {
            return None;
        }
        let (path, query) = target.split_once('?').unwrap_or((target, ""));
        let mut request = Self {
            method,
            path,
            query,
            host: "",
            token: None,
            goes_on: version == "HTTP/1.1",
        };
        for line in lines.filter(|line| !line.is_empty()) {
            let (name, value) = line.split_once(':')?;
            let value = value.trim();
            match name.to_ascii_lowercase().as_str() {
                "host" => request.host = value,
                "authorization" => request.token = token::in_header(value.as_bytes()),
                "connection" => request.goes_on &= !value.eq_ignore_ascii_case("close"),
                "content-length" if value != "0" => return None,
                "transfer-encoding" => return None,
                _ => {}
            }
        }
        Some(request)
    }

    /// Of how many seconds the profile is to be.
    #[cfg(feature = "pprof")]
    fn seconds(&self) -> Result<Option<u64>, ()> {
        let mut pairs = self.query.split('&').map(|pair| pair.split_once('='));
        let asked = pairs.find_map(|pair| pair.filter(|(key, _)| *key == "seconds"));
        let Some((_, seconds)) = asked else {
            return Ok(None);
        };
        let seconds = seconds.parse().ok().filter(|seconds| *seconds > 0);
        seconds.map(Some).ok_or(())
    }
}

#[derive(Debug, PartialEq, Eq)]
struct Answer {
    status: u16,
    content_type: &'static str,
    body: Bytes,
    /// `HEAD` asks for the length alone.
    has_body: bool,
}

impl Answer {
    fn sentence(status: u16, sentence: &str) -> Self {
        Self {
            status,
            content_type: "text/plain; charset=utf-8",
            body: format!("{sentence}\n").into(),
            has_body: true,
        }
    }

    fn denied_metrics(denied: Denied) -> Self {
        let hint = match denied {
            Denied::Refused(_) => {
                "; for /metrics alone LOOPTOP_METRICS_ALLOW where it starts, with the name of \
                 Prometheus' user, lets that in"
            }
            Denied::Declined(_) => "",
        };
        Self::denied(denied, hint)
    }

    fn denied(denied: Denied, hint: &str) -> Self {
        let status = match denied.kind() {
            Kind::WantsToken => 401,
            Kind::Forbidden => 403,
            Kind::Exhausted => 503,
        };
        Self::sentence(status, &format!("{denied}{hint}"))
    }

    fn for_method(mut self, method: &str) -> Self {
        self.has_body = method != "HEAD";
        self
    }

    fn head(&self, goes_on: bool) -> String {
        let reason = match self.status {
            200 => "OK",
            400 => "Bad Request",
            401 => "Unauthorized",
            403 => "Forbidden",
            404 => "Not Found",
            405 => "Method Not Allowed",
            431 => "Request Header Fields Too Large",
            _ => "Service Unavailable",
        };
        let more = match self.status {
            401 => "WWW-Authenticate: Bearer\r\n",
            405 => "Allow: GET, HEAD\r\n",
            _ => "",
        };
        let connection = if goes_on { "" } else { "Connection: close\r\n" };
        format!(
            "HTTP/1.1 {} {reason}\r\nContent-Type: {}\r\nContent-Length: {}\r\n\
             X-Content-Type-Options: nosniff\r\nCache-Control: no-store\r\n{more}{connection}\r\n",
            self.status,
            self.content_type,
            self.body.len()
        )
    }
}

/// The head of a request, as far as it comes.
enum Head {
    /// Without the empty line at its end.
    Whole(Vec<u8>),
    TooLong,
    Closed,
}

/// The head of the next request; what follows stays in `bytes`.
async fn head(io: &mut Io, bytes: &mut Vec<u8>) -> io::Result<Head> {
    const END: &[u8] = b"\r\n\r\n";
    loop {
        if let Some(at) = bytes.windows(END.len()).position(|w| w == END) {
            let rest = bytes.split_off(at + END.len());
            let mut head = std::mem::replace(bytes, rest);
            head.truncate(at);
            return Ok(Head::Whole(head));
        }
        if bytes.len() > HEADER_BYTES as usize {
            return Ok(Head::TooLong);
        }
        if read(io, bytes, 2_048).await? == 0 {
            return Ok(Head::Closed);
        }
    }
}

/// Takes what is on its way until the peer closes its end: a connection that is closed with
/// bytes unread is reset, and the peer would not read the answer.
async fn linger(io: &mut Io) {
    let rest = async {
        let mut bytes = Vec::new();
        while bytes.len() < MAX_REQUEST_BYTES && read(io, &mut bytes, 2_048).await? > 0 {}
        io::Result::Ok(())
    };
    drop(timeout(LINGER, rest).await);
}

/// Adds to `bytes` until there are so many more at most; how many came, 0 at the end.
async fn read(io: &mut Io, bytes: &mut Vec<u8>, most: usize) -> io::Result<usize> {
    let mut room = vec![0; most];
    let mut buffer = ReadBuf::new(&mut room);
    poll_fn(|context| Pin::new(&mut *io).poll_read(context, &mut buffer)).await?;
    bytes.extend_from_slice(buffer.filled());
    Ok(buffer.filled().len())
}

/// Sends an answer to who takes it in time.
async fn send(io: &mut Io, answer: Answer, goes_on: bool) -> io::Result<()> {
    let head = Bytes::from(answer.head(goes_on));
    let body = if answer.has_body {
        answer.body
    } else {
        Bytes::new()
    };
    let mut rest = head.chain(body);
    let sent = async {
        while rest.has_remaining() {
            let write = |context: &mut std::task::Context<'_>| {
                Pin::new(&mut *io).poll_write(context, rest.chunk())
            };
            match poll_fn(write).await? {
                0 => return Err(io::ErrorKind::WriteZero.into()),
                written => rest.advance(written),
            }
        }
        if goes_on {
            poll_fn(|context| Pin::new(&mut *io).poll_flush(context)).await
        } else {
            poll_fn(|context| Pin::new(&mut *io).poll_shutdown(context)).await
        }
    };
    timeout(KEEPALIVE, sent).await?
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_are_understood_and_what_is_none_is_refused() {
        let parsed = |head: &'static str| Request::parse(head.as_bytes());
        let plain = Request {
            method: "GET",
            path: "/metrics",
            query: "",
            host: "",
            token: None,
            goes_on: true,
        };
        assert_eq!(parsed("GET /metrics HTTP/1.1"), Some(plain));
        let whole = parsed(
            "HEAD /metrics?a=b HTTP/1.1\r\nHOST: 127.0.0.1:6669\r\n\
             Authorization: Bearer correct-horse\r\nConnection: Close\r\nContent-Length: 0",
        );
        let expected = Request {
            method: "HEAD",
            path: "/metrics",
            query: "a=b",
            host: "127.0.0.1:6669",
            token: Some(b"correct-horse"),
            goes_on: false,
        };
        assert_eq!(whole, Some(expected));
        assert!(!parsed("GET / HTTP/1.0").expect("a request").goes_on);
        for bad in [
            "",
            "GET /metrics",
            "GET /metrics HTTP/2.0",
            "GET  /metrics HTTP/1.1",
            "GET /metrics HTTP/1.1\r\nno colon",
            "GET /metrics HTTP/1.1\r\nContent-Length: 7",
            "GET /metrics HTTP/1.1\r\nTransfer-Encoding: chunked",
        ] {
            assert_eq!(parsed(bad), None, "{bad}");
        }
        assert_eq!(Request::parse(b"GET /\xff HTTP/1.1"), None);
    }

    #[cfg(feature = "pprof")]
    #[test]
    fn a_profile_is_of_so_many_seconds() {
        for (target, expected) in [
            ("/p", Ok(None)),
            ("/p?debug=0", Ok(None)),
            ("/p?seconds=14", Ok(Some(14))),
            ("/p?debug=0&seconds=14", Ok(Some(14))),
            ("/p?seconds=0", Err(())),
            ("/p?seconds=-3", Err(())),
            ("/p?seconds=", Err(())),
        ] {
            let head = format!("GET {target} HTTP/1.1");
            let request = Request::parse(head.as_bytes()).expect("a request");
            assert_eq!((request.path, request.seconds()), ("/p", expected));
        }
    }

    #[test]
    fn another_name_for_this_machine_is_not_taken() {
        for (host, own) in [
            ("", true),
            ("127.0.0.1:6669", true),
            ("[::1]:6669", true),
            ("10.1.2.3", true),
            ("LocalHost:6669", true),
            ("evil.example:6669", false),
            ("127.0.0.1.evil.example", false),
            ("localhost.evil.example", false),
        ] {
            assert_eq!(is_own_name(host), own, "{host}");
        }
    }

    #[test]
    fn answers_have_their_length_also_without_body() {
        let answer = Answer::sentence(401, "no").for_method("HEAD");
        assert!(!answer.has_body);
        let head = answer.head(false);
        assert!(head.starts_with("HTTP/1.1 401 Unauthorized\r\n"), "{head}");
        assert!(head.contains("Content-Length: 3\r\n"), "{head}");
        assert!(head.contains("WWW-Authenticate: Bearer\r\n"), "{head}");
        assert!(head.ends_with("Connection: close\r\n\r\n"), "{head}");
        let refusal = crate::access::refusal::Refusal::WrongToken;
        let denied = Answer::denied_metrics(Denied::Refused(refusal));
        let body = String::from_utf8(denied.body.to_vec()).expect("text");
        assert!(body.contains("LOOPTOP_METRICS_ALLOW"), "{body}");
    }
}
