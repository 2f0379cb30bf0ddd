//! The lab: which scenario runs in which mode, and what came of it.

use std::{
    net::SocketAddr,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use anyhow::Context;
use serde::Serialize;
use tokio::sync::watch;

use crate::{
    figures::{Figures, Recorder},
    load::Plan,
    observed::Observed,
    phase::Phase,
    readings::{Reading, Readings},
    registry,
    scenario::{Flavor, Mode, Scenario},
    scenarios::Neighbours,
};

/// A scenario in a mode.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Active {
    pub(crate) scenario: &'static Scenario,
    pub(crate) mode: Mode,
}

/// Switches the load and keeps the figures. Its methods never wait for the
/// observed runtime.
pub(crate) struct Lab {
    state: Mutex<State>,
    phase: Phase,
    readings: Readings,
    plans: watch::Sender<Plan>,
    recorder: Arc<Recorder>,
    observed: Arc<Observed>,
    flavor: Flavor,
    workers: usize,
    http: SocketAddr,
}

struct State {
    active: Active,
    before: Option<Ended>,
    backdrop: Option<Neighbours>,
}

/// What ran until the last switch.
struct Ended {
    active: Active,
    figures: Figures,
    readings: Vec<Reading>,
}

/// Everything about the lab, for `GET /lab`.
#[derive(Clone, PartialEq, Debug, Serialize)]
pub struct Status {
    /// The active scenario.
    pub scenario: &'static str,
    /// Its mode.
    pub mode: Mode,
    /// Its caption.
    pub caption: &'static str,
    /// What the source notes say, with their figures; may be empty.
    pub notes: &'static str,
    /// Which figure to watch.
    pub watch: &'static str,
    /// Where the load goes; absent when off.
    pub endpoint: Option<&'static str>,
    /// Flavour of the observed runtime.
    pub flavor: Flavor,
    /// Its workers.
    pub workers: usize,
    /// Counts the switches.
    pub phase: u64,
    /// The figures since the switch.
    pub since_switch: Figures,
    /// What the scenario shows beside latencies, now.
    pub readings: Vec<Reading>,
    /// What ran before the switch; absent before the first.
    pub before_switch: Option<Before>,
    /// Code of the broken twin; empty where there is no mistake to make.
    pub broken_code: String,
    /// Code of the fixed twin.
    pub fixed_code: String,
    /// HTTP address of the service.
    pub http: String,
    /// All scenarios, in the order of the stage.
    pub scenarios: Vec<Entry>,
}

/// What ran before the last switch.
#[derive(Clone, PartialEq, Debug, Serialize)]
pub struct Before {
    /// The scenario that was active.
    pub scenario: &'static str,
    /// Its mode.
    pub mode: Mode,
    /// Its figures, until the switch.
    pub figures: Figures,
    /// Its readings, at the switch.
    pub readings: Vec<Reading>,
}

/// A scenario in the list of the lab.
#[derive(Clone, Copy, PartialEq, Debug, Serialize)]
pub struct Entry {
    /// Stable name.
    pub id: &'static str,
    /// One line for the stage.
    pub caption: &'static str,
    /// Whether there is a mistake to switch on.
    pub has_broken_twin: bool,
}

impl Lab {
    pub(crate) fn new(
        scenario: &'static Scenario,
        (flavor, workers): (Flavor, usize),
        (phase, readings): (Phase, Readings),
        recorder: Arc<Recorder>,
        observed: Arc<Observed>,
        http: SocketAddr,
    ) -> Self {
        let mode = Mode::Off;
        Lab {
            state: Mutex::new(State {
                active: Active { scenario, mode },
                before: None,
                backdrop: None,
            }),
            readings,
            phase,
            plans: watch::Sender::new(Plan::default()),
            recorder,
            observed,
            flavor,
            workers: match flavor {
                Flavor::MultiThread => workers,
                Flavor::CurrentThread => 1,
            },
            http,
        }
    }

    /// The load's plan, now and after every switch.
    pub(crate) fn plans(&self) -> watch::Receiver<Plan> {
        self.plans.subscribe()
    }

    /// Switches at once. Work of the phase before is asked to end.
    ///
    /// # Errors
    ///
    /// What else must go on in `to` could not be started; nothing was switched.
    pub(crate) fn switch(&self, to: Active) -> anyhow::Result<()> {
        let mut state = self.lock();
        let endpoint = to.scenario.endpoint(to.mode);
        let backdrop = match (to.scenario.backdrop, endpoint) {
            (Some(start), Some(endpoint)) => start(endpoint)
                .with_context(|| format!("could not set the scene for {}", to.scenario.id))?,
            _ => None,
        };
        let mut readings = self.live();
        // What ends with the phase are the application's tasks: the agent has to
        // see them woken.
        let phase = self.observed.enter(|| self.phase.advance());
        let figures = self.recorder.switch(phase);
        let active = std::mem::replace(&mut state.active, to);
        // The time before the first switch is nothing to compare with.
        if phase > 1 {
            readings.extend(self.readings.of(active.scenario.readings));
            state.before = Some(Ended {
                active,
                figures,
                readings,
            });
        }
        self.readings.reset(to.scenario.readings);
        state.backdrop = backdrop;
        let streams = endpoint.map_or_else(Vec::new, to.scenario.load);
        self.plans.send_replace(Plan { phase, streams });
        Ok(())
    }

    /// Switches by name.
    ///
    /// # Errors
    ///
    /// [`Unknown`](crate::Unknown) for a name that nothing has; otherwise as
    /// [`switch`](Self::switch).
    pub(crate) fn switch_to(&self, id: &str, mode: Mode) -> anyhow::Result<()> {
        let scenario = registry::find(id)?;
        self.switch(Active { scenario, mode })
    }

    /// Ends whatever else went on beside the load.
    pub(crate) fn clear_the_scene(&self) {
        self.lock().backdrop = None;
    }

    /// How it stands.
    pub(crate) fn status(&self) -> Status {
        let state = self.lock();
        let Active { scenario, mode } = state.active;
        Status {
            scenario: scenario.id,
            mode,
            caption: scenario.caption,
            notes: scenario.notes,
            watch: scenario.watch,
            endpoint: scenario.endpoint(mode),
            flavor: self.flavor,
            workers: self.workers,
            phase: self.phase.number(),
            since_switch: self.recorder.now(),
            readings: self
                .live()
                .into_iter()
                .chain(self.readings.of(scenario.readings))
                .collect(),
            before_switch: state.before.as_ref().map(|ended| Before {
                scenario: ended.active.scenario.id,
                mode: ended.active.mode,
                figures: ended.figures.clone(),
                readings: ended.readings.clone(),
            }),
            broken_code: scenario.code(Mode::Broken),
            fixed_code: scenario.code(Mode::Fixed),
            http: self.http.to_string(),
            scenarios: registry::scenarios()
                .iter()
                .map(|scenario| Entry {
                    id: scenario.id,
                    caption: scenario.caption,
                    has_broken_twin: scenario.has_broken_twin(),
                })
                .collect(),
        }
    }

    /// The reading that every scenario has.
    fn live(&self) -> Vec<Reading> {
        vec![Reading {
            name: "live tasks",
            value: self.observed.live_tasks() as f64,
        }]
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
