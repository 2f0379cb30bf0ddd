//! A target that is watched, and what is known of it.

use std::{
    fs,
    path::Path,
    sync::{Arc, Mutex as StdMutex, PoisonError},
    time::{Duration, SystemTime},
};

use tokio::{
    sync::{Mutex, OwnedMutexGuard},
    task::JoinHandle,
    time::{Instant, sleep},
};

use crate::{
    diagnose::{Engine, Finding, Window, waits::Rings},
    dump::Dump,
    model::{Capability, Model, Moment},
    naming::{AgentSymbols, Naming},
    report::Report,
    source::{self, Effort, Event, Options, Pace, Problem, Source, Target},
};

use super::answer::Failure;

/// How long a target has to answer, and to come back.
const ATTACH: Duration = Duration::from_secs(5);
/// A target that is silent is waited for so much longer than the time asked for.
const SILENCE: Duration = Duration::from_secs(1);
/// What tasks do in a second is known after this.
const RATES: Duration = Duration::from_millis(1_500);
/// How long where tasks wait is read, at most; and for how long on once all was read, for
/// the names of sockets.
const CHAINS: Duration = Duration::from_secs(15);
const SETTLES: Duration = Duration::from_millis(400);
/// Where nobody reads that, it shows by then.
const NO_CHAINS: Duration = Duration::from_secs(10);
/// A large recording or core dump is read in the background after this.
const OF_A_FILE: Duration = Duration::from_secs(50);
/// Time allowed for the names of a target's first stacks, for which its program is read;
/// and for those of later calls.
const FIRST_NAMES: Duration = Duration::from_secs(20);
const NAMES: Duration = Duration::from_secs(1);
/// Findings are about this much of the time before now, at most, of a live target.
const KEPT: Duration = Duration::from_mins(1);
/// Between two looks: at what is known by a call, and at rings.
const LOOK: Duration = Duration::from_millis(40);
const RINGS: Duration = Duration::from_millis(200);
/// Sentences of a recording that are kept.
const MAX_REMARKS: usize = 10;

/// What a call needs to know.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Wanted {
    /// What was found in the last seconds.
    Findings(Duration),
    /// Tasks as they are, and what they do in a second.
    State,
    /// Where tasks wait.
    Chains,
}

/// A file that has changed is another recording.
type Stamp = (SystemTime, u64);

/// A target that is watched for as long as this lives.
#[derive(Debug)]
pub(super) struct Session {
    name: String,
    target: Target,
    stamp: Option<Stamp>,
    begun: Instant,
    used: StdMutex<Instant>,
    watched: Arc<Mutex<Watched>>,
    driver: JoinHandle<()>,
}

impl Drop for Session {
    fn drop(&mut self) {
        self.driver.abort();
    }
}

impl Session {
    /// Begins to watch `target`, which the user called `name`.
    pub(super) fn begin(name: &str, target: &Target) -> Self {
        let runtime = tokio::runtime::Handle::current();
        let options = Options {
            pace: Pace::Unlimited,
            effort: Effort::FullAtFirst,
            ..Options::default()
        };
        let symbols = (!target.is_past()).then(|| AgentSymbols {
            target: target.clone(),
            runtime: runtime.clone(),
        });
        let watched = Arc::new(Mutex::new(Watched::new(target.is_past(), symbols)));
        let source = source::spawn(target.clone(), options, &runtime);
        Self {
            name: name.to_owned(),
            target: target.clone(),
            stamp: stamp(target),
            begun: Instant::now(),
            used: StdMutex::new(Instant::now()),
            driver: runtime.spawn(drive(source, Arc::clone(&watched))),
            watched,
        }
    }

    /// What the user called the target.
    pub(super) fn name(&self) -> &str {
        &self.name
    }

    /// It watches just that, as it is now.
    pub(super) fn is_of(&self, target: &Target) -> bool {
        self.target == *target && self.stamp == stamp(target)
    }

