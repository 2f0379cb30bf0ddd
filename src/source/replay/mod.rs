//! The replay source: a recording, played back as if it were live.

use std::{convert::Infallible, fmt, path::Path, str::FromStr, time::Duration};

use tokio::{
    sync::mpsc,
    time::{Instant, sleep_until},
};

use super::{
    Command, Event, Problem, ProblemKind, SourceKind,
    problem::quote,
    session::{End, Session},
};
use crate::record::{OpenError, Recording, Step};

/// Steps that wait between the file and the player.
const STEPS: usize = 32;
/// A seek plays this much before its moment as well, because some rules look back a
/// little.
const LEAD: Duration = Duration::from_secs(3);
/// Positions are reported at most this often while playing.
const POSITION_EVERY: Duration = Duration::from_millis(100);

/// How fast a recording is played.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pace {
    /// As fast as it was recorded, times the speed.
    Timed(Speed),
    /// As fast as the consumer takes it, for reports. The source ends with the
    /// recording.
    Unlimited,
}

impl Default for Pace {
    fn default() -> Self {
        Self::Timed(Speed::default())
    }
}

/// Recorded time over real time, from 0.1 to 100.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Speed {
    tenths: u32,
}

impl Default for Speed {
    fn default() -> Self {
        Self { tenths: 10 }
    }
}

impl Speed {
    /// The steps that a key goes through.
    const STEPS: [u32; 10] = [1, 2, 5, 10, 20, 50, 100, 200, 500, 1_000];

    /// The nearest speed there is.
    pub fn nearest(times: f64) -> Self {
        let tenths = (times * 10.0).round().clamp(1.0, 1_000.0);
        Self {
            tenths: tenths as u32,
        }
    }

    /// Recorded seconds in a second.
    pub fn times(self) -> f64 {
        f64::from(self.tenths) / 10.0
    }

    /// The next step up.
    #[must_use]
    pub fn faster(self) -> Self {
        let step = Self::STEPS.into_iter().find(|s| *s > self.tenths);
        Self {
            tenths: step.unwrap_or(self.tenths),
        }
    }

    /// The next step down.
    #[must_use]
    pub fn slower(self) -> Self {
        let step = Self::STEPS.into_iter().rev().find(|s| *s < self.tenths);
        Self {
            tenths: step.unwrap_or(self.tenths),
        }
    }
}

impl fmt::Display for Speed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}x", self.times())
    }
}

impl FromStr for Speed {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let times: Option<f64> = text.trim_end_matches('x').parse().ok();
        times
            .filter(|times| (0.1..=100.0).contains(times))
            .map(Self::nearest)
            .ok_or_else(|| format!("'{text}' is not a speed; a speed is a number from 0.1 to 100"))
    }
}

/// Where a player is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Position {
    /// Since the beginning of the recording.
    pub elapsed: Duration,
    /// It plays, rather than being held.
    pub playing: bool,
    /// How fast it plays.
    pub speed: Speed,
    /// All frames up to `elapsed` have been delivered.
    pub arrived: bool,
}

/// Plays the recording until nobody listens.
pub(super) async fn run(session: &mut Session, path: &Path) -> Result<Infallible, End> {
    let owned = path.to_owned();
    let opened = tokio::task::spawn_blocking(move || Recording::open(&owned)).await;
    let recording = match opened {
        Ok(Ok(recording)) => recording,
        Ok(Err(error)) => return Err(problem(path, &error).into()),
        Err(panicked) => {
            let error = std::io::Error::other(panicked.to_string());
            return Err(problem(path, &OpenError::Io(error)).into());
        }
    };
    session
        .send(Event::Recording(Box::new(recording.extent())))
        .await?;
    Player::new(session.options.pace, recording)
        .run(session)
        .await
}

fn problem(path: &Path, error: &OpenError) -> Problem {
    let name = quote(&path.display().to_string());
    let missing = matches!(error, OpenError::Io(e) if e.kind() == std::io::ErrorKind::NotFound);
    if missing {
        return Problem::new(
            ProblemKind::Recording,
            format!("there is no recording `{name}`"),
            "check the path; a target is named by HOST:PORT or unix:PATH",
        );
    }
    Problem::new(
        ProblemKind::Recording,
        format!("`{name}` cannot be opened: {error}"),
        "",
    )
}

struct Player {
    recording: Recording,
    steps: mpsc::Receiver<Step>,
    speed: Speed,
    timed: bool,
    playing: bool,
    /// Frames up to here are due at once.
    target: Option<Duration>,
    /// The moment reached, and when.
    anchor: (Duration, Instant),
    reported: Option<Instant>,
}

/// What a wait ended with.
enum Woken {
    Due,
    Command(Command),
}

impl Player {
    fn new(pace: Pace, recording: Recording) -> Self {
        let steps = read(&recording, Duration::ZERO);
        Self {
            recording,
            steps,
            speed: match pace {
                Pace::Timed(speed) => speed,
                Pace::Unlimited => Speed::default(),
            },
            timed: pace != Pace::Unlimited,
            playing: true,
            target: Some(Duration::ZERO),
            anchor: (Duration::ZERO, Instant::now()),
            reported: None,
        }
    }

