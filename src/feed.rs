//! Events for the screen, from a source and from the symbolizer.

use std::time::Duration;

use crate::{
    app::{Distribution, Distributions, Effect, Event, State, Twin, lab::Told},
    lab_link::LabLink,
    model::{Model, TaskId},
    naming::Naming,
    run::Feed,
    source::{self, Command, DurationCounts, ProblemKind, Source, SourceKind, TaskDetails},
};

/// A source, and the names for the stacks that it tells.
#[derive(Debug)]
pub struct LiveFeed {
    source: Source,
    naming: Option<Naming>,
    lab: Option<LabLink>,
}

impl LiveFeed {
    /// A feed from `source`.
    pub fn new(source: Source) -> Self {
        Self {
            source,
            naming: None,
            lab: None,
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

    async fn lab(lab: &mut Option<LabLink>) -> Event {
        match lab {
            Some(lab) => Event::Lab(lab.recv().await),
            None => std::future::pending().await,
        }
    }

    fn run_twin(&self, scenario: &str, twin: Twin, state: &mut State) {
        let link = self.lab.as_ref();
        if !link.is_some_and(|lab| lab.switch(scenario.to_owned(), twin)) {
            let why = "not switched: the lab is still busy with what was asked before";
            state.apply(Event::Lab(Told::Refused(why.to_owned())), state.now);
        }
    }

    async fn named(naming: &mut Option<Naming>) -> Event {
        match naming {
            Some(naming) => {
                let (stall, stack) = naming.recv().await;
                Event::Resolved { stall, stack }
            }
            None => std::future::pending().await,
        }
    }

    fn request_names(&mut self, model: &Model) {
        self.naming
            .get_or_insert_with(|| Naming::new(model))
            .request(model);
    }
}

impl Feed for LiveFeed {
    async fn next(&mut self) -> Option<Event> {
        loop {
            let told = tokio::select! {
                told = self.source.recv() => told?,
                named = Self::named(&mut self.naming) => return Some(named),
                told = Self::lab(&mut self.lab) => return Some(told),
            };
            if let source::Event::Connected { kind, .. } = &told {
                // Ids of modules and stalls begin anew.
                self.naming = None;
                if let (SourceKind::Agent, Some(lab)) = (kind, &self.lab) {
                    lab.attach();
                }
            }
            if let Some(event) = event(told) {
                return Some(event);
            }
        }
    }

    fn serve(&mut self, effect: &Effect, state: &mut State) {
        match effect {
            Effect::RunTwin(scenario, twin) => self.run_twin(scenario, *twin, state),
            Effect::NameStacks => self.request_names(state.live_model()),
            Effect::WatchTask(task) => {
                // Too many commands at once: the user sees no distribution yet
                // and looks again.
                let _ = self.source.command(Command::WatchTask(task.map(|id| id.0)));
            }
            Effect::Resume => {
                // What it brought shows in the badge.
                let _ = self.source.command(Command::Resume);
            }
            Effect::Quit | Effect::Copy(_) | Effect::Suspend => {}
        }
    }
}

/// What a source tells, in the words of the app.
fn event(told: source::Event) -> Option<Event> {
    Some(match told {
        source::Event::Connecting { attempt } => Event::Connecting { attempt },
        source::Event::Connected { hello, kind } => Event::Connected {
            hello,
            kind: match kind {
                SourceKind::Agent => "agent",
                SourceKind::Console => "console-subscriber",
                SourceKind::Replay => "replay",
            },
        },
        source::Event::Frame(frame) => Event::Frame(frame),
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
        // The screen's player is not told of these yet.
        source::Event::Recording(_) | source::Event::Position(_) | source::Event::Gap(_) => {
            return None;
        }
        source::Event::TaskDetails(details) => Event::TaskDetails(Box::new(counts(&details))),
    })
}

fn counts(told: &TaskDetails) -> Distributions {
    let distribution = |told: &DurationCounts| Distribution {
        counts: told.counts.clone(),
        outliers: told.high_outliers,
        longest_outlier: told.highest_outlier_ns.map(Duration::from_nanos),
    };
    Distributions {
        task: TaskId(told.task),
        polls: told.polls.as_ref().map(distribution),
        scheduled: told.scheduled.as_ref().map(distribution),
    }
}
