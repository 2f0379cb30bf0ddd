//! A process without an agent, as it is.
#![cfg(all(target_os = "linux", target_arch = "x86_64"))]

use std::{io::Write, time::Duration};

use looptop::{
    diagnose::{Engine, Level, Window, remarks},
    model::{Capability, Cause, Evidence, Model, SourceKind},
    naming::Naming,
    source::{self, Event, Options, ProblemKind, Target},
};
use tokio::time::{Instant, timeout_at};

use crate::programs::App;

const PATIENCE: Duration = Duration::from_mins(1);

/// A process that is looked at, and what a viewer knows of it.
struct Looked {
    source: source::Source,
    model: Model,
    naming: Naming,
    engine: Engine,
}

impl Looked {
    async fn at(pid: u32, expected: SourceKind) -> Self {
        let runtime = tokio::runtime::Handle::current();
        let mut source = source::spawn(Target::Process(pid), Options::default(), &runtime);
        let deadline = Instant::now() + PATIENCE;
        loop {
            match timeout_at(deadline, source.recv()).await.unwrap() {
                Some(Event::Connected { hello, kind }) => {
                    assert_eq!(kind, expected);
                    let model = Model::new(&hello);
                    return Self {
                        naming: Naming::new(&model, None),
                        engine: Engine::new(Window::Live),
                        source,
                        model,
                    };
                }
                Some(Event::Connecting { .. }) => {}
                other => panic!("{other:?}"),
            }
        }
    }

