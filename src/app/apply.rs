//! Events from outside change the state.

use std::{sync::Arc, time::Instant};

use looptop_wire::proto::{Frame, HelloResponse};

use crate::{
    diagnose::{Engine, Window, replaced},
    model::{Activity, Model, SourceKind},
};

use super::{Effect, Event, Rows, Snapshot, State, waits::Seen};

impl State {
    /// Takes in an event.
    pub fn apply(&mut self, event: Event, now: Instant) -> Vec<Effect> {
        self.now = now;
        if let Some(connection) = self.connection.after(&event, now) {
            self.connection = connection;
        }
        match event {
            Event::Connecting { .. }
            | Event::Silent { .. }
            | Event::Paused { .. }
            | Event::Lost { .. } => {}
            Event::Connected { hello, kind } => {
                self.connected(&hello, kind);
                // The new stream knows nothing of what the old one was asked.
                let task = self.watched();
                self.activity = task.map(Activity::new);
                return task
                    .map(|id| Effect::WatchTask(Some(id)))
                    .into_iter()
                    .collect();
            }
            Event::Frame(frame) => return self.frame(&frame),
            Event::Opened {
                length,
                marks,
                remark,
            } => self.opened(length, marks, remark),
            Event::Position { at, playing, speed } => self.positioned(at, playing, speed),
            Event::Gap(sentence) | Event::Notice(sentence) => self.notify(sentence),
            Event::Earlier(earlier) => self.arrived(*earlier),
            Event::Present { epoch } => {
                if epoch == self.epoch {
                    self.go_live();
                }
            }
            Event::Recalled { activity, frozen } => self.recalled(activity, frozen),
            Event::Recording { begun, sentence } => {
                self.recording = begun.then_some(now);
                self.notify(sentence);
            }
            Event::TaskDetails(details) => self.distributions = Some(*details),
            Event::Lab(update) => {
                if let Some(reason) = self.lab.take(update) {
                    self.notify(reason);
                }
            }
            Event::Ended => {
                if let Some(player) = &mut self.player {
                    player.playing = false;
                }
            }
            Event::Resolved { of, stack } => {
                Arc::make_mut(&mut self.live.model).resolve(&of, Arc::clone(&stack));
                if let Some(frozen) = &mut self.frozen {
                    Arc::make_mut(&mut frozen.snapshot.model).resolve(&of, stack);
                }
                self.diagnose();
            }
        }
        Vec::new()
    }

    /// A new stream: ids of texts are void, so the model begins anew; what a
    /// mere reconnection carries on is the history of the same process.
    fn connected(&mut self, hello: &HelloResponse, kind: SourceKind) {
        let mut model = Model::new(hello);
        let before = &self.live.model;
        let same = before.since.is_some() && before.session.id == model.session.id;
        if same && kind == SourceKind::Replay {
            // It may have gone back, and its keyframe brings the history along.
            self.engine = Engine::new(Window::Live);
        } else if same {
            model.now = before.now;
            model.since = before.since;
            model.lag.clone_from(&before.lag);
            model.workers.clone_from(&before.workers);
            model.process.clone_from(&before.process);
            model.host.clone_from(&before.host);
        } else {
            if before.since.is_some() {
                let was_outside = self.source == Some(SourceKind::Outside);
                let within = was_outside && is_seen_from_within(before, &model, kind);
                self.notify(if within {
                    "the agent answers now: what was seen from outside is gone"
                } else {
                    "new process: what the screen knew of the old one is gone"
                });
            }
            if let Some(remark) = replaced(&model) {
                self.notify(remark);
            }
            self.engine = Engine::new(Window::Live);
            self.cursors.clear();
            self.opened_wait = None;
            if self.frozen.is_none() {
                self.details = None;
            }
        }
        self.waits = Seen::default();
        self.other_rows = Rows::default();
        self.source = Some(kind);
        self.live.model = Arc::new(model);
        self.publish();
    }

    fn frame(&mut self, frame: &Frame) -> Vec<Effect> {
        let rejected = Arc::make_mut(&mut self.live.model).apply(frame).err();
        if let Some(rejected) = rejected {
            self.notify(rejected.to_string());
        }
        if frame.more {
            if !self.live.model.complete {
                // What has come so far is shown; it is judged when all of it is there.
                self.live.revision += 1;
            }
            return Vec::new();
        }
        if let Some(activity) = &mut self.activity {
            activity.observe(&self.live.model);
        }
        self.diagnose();
        self.stacks_to_name()
    }

    fn diagnose(&mut self) {
        self.engine.update(&self.live.model);
        self.publish();
    }

    fn publish(&mut self) {
        let model = Arc::clone(&self.live.model);
        let verdict = self.engine.verdict(&model);
        let revision = self.live.revision + 1;
        self.live = Snapshot {
            waits: Some(self.engine.waits()),
            ..Snapshot::new(model, self.engine.findings(), verdict, revision)
        };
    }

    /// Whoever looks up names knows which stacks are new to it.
    fn stacks_to_name(&self) -> Vec<Effect> {
        let any = self.live.model.stalls.iter().any(|s| !s.stacks.is_empty());
        if any {
            vec![Effect::NameStacks]
        } else {
            Vec::new()
        }
    }

    /// The live program, whatever is frozen.
    pub fn live_snapshot(&self) -> &Snapshot {
        &self.live
    }

    /// The live model, to look up what an effect names, whatever is frozen.
    pub fn live_model(&self) -> &Arc<Model> {
        &self.live.model
    }
}

/// Whether an instrument of the process that was seen so far shows it now. console-subscriber
/// does not say which program it is in.
fn is_seen_from_within(before: &Model, now: &Model, kind: SourceKind) -> bool {
    let (before, now) = (&before.session, &now.session);
    matches!(kind, SourceKind::Agent | SourceKind::Console)
        && (now.pid.is_none() || now.pid == before.pid)
        && (now.exe.is_empty() || now.exe == before.exe)
}
