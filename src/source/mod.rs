//! Where the data comes from: an agent, a console-subscriber, the host.
//!
//! Every source yields the same normal form: [`HelloResponse`] and frames of the
//! wire protocol. [`spawn`] attaches to a [`Target`] in the background,
//! reconnects for as long as the [`Source`] lives, and reports what happens in
//! [`Event`]s; nothing here waits for the screen, save that a full channel
//! stops reading from the peer.
//!
//! - [`target`]: what a user may name, [`targets`]: several at once,
//! - [`problem`]: what stands between, as a sentence,
//! - [`access`]: what this viewer shows of itself, and whom it believes,
//! - `budget`: a share of a core for all that read processes together,
//! - `connect`, `sniff`: opening a connection and recognising what answers,
//! - `received`: a frame with the bytes in which it came,
//! - `shift`: ids of one source that joins another's frames,
//! - `session`: what both live sources share: patience, silence, events,
//! - `agent`: looptop's own agent,
//! - `console`: console-subscriber, translated,
//! - `host`: threads and CPU of a local process that has no agent,
//! - `outside`: a local process that has no agent, or a core dump, read as it is,
//! - [`processes`]: the processes of this machine that can be attached to,
//! - `replay`: a recording, played back.

pub mod access;
mod agent;
#[cfg_attr(
    not(all(target_os = "linux", not(looptop_elsewhere), target_arch = "x86_64")),
    allow(dead_code, reason = "no process is read there")
)]
mod budget;
mod connect;
pub mod console;
mod host;
mod outside;
pub mod problem;
pub mod processes;
mod received;
pub mod replay;
mod session;
mod shift;
mod sniff;
pub mod target;
pub mod targets;

use std::time::{Duration, Instant};

use looptop_wire::proto::HelloResponse;
use tokio::sync::mpsc;

use crate::record::Extent;

pub use crate::model::SourceKind;

pub use self::{
    budget::Budget,
    console::details::{DurationCounts, TaskDetails},
    problem::{Problem, ProblemKind},
    received::Received,
    replay::{Pace, Position, Speed},
    target::{Target, TargetError},
};

/// Events that wait for the consumer before the source stops reading.
const EVENTS: usize = 64;
const COMMANDS: usize = 16;

/// What a source reports to the rest of the program.
#[derive(Debug)]
pub enum Event {
    /// An attempt to connect begins; the first of a loss is 1.
    Connecting {
        /// Attempts since the last session.
        attempt: u32,
    },
    /// A peer answered, and a stream of frames begins. String, location and
    /// module ids of earlier streams are void. The same session id as before
    /// means the same process and clock: a mere reconnection.
    Connected {
        /// Who answered and what it can supply.
        hello: Box<HelloResponse>,
        /// Which source it is.
        kind: SourceKind,
    },
    /// State or changes, in the normal form.
    Frame(Received),
    /// Distributions of the task named by [`Command::WatchTask`].
    TaskDetails(Box<TaskDetails>),
    /// Nothing has come for longer than expected though the connection stands,
    /// as when the target is frozen. Reported once; the next event that carries
    /// data ends it.
    Silent {
        /// When something last came, or the attempt began.
        since: Instant,
        /// Why, as far as is known.
        problem: Problem,
    },
    /// The connection broke or could not be made.
    Lost {
        /// What was tried, what happened, what to do.
        problem: Problem,
        /// When the next attempt begins; `None` where none would help.
        retry_in: Option<Duration>,
    },
    /// What a recording covers. Reported once, before its first session.
    Recording(Box<Extent>),
    /// Where in the recording the player is. Reported when that changes by command,
    /// and at most every 100 ms while it plays.
    Position(Position),
    /// Part of the recording was left out, and why. What follows begins with
    /// [`Event::Connected`].
    Gap(String),
    /// A recording's end, or all of a core dump. The source stays: [`Command::Seek`] goes
    /// back in a recording.
    Ended,
}

/// What the consumer may ask of a source. A source that cannot do it ignores
/// it, and none outlasts its connection: ask anew after [`Event::Connected`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Command {
    /// Send [`Event::TaskDetails`] of this task, or of none. Console only; it
    /// costs the target one message per publish interval.
    WatchTask(Option<u64>),
    /// Resume a console-subscriber that a viewer paused, for all its viewers.
    Resume,
    /// Hold a recording at this moment.
    Pause,
    /// Go on playing a recording.
    Play,
    /// Play a recording faster or slower.
    Speed(Speed),
    /// Go to a moment of a recording, counted since its beginning. It is answered
    /// by [`Event::Connected`], a keyframe and the frames up to there, and
    /// then [`Event::Position`] with `arrived`.
    Seek(Duration),
}

