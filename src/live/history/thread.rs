//! The thread of the history: it compresses what comes, looks up what is asked for,
//! and writes the recording. None of it is done where the screen is drawn.

use std::{
    fs::File,
    io,
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
        mpsc::{Receiver, TryRecvError},
    },
    time::Duration,
};

use bytes::Bytes;
use looptop_wire::proto::{Frame, HelloResponse};
use tokio::sync::{mpsc::UnboundedSender, oneshot};

use super::{
    file::{self, Unsynced, Unwritten},
    save::{Save, Saver},
};
use crate::{
    app::{Earlier, Event, Recall, Snapshot, Travel, quantity},
    diagnose::{Finding, Severity, Subject, Verdict},
    model::{ACTIVITY_WINDOW, Activity, Model, Moment, Resolved, StackOf, TaskId},
    record::{History, Recorder, history::Bounds},
};

/// What was found at a moment; the model alone does not hold it.
#[derive(Debug, Clone)]
pub(super) struct Note {
    pub(super) findings: Arc<[Finding]>,
    pub(super) verdict: Arc<Verdict>,
}

/// What the thread is sent, and asked.
#[derive(Debug)]
pub(super) enum Order {
    /// A session begins, or a connection to the same one anew.
    Connected(Box<HelloResponse>),
    /// Frames or names are missing here: whoever sent them had no room.
    Gap,
    Frame(NewFrame),
    Named(StackOf, Arc<Resolved>),
    Travel(Step),
    Recall(TaskId, Recall),
    /// Begins to record a target, as the user named it, or ends the recording.
    Record {
        target: String,
        model: Arc<Model>,
    },
    /// Saves all that is held of a target.
    Save {
        target: String,
    },
    /// Everything before this has been done once it is dropped.
    #[cfg(test)]
    Settle(std::sync::mpsc::SyncSender<()>),
    /// Nothing more is done until the other end is dropped.
    #[cfg(test)]
    Hold(Receiver<()>),
}

/// A frame that the screen has taken in.
#[derive(Debug)]
pub(super) struct NewFrame {
    pub(super) frame: Arc<Frame>,
    /// The bytes in which it came.
    pub(super) encoded: Option<Bytes>,
    /// The moment that it led to.
    pub(super) moment: Moment,
    pub(super) note: Note,
    /// The model of that moment, where a [`ModelRequest`] asked for it.
    pub(super) model: Option<Box<LentModel>>,
}

/// A model that is read here; whoever lent it learns when that is over.
#[derive(Debug)]
pub(super) struct LentModel {
    // In this order they are dropped.
    pub(super) model: Arc<Model>,
    pub(super) _back: oneshot::Sender<()>,
}

/// A step in time.
#[derive(Debug)]
pub(super) struct Step {
    pub(super) to: Travel,
    /// The moment on screen. A step of the same epoch goes on from where the
    /// one before led, which may not be on screen yet.
    pub(super) from: Moment,
    pub(super) epoch: u64,
    pub(super) watched: Option<TaskId>,
}

/// Whether the thread needs a complete model with the next frame.
#[derive(Debug, Clone, Default)]
pub(super) struct ModelRequest(Arc<AtomicBool>);

impl ModelRequest {
    // Relaxed: the flag guards no other data, and a request that is seen one frame
    // later does no harm.

    pub(super) fn take(&self) -> bool {
        self.0.load(Ordering::Relaxed) && self.0.swap(false, Ordering::Relaxed)
    }

