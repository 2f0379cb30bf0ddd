//! The console source: any application that has console-subscriber, unchanged,
//! translated into looptop's normal form.
//!
//! What console-subscriber does not know (workers, causes, stacks) is read from outside
//! where the target is local and may be read (`outside::beside`), threads and CPU from
//! the host where it is local; what neither knows (lag) is missing with its reason. A
//! poll that still runs is a task with `poll_started_at_ns`; the server sends nothing more
//! about it, so its age follows from the `now_ns` of each frame. `longest_poll_ns` and
//! `longest_scheduled_ns` are lower bounds.

pub(super) mod beside;
mod clock;
pub(crate) mod details;
mod names;
mod resources;
mod tasks;
#[cfg(test)]
mod tests;
mod translate;

use std::{
    convert::Infallible,
    future::Future,
    time::{Duration, SystemTime},
};

use console_api::{
    Id,
    instrument::{
        InstrumentRequest, ResumeRequest, State, StateRequest, TaskDetailsRequest, Temporality,
        Update, instrument_client::InstrumentClient,
    },
    tasks::TaskDetails as DetailsMessage,
};
use looptop_wire::proto::{Frame, HelloResponse};
use tokio::time::{Instant, sleep_until, timeout};
use tonic::{Status, Streaming};

pub(super) use self::translate::Identity;
use self::translate::{Received, Translator};
use super::{
    Command, Event, Problem, SourceKind,
    access::Calls,
    connect::Link,
    host::{Sampler, Unseen},
    outside::{self, BesideConsole, HeardBesideConsole, View},
    session::{End, Session},
};

/// First snapshots are the largest messages. tokio-console gives up at 4 MiB.
const MAX_UPDATE_BYTES: usize = 64 << 20;
/// Servers before 0.5.0 refuse to send their state; others answer at once.
const STATE_ANSWER: Duration = Duration::from_millis(500);

/// Without an update for this long the target is called silent, unless it has
/// shown that it publishes more rarely (1 s by default).
const SILENCE: Duration = Duration::from_millis(1_750);
const MAX_SILENCE: Duration = Duration::from_mins(1);

const ELSEWHERE: &str = "processes are looked at on Linux on x86-64 alone";

type Client = InstrumentClient<Calls>;

/// Watches the server until the connection ends. `known` is what outlasts it.
pub(super) async fn run(
    session: &mut Session,
    link: &Link,
    known: &mut Option<Identity>,
) -> Result<Infallible, End> {
    let mut client = Client::new(link.channel.clone()).max_decoding_message_size(MAX_UPDATE_BYTES);
    let watch = client.watch_updates(InstrumentRequest {});
    let mut updates = match session.patiently(watch).await? {
        Ok(response) => response.into_inner(),
        Err(status) => return Err(session.failed(&status, link).await),
    };
    let first = session.patiently(updates.message()).await?;
    let first = match first {
        Ok(Some(update)) => update,
        Ok(None) => return Err(Problem::ended(&session.target).into()),
        Err(status) => return Err(session.failed(&status, link).await),
    };
    let received = received(session);
    let keep = session.options.finished_tasks;
    let mut translator = Translator::new(&first, received, known.as_ref(), keep);

    let host = if session.options.host {
        Sampler::find(session.target.clone()).await
    } else {
        Err(Unseen::NotWanted)
    };
    let threads = host.as_ref().map(|_| ()).map_err(|unseen| unseen.reason());
    let view = match &host {
        Ok(_) if outside::IS_SUPPORTED => View::Begins,
        Ok(_) => View::Not(ELSEWHERE.to_owned()),
        Err(unseen) => unseen.view(),
    };
    let mut hello = translator.hello(threads, view);
    if let Ok(sampler) = &host {
        sampler.describe(&mut hello);
    }
    let pid = host.as_ref().ok().map(Sampler::pid);
    let outside = BesideConsole::attach(pid, session.origin.into_std(), &session.options);
    let connected = Event::Connected {
        hello: Box::new(hello),
        kind: SourceKind::Console,
    };
    session.send(connected).await?;
    let frames = translator.update(first, received);
    session.send_frames(frames).await?;

    let mut watcher = Watcher {
        states: watch_state(&mut client).await,
        client,
        updates,
        details: None,
        sampler: host.ok(),
        outside,
        translator,
        patience: SILENCE,
        last_update: Instant::now(),
        last_gap: Duration::ZERO,
        paused: false,
    };
    let end = watcher.watch(session, link).await;
    *known = Some(watcher.translator.identity());
    end
}

/// The hello and the frames of a connection on which these updates come, one in each second:
/// for whoever has them from elsewhere. `None` where none comes.
pub fn translated(
    updates: impl IntoIterator<Item = Update>,
) -> Option<(HelloResponse, Vec<Frame>)> {
    let mut updates = updates.into_iter().peekable();
    let mut received = Received {
        local_ns: 0,
        unix_ns: 0,
    };
    let keep = super::Options::default().finished_tasks;
    let mut translator = Translator::new(updates.peek()?, received, None, keep);
    let hello = translator.hello(Err(ELSEWHERE), View::Off);
    let mut frames = Vec::new();
    for update in updates {
        frames.extend(translator.update(update, received));
        received.local_ns += 1_000_000_000;
    }
    Some((hello, frames))
}

