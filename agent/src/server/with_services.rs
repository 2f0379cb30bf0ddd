//! The service by tonic, beside those that the application adds.

use std::error::Error;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use looptop_wire::proto;
use looptop_wire::proto::agent_server::AgentServer;
use tokio::sync::mpsc;
use tokio_stream::{Stream, StreamExt, wrappers::ReceiverStream};
use tonic::body::Body;
use tonic::server::NamedService;
use tonic::service::interceptor::InterceptorLayer;
use tonic::transport::server::Connected;
use tonic::{Code, Request, Response, Status};

use super::limits::{HEADER_BYTES, KEEPALIVE, MAX_REQUEST_BYTES, STREAMS, WINDOW_BYTES};
use super::stream::Io;
use super::visitor::{Call, Denied, Kind, Visitor};
use crate::access::counts::Declined;
use crate::access::{Permission, token};
use crate::hello;
use crate::publish::feed::Feed;

/// Further services for the same port.
pub(crate) use tonic::service::RoutesBuilder as Services;

/// Serves what is accepted.
pub(super) async fn serve(
    accepted: mpsc::Receiver<Io>,
    feed: Feed,
    services: Services,
) -> Result<(), Box<dyn Error + Send + Sync>> {
    let mut services = services;
    let agent = AgentServer::new(Service { feed });
    let agent = agent.max_decoding_message_size(MAX_REQUEST_BYTES);
    services.add_service(Counted(agent));
    #[cfg(feature = "console")]
    crate::console::serve(&mut services, console);
    let router = tonic::transport::Server::builder()
        .http2_keepalive_interval(Some(KEEPALIVE))
        .http2_keepalive_timeout(Some(KEEPALIVE))
        .http2_max_header_list_size(HEADER_BYTES)
        .initial_stream_window_size(WINDOW_BYTES)
        .initial_connection_window_size(WINDOW_BYTES)
        .max_concurrent_streams(STREAMS)
        .layer(InterceptorLayer::new(admit))
        .add_routes(services.routes());
    let accepted = ReceiverStream::new(accepted).map(io::Result::Ok);
    Ok(router.serve_with_incoming(accepted).await?)
}

impl Connected for Io {
    type ConnectInfo = Arc<Visitor>;

    fn connect_info(&self) -> Arc<Visitor> {
        Arc::clone(&self.visitor)
    }
}

impl From<Denied> for Status {
    fn from(denied: Denied) -> Self {
        let sentence = denied.to_string();
        match denied.kind() {
            Kind::WantsToken => Self::unauthenticated(sentence),
            Kind::Forbidden => Self::permission_denied(sentence),
            Kind::Exhausted => Self::resource_exhausted(sentence),
        }
    }
}

/// Lets those calls through that whoever makes them may make at all, with what they may
/// see. Of every service of this port.
fn admit(mut request: Request<()>) -> Result<Request<()>, Status> {
    let visitor = visitor(&request)?;
    let shown = request.metadata().get("authorization");
    let shown = shown.and_then(|value| token::in_header(value.as_bytes()));
    let permission = visitor.may(Permission::Numbers, shown)?;
    request.extensions_mut().insert(permission);
    Ok(request)
}

fn visitor<T>(request: &Request<T>) -> Result<Arc<Visitor>, Status> {
    let visitor = request.extensions().get::<Arc<Visitor>>();
    visitor.cloned().ok_or_else(|| Status::internal("no peer"))
}

/// The visitor of a call that shows so much, and what it may see.
fn admitted<T>(
    request: &Request<T>,
    needed: Permission,
) -> Result<(Arc<Visitor>, Permission), Status> {
    let visitor = visitor(request)?;
    let permission = request.extensions().get::<Permission>().copied();
    match permission {
        Some(permission) if permission >= needed => Ok((visitor, permission)),
        _ => {
            use crate::access::refusal::Refusal::NumbersAlone;
            visitor.shared().refused.refused(NumbersAlone);
            Err(Denied::Refused(NumbersAlone).into())
        }
    }
}

/// Lets calls of console-subscriber's service through: it shows names, and is off beside
/// a token unless that is allowed.
#[cfg(feature = "console")]
fn console(request: Request<()>) -> Result<Request<()>, Status> {
    use crate::access::refusal::Refusal::ConsoleIsOff;
    let (visitor, _) = admitted(&request, Permission::Names)?;
    if !visitor.shared().config.policy.serves_console() {
        visitor.shared().refused.refused(ConsoleIsOff);
        return Err(Denied::Refused(ConsoleIsOff).into());
    }
    visitor.stays();
    Ok(request)
}

/// Counts requests that are too large, which tonic refuses before anybody sees them.
#[derive(Clone)]
struct Counted<S>(S);

impl<S: NamedService> NamedService for Counted<S> {
    const NAME: &'static str = S::NAME;
}

impl<S> tonic::codegen::Service<http::Request<Body>> for Counted<S>
where
    S: tonic::codegen::Service<http::Request<Body>, Response = http::Response<Body>>,
    S::Future: Send + 'static,
{
    type Response = S::Response;
    type Error = S::Error;
    type Future = Pin<Box<dyn Future<Output = Result<S::Response, S::Error>> + Send>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.0.poll_ready(context)
    }

    fn call(&mut self, request: http::Request<Body>) -> Self::Future {
        let visitor = request.extensions().get::<Arc<Visitor>>().cloned();
        let answer = self.0.call(request);
        Box::pin(async move {
            let answer = answer.await?;
            let status = Status::from_header_map(answer.headers());
            let is_too_large = status.is_some_and(|status| status.code() == Code::OutOfRange);
            if let (true, Some(visitor)) = (is_too_large, visitor) {
                visitor.shared().refused.declined(Declined::TooLarge);
            }
            Ok(answer)
        })
    }
}

/// `looptop.agent.v1.Agent`.
struct Service {
    feed: Feed,
}

/// The frames of one viewer.
struct Frames {
    frames: ReceiverStream<proto::Frame>,
    _call: Call,
}

impl Stream for Frames {
    type Item = Result<proto::Frame, Status>;

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        Pin::new(&mut self.get_mut().frames)
            .poll_next(cx)
            .map(|frame| frame.map(Ok))
    }
}

#[tonic::async_trait]
impl proto::agent_server::Agent for Service {
    async fn hello(
        &self,
        request: Request<proto::HelloRequest>,
    ) -> Result<Response<proto::HelloResponse>, Status> {
        let (visitor, permission) = admitted(&request, Permission::Numbers)?;
        let hello = hello::response(visitor.shared(), permission);
        Ok(Response::new(hello))
    }

    type WatchStream = Frames;

    async fn watch(
        &self,
        request: Request<proto::WatchRequest>,
    ) -> Result<Response<Frames>, Status> {
        let (visitor, permission) = admitted(&request, Permission::Numbers)?;
        let asked = request.into_inner();
        let Some(frames) = self.feed.watch(asked, permission) else {
            visitor.shared().refused.declined(Declined::Viewers);
            return Err(Denied::Declined(Declined::Viewers).into());
        };
        Ok(Response::new(Frames {
            frames: ReceiverStream::new(frames),
            _call: visitor.call(),
        }))
    }

    async fn resolve_frames(
        &self,
        request: Request<proto::ResolveFramesRequest>,
    ) -> Result<Response<proto::ResolveFramesResponse>, Status> {
        let (visitor, _) = admitted(&request, Permission::Names)?;
        let response = super::resolve(visitor.shared(), request.into_inner().frames).await;
        Ok(Response::new(response))
    }
}
