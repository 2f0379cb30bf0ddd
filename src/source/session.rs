//! What all live sources share: attempts, patience, silence.

use std::{convert::Infallible, future::Future, time::Duration};

use looptop_wire::proto::Frame;
use tokio::{
    sync::mpsc,
    time::{Instant, sleep, sleep_until, timeout_at},
};
use tonic::Status;

use super::{
    Command, Event, Options, Problem, ProblemKind, Target, agent,
    connect::{self, Link, PATIENCE, PING_TIMEOUT},
    console, host, outside, problem, processes,
    received::Received,
    replay,
};

/// First and longest pause between attempts.
const RETRY_MIN: Duration = Duration::from_millis(100);
const RETRY_MAX: Duration = Duration::from_secs(2);

/// How an attempt or a session ended.
#[derive(Debug)]
pub(super) enum End {
    /// Nobody listens any more.
    Unwanted,
    /// Something went wrong.
    Problem(Problem),
}

impl From<Problem> for End {
    fn from(problem: Problem) -> Self {
        Self::Problem(problem)
    }
}

/// The background task of one source.
#[derive(Debug)]
pub(super) struct Session {
    pub(super) target: Target,
    pub(super) options: Options,
    pub(super) commands: mpsc::Receiver<Command>,
    /// When the source was made: the local clock of the console source.
    pub(super) origin: Instant,
    /// When something last came, or the attempt began.
    pub(super) last_sign: Instant,
    /// What was reported of the present silence.
    reported: Option<ProblemKind>,
    /// Whether this connection has delivered a frame.
    delivered: bool,
    /// When the process that is the target started.
    process_started: Option<u64>,
    events: mpsc::Sender<Event>,
}

impl Session {
    pub(super) fn new(
        target: Target,
        options: Options,
        events: mpsc::Sender<Event>,
        commands: mpsc::Receiver<Command>,
    ) -> Self {
        let now = Instant::now();
        Self {
            target,
            options,
            commands,
            origin: now,
            last_sign: now,
            reported: None,
            delivered: false,
            process_started: None,
            events,
        }
    }

    /// Attaches, again and again, until nobody listens.
    pub(super) async fn run(mut self) {
        let mut known = None;
        let mut pause = RETRY_MIN;
        let mut attempt = 0;
        loop {
            attempt += 1;
            let problem = match self.attempt(attempt, &mut known).await {
                Err(End::Problem(problem)) => problem,
                Err(End::Unwanted) => return,
                Ok(never) => match never {},
            };
            if self.delivered {
                pause = RETRY_MIN;
                attempt = 0;
            }
            let retry_in = worth_retrying(problem.kind).then_some(pause);
            if self.send(Event::Lost { problem, retry_in }).await.is_err() {
                return;
            }
            match retry_in {
                Some(pause) => sleep(pause).await,
                None => return,
            }
            pause = (pause * 2).min(RETRY_MAX);
        }
    }

    async fn attempt(
        &mut self,
        attempt: u32,
        known: &mut Option<console::Identity>,
    ) -> Result<Infallible, End> {
        self.last_sign = Instant::now();
        self.reported = None;
        self.delivered = false;
        while self.commands.try_recv().is_ok() {}
        self.send(Event::Connecting { attempt }).await?;
        if let Target::Recording(path) = &self.target {
            return replay::run(self, &path.clone()).await;
        }
        if let Target::Core(path) = &self.target {
            return outside::read_core(self, path.clone()).await;
        }
        let socket = match self.target {
            Target::Process(pid) => {
                self.same_process(pid)?;
                match processes::listens_at(pid).await {
                    Some(socket) => socket,
                    None => return self.outside(pid).await,
                }
            }
            _ => self.target.clone(),
        };
        let link = match connect::open(&socket, Instant::now() + PATIENCE).await {
            Ok(link) => link,
            Err(problem) => return Err(self.explained(problem).await.into()),
        };
        match agent::attach(self, &link).await? {
            agent::Peer::Agent(peer) => peer.run(self).await,
            agent::Peer::NoAgent => console::run(self, &link, known).await,
        }
    }

    /// Looks at the process from outside until its agent or console-subscriber answers,
    /// who see more.
    async fn outside(&mut self, pid: u32) -> Result<Infallible, End> {
        if !self.options.changes_to_agent {
            return outside::run(self, pid).await;
        }
        tokio::select! {
            end = outside::run(self, pid) => end,
            () = processes::comes_to_listen(pid) => Err(Problem::agent_answers(pid).into()),
        }
    }