    fn make(&self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

const FAR: Duration = Duration::from_secs(10);
/// As much of the history is read at once for the details of a task.
const RECALLED_BYTES: usize = 1 << 20;

/// What the thread holds.
#[derive(Debug)]
pub(super) struct HistoryThread {
    history: History<Note>,
    hello: HelloResponse,
    recording: Option<Recording>,
    saver: Saver,
    request: ModelRequest,
    /// The last epoch, and where its last step led.
    at: Option<(u64, Moment)>,
    /// A step that has not been shown, for another may follow it at once.
    due: Option<Step>,
    events: UnboundedSender<Event>,
}

#[derive(Debug)]
struct Recording {
    path: PathBuf,
    recorder: Recorder<Unsynced>,
    /// Frames are missing, so that it goes on with the next model.
    broken: bool,
}

impl HistoryThread {
    pub(super) fn new(request: ModelRequest, events: UnboundedSender<Event>) -> Self {
        request.make();
        Self {
            history: History::new(Bounds::default()),
            hello: HelloResponse::default(),
            recording: None,
            saver: Saver::new(events.clone()),
            request,
            at: None,
            due: None,
            events,
        }
    }

    /// Serves until nobody can give an order any more; then ends the recording.
    pub(super) fn serve(mut self, orders: &Receiver<Order>) {
        loop {
            let order = match orders.try_recv() {
                Ok(order) => Ok(order),
                Err(TryRecvError::Disconnected) => break,
                Err(TryRecvError::Empty) => {
                    // Steps in a row are shown once, where they lead.
                    if let Some(step) = self.due.take() {
                        self.show(&step);
                    }
                    orders.recv()
                }
            };
            match order {
                Ok(order) => self.take(order),
                Err(_) => break,
            }
        }
        // Whoever listened has gone; the file is whole nevertheless.
        let _ = self.finish();
    }

    fn send(&self, event: Event) {
        // Whoever listened may have gone.
        let _ = self.events.send(event);
    }

    fn say(&self, sentence: impl Into<String>) {
        self.send(Event::Notice(sentence.into()));
    }

    fn take(&mut self, order: Order) {
        match order {
            Order::Connected(hello) => self.connected(*hello),
            Order::Gap => self.gap(),
            Order::Frame(new) => self.frame(&new),
            Order::Named(of, stack) => self.named(&of, &stack),
            Order::Travel(step) => self.travel(step),
            Order::Recall(task, moments) => self.recall(task, moments),
            Order::Record { target, model } => self.record(&target, &model),
            Order::Save { target } => self.save(target),
            #[cfg(test)]
            Order::Hold(until) => drop(until.recv()),
            #[cfg(test)]
            Order::Settle(done) => {
                if let Some(step) = self.due.take() {
                    self.show(&step);
                }
                drop(done);
            }
        }
    }

    fn connected(&mut self, hello: HelloResponse) {
        self.history.begin(&hello);
        self.request.make();
        self.hello = hello;
        self.write(|recording, hello| {
            recording.broken = false;
            recording.recorder.connected(hello)
        });
    }

    fn gap(&mut self) {
        self.history.begin(&self.hello);
        self.request.make();
        if let Some(recording) = &mut self.recording {
            recording.broken = true;
            self.say("the recording has a gap: this machine is too busy to keep up");
        }
    }

    fn frame(&mut self, new: &NewFrame) {
        let NewFrame {
            frame,
            encoded,
            moment,
            note,
            model,
        } = new;
        let model = model.as_ref().map(|lent| &*lent.model);
        let encoded = encoded.as_deref();
        self.history.add(frame, encoded, *moment, note.clone());
        if let Some(model) = model
            && self.history.wants_keyframe()
        {
            self.history.begin_chunk(model, note.clone());
        }
        self.write(|recording, hello| match model {
            _ if !recording.broken => recording.recorder.received(frame, encoded),
            None => Ok(()),
            Some(model) => {
                recording.broken = false;
                open(&mut recording.recorder, hello, model)
            }
        });
        let broken = self.recording.as_ref().is_some_and(|r| r.broken);
        if broken || self.history.wants_keyframe() {
            self.request.make();
        }
    }

    fn named(&mut self, of: &StackOf, stack: &Resolved) {
        self.history.name(of, stack);
        self.write(|recording, _| recording.recorder.name(of, stack));
    }

    fn write(&mut self, write: impl FnOnce(&mut Recording, &HelloResponse) -> io::Result<()>) {
        let Some(recording) = &mut self.recording else {
            return;
        };
        if let Err(error) = write(recording, &self.hello) {
            let sentence = format!(
                "recording to {} has ended: {error}",
                recording.path.display()
            );
            self.recording = None;
            self.send(Event::Recording {
                begun: false,
                sentence,
            });
        }
    }

    fn travel(&mut self, step: Step) {
        let last = self.at.filter(|(epoch, _)| *epoch == step.epoch);
        let here = last.map_or(step.from, |(_, at)| at);
        match self.target(here, step.to) {
            Some(target) => {
                self.at = Some((step.epoch, target));
                self.due = Some(step);
            }
            None if matches!(
                step.to,
                Travel::Forward | Travel::FarForward | Travel::NextFinding
            ) =>
            {
                self.due = None;
                self.send(Event::Present { epoch: step.epoch });
            }
            None if step.to == Travel::PreviousFinding => {
                self.say("no finding before this moment");
            }
            None => self.say("the history begins here"),
        }
    }

    /// Where a step leads; `None` beyond either end.
    fn target(&self, here: Moment, to: Travel) -> Option<Moment> {
        let oldest = self.history.oldest()?;
        let newest = self.history.newest()?;
        match to {
            Travel::Back => self.history.before(here),
            Travel::Forward => self.history.after(here).filter(|at| *at < newest),
            Travel::FarBack => {
                let target = here.minus(FAR).max(oldest);
                (target < here && here > oldest).then_some(target)
            }
            Travel::FarForward => {
                let target = here.plus(FAR);
                (target < newest).then_some(target)
            }
            Travel::PreviousFinding => self.beginnings().filter(|at| *at < here).last(),
            Travel::NextFinding => self.beginnings().find(|at| *at > here),
        }
    }

    /// Moments at which something was found that had not been before.
    fn beginnings(&self) -> impl Iterator<Item = Moment> {
        let mut known: Vec<(&str, &Subject)> = Vec::new();
        self.history.notes().filter_map(move |(at, note)| {
            let grave = note.findings.iter();
            let grave = grave.filter(|f| f.live && f.severity >= Severity::Warning);
            let now: Vec<(&str, &Subject)> = grave.map(|f| (f.rule, &f.subject)).collect();
            let new = now.iter().any(|f| !known.contains(f));
            known = now;
            new.then_some(at)
        })
    }

    /// Shows the moment that the last step led to.
    fn show(&mut self, step: &Step) {
        let earlier = self.at.and_then(|(_, at)| self.history.at(at));
        let Some(earlier) = earlier else {
            return self.say("this moment is no longer held");
        };
        let now = earlier.model.now;
        let Note { findings, verdict } = earlier.note;
        let activity = step.watched.map(|task| self.minute(task, now));
        self.send(Event::Earlier(Box::new(Earlier {
            oldest: self.history.oldest().unwrap_or(now),
            activity,
            snapshot: Snapshot::of(Arc::new(earlier.model), findings, verdict),
            epoch: step.epoch,
        })));
    }

    /// Sends what a task did before, as far as it is held.
    fn recall(&mut self, task: TaskId, moments: Recall) {
        for (until, frozen) in [(moments.live, false), (moments.frozen, true)] {
            if let Some(until) = until {
                let activity = self.minute(task, until);
                self.send(Event::Recalled { activity, frozen });
            }
        }
    }

    fn minute(&mut self, task: TaskId, until: Moment) -> Activity {
        let mut activity = Activity::new(task);
        let window = (until.minus(ACTIVITY_WINDOW), until);
        self.history
            .walk(window, RECALLED_BYTES, |model| activity.observe(model));
        activity
    }

    fn save(&mut self, target: String) {
        let history = self.history.copy();
        if history.is_empty() {
            return self.say("not saved: no history is held yet");
        }
        let sentence = self.saver.begin(Save {
            history,
            name: self.hello.name.clone(),
            target,
            directories: file::directories().into(),
        });
        self.say(sentence);
    }

    fn record(&mut self, target: &str, model: &Model) {
        if let Some(sentence) = self.finish() {
            return self.send(Event::Recording {
                begun: false,
                sentence,
            });
        }
        let begun = self.begin(target, model);
        let (begun, sentence) = match begun {
            Ok(sentence) => (true, sentence),
            Err(unwritten) => {
                let sentence = format!("not recorded to {unwritten}; mend that, then try again");
                (false, sentence)
            }
        };
        self.send(Event::Recording { begun, sentence });
    }

    fn begin(&mut self, target: &str, model: &Model) -> Result<String, Unwritten> {
        let (path, file) = file::create(&self.hello.name, &file::directories())?;
        match self.begin_in(file, target, model) {
            Ok(recorder) => {
                let sentence = format!("recording to {}; R ends it", path.display());
                self.recording = Some(Recording {
                    path,
                    recorder,
                    broken: false,
                });
                Ok(sentence)
            }
            Err(error) => {
                file::discard(&path);
                Err(Unwritten { path, error })
            }
        }
    }

    fn begin_in(&self, file: File, target: &str, model: &Model) -> io::Result<Recorder<Unsynced>> {
        let mut recorder = Recorder::new(Unsynced(file), target, false)?;
        open(&mut recorder, &self.hello, model)?;
        Ok(recorder)
    }

    /// Ends the recording, if there is one, and says what became of it.
    fn finish(&mut self) -> Option<String> {
        let Recording { path, recorder, .. } = self.recording.take()?;
        let frames = quantity::plural(recorder.frames(), "frame");
        let path = path.display();
        Some(match recorder.finish() {
            Ok(_) => format!("recorded {frames} to {path}; looptop replay {path}"),
            Err(error) => format!("{path} is cut short: {error}"),
        })
    }
}

/// Begins in the middle of a session: what came before is in a keyframe.
fn open(recorder: &mut Recorder<Unsynced>, hello: &HelloResponse, model: &Model) -> io::Result<()> {
    recorder.connected(hello)?;
    for frame in model.keyframes() {
        recorder.frame(&frame)?;
    }
    Ok(())
}
