//! The service without tonic: HTTP/2 by `h2`, and what of gRPC three methods
//! need. A program that wants no more of the agent compiles half the crates.
//!
//! A message is a byte that says "not compressed", its length in four bytes, and
//! itself. An answer ends with trailers that hold its status.

use std::error::Error;
use std::fmt::Write;
use std::future::poll_fn;
use std::pin::pin;
use std::sync::Arc;
use std::task::Poll;

use bytes::{BufMut, Bytes, BytesMut};
use h2::server::SendResponse;
use h2::{PingPong, RecvStream, SendStream};
use http::{HeaderMap, HeaderValue, Request, StatusCode};
use looptop_wire::proto;
use prost::Message;
use tokio::sync::mpsc;
use tokio::time::{sleep, timeout};

use super::limits::{
    FIRST_CALL, HEADER_BYTES, KEEPALIVE, MAX_REQUEST_BYTES, STREAMS, WINDOW_BYTES,
};
use super::stream::Io;
use super::visitor::{Denied, Kind, Visitor};
use crate::access::counts::Declined;
use crate::access::{Permission, token};
use crate::hello;
use crate::publish::feed::Feed;

/// There are none beside the agent's own.
#[derive(Debug, Default)]
pub(crate) struct Services;

/// The byte and the length before each message.
const HEAD_BYTES: usize = 5;

/// gRPC's numbers for how a call ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Status {
    Ok = 0,
    InvalidArgument = 3,
    PermissionDenied = 7,
    ResourceExhausted = 8,
    Unimplemented = 12,
    Unauthenticated = 16,
}

/// Why a call is not answered, for the viewer.
#[derive(Debug, PartialEq, Eq)]
struct Refused {
    status: Status,
    sentence: String,
}

impl From<Status> for Refused {
    fn from(status: Status) -> Self {
        let sentence = String::new();
        Self { status, sentence }
    }
}

impl From<Denied> for Refused {
    fn from(denied: Denied) -> Self {
        let status = match denied.kind() {
            Kind::WantsToken => Status::Unauthenticated,
            Kind::Forbidden => Status::PermissionDenied,
            Kind::Exhausted => Status::ResourceExhausted,
        };
        let sentence = denied.to_string();
        Self { status, sentence }
    }
}

/// Serves what was accepted.
pub(super) async fn serve(
    mut accepted: mpsc::Receiver<Io>,
    feed: Feed,
    Services: Services,
) -> Result<(), Box<dyn Error + Send + Sync>> {
    while let Some(io) = accepted.recv().await {
        let service = Service {
            visitor: Arc::clone(&io.visitor),
            feed: feed.clone(),
        };
        tokio::spawn(service.connection(io));
    }
    Ok(())
}

#[derive(Clone)]
struct Service {
    visitor: Arc<Visitor>,
    feed: Feed,
}

/// Why an answer cannot be sent: the viewer is gone, as a rule.
#[derive(Debug)]
struct Gone;

impl From<h2::Error> for Gone {
    fn from(_: h2::Error) -> Self {
        Self
    }
}

impl Service {
    /// Serves one connection until the viewer closes it, or answers no ping.
    async fn connection(self, io: Io) {
        let mut builder = h2::server::Builder::new();
        builder
            .max_concurrent_streams(STREAMS)
            .max_header_list_size(HEADER_BYTES)
            .initial_window_size(WINDOW_BYTES)
            .initial_connection_window_size(WINDOW_BYTES);
        let Ok(Ok(mut connection)) = timeout(FIRST_CALL, builder.handshake::<_, Bytes>(io)).await
        else {
            return;
        };
        let silent = connection.ping_pong().map(silence);
        let mut silent = pin!(async {
            match silent {
                Some(silent) => silent.await,
                None => std::future::pending().await,
            }
        });
        loop {
            let next = poll_fn(|context| {
                if let Poll::Ready(request) = connection.poll_accept(context) {
                    return Poll::Ready(request);
                }
                silent.as_mut().poll(context).map(|()| None)
            });
            match next.await {
                Some(Ok((request, answer))) => {
                    tokio::spawn(self.clone().call(request, answer));
                }
                Some(Err(_)) | None => return,
            }
        }
    }

    async fn call(self, request: Request<RecvStream>, answer: SendResponse<Bytes>) {
        let _call = self.visitor.call();
        let path = request.uri().path().to_owned();
        // Who is gone needs no answer.
        let _: Result<(), Gone> = match path.as_str() {
            "/looptop.agent.v1.Agent/Hello" => self.hello(request, answer).await,
            "/looptop.agent.v1.Agent/Watch" => self.watch(request, answer).await,
            "/looptop.agent.v1.Agent/ResolveFrames" => self.resolve(request, answer).await,
            _ => match self.may(Permission::Numbers, request.headers()) {
                Ok(_) => refuse(answer, &Status::Unimplemented.into()),
                Err(refused) => refuse(answer, &refused),
            },
        };
    }

