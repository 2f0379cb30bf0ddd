//! The service without tonic: HTTP/2 by `h2`, and what of gRPC three methods
//! need. A program that wants no more of the agent compiles half the crates.
//!
//! A message is a byte that says "not compressed", its length in four bytes, and
//! itself. An answer ends with trailers that hold its status.

use std::error::Error;
use std::future::poll_fn;
use std::pin::pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use bytes::{BufMut, Bytes, BytesMut};
use h2::server::SendResponse;
use h2::{PingPong, RecvStream, SendStream};
use http::{HeaderMap, HeaderValue, Request, StatusCode};
use looptop_wire::proto;
use prost::Message;
use tokio::time::{sleep, timeout};

use super::{Accept, Acceptor, Connection, KEEPALIVE};
use crate::hello;
use crate::publish::feed::Feed;
use crate::shared::Shared;

/// There are none beside the agent's own.
#[derive(Debug, Default)]
pub(crate) struct Services;

/// A request is no longer than this: the addresses of some thousand stacks.
const MAX_REQUEST_BYTES: usize = 4 << 20;
/// A viewer has one stream of frames and asks a question now and then.
const MAX_STREAMS: u32 = 32;
/// The byte and the length before each message.
const HEAD_BYTES: usize = 5;
/// Within this time a connection must have said that it speaks HTTP/2.
const HANDSHAKE: Duration = Duration::from_secs(10);

/// gRPC's numbers for how a call ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Status {
    Ok = 0,
    InvalidArgument = 3,
    ResourceExhausted = 8,
    Unimplemented = 12,
}

/// Serves for ever.
pub(super) async fn serve<A: Accept>(
    shared: Arc<Shared>,
    listener: A,
    feed: Feed,
    Services: Services,
) -> Result<(), Box<dyn Error + Send + Sync>> {
    let mut acceptor = Acceptor::new(listener);
    loop {
        let connection = acceptor.next().await;
        let service = Service {
            shared: Arc::clone(&shared),
            feed: feed.clone(),
        };
        tokio::spawn(service.connection(connection));
    }
}

#[derive(Clone)]
struct Service {
    shared: Arc<Shared>,
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
    async fn connection(self, io: impl Connection) {
        let mut builder = h2::server::Builder::new();
        builder.max_concurrent_streams(MAX_STREAMS);
        let Ok(Ok(mut connection)) = timeout(HANDSHAKE, builder.handshake::<_, Bytes>(io)).await
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
        let path = request.uri().path().to_owned();
        // Who is gone needs no answer.
        let _: Result<(), Gone> = match path.as_str() {
            "/looptop.agent.v1.Agent/Hello" => self.hello(request, answer).await,
            "/looptop.agent.v1.Agent/Watch" => self.watch(request, answer).await,
            "/looptop.agent.v1.Agent/ResolveFrames" => self.resolve(request, answer).await,
            _ => refuse(answer, Status::Unimplemented),
        };
    }

    async fn hello(
        self,
        request: Request<RecvStream>,
        answer: SendResponse<Bytes>,
    ) -> Result<(), Gone> {
        match message::<proto::HelloRequest>(request).await {
            Ok(_) => reply(answer, &hello::response(&self.shared)).await,
            Err(status) => refuse(answer, status),
        }
    }

    async fn resolve(
        self,
        request: Request<RecvStream>,
        answer: SendResponse<Bytes>,
    ) -> Result<(), Gone> {
        match message::<proto::ResolveFramesRequest>(request).await {
            Ok(asked) => reply(answer, &super::resolve(&self.shared, asked.frames).await).await,
            Err(status) => refuse(answer, status),
        }
    }

    async fn watch(
        self,
        request: Request<RecvStream>,
        answer: SendResponse<Bytes>,
    ) -> Result<(), Gone> {
        let asked = match message::<proto::WatchRequest>(request).await {
            Ok(asked) => asked,
            Err(status) => return refuse(answer, status),
        };
        let mut frames = self.feed.watch(asked.interval_ns);
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
        if bytes.len() + chunk.len() > MAX_REQUEST_BYTES {
            return Err(Status::ResourceExhausted);
        }
        bytes.extend_from_slice(&chunk);
    }
    decode(&bytes)
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
fn refuse(mut answer: SendResponse<Bytes>, status: Status) -> Result<(), Gone> {
    let head = head().header(STATUS, status.value()).body(());
    answer.send_response(head.map_err(|_| Gone)?, true)?;
    Ok(())
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
}
