//! Keeps what a live session brings: its past in memory, to go back to, and a
//! file where the user records.

mod file;
mod save;

use std::{fs::File, io, path::PathBuf, sync::Arc, time::Duration};

use looptop_wire::proto::{Frame, HelloResponse};

use crate::{
    app::{Snapshot, State, Travel},
    diagnose::{Finding, Severity, Subject, Verdict},
    model::{ACTIVITY_WINDOW, Activity, Moment, Resolved, StallId},
    record::{History, Recorder, history::Bounds},
};
use file::{Unhurried, Unwritten};
use save::{Save, Saver};

/// What was found at a moment; the model alone does not tell.
#[derive(Debug, Clone)]
struct Note {
    findings: Arc<[Finding]>,
    verdict: Arc<Verdict>,
}

/// The past of a live session, and its recording.
#[derive(Debug)]
pub struct Keeper {
    history: History<Note>,
    hello: HelloResponse,
    recording: Option<(PathBuf, Recorder<Unhurried>)>,
    saver: Saver,
}

const FAR: Duration = Duration::from_secs(10);
/// As much of the past is read at once for the details of a task: the thread
/// that draws waits for it.
const RECALLED_BYTES: usize = 1 << 20;

impl Default for Keeper {
    fn default() -> Self {
        Self {
            history: History::new(Bounds::default()),
            hello: HelloResponse::default(),
            recording: None,
            saver: Saver::default(),
        }
    }
}

impl Keeper {
    /// A session begins, or a connection to the same one anew.
    pub fn connected(&mut self, hello: &HelloResponse, state: &mut State) {
        self.history.begin(hello);
        self.hello = hello.clone();
        if let Some((_, recorder)) = &mut self.recording
            && let Err(error) = recorder.connected(hello)
        {
            self.failed(&error, state);
        }
    }

    /// The state has taken in this frame.
    pub fn frame(&mut self, frame: &Frame, state: &mut State) {
        let now = state.live_snapshot();
        let note = Note {
            findings: Arc::clone(&now.findings),
            verdict: Arc::clone(&now.verdict),
        };
        self.history.push(frame, &now.model, note);
        if let Some((_, recorder)) = &mut self.recording
            && let Err(error) = recorder.frame(frame)
        {
            self.failed(&error, state);
        }
    }

    /// A stack has names.
    pub fn named(&mut self, stall: StallId, stack: &Resolved, state: &mut State) {
        self.history.name(stall, stack);
        if let Some((_, recorder)) = &mut self.recording
            && let Err(error) = recorder.name(stall, stack)
        {
            self.failed(&error, state);
        }
    }