    /// What whoever sent these headers may see, if that is as much as is needed.
    fn may(&self, needed: Permission, headers: &HeaderMap) -> Result<Permission, Refused> {
        let shown = headers.get(http::header::AUTHORIZATION);
        let shown = shown.and_then(|value| token::in_header(value.as_bytes()));
        Ok(self.visitor.may(needed, shown)?)
    }

    /// The message of a call by whoever may make it, and what they may see.
    async fn admit<M: Message + Default>(
        &self,
        needed: Permission,
        request: Request<RecvStream>,
    ) -> Result<(M, Permission), Refused> {
        let permission = self.may(needed, request.headers())?;
        match message(request).await {
            Ok(message) => Ok((message, permission)),
            Err(Status::ResourceExhausted) => Err(self.declined(Declined::TooLarge)),
            Err(status) => Err(status.into()),
        }
    }

    fn declined(&self, why: Declined) -> Refused {
        self.visitor.shared().refused.declined(why);
        Denied::Declined(why).into()
    }

    async fn hello(
        self,
        request: Request<RecvStream>,
        answer: SendResponse<Bytes>,
    ) -> Result<(), Gone> {
        let admitted = self.admit::<proto::HelloRequest>(Permission::Numbers, request);
        match admitted.await {
            Ok((_, permission)) => {
                let hello = hello::response(self.visitor.shared(), permission);
                reply(answer, &hello).await
            }
            Err(refused) => refuse(answer, &refused),
        }
    }

    async fn resolve(
        self,
        request: Request<RecvStream>,
        answer: SendResponse<Bytes>,
    ) -> Result<(), Gone> {
        let admitted = self.admit::<proto::ResolveFramesRequest>(Permission::Names, request);
        match admitted.await {
            Ok((asked, _)) => {
                let names = super::resolve(self.visitor.shared(), asked.frames).await;
                reply(answer, &names).await
            }
            Err(refused) => refuse(answer, &refused),
        }
    }

    async fn watch(
        self,
        request: Request<RecvStream>,
        answer: SendResponse<Bytes>,
    ) -> Result<(), Gone> {
        let admitted = self.admit::<proto::WatchRequest>(Permission::Numbers, request);
        let (asked, permission) = match admitted.await {
            Ok(admitted) => admitted,
            Err(refused) => return refuse(answer, &refused),
        };
        let Some(mut frames) = self.feed.watch(asked, permission) else {
            return refuse(answer, &self.declined(Declined::Viewers));
        };
        let mut stream = begin(answer)?;
        loop {
            // A viewer that leaves between two frames is noticed at once.
            let next = poll_fn(|context| match stream.poll_reset(context) {
                Poll::Ready(_) => Poll::Ready(Err(Gone)),
                Poll::Pending => frames.poll_recv(context).map(Ok),
            });
            match next.await? {
                Some(frame) => send(&mut stream, &frame).await?,
                None => return end(stream, Status::Ok),
            }
        }
    }
}

/// Ends when a ping has not been answered in time.
async fn silence(mut pings: PingPong) {
    loop {
        sleep(KEEPALIVE).await;
        match timeout(KEEPALIVE, pings.ping(h2::Ping::opaque())).await {
            Ok(Ok(_)) => {}
            Ok(Err(_)) | Err(_) => return,
        }
    }
}

/// The one message of a request.
async fn message<M: Message + Default>(request: Request<RecvStream>) -> Result<M, Status> {
    let mut body = request.into_body();
    let mut bytes = BytesMut::new();
    while let Some(chunk) = body.data().await {
        let chunk = chunk.map_err(|_| Status::InvalidArgument)?;
        // What cannot be given back is of a connection that is over.
        drop(body.flow_control().release_capacity(chunk.len()));
        bytes.extend_from_slice(&chunk);
        if bytes.len() > MAX_REQUEST_BYTES || announced(&bytes) > MAX_REQUEST_BYTES {
            return Err(Status::ResourceExhausted);
        }
    }
    decode(&bytes)
}

/// How long a message says that it is, of which this is the beginning.
fn announced(bytes: &[u8]) -> usize {
    match bytes {
        [_, a, b, c, d, ..] => u32::from_be_bytes([*a, *b, *c, *d]) as usize,
        _ => 0,
    }
}

fn decode<M: Message + Default>(bytes: &[u8]) -> Result<M, Status> {
    let (head, body) = bytes
        .split_at_checked(HEAD_BYTES)
        .ok_or(Status::InvalidArgument)?;
    let length = u32::from_be_bytes([head[1], head[2], head[3], head[4]]);
    match head[0] {
        0 if usize::try_from(length) == Ok(body.len()) => {
            M::decode(body).map_err(|_| Status::InvalidArgument)
        }
        0 => Err(Status::InvalidArgument),
        // Compressed, which this end never said it understands.
        _ => Err(Status::Unimplemented),
    }
}