    /// When it was asked last.
    pub(super) fn used(&self) -> Instant {
        *self.used.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What is known, as soon as it is what is wanted.
    pub(super) async fn known(&self, wanted: Wanted) -> Result<OwnedMutexGuard<Watched>, Failure> {
        let asked = Instant::now();
        let touch = || *self.used.lock().unwrap_or_else(PoisonError::into_inner) = Instant::now();
        let mut ready_at = None;
        loop {
            touch();
            let mut watched = Arc::clone(&self.watched).lock_owned().await;
            if watched.is_ready(wanted, asked, self)? {
                let ready_at = *ready_at.get_or_insert_with(Instant::now);
                let patience = watched.patience_for_names();
                if watched.name_stacks().await || ready_at.elapsed() > patience {
                    touch();
                    return Ok(watched);
                }
            }
            drop(watched);
            sleep(LOOK).await;
        }
    }
}

fn stamp(target: &Target) -> Option<Stamp> {
    let of = |path: &Path| {
        let about = fs::metadata(path).ok()?;
        Some((about.modified().ok()?, about.len()))
    };
    match target {
        Target::Recording(path) | Target::Core(path) => of(path),
        _ => None,
    }
}

/// What is known of a target.
#[derive(Debug)]
pub(super) struct Watched {
    /// The model; without anything before the target has answered.
    pub(super) model: Model,
    /// What could not be read of a recording, or has happened meanwhile, sentences.
    remarks: Vec<String>,
    engine: Engine,
    rings: Rings,
    naming: Option<Naming>,
    /// Since when names were waited for, and how many stacks have none yet.
    named_since: Option<Instant>,
    nameless: usize,
    symbols: Option<AgentSymbols>,
    /// It is a file, of which all is taken in.
    is_past: bool,
    /// The moment of the first whole state, and when it came.
    since: Option<(Moment, Instant)>,
    looked_at_rings: Option<Moment>,
    /// All idle tasks were read, since then.
    read_at: Option<Instant>,
    problem: Option<(Problem, Instant)>,
    /// No further attempt would help.
    is_over: bool,
    /// Nothing more comes.
    has_ended: bool,
}

impl Watched {
    fn new(is_past: bool, symbols: Option<AgentSymbols>) -> Self {
        Self {
            model: Model::default(),
            remarks: Vec::new(),
            engine: Engine::new(Window::Since(Moment::default())),
            rings: Rings::default(),
            naming: None,
            named_since: None,
            nameless: 0,
            symbols,
            is_past,
            since: None,
            looked_at_rings: None,
            read_at: None,
            problem: None,
            is_over: false,
            has_ended: false,
        }
    }

    /// What was found in the last `seconds`, of a file in all of it.
    pub(super) fn report(&self, name: &str, seconds: Duration) -> Report {
        let since = self.window(seconds);
        let engine = self.diagnosis(since);
        Report::new(name, &self.model, &engine, since, &[])
    }

    /// The findings of the last `seconds`.
    pub(super) fn findings(&self, seconds: Duration) -> Vec<Finding> {
        self.diagnosis(self.window(seconds)).findings().to_vec()
    }

    /// Where tasks wait now.
    pub(super) fn dump(&self, name: &str) -> Dump {
        Dump::new(name, &self.model, &self.rings)
    }

    /// Where the window of an answer begins.
    pub(super) fn window(&self, seconds: Duration) -> Moment {
        let first = self.since.map_or(self.model.now, |(first, _)| first);
        if self.is_past {
            first
        } else {
            first.max(self.model.now.minus(seconds))
        }
    }

    fn diagnosis(&self, since: Moment) -> Engine {
        let mut engine = self.engine.clone();
        engine.begin_at(since);
        engine.update(&self.model);
        engine
    }

