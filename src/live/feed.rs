//! Events for the screen, from a source and from the symbolizer.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use looptop_wire::proto::{Frame, HelloResponse};
use tokio::sync::oneshot::Receiver;

use super::{history::LiveHistory, run::Feed};
use crate::{
    app::{Distribution, Distributions, Effect, Event, Playback, State, Twin, lab},
    lab::link::LabLink,
    model::{Model, Resolved, StackOf, TaskId},
    naming::{AgentSymbols, Naming},
    source::{self, Command, DurationCounts, ProblemKind, Source, SourceKind, Speed, TaskDetails},
};

/// A source, and the names for the stacks that it sends.
#[derive(Debug)]
pub struct LiveFeed {
    source: Source,
    naming: Option<Naming>,
    agent: Option<AgentSymbols>,
    lab: Option<LabLink>,
    /// Of a live session; a recording has its own.
    history: LiveHistory,
    replay: bool,
    /// What the state has just taken in.
    last: Last,
    speed: Speed,
    /// Says that the program that was started has ended.
    ended: Option<Receiver<String>>,
    /// Nothing more comes from the source.
    is_over: bool,
}

/// What is to be kept of an event once the state has taken it in.
#[derive(Debug, Default)]
enum Last {
    #[default]
    Nothing,
    Hello(Box<HelloResponse>),
    Frame(Arc<Frame>, Option<Bytes>),
    Named(StackOf, Arc<Resolved>),
}

impl LiveFeed {
    /// A feed from `source`.
    pub fn new(source: Source) -> Self {
        Self {
            source,
            naming: None,
            agent: None,
            lab: None,
            history: LiveHistory::default(),
            replay: false,
            last: Last::Nothing,
            speed: Speed::default(),
            ended: None,
            is_over: false,
        }
    }

    /// With a sentence that comes once the program that was started has ended. The
    /// source has no say from then on.
    #[must_use]
    pub fn with_end(self, ended: Receiver<String>) -> Self {
        Self {
            ended: Some(ended),
            ..self
        }
    }

    /// With a way to ask the agent for names that no file here has.
    #[must_use]
    pub fn with_symbols(self, agent: AgentSymbols) -> Self {
        Self {
            agent: Some(agent),
            ..self
        }
    }

    /// With a remote control of the lab, should the target be one.
    #[must_use]
    pub fn with_lab(self, lab: LabLink) -> Self {
        Self {
            lab: Some(lab),
            ..self
        }
    }

    async fn ended(ended: &mut Option<Receiver<String>>) -> String {
        match ended {
            Some(receiver) => match receiver.await {
                Ok(sentence) => sentence,
                Err(_) => std::future::pending().await,
            },
            None => std::future::pending().await,
        }
    }

    async fn lab(lab: &mut Option<LabLink>) -> Event {
        match lab {
            Some(lab) => Event::Lab(lab.recv().await),
            None => std::future::pending().await,
        }
    }

    fn run_twin(&self, scenario: &str, twin: Twin) -> Option<Event> {
        let link = self.lab.as_ref();
        let sent = link.is_some_and(|lab| lab.switch(scenario.to_owned(), twin));
        let why = "not switched: the lab is still busy with what was asked before";
        (!sent).then(|| Event::Lab(lab::Update::Refused(why.to_owned())))
    }

    fn play(&self, playback: Playback) -> Option<Event> {
        let sent = self.source.command(match playback {
            Playback::Pause => Command::Pause,
            Playback::Play => Command::Play,
            Playback::Faster => Command::Speed(self.speed.faster()),
            Playback::Slower => Command::Speed(self.speed.slower()),
            Playback::Seek(to) => Command::Seek(to),
        });
        let busy = "the recording is still busy with the keys before";
        (!sent).then(|| Event::Notice(busy.to_owned()))
    }

    fn watch(&mut self, task: Option<TaskId>, state: &State) -> Option<Event> {
        // Too many commands at once: the user sees no distribution yet and looks
        // again.
        let _ = self.source.command(Command::WatchTask(task.map(|id| id.0)));
        if self.replay {
            return None;
        }
        self.history.recall(state)
    }

    async fn named(naming: &mut Option<Naming>) -> Event {
        match naming {
            Some(naming) => {
                let (of, stack) = naming.recv().await;
                Event::Resolved { of, stack }
            }
            None => std::future::pending().await,
        }
    }

    fn request_names(&mut self, model: &Model) {
        self.naming
            .get_or_insert_with(|| {
                let agent = self.agent.clone().filter(|_| !self.replay);
                Naming::new(model, agent)
            })
            .request(model);
    }
}

