//! The service by tonic, beside those that the application adds.

use std::error::Error;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use looptop_wire::proto;
use looptop_wire::proto::agent_server::AgentServer;
use tokio::sync::mpsc;
use tokio_stream::{Stream, wrappers::ReceiverStream};
pub(super) use tonic::transport::server::Connected;
use tonic::{Request, Response, Status};

use super::{Accept, Acceptor, KEEPALIVE};
use crate::hello;
use crate::publish::feed::Feed;
use crate::shared::Shared;

/// Further services for the same port.
pub(crate) use tonic::service::RoutesBuilder as Services;

/// Connections that wait to be accepted.
const BACKLOG: usize = 8;

/// Serves for ever.
pub(super) async fn serve<A: Accept>(
    shared: Arc<Shared>,
    listener: A,
    feed: Feed,
    services: Services,
) -> Result<(), Box<dyn Error + Send + Sync>> {
    let mut services = services;
    services.add_service(AgentServer::new(Service { shared, feed }));
    #[cfg(feature = "console")]
    crate::console::serve(&mut services);
    let router = tonic::transport::Server::builder()
        .http2_keepalive_interval(Some(KEEPALIVE))
        .http2_keepalive_timeout(Some(KEEPALIVE))
        .add_routes(services.routes());
    Ok(router.serve_with_incoming(incoming(listener)).await?)
}

/// Connections as a stream that never fails.
fn incoming<A: Accept>(listener: A) -> impl Stream<Item = std::io::Result<A::Connection>> {
    let (connections, incoming) = mpsc::channel(BACKLOG);
    let mut acceptor = Acceptor::new(listener);
    tokio::spawn(async move {
        while !connections.is_closed() {
            let connection = acceptor.next().await;
            drop(connections.send(Ok(connection)).await);
        }
    });
    ReceiverStream::new(incoming)
}

/// `looptop.agent.v1.Agent`.
struct Service {
    shared: Arc<Shared>,
    feed: Feed,
}

/// The frames of one viewer.
struct Frames(ReceiverStream<proto::Frame>);

impl Stream for Frames {
    type Item = Result<proto::Frame, Status>;

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        Pin::new(&mut self.get_mut().0)
            .poll_next(cx)
            .map(|frame| frame.map(Ok))
    }
}

#[tonic::async_trait]
impl proto::agent_server::Agent for Service {
    async fn hello(
        &self,
        _request: Request<proto::HelloRequest>,
    ) -> Result<Response<proto::HelloResponse>, Status> {
        Ok(Response::new(hello::response(&self.shared)))
    }

    type WatchStream = Frames;

    async fn watch(
        &self,
        request: Request<proto::WatchRequest>,
    ) -> Result<Response<Frames>, Status> {
        let frames = self.feed.watch(request.into_inner().interval_ns);
        Ok(Response::new(Frames(ReceiverStream::new(frames))))
    }

    async fn resolve_frames(
        &self,
        request: Request<proto::ResolveFramesRequest>,
    ) -> Result<Response<proto::ResolveFramesResponse>, Status> {
        let response = super::resolve(&self.shared, request.into_inner().frames).await;
        Ok(Response::new(response))
    }
}