    async fn run(mut self, session: &mut Session) -> Result<Infallible, End> {
        loop {
            let Some(step) = self.steps.recv().await else {
                self.at_end(session).await?;
                continue;
            };
            match step {
                Step::Session(hello) => {
                    let hello = Box::new((*hello).clone());
                    let kind = SourceKind::Replay;
                    session.send(Event::Connected { hello, kind }).await?;
                }
                Step::Gap(text) => session.send(Event::Gap(text)).await?,
                Step::Frame(frame, at) => {
                    if self.timed && !self.wait_for(session, at).await? {
                        continue;
                    }
                    let whole = !frame.more;
                    session.send_frames(vec![*frame]).await?;
                    if whole {
                        self.reached(session, at).await?;
                    }
                }
            }
        }
    }

    /// Waits until the frame of `at` is due; `false` where a command made it
    /// void.
    async fn wait_for(&mut self, session: &mut Session, at: Duration) -> Result<bool, End> {
        loop {
            if let Ok(command) = session.commands.try_recv() {
                if self.obey(session, command).await? {
                    return Ok(false);
                }
                continue;
            }
            match self.target {
                Some(target) if at <= target => return Ok(true),
                Some(target) => self.arrive(session, target).await?,
                None => {}
            }
            match self.woken(session, at).await? {
                Woken::Due => return Ok(true),
                Woken::Command(command) => {
                    if self.obey(session, command).await? {
                        return Ok(false);
                    }
                }
            }
        }
    }

    async fn woken(&self, session: &mut Session, at: Duration) -> Result<Woken, End> {
        let (from, since) = self.anchor;
        let due = since + at.saturating_sub(from).div_f64(self.speed.times());
        tokio::select! {
            biased;
            command = session.commands.recv() => command.map(Woken::Command).ok_or(End::Unwanted),
            () = sleep_until(due), if self.playing => Ok(Woken::Due),
        }
    }

    /// Everything up to `elapsed` was delivered; from here on time counts.
    async fn arrive(&mut self, session: &mut Session, elapsed: Duration) -> Result<(), End> {
        self.target = None;
        self.anchor = (elapsed, Instant::now());
        self.report(session, elapsed).await
    }

    /// A whole frame was delivered.
    async fn reached(&mut self, session: &mut Session, at: Duration) -> Result<(), End> {
        if !self.timed || self.target.is_some() {
            return Ok(());
        }
        if self
            .reported
            .is_none_or(|at| at.elapsed() >= POSITION_EVERY)
        {
            self.report(session, at).await?;
        }
        Ok(())
    }

    async fn report(&mut self, session: &mut Session, elapsed: Duration) -> Result<(), End> {
        self.reported = Some(Instant::now());
        let position = Position {
            elapsed,
            playing: self.playing,
            speed: self.speed,
            arrived: self.target.is_none(),
        };
        session.send(Event::Position(position)).await
    }

    /// The recorded moment that is now.
    fn now(&self) -> Duration {
        let (from, since) = self.anchor;
        match (self.target, self.playing) {
            (Some(target), _) => target,
            (None, false) => from,
            (None, true) => from + since.elapsed().mul_f64(self.speed.times()),
        }
    }

    /// Does what was asked; `true` where the steps begin anew.
    async fn obey(&mut self, session: &mut Session, command: Command) -> Result<bool, End> {
        let now = self.now().min(self.recording.length());
        match command {
            Command::Pause | Command::Play => self.playing = command == Command::Play,
            Command::Speed(speed) => self.speed = speed,
            Command::Seek(to) => {
                let to = to.min(self.recording.length());
                self.steps = read(&self.recording, to.saturating_sub(LEAD));
                self.target = Some(to);
                return Ok(true);
            }
            Command::WatchTask(_) | Command::Resume => return Ok(false),
        }
        self.anchor = (now, Instant::now());
        self.report(session, now).await?;
        Ok(false)
    }

    /// The recording is over: waits for a command that goes back.
    async fn at_end(&mut self, session: &mut Session) -> Result<(), End> {
        if self.target.is_some() && self.timed {
            self.arrive(session, self.recording.length()).await?;
        }
        session.send(Event::Ended).await?;
        if !self.timed {
            return Err(End::Unwanted);
        }
        self.playing = false;
        self.anchor = (self.recording.length(), Instant::now());
        loop {
            let command = session.commands.recv().await.ok_or(End::Unwanted)?;
            // Playing on from the end begins anew.
            let command = match command {
                Command::Play => {
                    self.playing = true;
                    Command::Seek(Duration::ZERO)
                }
                command => command,
            };
            if self.obey(session, command).await? {
                return Ok(());
            }
        }
    }
}

/// Reads the steps from the keyframe before `from` on, away from the runtime's
/// workers; ends when the receiver is dropped.
fn read(recording: &Recording, from: Duration) -> mpsc::Receiver<Step> {
    let (sender, receiver) = mpsc::channel(STEPS);
    let frames = recording.frames_at(from);
    tokio::task::spawn_blocking(move || {
        for step in frames {
            if sender.blocking_send(step).is_err() {
                return;
            }
        }
    });
    receiver
}

#[cfg(test)]
mod tests;