    /// Looks until `what` holds, or until the process is lost.
    async fn until(&mut self, what: impl Fn(&Self) -> bool) -> Result<(), ProblemKind> {
        let deadline = Instant::now() + PATIENCE;
        while !what(self) {
            let event = timeout_at(deadline, self.source.recv()).await;
            let event = event.unwrap_or_else(|_| panic!("{:#?}", self.model));
            match event {
                Some(Event::Frame(frame)) => {
                    self.model.apply(&frame).unwrap();
                    self.naming.request(&self.model);
                    self.naming.apply(&mut self.model);
                    if !frame.more {
                        self.engine.update(&self.model);
                    }
                }
                Some(Event::Lost { problem, retry_in }) => {
                    assert_eq!(retry_in, None, "{problem}");
                    return Err(problem.kind);
                }
                _ => {}
            }
        }
        Ok(())
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn tasks_and_stalls_of_a_program_that_knows_nothing_of_it() {
    let app = App::start("bare_app", &["20"]);
    let mut looked = Looked::at(app.child.id(), SourceKind::Outside).await;

    let named = |looked: &Looked, name: &str| {
        let model = &looked.model;
        let tasks = model.tasks.live();
        let names = tasks.filter_map(|task| model.task_name(task));
        names.filter(|found| found.contains(name)).count()
    };
    looked
        .until(|looked| {
            let found = named(looked, "waits_for_a_customer");
            looked.model.complete
                && found == 20
                && named(looked, "blocks_its_worker") == 1
                && looked.model.workers.len() == 2
        })
        .await
        .unwrap();
    assert_eq!(looked.model.live_tasks(), Some(21));
    assert!(!looked.model.runtimes[0].torn);

    looked
        .until(|looked| {
            let mut stalls = looked.model.stalls.live();
            stalls.any(|stall| {
                let culprit = stall.culprit().map(|culprit| &*culprit.function);
                culprit.is_some_and(|function| function.contains("blocks_its_worker"))
                    && looked.engine.verdict(&looked.model).level > Level::Healthy
            })
        })
        .await
        .unwrap();
    let stall = looked.model.stalls.live().next().unwrap();
    assert_eq!(stall.cause, Cause::Sleeping);
    assert_eq!(stall.telling_stack().unwrap().evidence(), Evidence::Read);
    let task = looked.model.tasks.get(stall.task.unwrap()).unwrap();
    let name = looked.model.task_name(task).unwrap();
    assert!(name.contains("blocks_its_worker"), "{name}");
    let outside = looked.model.outside.as_ref().unwrap();
    assert_eq!((outside.stopped, outside.unlisted), (0, 0));
    for kind in [Capability::Wakes, Capability::Lag] {
        let why = looked.model.session.missing(kind).unwrap();
        assert!(why.contains("looptop_agent::init()"), "{why}");
    }

    drop(app);
    let lost = looked.until(|_| false).await;
    assert_eq!(lost, Err(ProblemKind::NoProcess));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stripped_program_has_tasks_and_stalls_and_says_why_nothing_has_a_name() {
    const WHY: &str = "the program is stripped: functions have no names";
    let says_so = |model: &Model| remarks(model).iter().any(|remark| remark.starts_with(WHY));
    let app = App::start("bare_app", &["20"]);
    let stripped = App::start_stripped("bare_app", &["20"]);
    for (app, is_stripped) in [(app, false), (stripped, true)] {
        let mut looked = Looked::at(app.child.id(), SourceKind::Outside).await;
        looked
            .until(|looked| {
                let mut stalls = looked.model.stalls.live();
                looked.model.complete
                    && looked.model.live_tasks() == Some(21)
                    && stalls.any(|stall| stall.resolved.is_some())
            })
            .await
            .unwrap();
        let model = &looked.model;
        assert_eq!(says_so(model), is_stripped, "{:?}", remarks(model));
        let stall = model.stalls.live().next().unwrap();
        assert_eq!(stall.cause, Cause::Sleeping);
        let names = stall.resolved.as_ref().unwrap();
        let problem = names.problem.as_deref().unwrap_or_default();
        assert_eq!(
            problem.contains("is stripped; set `strip = false`"),
            is_stripped,
            "{problem}"
        );
        assert!(!problem.contains("the agent"), "{problem}");
        let culprit = stall.culprit().map(|culprit| &*culprit.function);
        let shown = if is_stripped {
            "async code at tests/programs/bare_app.rs:"
        } else {
            "blocks_its_worker"
        };
        assert!(
            culprit.is_some_and(|name| name.contains(shown)),
            "{culprit:?}"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn tasks_that_an_agent_does_not_show_are_listed_until_it_does() {
    const TASKS: usize = 7;
    let mut app = App::start("agent_app", &[&TASKS.to_string()]);
    let mut looked = Looked::at(app.child.id(), SourceKind::Agent).await;
    let has = |looked: &Looked, kind| looked.model.session.has(kind);
    assert!(!has(&looked, Capability::Tasks), "as the agent says");

    // Listed: each by its future, on the agent's runtime, and none of the agent's own.
    looked
        .until(|looked| has(looked, Capability::Tasks) && looked.model.tasks.live_count() > 0)
        .await
        .unwrap();
    looked
        .until(|looked| looked.model.tasks.live().all(|task| task.runtime.is_some()))
        .await
        .unwrap();
    let model = &looked.model;
    let names: Vec<_> = model.tasks.live().map(|t| model.task_name(t)).collect();
    let is_ours = |name: Option<&str>| name.is_some_and(|name| name.contains("waits_unseen"));
    assert!(names.iter().copied().all(is_ours), "{names:?}");
    assert_eq!(names.len(), TASKS);
    assert_eq!(model.live_tasks(), Some(TASKS as u64));
    let runtime = model.tasks.live().next().unwrap().runtime;
    assert_eq!(runtime, Some(model.runtimes[0].id));
    assert!(model.reads_tasks() && !model.is_outside());
    let why = model.session.missing(Capability::Wakes);
    assert!(why.is_some(), "nobody sees wakes");

    // The agent has them from now on, and nothing is there twice.
    let input = app.child.stdin.as_mut().unwrap();
    input.write_all(b"trace\n").unwrap();
    looked
        .until(|looked| has(looked, Capability::Wakes) && looked.model.tasks.live_count() >= TASKS)
        .await
        .unwrap();
    let since = looked.model.now;
    looked
        .until(|looked| looked.model.now.since(since) >= Duration::from_secs(2))
        .await
        .unwrap();
    let model = &looked.model;
    assert!(!model.reads_tasks() && has(&looked, Capability::Tasks));
    let tasks: Vec<_> = model.tasks.live().collect();
    assert_eq!(tasks.len(), TASKS, "{tasks:?}");
    let listed = tasks.iter().filter(|task| task.future.is_some());
    assert_eq!(listed.count(), 0, "by its spawn location alone");
}