impl Feed for LiveFeed {
    async fn next(&mut self) -> Option<Event> {
        let received = tokio::select! {
            // While a large model is read a frame would have all of it copied.
            event = self.source.recv(), if !self.is_over && !self.history.lends() => {
                let Some(event) = event else {
                    // Names, the history and the lab may still have something to say.
                    self.is_over = true;
                    return Box::pin(self.next()).await;
                };
                event
            },
            problem = Self::ended(&mut self.ended) => {
                self.ended = None;
                self.is_over = true;
                return Some(Event::Lost { problem, retry_in: None });
            }
            named = Self::named(&mut self.naming) => {
                if let Event::Resolved { of, stack } = &named {
                    self.last = Last::Named(of.clone(), Arc::clone(stack));
                }
                return Some(named);
            }
            event = Self::lab(&mut self.lab) => return Some(event),
            event = self.history.event() => match event {
                Some(event) => return Some(event),
                None => return Box::pin(self.next()).await,
            },
        };
        if let source::Event::Position(position) = &received {
            self.speed = position.speed;
        }
        if let source::Event::Connected { kind, hello } = &received {
            self.replay = *kind == SourceKind::Replay;
            self.last = Last::Hello(hello.clone());
            // Ids of modules and stalls begin anew.
            self.naming = None;
            if let (SourceKind::Agent, Some(lab)) = (kind, &self.lab) {
                lab.attach();
            }
        }
        if let source::Event::Frame(frame) = received {
            let (frame, encoded) = frame.into_parts();
            self.last = Last::Frame(Arc::clone(&frame), encoded);
            return Some(Event::Frame(frame));
        }
        Some(event(received))
    }

    fn applied(&mut self, state: &State) {
        let last = std::mem::take(&mut self.last);
        if self.replay {
            return;
        }
        match last {
            Last::Nothing => {}
            Last::Hello(hello) => self.history.connected(&hello),
            Last::Frame(frame, encoded) => self.history.frame(&frame, encoded, state),
            Last::Named(of, stack) => self.history.named(of, &stack),
        }
    }

    fn serve(&mut self, effect: &Effect, state: &State) -> Vec<Event> {
        let event = match effect {
            Effect::Travel(to) => self.history.travel(*to, state),
            Effect::Record => self.history.record(state),
            Effect::SavePast => self.history.save(state),
            Effect::Playback(playback) => self.play(*playback),
            Effect::RunTwin(scenario, twin) => self.run_twin(scenario, *twin),
            Effect::NameStacks => {
                self.request_names(state.live_model());
                None
            }
            Effect::WatchTask(task) => self.watch(*task, state),
            Effect::Resume => {
                // What it brought shows in the badge.
                let _ = self.source.command(Command::Resume);
                None
            }
            Effect::Quit
            | Effect::Leave
            | Effect::Copy(_)
            | Effect::Suspend
            | Effect::Edit(_)
            | Effect::KeepTheme(_)
            | Effect::SaveScreen => None,
        };
        event.into_iter().collect()
    }
}

/// What a source reports, in the words of the app.
pub(super) fn event(received: source::Event) -> Event {
    match received {
        source::Event::Connecting { attempt } => Event::Connecting { attempt },
        source::Event::Connected { hello, kind } => Event::Connected { hello, kind },
        source::Event::Frame(frame) => Event::Frame(frame.into_parts().0),
        source::Event::Silent { since, problem } if problem.kind == ProblemKind::Paused => {
            Event::Paused {
                since,
                problem: problem.to_string(),
            }
        }
        source::Event::Silent { since, problem } => Event::Silent {
            since,
            problem: problem.to_string(),
        },
        source::Event::Lost { problem, retry_in } => Event::Lost {
            problem: problem.to_string(),
            retry_in,
        },
        source::Event::Ended => Event::Ended,
        source::Event::Recording(extent) => Event::Opened {
            length: extent.length,
            marks: extent.marks.iter().map(|m| (m.at, m.duration)).collect(),
            remark: extent.remark,
        },
        source::Event::Position(position) => Event::Position {
            at: position.elapsed,
            playing: position.playing,
            speed: position.speed.times(),
        },
        source::Event::Gap(why) => Event::Gap(why),
        source::Event::TaskDetails(details) => Event::TaskDetails(Box::new(counts(&details))),
    }
}

fn counts(details: &TaskDetails) -> Distributions {
    let distribution = |counted: &DurationCounts| Distribution {
        counts: counted.counts.clone(),
        outliers: counted.high_outliers,
        longest_outlier: counted.highest_outlier_ns.map(Duration::from_nanos),
    };
    Distributions {
        task: TaskId(details.task),
        polls: details.polls.as_ref().map(distribution),
        scheduled: details.scheduled.as_ref().map(distribution),
    }
}
