//! A process without an agent, as it is.
#![cfg(all(target_os = "linux", not(looptop_elsewhere), target_arch = "x86_64"))]

use std::{io::Write, time::Duration};

use looptop::{
    diagnose::{Engine, Level, Window, remarks},
    model::{Capability, Cause, Evidence, Flavor, Model, SourceKind, Stall, TaskKind},
    naming::Naming,
    source::{self, Event, Options, ProblemKind, Target},
};
use tokio::time::{Instant, sleep, timeout_at};

use crate::{programs::App, script::until_silent};

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
        Self::target(Target::Process(pid), expected).await
    }

    async fn target(target: Target, expected: SourceKind) -> Self {
        let runtime = tokio::runtime::Handle::current();
        let source = source::spawn(target, Options::default(), &runtime);
        Self::connected(source, expected).await
    }

    /// Of the next session; what was lost before does not matter, nor what is seen from
    /// outside while an agent that is expected has not answered yet.
    async fn connected(mut source: source::Source, expected: SourceKind) -> Self {
        let deadline = Instant::now() + PATIENCE;
        loop {
            match timeout_at(deadline, source.recv()).await.unwrap() {
                Some(
                    Event::Connected {
                        kind: SourceKind::Outside,
                        ..
                    }
                    | Event::Frame(_),
                ) if expected != SourceKind::Outside => {}
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
                Some(Event::Connecting { .. } | Event::Lost { .. }) => {}
                other => panic!("{other:?}"),
            }
        }
    }

    /// The session after this one, of the same target.
    async fn again(self, expected: SourceKind) -> Self {
        Self::connected(self.source, expected).await
    }

    /// Live tasks whose name contains this.
    fn named(&self, name: &str) -> usize {
        let tasks = self.model.tasks.live();
        let names = tasks.filter_map(|task| self.model.task_name(task));
        names.filter(|found| found.contains(name)).count()
    }

    /// A stall that goes on, of a function whose name contains this.
    fn stall_in(&self, function: &str) -> Option<&Stall> {
        self.model.stalls.live().find(|stall| {
            let culprit = stall.culprit().map(|culprit| &*culprit.function);
            culprit.is_some_and(|found| found.contains(function))
        })
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
                Some(Event::Lost { problem, .. }) => return Err(problem.kind),
                _ => {}
            }
        }
        Ok(())
    }
}

