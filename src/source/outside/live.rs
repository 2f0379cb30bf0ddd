//! An attachment: what was seen goes on as events, until the process ends or nobody
//! listens.

use std::{
    convert::Infallible,
    time::{Duration, Instant, SystemTime},
};

use looptop_outside::{Chosen, access::Access};
use looptop_procfs::Procfs;
use looptop_wire::proto::HelloResponse;
use tokio::{sync::mpsc, task::spawn_blocking, time::sleep_until};

use super::{
    driver::{self, Attached, Driver, Message, Stacks, What},
    hello,
    reader::Reading,
    translate::Translator,
};
use crate::source::{
    Event, Problem, SourceKind,
    host::{self, Sampler},
    session::{End, Session},
};

/// Time between frames, where the consumer does not care.
pub(super) const INTERVAL: Duration = Duration::from_millis(100);
/// As of an agent.
pub(super) const SHORTEST: Duration = Duration::from_millis(20);
pub(super) const LONGEST: Duration = Duration::from_secs(10);

/// Without a look for so long this machine has no CPU for the thread that looks.
const SILENCE: Duration = Duration::from_millis(1_200);

/// What was seen and not yet taken.
const MESSAGES: usize = 16;

/// Looks at the process until nobody listens, or until it has ended.
pub(super) async fn run(session: &mut Session, access: Access) -> Result<Infallible, End> {
    let pid = access.subject.pid();
    let attach = spawn_blocking(move || Attached::new(access));
    let attached = match session.awaiting(attach, Problem::slow_to_read).await? {
        Ok(attached) => attached?,
        Err(_panicked) => return Err(Problem::not_attached(pid).into()),
    };
    let origin = session.origin.into_std();
    let connected = Event::Connected {
        hello: Box::new(greeting(&attached, pid, origin)),
        kind: SourceKind::Outside,
    };
    session.send(connected).await?;
    let lists = attached.missing.tasks.is_none();
    let translator = Translator::new(session.options.finished_tasks, lists);
    let (sender, messages) = mpsc::channel(MESSAGES);
    let interval = match session.options.interval {
        Duration::ZERO => INTERVAL,
        interval => interval.clamp(SHORTEST, LONGEST),
    };
    let all = (Chosen::All, Stacks::Watched);
    let how = (interval, Reading::of(&session.options));
    let driver = Driver::start(attached, origin, how, all, sender);
    let driver = driver.map_err(|error| Problem::no_thread(pid, &error))?;
    let mut watcher = Watcher {
        messages,
        sampler: Sampler::of(pid),
        translator,
        origin,
        pid,
        silence: SILENCE.max(interval * 5 / 2),
        stopped: None,
        _driver: driver,
    };
    watcher.watch(session).await
}

struct Watcher {
    messages: mpsc::Receiver<Message>,
    sampler: Sampler,
    translator: Translator,
    origin: Instant,
    pid: u32,
    silence: Duration,
    /// Since when it is stopped.
    stopped: Option<Instant>,
    /// Dropped, it ends the threads.
    _driver: Driver,
}

impl Watcher {
    async fn watch(&mut self, session: &mut Session) -> Result<Infallible, End> {
        loop {
            let silent_at = session.last_sign + self.silence;
            tokio::select! {
                biased;
                message = self.messages.recv() => {
                    let Some(message) = message else {
                        return Err(Problem::not_attached(self.pid).into());
                    };
                    self.stopped = match message.what {
                        What::Stopped => self.stopped.or(Some(message.at)),
                        // It goes on: threads are not looked at otherwise.
                        What::Look(_) => None,
                        _ => self.stopped,
                    };
                    // What is read of it while it is stopped does not make its polls older.
                    let at = self.stopped.map_or(message.at, |since| since.min(message.at));
                    let now_ns = since(self.origin, at);
                    let frames = match message.what {
                        What::Look(look) => self.translator.look(now_ns, &look),
                        What::Listing(listing) => self.translator.listing(now_ns, &listing),
                        What::Waits(waits) => self.translator.waits(now_ns, &waits),
                        What::Stopped => Vec::new(),
                        What::Ended(problem) => return Err(problem.into()),
                    };
                    session.send_frames(frames).await?;
                    if self.stopped.is_some() && !session.is_silent() {
                        let problem = session.unanswered(Problem::no_look).await;
                        session.tell_silence(problem).await?;
                    }
                }
                sample = self.sampler.next() => {
                    // A process that is stopped gives no sign of life.
                    if self.stopped.is_some() {
                        continue;
                    }
                    let now_ns = since(self.origin, Instant::now());
                    let frames = self.translator.host(now_ns, sample);
                    session.send_frames(frames).await?;
                }
                // Of other sources.
                Some(_) = session.commands.recv() => {}
                () = sleep_until(silent_at), if !session.is_silent() => {
                    let problem = session.unanswered(Problem::no_look).await;
                    session.tell_silence(problem).await?;
                }
            }
        }
    }
}

/// Who is looked at.
fn greeting(attached: &Attached, pid: u32, origin: Instant) -> HelloResponse {
    let mut greeting = HelloResponse {
        session: attached.session(),
        started_unix_ns: unix_ns(origin),
        stall_threshold_ns: ns(driver::THRESHOLD),
        watchdog_interval_ns: ns(driver::LOOK_EVERY),
        build_id: attached.build_id(),
        ..HelloResponse::default()
    };
    host::describe(&Procfs::default(), pid, &mut greeting);
    hello::complete(
        greeting,
        &attached.missing,
        attached.tokio_version(),
        since(origin, Instant::now()),
    )
}

pub(super) fn ns(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

/// An instant on the session's clock.
pub(super) fn since(origin: Instant, at: Instant) -> u64 {
    ns(at.saturating_duration_since(origin))
}

/// An instant on the wall clock.
fn unix_ns(at: Instant) -> u64 {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    ns(now.unwrap_or_default().saturating_sub(at.elapsed()))
}
