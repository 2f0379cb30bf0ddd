//! The agent source: looptop's own protocol, passed on as it comes.

use std::{convert::Infallible, time::Duration};

use looptop_wire::{
    PROTOCOL, columns, live,
    proto::{
        Capability, CapabilityKind, CodeAddress, HelloRequest, HelloResponse, Loss,
        ResolveFramesRequest, ResolveFramesResponse, WatchRequest, agent_client::AgentClient,
    },
};
use tokio::{task::spawn_blocking, time::sleep_until};
use tonic::{Code, Status, Streaming};

use super::{
    Event, Options, Problem, ProblemKind, SourceKind,
    connect::Link,
    console::beside::{Beside, Heard},
    outside,
    received::{self, Received},
    session::{End, Session},
};

/// An agent sends at most 1 MiB; a larger message up to this is still read.
const MAX_FRAME_BYTES: usize = 4 << 20;

/// Without a frame for this long the target is called silent. An agent whose
/// interval is longer gets two and a half of them.
const SILENCE: Duration = Duration::from_millis(1_200);

/// The agent's own longest interval.
const MAX_INTERVAL: Duration = Duration::from_secs(10);

/// What answers at the other end.
pub(super) enum Peer {
    /// An agent.
    Agent(Box<Attached>),
    /// Something that knows no agent's `Hello`.
    NoAgent,
}

/// A greeted agent.
pub(super) struct Attached {
    link: Link,
    hello: HelloResponse,
}

/// Greets the peer.
pub(super) async fn attach(session: &mut Session, link: &Link) -> Result<Peer, End> {
    let mut client =
        AgentClient::new(link.channel.clone()).max_decoding_message_size(MAX_FRAME_BYTES);
    let request = HelloRequest {
        protocol: PROTOCOL,
        viewer: concat!("looptop ", env!("CARGO_PKG_VERSION")).into(),
    };
    let mut answer = session.patiently(client.hello(request.clone())).await?;
    let wants_token = |status: &Status| status.code() == Code::Unauthenticated;
    if answer.as_ref().is_err_and(wants_token) && link.shown.show()? {
        answer = session.patiently(client.hello(request)).await?;
    }
    match answer {
        Ok(response) => {
            let hello = response.into_inner();
            if hello.protocol == 0 || hello.protocol > PROTOCOL {
                return Err(Problem::protocol(hello.protocol, &hello.agent_version).into());
            }
            let link = link.clone();
            Ok(Peer::Agent(Box::new(Attached { link, hello })))
        }
        Err(status) if status.code() == Code::Unimplemented => Ok(Peer::NoAgent),
        Err(status) => Err(session.failed(&status, link).await),
    }
}

impl Attached {
    /// Whether the agent is to read its process for this viewer: where it would, and the
    /// viewer may not read the process itself, which costs the application nothing. Where
    /// the viewer does, the hello says so.
    async fn has_memory_read(&mut self, options: &Options) -> bool {
        let hello = self.hello.clone();
        let waits = |c: &&mut Capability| c.kind() == CapabilityKind::Waits;
        let Some(word) = self.hello.capabilities.iter_mut().find(waits) else {
            return false;
        };
        if !options.host || hello.pid == 0 {
            return word.available;
        }
        let may_read = spawn_blocking(move || outside::may_read_agent(&hello)).await;
        if may_read.unwrap_or(false) {
            word.available = false;
            "looptop reads the process itself, and still its program, which takes seconds if \
             that is large"
                .clone_into(&mut word.reason);
            return false;
        }
        word.available
    }