/// When something came, now.
fn received(session: &Session) -> Received {
    let ns = |duration: Duration| u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX);
    let unix = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    Received {
        local_ns: ns(session.origin.elapsed()),
        unix_ns: unix.map_or(0, ns),
    }
}

/// The stream of live and paused; `None` from a server that is too old.
async fn watch_state(client: &mut Client) -> Option<Streaming<State>> {
    let answer = timeout(STATE_ANSWER, client.watch_state(StateRequest {})).await;
    Some(answer.ok()?.ok()?.into_inner())
}

struct Watcher {
    client: Client,
    updates: Streaming<Update>,
    states: Option<Streaming<State>>,
    details: Option<Streaming<DetailsMessage>>,
    sampler: Option<Sampler>,
    outside: BesideConsole,
    translator: Translator,
    patience: Duration,
    last_update: Instant,
    last_gap: Duration,
    paused: bool,
}

impl Watcher {
    async fn watch(&mut self, session: &mut Session, link: &Link) -> Result<Infallible, End> {
        loop {
            let silent_at = session.last_sign + self.patience;
            let awake = !session.is_silent();
            tokio::select! {
                biased;
                update = self.updates.message() => match update {
                    Ok(Some(update)) => self.update(session, update).await?,
                    Ok(None) => return Err(Problem::ended(&session.target).into()),
                    Err(status) => return Err(session.failed(&status, link).await),
                },
                state = next(&mut self.states) => match state {
                    Ok(Some(state)) => self.state(session, &state).await?,
                    _ => self.states = None,
                },
                details = next(&mut self.details) => match details {
                    Ok(Some(message)) => {
                        let details = Box::new(details::translate(&message));
                        session.send(Event::TaskDetails(details)).await?;
                    }
                    _ => self.details = None,
                },
                Some(command) = session.commands.recv() => self.command(command).await,
                // No sign of life of the server's.
                heard = self.outside.next(), if awake => self.join(session, heard).await?,
                sample = sample(&mut self.sampler), if awake => {
                    let mut sample = sample;
                    if self.outside.looks() {
                        // Its threads are known from the looks; those that are not, go.
                        sample.threads.retain(|(_, thread)| thread.gone);
                    }
                    let frames = self.translator.host(sample, received(session));
                    for frame in frames {
                        session.send(Event::Frame(super::Received::made(frame))).await?;
                    }
                }
                () = sleep_until(silent_at), if awake || self.paused => {
                    let problem = session.unanswered(Problem::silent).await;
                    session.tell_silence(problem).await?;
                    // Reported; from here on only what comes counts.
                    self.paused = false;
                }
            }
        }
    }

    async fn update(&mut self, session: &mut Session, update: Update) -> Result<(), End> {
        // Two long gaps in a row are the server's interval; one is a silence.
        let gap = self.last_update.elapsed();
        let interval = gap.min(self.last_gap);
        self.patience = (interval * 5 / 2).clamp(SILENCE, MAX_SILENCE);
        self.last_gap = gap;
        self.last_update = Instant::now();
        self.paused = false;
        let frames = self.translator.update(update, received(session));
        session.send_frames(frames).await
    }

    /// The server sends its state with every publish interval, so it is a sign
    /// of life also while it is paused.
    async fn state(&mut self, session: &mut Session, state: &State) -> Result<(), End> {
        self.paused = state.temporality() == Temporality::Paused;
        if self.paused {
            session.tell_silence(Problem::paused()).await?;
        }
        session.last_sign = Instant::now();
        Ok(())
    }

    /// What is seen from outside joins the session.
    async fn join(&mut self, session: &mut Session, heard: HeardBesideConsole) -> Result<(), End> {
        let received = received(session);
        let now_ns = self.translator.clock_ns(received);
        let translator = &self.translator;
        let joins = self.outside.take(heard, now_ns, &|id| translator.shown(id));
        for frame in self.translator.outside(joins, received) {
            session
                .send(Event::Frame(super::Received::made(frame)))
                .await?;
        }
        Ok(())
    }

    async fn command(&mut self, command: Command) {
        match command {
            Command::WatchTask(None) => self.details = None,
            Command::WatchTask(Some(task)) => {
                let request = TaskDetailsRequest {
                    id: Some(Id { id: task }),
                };
                let answer = timeout(STATE_ANSWER, self.client.watch_task_details(request));
                // A task that the server has forgotten has no details.
                let stream = answer.await.ok().and_then(Result::ok);
                self.details = stream.map(tonic::Response::into_inner);
            }
            Command::Resume => {
                // Whether it worked shows in the state.
                let _ = timeout(STATE_ANSWER, self.client.resume(ResumeRequest {})).await;
            }
            // Of recordings alone.
            Command::Pause | Command::Play | Command::Speed(_) | Command::Seek(_) => {}
        }
    }
}

/// The next message of a stream that may not be; pending without one.
async fn next<T>(stream: &mut Option<Streaming<T>>) -> Result<Option<T>, Status> {
    or_pending(stream.as_mut().map(Streaming::message)).await
}

async fn sample(sampler: &mut Option<Sampler>) -> super::host::Sample {
    or_pending(sampler.as_mut().map(Sampler::next)).await
}

async fn or_pending<F: Future>(future: Option<F>) -> F::Output {
    match future {
        Some(future) => future.await,
        None => std::future::pending().await,
    }
}
