//! A core dump as a target: what its process showed, as something that stands still.
#![cfg(all(target_os = "linux", not(looptop_elsewhere), target_arch = "x86_64"))]

use std::{
    collections::BTreeSet,
    path::{Path, PathBuf},
    time::Duration,
};

use looptop::{
    cli,
    commands::{check::check, dump::dump},
    diagnose::Severity,
    dump::{Dump, Format},
    model::{Model, SourceKind},
    report,
    source::{self, Event, Options, ProblemKind, Target},
};
use tokio::time::{Instant, timeout_at};

use crate::programs::App;

const PATIENCE: Duration = Duration::from_mins(1);
/// What 20 of its tasks do.
const WAITS: &str = "waits_for_a_customer";

async fn dumped(target: String) -> Dump {
    let options = cli::Dump {
        target: Some(target),
        more: Vec::new(),
        format: Format::Text,
        window: PATIENCE,
        timeout: PATIENCE,
    };
    dump(&options).await.unwrap().dump
}

/// Ends a program, and waits for its dump; `None` where the kernel gives dumps to another
/// program.
fn end(app: &mut App, directory: &Path) -> Option<PathBuf> {
    // It ends by itself with its input, which waiting for it would close.
    let input = app.child.stdin.take();
    app.signal(nix::sys::signal::Signal::SIGABRT);
    let status = app.child.wait().unwrap();
    drop(input);
    let pattern = std::fs::read_to_string("/proc/sys/kernel/core_pattern").unwrap();
    if pattern.trim() != "core" {
        eprintln!("the kernel writes no plain dumps here: {pattern}");
        return None;
    }
    let names = ["core".to_owned(), format!("core.{}", app.child.id())];
    let mut paths = names.iter().map(|name| directory.join(name));
    let found = paths.find(|path| path.exists());
    Some(found.unwrap_or_else(|| panic!("no dump: {status}")))
}

/// Where the tasks wait whose future is called so, and their ids. On a machine that is busy
/// some chains are cut short.
fn chains(dump: &Dump, future: &str) -> (BTreeSet<String>, BTreeSet<u64>) {
    let (mut chains, mut ids) = (BTreeSet::new(), BTreeSet::new());
    for group in dump.groups.iter().filter(|g| g.future.contains(future)) {
        ids.extend(group.tasks.iter().map(|task| task.id));
        if group.cut.is_none() {
            let waits: Vec<&str> = group.waits.iter().map(|w| w.asked.as_str()).collect();
            chains.insert(format!("{:#?} {waits:?}", group.tree));
        }
    }
    (chains, ids)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dump_shows_what_its_process_showed() {
    let directory = tempfile::tempdir().unwrap();
    let mut app = App::start_with_dumps("bare_app", &["20"], directory.path());
    let deadline = Instant::now() + 3 * PATIENCE;
    let live = loop {
        let live = dumped(format!("pid:{}", app.child.id())).await;
        let (chains, ids) = chains(&live, WAITS);
        if ids.len() == 20 && !chains.is_empty() {
            break live;
        }
        assert!(Instant::now() < deadline, "{live:#?}");
    };
    let Some(path) = end(&mut app, directory.path()) else {
        return;
    };
    let target = format!("core:{}", path.display());
    let dead = dumped(target.clone()).await;
    assert_eq!(
        (dead.name.as_str(), dead.pid),
        ("bare_app", Some(app.child.id()))
    );
    assert!(dead.core_dump && !live.core_dump);
    assert_eq!(
        (dead.tokio.as_ref(), dead.workers),
        (live.tokio.as_ref(), 2)
    );
    assert_eq!(chains(&dead, WAITS), chains(&live, WAITS));
    assert_eq!(dead.groups[0].oldest_s, None, "it has no times");
    assert!(!dead.not_read.is_empty());
    // Its main thread, and both workers: parked, in a poll, or in a lock.
    let standing = dead.standing.iter().map(|stand| stand.who.id);
    let polls = dead.polls.iter().map(|poll| poll.who.id);
    let waiting = dead.threads.iter().map(|thread| thread.who.id);
    let threads: BTreeSet<u64> = standing.chain(polls).chain(waiting).collect();
    assert!(threads.len() >= 3, "{threads:?}");
    assert!(threads.contains(&u64::from(app.child.id())), "{threads:?}");
    // The other task is in its poll, or between two.
    let blocks = "blocks_its_worker";
    let mut polls = dead.polls.iter().flat_map(|poll| &poll.stack);
    let in_poll = polls.any(|frame| frame.function.contains(blocks));
    let (_, idle) = chains(&dead, blocks);
    assert!(in_poll == idle.is_empty(), "{:#?}", dead.polls);

    let events = events(&target).await;
    assert_eq!(events, (SourceKind::Core, true));
    let options = cli::Check {
        targets: vec![target.clone()],
        all: false,
        window: Some(Duration::from_millis(1)),
        warmup: Duration::ZERO,
        format: report::Format::Text,
        fail_on: Severity::Warning,
        allow: Vec::new(),
        baseline: None,
        write_baseline: None,
        timeout: PATIENCE,
    };
    let report = check(&target, &options).await.unwrap().report;
    assert_eq!(report.level, "core", "{report:#?}");
    assert!(report.is_observed());
    let not_judged: Vec<&str> = report.not_judged.iter().map(|rule| rule.rule).collect();
    assert!(not_judged.contains(&"blocked-worker"), "{not_judged:?}");
    assert!(!not_judged.contains(&"deadlock"), "{not_judged:?}");
}

/// What kind of source it is, and whether the last of what comes is the end.
async fn events(target: &str) -> (SourceKind, bool) {
    let runtime = tokio::runtime::Handle::current();
    let target: Target = target.parse().unwrap();
    let mut source = source::spawn(target, Options::default(), &runtime);
    let deadline = Instant::now() + PATIENCE;
    let (mut found, mut model) = (None, Model::default());
    loop {
        match timeout_at(deadline, source.recv()).await.unwrap() {
            Some(Event::Connected { hello, kind }) => {
                found = Some(kind);
                model = Model::new(&hello);
            }
            Some(Event::Frame(frame)) => model.apply(&frame).unwrap(),
            Some(Event::Ended) => return (found.unwrap(), model.complete),
            Some(_) => {}
            None => panic!("it has not ended"),
        }
    }
}

#[tokio::test]
async fn what_is_no_dump_is_given_up_with_the_reason() {
    let own = std::env::current_exe().unwrap();
    let runtime = tokio::runtime::Handle::current();
    let mut source = source::spawn(Target::Core(own), Options::default(), &runtime);
    loop {
        match source.recv().await.unwrap() {
            Event::Lost { problem, retry_in } => {
                assert_eq!((problem.kind, retry_in), (ProblemKind::Core, None));
                let text = problem.to_string();
                assert!(text.contains("it is a program or a library"), "{text}");
                return;
            }
            Event::Connecting { .. } => {}
            other => panic!("{other:?}"),
        }
    }
}