    /// Whether that is known which is wanted by a call that was made at `asked`.
    fn is_ready(&self, wanted: Wanted, asked: Instant, session: &Session) -> Result<bool, Failure> {
        let name = session.name();
        if self.is_past {
            return self.is_read(asked, name);
        }
        if let Some((problem, at)) = &self.problem
            && (self.is_over || (self.since.is_some() && at.elapsed() >= ATTACH))
        {
            return Err(Failure::new(problem.to_string()));
        }
        let Some((first, came)) = self.since else {
            if session.begun.elapsed() < ATTACH {
                return Ok(false);
            }
            let unknown = || format!("{name} did not answer within {} s", ATTACH.as_secs());
            let why = self.problem.as_ref();
            return Err(Failure::new(
                why.map_or_else(unknown, |(problem, _)| problem.to_string()),
            ));
        };
        // What was known before it went away is no answer to what it does now.
        if self.problem.is_some() {
            return Ok(false);
        }
        Ok(match wanted {
            Wanted::State => self.is_watched(RATES, first, came),
            Wanted::Findings(seconds) => self.is_watched(seconds, first, came),
            Wanted::Chains => self.has_chains(came) || asked.elapsed() >= CHAINS,
        })
    }

    /// Whether it was watched for so long; silence ends that as well.
    fn is_watched(&self, seconds: Duration, first: Moment, came: Instant) -> bool {
        self.model.now.since(first) >= seconds || came.elapsed() >= seconds + SILENCE
    }

    /// Whether a file was taken in.
    fn is_read(&self, asked: Instant, name: &str) -> Result<bool, Failure> {
        if self.has_ended && self.since.is_some() {
            return Ok(true);
        }
        if let Some((problem, _)) = self.problem.as_ref().filter(|_| self.is_over) {
            return Err(Failure::new(problem.to_string()));
        }
        if self.has_ended {
            return Err(Failure::new(format!(
                "{name} holds no whole state of a program, so there is nothing to say about it"
            )));
        }
        if asked.elapsed() >= OF_A_FILE {
            return Err(Failure::later(format!(
                "{name} is still being read after {} s; it is read on: ask again",
                OF_A_FILE.as_secs()
            )));
        }
        Ok(false)
    }

    /// Where tasks wait is known, or that nobody reads it.
    fn has_chains(&self, came: Instant) -> bool {
        if self.model.waits.read().is_some() {
            let settled = |at: Instant| at.elapsed() >= SETTLES;
            // It is no answer to leave out who waits for each other.
            self.read_at.is_some_and(settled) && !self.rings.are_open(&self.model)
        } else {
            let missing = self.model.session.missing(Capability::Waits);
            came.elapsed() >= NO_CHAINS && missing.is_some()
        }
    }

    /// Gives the newest stacks their names; `false` where some are still looked up.
    async fn name_stacks(&mut self) -> bool {
        /// The frames that come meanwhile have room in the channel.
        const A_MOMENT: Duration = Duration::from_millis(250);
        match &mut self.naming {
            Some(naming) => self.nameless = naming.finish(&mut self.model, A_MOMENT).await,
            None => self.nameless = 0,
        }
        self.nameless == 0
    }

    /// How long a call waits for names: long once, so that the next is answered at once.
    fn patience_for_names(&mut self) -> Duration {
        let since = *self.named_since.get_or_insert_with(Instant::now);
        FIRST_NAMES.saturating_sub(since.elapsed()).max(NAMES)
    }

    /// What is to be said of an answer besides: of a recording, or of what is not done.
    pub(super) fn remarks(&self) -> Vec<String> {
        let mut remarks = self.remarks.clone();
        if self.nameless > 0 {
            remarks.push(format!(
                "stacks without names: {}; the program's symbols are still being read: ask again",
                self.nameless
            ));
        }
        remarks
    }

    /// Takes an event; `false` where nothing more comes.
    fn take(&mut self, event: Option<Event>) -> bool {
        match event {
            Some(Event::Connected { hello, .. }) => self.connected(&hello),
            Some(Event::Frame(frame)) => {
                // What is malformed was left out and does not stop anything.
                let _ = self.model.apply(&frame);
                if let Some(naming) = &mut self.naming {
                    naming.request(&self.model);
                    naming.apply(&mut self.model);
                }
                if !frame.more {
                    self.observe();
                }
            }
            Some(Event::Lost { problem, retry_in }) => {
                self.is_over = retry_in.is_none();
                let since = self.problem.take().map(|(_, since)| since);
                self.problem = Some((problem, since.unwrap_or_else(Instant::now)));
            }
            // It is frozen, which is no reason not to say what is known.
            Some(Event::Silent { problem, .. }) if self.since.is_none() => {
                self.problem.get_or_insert((problem, Instant::now()));
            }
            Some(Event::Recording(extent)) => self.remark(extent.remark),
            Some(Event::Gap(why)) => self.remark(Some(why)),
            Some(Event::Ended) => self.has_ended = true,
            None => {
                self.has_ended = true;
                return false;
            }
            Some(_) => {}
        }
        true
    }