    /// Shows another moment of the past.
    pub fn travel(&mut self, to: Travel, state: &mut State) {
        let here = state.model().now;
        match self.target(here, to) {
            Some(target) => self.show(target, state),
            None if matches!(
                to,
                Travel::Forward | Travel::FarForward | Travel::NextFinding
            ) =>
            {
                state.go_live();
            }
            None if to == Travel::PreviousFinding => {
                state.notify("no finding before this moment");
            }
            None => state.notify("the past begins here"),
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

    fn show(&mut self, target: Moment, state: &mut State) {
        let Some(mut past) = self.history.at(target) else {
            return state.notify("this moment of the past is no longer held");
        };
        let live = Arc::clone(&state.live_snapshot().model);
        past.model.stalls.adopt_names(&live.stalls);
        let Note { findings, verdict } = past.note;
        let oldest = self.history.oldest().unwrap_or(past.model.now);
        let snapshot = Snapshot::of(Arc::new(past.model), findings, verdict);
        state.show_past(snapshot, oldest);
        self.recall(state);
    }

    /// Tells what the watched task did before, as far as it is held.
    pub fn recall(&mut self, state: &mut State) {
        let Some(task) = state.watched() else { return };
        for until in state.to_recall() {
            let mut past = Activity::new(task);
            let window = (until.minus(ACTIVITY_WINDOW), until);
            self.history
                .walk(window, RECALLED_BYTES, |model| past.observe(model));
            if past.reach(until).is_some() {
                state.recall(until, past);
            }
        }
    }

    /// Begins to record, or ends it.
    pub fn record(&mut self, state: &mut State) {
        if self.recording.is_some() {
            let sentence = self.finish().unwrap_or_default();
            return state.note_recording(None, sentence);
        }
        match self.begin(state) {
            Ok(sentence) => state.note_recording(Some(state.now), sentence),
            Err(unwritten) => {
                let sentence = format!("not recorded to {unwritten}; mend that, then R again");
                state.note_recording(None, sentence);
            }
        }
    }

    /// Saves all that is held of the past, on another thread; [`saved`] tells
    /// what became of it.
    ///
    /// [`saved`]: Self::saved
    pub fn save(&mut self, state: &mut State) {
        if state.model().session.id != self.hello.session {
            let sentence = "not saved: that process has ended, and its past is no longer held";
            return state.notify(sentence);
        }
        let held = self.history.held();
        if held.is_empty() {
            return state.notify("not saved: nothing of the past is held yet");
        }
        let sentence = self.saver.begin(Save {
            held,
            name: self.hello.name.clone(),
            target: state.options.target.clone(),
            directories: file::directories().into(),
        });
        state.notify(sentence);
    }

    /// What became of a past that was saved, as a sentence. Waits for ever where
    /// there is none; safe to cancel.
    pub async fn saved(&mut self) -> String {
        self.saver.told().await
    }

    fn begin(&mut self, state: &State) -> Result<String, Unwritten> {
        let (path, file) = file::create(&self.hello.name, &file::directories())?;
        match self.begin_in(file, state) {
            Ok(recorder) => {
                let sentence = format!("recording to {}; R ends it", path.display());
                self.recording = Some((path, recorder));
                Ok(sentence)
            }
            Err(error) => {
                file::discard(&path);
                Err(Unwritten { path, error })
            }
        }
    }

    fn begin_in(&self, file: File, state: &State) -> io::Result<Recorder<Unhurried>> {
        let mut recorder = Recorder::new(Unhurried(file), &state.options.target, false)?;
        recorder.connected(&self.hello)?;
        // What came before is told by a keyframe.
        for frame in state.live_snapshot().model.keyframe() {
            recorder.frame(&frame)?;
        }
        Ok(recorder)
    }

    /// Ends the recording, if there is one, and says what became of it.
    pub fn finish(&mut self) -> Option<String> {
        let (path, recorder) = self.recording.take()?;
        let frames = recorder.frames();
        let path = path.display();
        Some(match recorder.finish() {
            Ok(_) => format!("recorded {frames} frames to {path}; looptop replay {path}"),
            Err(error) => format!("{path} is cut short: {error}"),
        })
    }

    fn failed(&mut self, error: &io::Error, state: &mut State) {
        if let Some((path, _)) = self.recording.take() {
            let sentence = format!("recording to {} has ended: {error}", path.display());
            state.note_recording(None, sentence);
        }
    }
}

impl Drop for Keeper {
    fn drop(&mut self) {
        // Whoever listened has gone; the file is whole nevertheless.
        let _ = self.finish();
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use crate::{
        app::{
            Event,
            tests::{busy_minute, type_text},
        },
        model::TaskId,
    };

    use super::*;

    /// The state has taken in a busy minute, and the keeper has kept it.
    fn kept() -> (State, Keeper) {
        let mut state = crate::app::tests::empty_state();
        let mut keeper = Keeper::default();
        let (hello, frames) = busy_minute();
        let now = state.now;
        let connected = Event::Connected {
            hello: Box::new(hello.clone()),
            kind: "agent",
        };
        state.apply(connected, now);
        keeper.connected(&hello, &mut state);
        for frame in frames {
            let frame = Arc::new(frame);
            state.apply(Event::Frame(Arc::clone(&frame)), now);
            keeper.frame(&frame, &mut state);
        }
        (state, keeper)
    }

    fn reach(state: &State) -> Option<u64> {
        let reach = state.activity()?.reach(state.model().now)?;
        Some(reach.as_secs())
    }

    #[test]
    fn details_of_a_task_begin_with_its_last_minute() {
        let (mut state, mut keeper) = kept();
        keeper.recall(&mut state);
        assert!(state.activity().is_none(), "nobody looks at a task");
        type_text(&mut state, "2/report\n\n");
        assert_eq!(state.watched(), Some(TaskId(4)));
        assert_eq!(reach(&state), None);
        keeper.recall(&mut state);
        assert_eq!(reach(&state), Some(60));
        type_text(&mut state, "\u{1b}");
        assert!(state.activity().is_none());
    }

    #[test]
    fn a_moment_of_the_past_has_its_own_minute() {
        let (mut state, mut keeper) = kept();
        type_text(&mut state, "2/report\n\n");
        keeper.recall(&mut state);
        keeper.travel(Travel::FarBack, &mut state);
        let window = Duration::from_secs(2);
        let now = state.model().now;
        // 61 s after the start; it stalled from 55 s to 57 s.
        let share = |at: Moment| {
            let activity = state.activity().unwrap();
            activity.columns(at, window, 1, None)[0].unwrap().busy
        };
        assert!(now < state.live_snapshot().model.now);
        assert!(share(now.minus(Duration::from_secs(4))).unwrap() > 0.95);
        assert!(share(now).unwrap() < 0.5);
        state.go_live();
        assert_eq!(reach(&state), Some(60));
    }
}