/// How to attach.
#[derive(Debug, Clone)]
pub struct Options {
    /// Time between the frames of an agent; zero for the agent's default.
    pub interval: Duration,
    /// Finished tasks of a console-subscriber that are remembered.
    pub finished_tasks: usize,
    /// Read threads and CPU from this machine's procfs where the target is
    /// local and has no agent.
    pub host: bool,
    /// How fast a recording is played at first.
    pub pace: Pace,
    /// How much of a core reading a process from outside may take.
    pub effort: Effort,
    /// What it may take together with other sources; `None` where it is alone.
    pub budget: Option<Budget>,
    /// Go over to the agent or console-subscriber of a process that was looked at from
    /// outside, as soon as one answers. It is another session.
    pub changes_to_agent: bool,
    /// An attempt that is still unanswered is given up then, and begun anew.
    /// Until then the user knows, and a target that is merely slow can
    /// still answer.
    pub give_up: Duration,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            interval: Duration::ZERO,
            finished_tasks: 10_000,
            host: true,
            pace: Pace::default(),
            effort: Effort::default(),
            budget: None,
            changes_to_agent: true,
            give_up: Duration::from_secs(20),
        }
    }
}

/// How much of a core reading where a process's tasks wait may take.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Effort {
    /// A tenth: for somebody who watches it go on.
    #[default]
    Sparing,
    /// All of one that others leave, until each idle task was read, for 15 s at most; then a
    /// tenth: for somebody who asks now and then.
    FullAtFirst,
    /// All of one that others leave: for one answer.
    Full,
}

/// The consumer's end of a source. Dropping it ends the source.
#[derive(Debug)]
pub struct Source {
    events: mpsc::Receiver<Event>,
    commands: mpsc::Sender<Command>,
    task: tokio::task::JoinHandle<()>,
}

impl Source {
    /// The next event; `None` after the last. Safe to cancel.
    pub async fn recv(&mut self) -> Option<Event> {
        self.events.recv().await
    }

    /// The next event, if one waits.
    pub fn try_recv(&mut self) -> Option<Event> {
        self.events.try_recv().ok()
    }

    /// The next event, for a thread outside of any runtime.
    pub fn blocking_recv(&mut self) -> Option<Event> {
        self.events.blocking_recv()
    }

    /// Asks something of the source, without waiting; `false` where the source
    /// has ended or has too many commands before it.
    pub fn command(&self, command: Command) -> bool {
        self.commands.try_send(command).is_ok()
    }
}

impl Drop for Source {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// A connection of its own to `target`, beside that of its [`Source`].
#[cfg(feature = "demo")]
pub(crate) async fn channel(target: &Target) -> Result<access::Calls, Problem> {
    Ok(agent_link(target).await?.channel)
}

/// Asks the agent of `target` for the functions at these addresses, by a
/// connection of its own.
pub(crate) async fn resolve(
    target: &Target,
    frames: Vec<looptop_wire::proto::CodeAddress>,
) -> Result<looptop_wire::proto::ResolveFramesResponse, Problem> {
    let link = agent_link(target).await?;
    agent::resolve(&link, frames).await
}

/// Whether anything listens at `target`, whatever it is. As long as connecting takes.
pub async fn is_listening(target: &Target) -> bool {
    connect::is_listening(target).await
}

async fn agent_link(target: &Target) -> Result<connect::Link, Problem> {
    let socket = match target {
        Target::Process(pid) => processes::listens_at(*pid).await,
        _ => None,
    };
    let deadline = tokio::time::Instant::now() + connect::PATIENCE;
    connect::open(socket.as_ref().unwrap_or(target), deadline).await
}

/// Attaches to `target` on `runtime`, for as long as the result lives.
pub fn spawn(target: Target, options: Options, runtime: &tokio::runtime::Handle) -> Source {
    let (events_in, events) = mpsc::channel(EVENTS);
    let (commands, commands_out) = mpsc::channel(COMMANDS);
    let session = session::Session::new(target, options, events_in, commands_out);
    let task = runtime.spawn(session.run());
    Source {
        events,
        commands,
        task,
    }
}