    fn remark(&mut self, remark: Option<String>) {
        if self.remarks.len() < MAX_REMARKS {
            self.remarks.extend(remark);
        }
    }

    fn connected(&mut self, hello: &looptop_wire::proto::HelloResponse) {
        let is_same = self.since.is_some() && hello.session == self.model.session.id;
        if !is_same && self.since.take().is_some() {
            self.remark(Some(
                "another process answers in the place of the one before it: this is of the \
                 newer one alone"
                    .to_owned(),
            ));
        }
        // After a gap all is sent anew.
        self.model = Model::new(hello);
        self.naming = Some(Naming::new(&self.model, self.symbols.clone()));
        self.problem = None;
        (self.read_at, self.looked_at_rings) = (None, None);
        if !is_same {
            self.rings = Rings::default();
            self.named_since = None;
        }
    }

    /// Looks at a whole frame.
    fn observe(&mut self) {
        self.problem = None;
        let now = self.model.now;
        if self.model.complete && self.since.is_none() {
            self.since = Some((now, Instant::now()));
            self.engine = Engine::new(Window::Since(now));
        }
        let Some((first, _)) = self.since else { return };
        if !self.is_past {
            self.engine.begin_at(first.max(now.minus(KEPT)));
        }
        self.engine.update(&self.model);
        let due = |at: Moment| now.since(at) >= RINGS;
        if self.looked_at_rings.is_none_or(due) {
            self.looked_at_rings = Some(now);
            self.rings.observe(&self.model);
        }
        let read = self.model.waits.read();
        if read.is_some_and(|read| read.complete) {
            self.read_at.get_or_insert_with(Instant::now);
        }
    }
}

/// Takes what comes until nothing more does.
async fn drive(mut source: Source, watched: Arc<Mutex<Watched>>) {
    loop {
        let event = source.recv().await;
        if !watched.lock().await.take(event) {
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use looptop_wire::proto;

    use super::*;
    use crate::{
        model::fixtures,
        source::{Received, SourceKind},
    };

    fn connected(hello: proto::HelloResponse) -> Event {
        Event::Connected {
            hello: Box::new(hello),
            kind: SourceKind::Agent,
        }
    }

    fn frame(at: u64) -> Event {
        let frame = proto::Frame {
            snapshot_complete: true,
            ..fixtures::frame(Moment(at * 1_000_000_000))
        };
        Event::Frame(Received::made(frame))
    }

    fn watched(seconds: u64) -> Watched {
        let mut watched = Watched::new(false, None);
        watched.take(Some(connected(fixtures::hello())));
        for at in 10..=10 + seconds {
            watched.take(Some(frame(at)));
        }
        watched
    }

    /// Seconds that an answer is about.
    fn observed(watched: &Watched, seconds: u64) -> u64 {
        let report = watched.report("x", Duration::from_secs(seconds));
        report.window_s.round() as u64
    }

    #[test]
    fn an_answer_is_about_the_last_seconds() {
        let watched = watched(30);
        assert_eq!((observed(&watched, 5), observed(&watched, 60)), (5, 30));
    }

    #[test]
    fn another_process_in_its_place_begins_anew() {
        let mut watched = watched(30);
        watched.take(Some(connected(fixtures::hello())));
        watched.take(Some(frame(41)));
        assert!(watched.remarks.is_empty(), "a mere reconnection");
        let other = proto::HelloResponse {
            session: "another".into(),
            ..fixtures::hello()
        };
        watched.take(Some(connected(other)));
        assert!(watched.since.is_none());
        watched.take(Some(frame(2)));
        assert_eq!(observed(&watched, 60), 0);
        assert_eq!(watched.remarks.len(), 1);
    }
}