/// It stands still for no fault of its own: nothing of that is a stall, and what is shown
/// is old.
#[tokio::test(flavor = "multi_thread")]
async fn a_stopped_process_is_silent_and_its_polls_are_not_judged() {
    let app = App::start("bare_app", &["3"]);
    let mut looked = Looked::at(app.child.id(), SourceKind::Outside).await;
    looked.until(|looked| looked.model.complete).await.unwrap();
    app.signal(nix::sys::signal::Signal::SIGSTOP);
    let problem = until_silent(&mut looked.source).await;
    assert_eq!(problem.kind, ProblemKind::Stopped);
    // What was being read comes to its end, and is none of its time; then nothing comes any
    // more, whatever looks are made.
    let deadline = Instant::now() + PATIENCE;
    let mut quiet = Instant::now() + Duration::from_secs(2);
    let mut newest = None;
    while let Ok(event) = timeout_at(quiet, looked.source.recv()).await {
        match event {
            Some(Event::Frame(received)) => {
                let now = received.now_ns;
                let stood = newest.replace(now).is_none_or(|before| now == before);
                assert!(stood, "{now} after {newest:?}");
                assert!(Instant::now() < deadline, "it does not end: {received:?}");
                quiet = Instant::now() + Duration::from_secs(2);
            }
            Some(Event::Silent { .. }) => {}
            other => panic!("{other:?}"),
        }
    }
    app.signal(nix::sys::signal::Signal::SIGCONT);
    let resumed = Instant::now();
    let seen = |looked: &Looked| {
        let longest = looked
            .model
            .stalls
            .iter()
            .map(|stall| stall.age(looked.model.now));
        longest.max().unwrap_or_default()
    };
    looked
        .until(|_| resumed.elapsed() > Duration::from_secs(1))
        .await
        .unwrap();
    assert!(
        seen(&looked) < Duration::from_secs(2),
        "{:?}",
        seen(&looked)
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn tasks_and_stalls_of_a_program_that_knows_nothing_of_it() {
    let app = App::start("bare_app", &["20"]);
    let mut looked = Looked::at(app.child.id(), SourceKind::Outside).await;

    looked
        .until(|looked| {
            let found = looked.named("waits_for_a_customer");
            looked.model.complete
                && found == 20
                && looked.named("blocks_its_worker") == 1
                && looked.model.workers.len() == 2
        })
        .await
        .unwrap();
    assert_eq!(looked.model.live_tasks(), Some(21));
    let runtime = &looked.model.runtimes[0];
    assert!(!runtime.torn, "{runtime:?}");

    looked
        .until(|looked| {
            looked.stall_in("blocks_its_worker").is_some()
                && looked.engine.verdict(&looked.model).level > Level::Healthy
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
    const WHY: &str = "the program is stripped: no names";
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

#[tokio::test(flavor = "multi_thread")]
async fn an_agent_that_begins_later_than_its_program_is_shown_from_then_on() {
    let mut app = App::start("agent_app", &["7", "late"]);
    let mut looked = Looked::at(app.child.id(), SourceKind::Outside).await;
    let listed = |looked: &Looked| looked.named("waits_unseen");
    looked.until(|looked| listed(looked) == 7).await.unwrap();
    let input = app.child.stdin.as_mut().unwrap();
    input.write_all(b"start\n").unwrap();
    let lost = looked.until(|_| false).await;
    assert_eq!(lost, Err(ProblemKind::AgentAnswers));
    let mut looked = looked.again(SourceKind::Agent).await;
    looked.until(|looked| listed(looked) == 7).await.unwrap();
    assert_eq!(looked.model.session.pid, Some(app.child.id()));
    assert!(!looked.model.is_outside());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_process_that_runs_another_program_is_another_session() {
    let mut app = App::start("bare_app", &["3"]);
    let mut looked = Looked::at(app.child.id(), SourceKind::Outside).await;
    let count = |looked: &Looked| looked.named("waits_for_a_customer");
    looked.until(|looked| count(looked) == 3).await.unwrap();
    let first = looked.model.session.id.clone();
    app.child.stdin.as_mut().unwrap().write_all(b"5\n").unwrap();
    let lost = looked.until(|_| false).await;
    assert_eq!(lost, Err(ProblemKind::OtherProgram));
    let mut looked = looked.again(SourceKind::Outside).await;
    assert_eq!(looked.model.session.pid, Some(app.child.id()));
    assert_ne!(looked.model.session.id, first);
    looked.until(|looked| count(looked) == 5).await.unwrap();
    assert_eq!(looked.model.live_tasks(), Some(6), "none of the old ones");
}

/// All that console-subscriber does not say, in one session with what it does.
async fn is_whole(looked: &mut Looked) {
    let futures = |looked: &Looked| {
        let model = &looked.model;
        let named = model
            .tasks
            .live()
            .filter(|task| model.text(task.name) == "sleeper");
        let future = |task: &&looptop::model::Task| {
            let name = model.future_name(task.future);
            name.is_some_and(|name| name.contains("sleeps")) && task.runtime.is_some()
        };
        named.filter(future).count()
    };
    looked
        .until(|looked| {
            looked.stall_in("blocks_its_worker").is_some()
                && looked.model.workers.len() == 4
                && futures(looked) == 3
        })
        .await
        .unwrap();
    let model = &looked.model;
    let stall = looked.stall_in("blocks_its_worker").unwrap();
    assert_eq!(stall.cause, Cause::Sleeping);
    assert_eq!(stall.telling_stack().unwrap().evidence(), Evidence::Read);
    assert!(stall.worker.is_some());
    let task = model.tasks.get(stall.task.unwrap()).unwrap();
    assert_eq!(
        model.task_name(task),
        Some("blocks"),
        "as it is called there"
    );
    assert!(task.polls().is_some_and(|polls| polls > 0) && task.wakes().is_some());
    for name in ["blocks", "greedy", "burn"] {
        assert_eq!(looked.named(name), 1, "{name}");
    }
    // Of the program's runtime alone, and not of the one on which it is served.
    let runtimes = model.runtimes.iter().filter(|runtime| !runtime.gone);
    let runtimes: Vec<_> = runtimes.map(|runtime| runtime.flavor).collect();
    assert_eq!(runtimes, [Flavor::MultiThread]);
    assert!(!model.is_outside() && !model.reads_tasks());
    assert!(model.outside.is_some());
    for kind in [Capability::Workers, Capability::Stacks, Capability::Wakes] {
        assert!(model.session.has(kind), "{kind:?}");
    }
    let why = model.session.missing(Capability::Lag).unwrap();
    assert!(
        why.contains("console-subscriber does not report") && why.contains("from outside"),
        "{why}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn beside_console_subscriber_all_of_its_process_is_seen() {
    let app = App::start("console_app", &["127.0.0.1:0"]);
    let target: Target = app.address.parse().unwrap();
    let mut looked = Looked::target(target, SourceKind::Console).await;
    is_whole(&mut looked).await;
    let first = looked.model.session.clone();

    // Another process listens at the same port.
    let address = app.address.clone();
    drop(app);
    let lost = looked.until(|_| false).await;
    assert!(lost.is_err(), "its process has ended");
    let next = App::start("console_app", &[&address]);
    assert_eq!(next.address, address);
    let mut looked = looked.again(SourceKind::Console).await;
    assert_eq!(looked.model.session.pid, Some(next.child.id()));
    assert_ne!(looked.model.session.id, first.id);
    is_whole(&mut looked).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_process_with_console_subscriber_is_the_same_session_by_its_id() {
    let app = App::start("console_app", &["127.0.0.1:0"]);
    // It prints its address before a thread of console-subscriber's listens there.
    let deadline = Instant::now() + PATIENCE;
    while tokio::net::TcpStream::connect(&app.address).await.is_err() {
        assert!(
            Instant::now() < deadline,
            "nothing listens at {}",
            app.address
        );
        sleep(Duration::from_millis(10)).await;
    }
    let mut looked = Looked::at(app.child.id(), SourceKind::Console).await;
    is_whole(&mut looked).await;
}

/// A runtime that nobody registered joins the agent's session.
async fn a_stranger_joins(arguments: &[&str], by_name: &str) {
    let app = App::start("agent_app", arguments);
    let target: Target = app.address.parse().unwrap();
    let mut looked = Looked::target(target, SourceKind::Agent).await;
    let found = |looked: &Looked| {
        let mut runtimes = looked.model.runtimes.iter();
        runtimes
            .find(|runtime| runtime.is_found())
            .map(|found| found.id)
    };
    let workers = |looked: &Looked| {
        let id = found(looked);
        let workers = looked.model.workers.keys();
        workers.filter(|worker| Some(worker.runtime) == id).count()
    };
    let elsewhere = |looked: &Looked| {
        let id = found(looked);
        let tasks = looked.model.tasks.live();
        let there = tasks.filter(|task| id.is_some() && task.runtime == id);
        there.count()
    };
    looked
        .until(|looked| workers(looked) == 2 && elsewhere(looked) == 4)
        .await
        .unwrap();
    looked
        .until(|looked| looked.stall_in("computes_elsewhere").is_some())
        .await
        .unwrap();
    let model = &looked.model;
    assert!(model.has_agent() && !model.is_outside());
    assert_eq!(looked.named("computes_elsewhere"), 1, "never twice");
    assert_eq!(looked.named(by_name), 6);
    let remarks = looptop::diagnose::remarks(model);
    let of = |words: &str| {
        remarks
            .iter()
            .filter(|remark| remark.contains(words))
            .count()
    };
    assert_eq!(of("threads run tokio runtimes that nobody registered"), 0);
    assert_eq!(
        of("1 runtime that nobody registered is seen from outside"),
        1
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_runtime_that_nobody_registered_joins_an_agent_without_tasks() {
    a_stranger_joins(&["6", "stranger"], "waits_unseen").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_runtime_that_nobody_registered_joins_an_agent_with_tasks() {
    let app = App::start("agent_app", &["6", "traced", "stranger"]);
    let mut looked = Looked::at(app.child.id(), SourceKind::Agent).await;
    let tasks = |looked: &Looked| {
        let tasks = looked.model.tasks.live();
        tasks.filter(|task| task.kind == TaskKind::Task).count()
    };
    looked
        .until(|looked| {
            let model = &looked.model;
            let found = model.runtimes.iter().find(|runtime| runtime.is_found());
            let drives = |id| model.workers.keys().filter(|w| w.runtime == id).count();
            found.is_some_and(|found| found.live_tasks == 4 && drives(found.id) == 2)
                && tasks(looked) == 10
        })
        .await
        .unwrap();
    assert!(!looked.model.reads_tasks(), "the agent shows them");
}

#[tokio::test(flavor = "multi_thread")]
async fn with_every_runtime_registered_nothing_is_read_from_outside() {
    let app = App::start("agent_app", &["6", "traced"]);
    let target: Target = app.address.parse().unwrap();
    let mut looked = Looked::target(target, SourceKind::Agent).await;
    looked
        .until(|looked| {
            let observed = looked
                .model
                .since
                .map(|since| looked.model.now.since(since));
            observed.is_some_and(|observed| observed > Duration::from_secs(4))
        })
        .await
        .unwrap();
    let tasks = looked.model.tasks.live();
    let tasks = tasks.filter(|task| task.kind == TaskKind::Task);
    assert_eq!(tasks.count(), 6, "as the agent shows them");
    assert!(looked.model.outside.is_none());
}