    /// Refuses another process that was given the id of the first one.
    fn same_process(&mut self, pid: u32) -> Result<(), Problem> {
        let now = processes::started(pid);
        match (self.process_started, now) {
            (Some(first), Some(now)) if first != now => Err(Problem::other_process(pid)),
            (None, _) => {
                self.process_started = now;
                Ok(())
            }
            _ => Ok(()),
        }
    }

    /// The problem; where nothing listens at a bare number that is also the id of
    /// a process, with what can be done about that one.
    async fn explained(&self, mut problem: Problem) -> Problem {
        if let (Target::Number(number), ProblemKind::Refused) = (&self.target, problem.kind)
            && let Some(process) = processes::with_id(u32::from(*number)).await
        {
            problem.advice = process;
        }
        problem
    }

    /// Delivers an event; waits while the consumer is behind.
    pub(super) async fn send(&mut self, event: Event) -> Result<(), End> {
        let frame = matches!(event, Event::Frame(_));
        self.events.send(event).await.map_err(|_| End::Unwanted)?;
        if frame {
            self.delivered = true;
        }
        Ok(())
    }

    /// Delivers frames that were made of what came just now.
    pub(super) async fn send_frames(&mut self, frames: Vec<Frame>) -> Result<(), End> {
        for frame in frames {
            self.send_frame(Received::made(frame)).await?;
        }
        Ok(())
    }

    /// Delivers what came from the target just now.
    pub(super) async fn send_frame(&mut self, frame: Received) -> Result<(), End> {
        self.send(Event::Frame(frame)).await?;
        // After sending: a slow consumer is not the target's silence.
        self.last_sign = Instant::now();
        self.reported = None;
        Ok(())
    }

    /// Reports once that nothing comes, and why.
    pub(super) async fn tell_silence(&mut self, problem: Problem) -> Result<(), End> {
        if self.reported == Some(problem.kind) {
            return Ok(());
        }
        self.reported = Some(problem.kind);
        let since = self.last_sign.into_std();
        self.send(Event::Silent { since, problem }).await
    }

    /// Whether the consumer knows that nothing comes.
    pub(super) fn is_silent(&self) -> bool {
        self.reported.is_some()
    }

    /// Awaits an answer of the target. Reports when it takes longer
    /// than [`PATIENCE`] from the last sign of life, and gives up in the end.
    pub(super) async fn patiently<T>(&mut self, answer: impl Future<Output = T>) -> Result<T, End> {
        self.awaiting(answer, Problem::no_answer).await
    }

    /// The same, where `late` says what it means that the answer does not come.
    pub(super) async fn awaiting<T>(
        &mut self,
        answer: impl Future<Output = T>,
        late: fn(&Target, Duration) -> Problem,
    ) -> Result<T, End> {
        let give_up = self.options.give_up;
        tokio::pin!(answer);
        let began = self.last_sign;
        tokio::select! {
            biased;
            answer = &mut answer => {
                self.last_sign = Instant::now();
                return Ok(answer);
            }
            () = sleep_until(began + PATIENCE) => {}
        }
        let problem = self.unanswered(late).await;
        self.tell_silence(problem).await?;
        let answered = timeout_at(began + give_up, answer).await;
        let answer = answered.map_err(|_| late(&self.target, began.elapsed()))?;
        self.last_sign = Instant::now();
        self.reported = None;
        Ok(answer)
    }

    /// Why the target does not answer; `otherwise` where that is not known.
    pub(super) async fn unanswered(&self, otherwise: fn(&Target, Duration) -> Problem) -> Problem {
        let stopped = host::stopped(self.target.clone()).await;
        stopped.unwrap_or_else(|| otherwise(&self.target, self.last_sign.elapsed()))
    }

    /// The problem behind a failed call on `link`.
    pub(super) async fn failed(&self, status: &Status, link: &Link) -> End {
        // The pings give up a connection as if the peer had closed it.
        let silent = self.is_silent() && self.last_sign.elapsed() >= PING_TIMEOUT;
        if silent && problem::is_transport(status) {
            return End::Problem(self.unanswered(Problem::given_up).await);
        }
        End::Problem(connect::failed_call(&self.target, status, &link.sniffed).await)
    }
}

fn worth_retrying(kind: ProblemKind) -> bool {
    !matches!(
        kind,
        ProblemKind::Unsupported
            | ProblemKind::Recording
            | ProblemKind::Core
            | ProblemKind::NoProcess
            | ProblemKind::NotReadable
            | ProblemKind::Forbidden
            | ProblemKind::Tls
    )
}