fn encode(message: &impl Message) -> Bytes {
    let length = message.encoded_len();
    let mut bytes = BytesMut::with_capacity(HEAD_BYTES + length);
    bytes.put_u8(0);
    bytes.put_u32(length as u32);
    // The room is there.
    let _ = message.encode(&mut bytes);
    bytes.freeze()
}

fn head() -> http::response::Builder {
    http::Response::builder()
        .status(StatusCode::OK)
        .header(http::header::CONTENT_TYPE, "application/grpc")
}

fn begin(mut answer: SendResponse<Bytes>) -> Result<SendStream<Bytes>, Gone> {
    let head = head().body(()).map_err(|_| Gone)?;
    Ok(answer.send_response(head, false)?)
}

/// An answer without a message.
fn refuse(mut answer: SendResponse<Bytes>, refused: &Refused) -> Result<(), Gone> {
    let head = head().header(STATUS, refused.status.value());
    let head = head.header(SENTENCE, percent_encoded(&refused.sentence));
    answer.send_response(head.body(()).map_err(|_| Gone)?, true)?;
    Ok(())
}

/// As gRPC wants its messages: what is not visible ASCII, and `%`, as bytes in
/// hexadecimal.
fn percent_encoded(sentence: &str) -> String {
    let mut encoded = String::with_capacity(sentence.len());
    for byte in sentence.bytes() {
        match byte {
            b'%' | 0..=31 | 127.. => {
                let _ = write!(encoded, "%{byte:02X}");
            }
            byte => encoded.push(char::from(byte)),
        }
    }
    encoded
}

async fn reply(answer: SendResponse<Bytes>, message: &impl Message) -> Result<(), Gone> {
    let mut stream = begin(answer)?;
    send(&mut stream, message).await?;
    end(stream, Status::Ok)
}

/// Sends as much at a time as the viewer takes.
async fn send(stream: &mut SendStream<Bytes>, message: &impl Message) -> Result<(), Gone> {
    let mut bytes = encode(message);
    while !bytes.is_empty() {
        stream.reserve_capacity(bytes.len());
        // What is there already is not announced again.
        let mut room = stream.capacity();
        while room == 0 {
            let granted = poll_fn(|context| match stream.poll_reset(context) {
                Poll::Ready(_) => Poll::Ready(None),
                Poll::Pending => stream.poll_capacity(context),
            });
            room = granted.await.ok_or(Gone)??;
        }
        let part = bytes.split_to(room.min(bytes.len()));
        stream.send_data(part, false)?;
    }
    Ok(())
}

const STATUS: &str = "grpc-status";
const SENTENCE: &str = "grpc-message";

fn end(mut stream: SendStream<Bytes>, status: Status) -> Result<(), Gone> {
    let mut trailers = HeaderMap::new();
    trailers.insert(STATUS, status.value());
    Ok(stream.send_trailers(trailers)?)
}

impl Status {
    fn value(self) -> HeaderValue {
        HeaderValue::from(self as u16)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_are_framed_and_what_is_no_frame_is_refused() {
        let request = proto::HelloRequest {
            protocol: 1,
            viewer: "v".into(),
        };
        let bytes = encode(&request);
        assert_eq!(decode::<proto::HelloRequest>(&bytes), Ok(request));
        let table: [(&[u8], Status); 5] = [
            (&[], Status::InvalidArgument),
            (&[0, 0, 0, 0], Status::InvalidArgument),
            (&[0, 0, 0, 0, 2, 8], Status::InvalidArgument),
            (&[0, 0, 0, 0, 1, 0xff], Status::InvalidArgument),
            (&[1, 0, 0, 0, 0], Status::Unimplemented),
        ];
        for (bytes, status) in table {
            let decoded = decode::<proto::HelloRequest>(bytes);
            assert_eq!(decoded, Err(status), "{bytes:?}");
        }
        assert_eq!(decode(&[0; 5]), Ok(proto::HelloRequest::default()));
    }

    #[test]
    fn sentences_are_encoded_for_a_header() {
        assert_eq!(percent_encoded("a token: 5 %\n"), "a token: 5 %25%0A");
        assert_eq!(percent_encoded("\u{e9}"), "%C3%A9");
    }

    #[test]
    fn a_message_that_says_it_is_too_long_is_not_waited_for() {
        assert_eq!(announced(&[0, 4, 0, 0, 0]), 64 << 20);
        assert_eq!(announced(&[0, 4, 0]), 0);
    }
}
