//! One of several processes, watched beside the others: its source, a model of it, and
//! twice a second what is wrong with it.
//!
//! It holds no history, and of the tasks that have ended none. Names of stacks are looked
//! up for few processes at a time: whoever looks up reads the symbols of a whole program.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use tokio::{
    runtime::Handle,
    sync::{OwnedSemaphorePermit, Semaphore, watch},
    task::JoinHandle,
    time::{MissedTickBehavior, interval},
};

use crate::{
    app::{
        Event,
        several::{Process, Summary},
    },
    diagnose::{Engine, Window},
    live::feed,
    model::{Model, Stall},
    naming::{AgentSymbols, Naming},
    source::{self, Budget, Options, Source, Target, targets::Named},
};

/// Between two looks at what is wrong.
const EVERY: Duration = Duration::from_millis(500);
/// Finished tasks of a console-subscriber that are remembered.
const FINISHED: usize = 100;
/// Processes whose stacks get names at the same time.
const NAMED_AT_ONCE: usize = 4;
/// Names are looked up for this long; then another process has its turn.
const TURN: Duration = Duration::from_secs(20);
/// The share of a core that reading where their tasks wait may take, of all together.
const READING: f64 = 0.25;

/// Whose turn it is to have stacks named, and to be read.
#[derive(Debug, Clone)]
pub(super) struct Turns {
    free: Arc<Semaphore>,
    waiting: Arc<AtomicUsize>,
    /// What reading all of them may take.
    reading: Budget,
}

impl Default for Turns {
    fn default() -> Self {
        Self {
            free: Arc::new(Semaphore::new(NAMED_AT_ONCE)),
            waiting: Arc::default(),
            reading: Budget::new(READING),
        }
    }
}

/// One that waits for its turn.
#[derive(Debug)]
struct Waits(Arc<AtomicUsize>);

impl Waits {
    fn new(turns: &Turns) -> Self {
        turns.waiting.fetch_add(1, Ordering::Relaxed);
        Self(Arc::clone(&turns.waiting))
    }
}

impl Drop for Waits {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Watches a process until it is dropped.
#[derive(Debug)]
pub(super) struct Watcher {
    pub(super) named: Named,
    latest: watch::Receiver<Arc<Process>>,
    task: JoinHandle<()>,
}

impl Watcher {
    /// Begins. Costs a connection, and what comes on it.
    pub(super) fn begin(id: u64, named: Named, turns: &Turns, runtime: &Handle) -> Self {
        let target = named.target.clone();
        let is_core = matches!(target, Target::Core(_));
        let process = Process::new(id, named.name.clone(), is_core);
        let (out, latest) = watch::channel(Arc::new(process.clone()));
        let options = Options {
            finished_tasks: FINISHED,
            budget: Some(turns.reading.clone()),
            ..Options::default()
        };
        let source = source::spawn(target.clone(), options, runtime);
        let symbols = AgentSymbols {
            target,
            runtime: runtime.clone(),
        };
        let look = Look {
            process,
            model: Model::default(),
            engine: Engine::new(Window::Live),
            has_news: false,
            names: Names {
                turns: turns.clone(),
                symbols,
                turn: None,
                waits: None,
            },
            out,
        };
        let task = runtime.spawn(look.run(source));
        Self {
            named,
            latest,
            task,
        }
    }

    /// What is known of it now.
    pub(super) fn latest(&self) -> Arc<Process> {
        Arc::clone(&self.latest.borrow())
    }
}

impl Drop for Watcher {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// What is known of a process, and how it goes on.
struct Look {
    process: Process,
    model: Model,
    engine: Engine,
    /// Something came since the last look.
    has_news: bool,
    names: Names,
    out: watch::Sender<Arc<Process>>,
}

impl Look {
    async fn run(mut self, mut source: Source) {
        let mut looks = interval(EVERY);
        looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut is_over = false;
        loop {
            tokio::select! {
                event = source.recv(), if !is_over => match event {
                    Some(event) => self.take(feed::event(event)),
                    // What was seen last stays.
                    None => is_over = true,
                },
                _ = looks.tick() => self.look(),
            }
        }
    }

    fn take(&mut self, event: Event) {
        if let Some(connection) = self.process.connection.after(&event, Instant::now()) {
            let changed = connection != self.process.connection;
            self.process.connection = connection;
            if changed {
                self.publish();
            }
        }
        match event {
            Event::Connected { hello, .. } => {
                let model = Model::without_ended(&hello);
                if model.session.id != self.model.session.id {
                    self.engine = Engine::new(Window::Live);
                    self.process.summary = None;
                    self.publish();
                }
                self.model = model;
                // Ids of modules and stalls begin anew.
                self.names.turn = None;
            }
            Event::Frame(frame) => {
                // What is malformed was left out, and stops nothing.
                let _ = self.model.apply(&frame);
                self.has_news |= !frame.more;
            }
            _ => {}
        }
    }

    /// Works out what is wrong, where something is new.
    fn look(&mut self) {
        self.has_news |= self.names.look(&mut self.model);
        if !std::mem::take(&mut self.has_news) {
            return;
        }
        self.engine.update(&self.model);
        let verdict = self.engine.verdict(&self.model);
        let summary = Summary::new(&self.model, self.engine.findings(), verdict);
        self.process.summary = Some(Box::new(summary));
        self.publish();
    }

    fn publish(&self) {
        // Nobody looks any more: the task is about to end.
        let _ = self.out.send(Arc::new(self.process.clone()));
    }
}

/// The names of its stacks.
struct Names {
    turns: Turns,
    symbols: AgentSymbols,
    turn: Option<Turn>,
    waits: Option<Waits>,
}

/// What looks up names, while it may.
struct Turn {
    naming: Naming,
    until: Instant,
    _permit: OwnedSemaphorePermit,
}

impl Names {
    /// Asks for names that are missing, and takes those that have come; `true` where some
    /// have.
    fn look(&mut self, model: &mut Model) -> bool {
        let nameless = |stall: &Stall| !stall.stacks.is_empty() && stall.resolved.is_none();
        let wanted = model.stalls.iter().any(nameless);
        if self.turn.is_none() && wanted {
            let free = Arc::clone(&self.turns.free);
            self.turn = free.try_acquire_owned().ok().map(|permit| Turn {
                naming: Naming::new(model, Some(self.symbols.clone())),
                until: Instant::now() + TURN,
                _permit: permit,
            });
        }
        if self.turn.is_none() && wanted {
            // It is others' turn: it is asked for again at the next look.
            self.waits.get_or_insert_with(|| Waits::new(&self.turns));
        } else {
            self.waits = None;
        }
        let Some(turn) = &mut self.turn else {
            return false;
        };
        turn.naming.request(model);
        let named = turn.naming.apply(model);
        let others_wait = self.turns.waiting.load(Ordering::Relaxed) > 0;
        if Instant::now() >= turn.until && (others_wait || !wanted) {
            self.turn = None;
        }
        named
    }
}
