//! Frames together with the bytes in which they came: whoever keeps a frame need
//! not encode it again, which costs more than all else that is done to keep it.

use std::{ops::Deref, sync::Arc};

use bytes::{Buf, Bytes};
use looptop_wire::proto::{Frame, WatchRequest};
use prost::Message;
use tonic::{
    Request, Status, Streaming,
    client::Grpc,
    codec::{Codec, DecodeBuf, Decoder, EncodeBuf, Encoder},
};

use super::access::Calls;

/// A frame from a source.
#[derive(Debug, Clone)]
pub struct Received {
    frame: Box<Frame>,
    encoded: Option<Bytes>,
}

impl Received {
    /// A frame that was made here.
    pub fn made(frame: Frame) -> Self {
        Self {
            frame: Box::new(frame),
            encoded: None,
        }
    }

    /// The frame alone.
    pub fn into_frame(self) -> Frame {
        *self.frame
    }

    /// The frame, and its bytes where it came in this form.
    pub fn into_parts(self) -> (Arc<Frame>, Option<Bytes>) {
        (Arc::from(self.frame), self.encoded)
    }

    /// Its bytes, where it came in this form.
    pub fn encoded(&self) -> Option<&[u8]> {
        self.encoded.as_deref()
    }
}

impl Deref for Received {
    type Target = Frame;

    fn deref(&self) -> &Frame {
        &self.frame
    }
}

/// Asks an agent for its frames.
pub(super) async fn watch(
    channel: Calls,
    request: WatchRequest,
    most_bytes: usize,
) -> Result<Streaming<Received>, Status> {
    let mut client = Grpc::new(channel).max_decoding_message_size(most_bytes);
    let ready = client.ready().await;
    ready.map_err(|error| Status::unavailable(format!("the connection is gone: {error}")))?;
    let path = http::uri::PathAndQuery::from_static("/looptop.agent.v1.Agent/Watch");
    let frames = client.server_streaming(Request::new(request), path, Frames);
    Ok(frames.await?.into_inner())
}

/// Protobuf, of which the received bytes are kept.
struct Frames;

impl Codec for Frames {
    type Encode = WatchRequest;
    type Decode = Received;
    type Encoder = Self;
    type Decoder = Self;

    fn encoder(&mut self) -> Self {
        Self
    }

    fn decoder(&mut self) -> Self {
        Self
    }
}

impl Encoder for Frames {
    type Item = WatchRequest;
    type Error = Status;

    fn encode(&mut self, request: WatchRequest, buffer: &mut EncodeBuf<'_>) -> Result<(), Status> {
        let encoded = request.encode(buffer);
        encoded.map_err(|error| Status::internal(error.to_string()))
    }
}

impl Decoder for Frames {
    type Item = Received;
    type Error = Status;

    fn decode(&mut self, buffer: &mut DecodeBuf<'_>) -> Result<Option<Received>, Status> {
        // Shares the memory that it was received in.
        let encoded = buffer.copy_to_bytes(buffer.remaining());
        let frame = Frame::decode(&*encoded);
        let frame = frame.map_err(|error| Status::internal(error.to_string()))?;
        Ok(Some(Received {
            frame: Box::new(frame),
            encoded: Some(encoded),
        }))
    }
}