    /// Passes the agent's frames on until the connection ends.
    pub(super) async fn run(mut self, session: &mut Session) -> Result<Infallible, End> {
        let interval = session.options.interval;
        let request = WatchRequest {
            interval_ns: u64::try_from(interval.as_nanos()).unwrap_or(u64::MAX),
            memory: self.has_memory_read(&session.options).await,
        };
        let watch = received::watch(self.link.channel.clone(), request, MAX_FRAME_BYTES);
        let watch = session.patiently(watch);
        let mut frames = match watch.await? {
            Ok(frames) => frames,
            Err(status) => return Err(session.failed(&status, &self.link).await),
        };
        let mut beside = Beside::attach(&self.link, &mut self.hello).await;
        let mut outside = outside::Beside::attach(&self.hello, &session.options);
        let mut newest = (0, self.hello.now_ns);
        let mut loss = Loss::default();
        let connected = Event::Connected {
            hello: Box::new(self.hello),
            kind: SourceKind::Agent,
        };
        session.send(connected).await?;
        let patience = SILENCE.max(interval.min(MAX_INTERVAL) * 5 / 2);
        loop {
            let next = next(session, &mut frames, &mut beside, &mut outside, patience);
            let frame = match next.await? {
                Next::Frame(frame) => frame,
                Next::Outside(heard) => {
                    for frame in outside.frames(heard, newest) {
                        session.send(Event::Frame(Received::made(frame))).await?;
                    }
                    continue;
                }
                Next::Beside(heard) => {
                    // No sign of life of the agent's.
                    for frame in beside.frames(heard, newest, loss) {
                        session.send(Event::Frame(Received::made(frame))).await?;
                    }
                    continue;
                }
            };
            match frame {
                Ok(Some(frame)) => {
                    newest = (frame.sequence, frame.now_ns);
                    loss = frame.loss.unwrap_or(loss);
                    if let Err(detail) = live::check(&frame) {
                        return Err(Problem::malformed(&session.target, detail).into());
                    }
                    if let Err(detail) = frame.tasks.as_ref().map_or(Ok(()), columns::check) {
                        return Err(Problem::malformed(&session.target, detail).into());
                    }
                    let (frame, before) = outside.joined_by(frame, newest);
                    for frame in before {
                        session.send(Event::Frame(Received::made(frame))).await?;
                    }
                    session.send_frame(frame).await?;
                }
                Ok(None) => return Err(Problem::ended(&session.target).into()),
                Err(status) => return Err(session.failed(&status, &self.link).await),
            }
        }
    }
}

/// What comes next.
enum Next {
    Frame(Result<Option<Received>, tonic::Status>),
    /// From console-subscriber on the same port.
    Beside(Heard),
    /// From outside.
    Outside(outside::Heard),
}

/// The next frame; reports silence meanwhile. Commands are for other sources
/// and fall away.
async fn next(
    session: &mut Session,
    frames: &mut Streaming<Received>,
    beside: &mut Beside,
    outside: &mut outside::Beside,
    patience: Duration,
) -> Result<Next, End> {
    loop {
        let silent_at = session.last_sign + patience;
        let awake = !session.is_silent();
        tokio::select! {
            biased;
            frame = frames.message() => return Ok(Next::Frame(frame)),
            heard = beside.next() => return Ok(Next::Beside(heard)),
            // It is no sign of life of the agent's.
            heard = outside.next(), if awake => return Ok(Next::Outside(heard)),
            Some(_) = session.commands.recv() => {}
            () = sleep_until(silent_at), if awake => {
                let problem = session.unanswered(Problem::silent).await;
                session.tell_silence(problem).await?;
            }
        }
    }
}

/// Asks for the functions at these addresses.
pub(super) async fn resolve(
    link: &Link,
    frames: Vec<CodeAddress>,
) -> Result<ResolveFramesResponse, Problem> {
    let mut client =
        AgentClient::new(link.channel.clone()).max_decoding_message_size(MAX_FRAME_BYTES);
    let answer = client.resolve_frames(ResolveFramesRequest { frames }).await;
    answer
        .map(tonic::Response::into_inner)
        .map_err(|status| Problem::new(ProblemKind::Rejected, status.message().to_owned(), ""))
}
