//! A core dump of a real program says the same as the process did: its tasks, their
//! chains, its threads.
#![cfg(all(target_os = "linux", not(looptop_elsewhere), target_arch = "x86_64"))]

#[path = "../awaits/program.rs"]
mod program;
mod writer;

use std::collections::{BTreeMap, BTreeSet};
use std::io::{BufRead, BufReader};
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use looptop_outside::awaits::interpreted::{Interpreter, Outcome};
use looptop_outside::core::{CoreFile, CoreStacks};
use looptop_outside::tasks::{AddressSet, Listing, TaskKind, Tasks, Types};
use looptop_outside::waiting::{LiveProcess, Readable, TaskWait, Waiting, What};
use looptop_outside::{Role, Space, Subject};
use looptop_procfs::{Procfs, SyscallState};
use looptop_symbols::Resolver;

const TARGET: &str = "LOOPTOP_CORE_TARGET";

/// The program that is dumped, when this file runs itself.
#[test]
#[ignore = "is run by the others"]
fn target() {
    if std::env::var(TARGET).is_ok() {
        program::run();
    }
}

struct Target {
    child: Child,
    /// Ids of the tasks that it said it has.
    tasks: Vec<u64>,
}

impl Drop for Target {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Starts it in a directory, with or without dumps by the kernel.
fn start(directory: &Path) -> Target {
    let mut child = Command::new("sh")
        .args([
            "-c",
            "ulimit -c unlimited; exec \"$0\" --exact target --ignored --nocapture",
        ])
        .arg(std::env::current_exe().unwrap())
        .env(TARGET, "1")
        .current_dir(directory)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let output = BufReader::new(child.stdout.take().unwrap());
    let mut target = Target {
        child,
        tasks: Vec::new(),
    };
    for line in output.lines() {
        let line = line.unwrap();
        let words: Vec<&str> = line.split(' ').collect();
        match words[..] {
            ["task", _, id, ..] => target.tasks.push(id.parse().unwrap()),
            ["ready"] => return target,
            _ => {}
        }
    }
    panic!("it has ended");
}

/// Where each task waits, for what, and what it holds, as the engine says it.
type Waits = BTreeMap<u64, String>;

fn waits<R: Readable>(readable: R, types: &Arc<Types>, listing: &Listing) -> Waits {
    let mut waiting = Waiting::new(readable, Arc::clone(types), Resolver::new(None));
    let now = Instant::now();
    waiting.take_listing(
        (listing.tasks.clone().into(), 0),
        &AddressSet::default(),
        now,
    );
    while waiting.is_behind() {
        waiting.read(Duration::from_secs(1));
    }
    waiting.look_at_threads(now);
    let found = waiting.take();
    assert!(found.read.is_complete, "{:?}", found.read);
    let shapes: BTreeMap<u32, _> = found.shapes.iter().cloned().collect();
    let text = |wait: &TaskWait| {
        let mut wants: Vec<String> = wait
            .wants
            .iter()
            .map(|want| match &want.what {
                // What it is a dump does not have, nor what time it was.
                What::Socket {
                    descriptor,
                    interest,
                    ..
                } => format!("{} {descriptor:?} {interest:?}", want.node),
                what => format!("{} {what:x?}", want.node),
            })
            .collect();
        // `select!` begins with any of its branches.
        wants.sort_unstable();
        let nodes = &shapes[&wait.shape].nodes;
        let mut nodes: Vec<String> = nodes
            .iter()
            .map(|node| format!("{} {:?} {:?}", node.depth, node.name, node.location))
            .collect();
        nodes.sort_unstable();
        format!("{nodes:#?} {wants:#?} {:x?}", wait.holds)
    };
    let all = found.tasks.iter().map(|wait| (wait.task.id, text(wait)));
    all.collect()
}

/// What a task is, and what its poll came to.
type Seen = BTreeMap<u64, (u64, Option<usize>, String)>;

fn seen<S: Space + Clone>(
    listing: &Listing,
    types: &Types,
    interpreter: &mut Interpreter<S>,
) -> Seen {
    let tasks = listing.tasks.iter().filter(|t| t.kind == TaskKind::Async);
    let seen = tasks.map(|task| {
        let of = types.get(task.vtable).unwrap();
        let polled = interpreter.poll(task, of);
        let text = match polled {
            Ok(polled) => {
                assert_eq!(polled.outcome, Outcome::Pending, "{task:?}");
                // `select!` begins with any of its branches.
                let atomics = polled.run.atomics.iter().map(|atomic| atomic.address);
                let calls = polled.run.frames.iter().map(|frame| frame.site);
                let (atomics, calls): (BTreeSet<u64>, BTreeSet<u64>) =
                    (atomics.collect(), calls.collect());
                format!("{atomics:x?} {calls:x?}")
            }
            Err(error) => error.to_string(),
        };
        (task.id, (task.vtable, task.runtime, text))
    });
    seen.collect()
}

fn live(target: &Target) -> (Seen, Waits) {
    let pid = target.child.id();
    let subject = Subject::find(&Procfs::default(), pid).unwrap();
    let types = Arc::new(Types::load(&subject).unwrap());
    let process = subject.process();
    let mut interpreter = Interpreter::new(&subject);
    let deadline = Instant::now() + Duration::from_secs(20);
    loop {
        let mut tasks = Tasks::new(&subject, Arc::clone(&types));
        let mut stacks = Vec::new();
        for tid in process.tids().unwrap() {
            if let SyscallState::In { sp, .. } = process.thread(tid).syscall() {
                stacks.push((tid, sp));
                let name = std::fs::read_to_string(format!("/proc/{pid}/task/{tid}/comm"));
                if name.is_ok_and(|name| name.starts_with("tokio-r")) {
                    interpreter.play(tid, sp);
                }
            }
        }
        let listing = tasks.read_all(&stacks);
        if listing
            .runtimes
            .iter()
            .any(|r| r.listed >= target.tasks.len() as u64)
        {
            let waits = waits(LiveProcess::new(&subject), &types, listing);
            return (seen(listing, &types, &mut interpreter), waits);
        }
        assert!(Instant::now() < deadline, "{:?}", listing.runtimes);
    }
}

fn dumped(core: &CoreFile) -> (Seen, Waits) {
    let types = Arc::new(Types::of_core(core).unwrap());
    let mut tasks = Tasks::over(core.clone(), Arc::clone(&types));
    let stacks: Vec<(u64, u64)> = core.threads().map(|t| (t.tid, t.registers.sp)).collect();
    tasks.read_all(&stacks);
    let mut unwound = CoreStacks::of(core, Some(&types));
    let threads = unwound.threads(Some(&*tasks.in_poll()));
    let workers = threads.iter().filter(|t| t.role == Role::Worker);
    let workers: Vec<u64> = workers.map(|thread| thread.tid).collect();
    assert!(!workers.is_empty(), "{threads:#x?}");
    for thread in &threads {
        assert!(!thread.truncated, "{thread:x?}");
        assert_eq!(thread.task, None, "all of them wait");
    }
    let mut interpreter = Interpreter::over(core.clone());
    let worker = core.threads().find(|t| workers.contains(&t.tid)).unwrap();
    interpreter.play_at(worker.fs_base);
    let waits = waits(core.clone(), &types, tasks.listing());
    (seen(tasks.listing(), &types, &mut interpreter), waits)
}

fn assert_same(dumped: &(Seen, Waits), live: &(Seen, Waits)) {
    assert_eq!(dumped.0, live.0);
    for (id, wait) in &live.1 {
        let other = dumped.1.get(id).map_or("nothing", String::as_str);
        assert!(
            other == wait,
            "task {id} waits in the process:\n{wait}\nin the dump:\n{other}"
        );
    }
    assert_eq!(dumped.1.len(), live.1.len());
}

#[test]
fn a_dump_of_a_process_that_goes_on_says_the_same_as_the_process() {
    let directory = tempfile::tempdir().unwrap();
    let target = start(directory.path());
    let live = live(&target);
    for id in &target.tasks {
        let known = live.0.contains_key(id) && live.1.contains_key(id);
        assert!(known, "task {id} is not listed, or not read: {live:#?}");
    }
    let path = directory.path().join("written");
    writer::write(target.child.id(), &path);
    let core = CoreFile::open(&path).unwrap();
    assert_eq!(core.pid(), target.child.id());
    assert_eq!(core.lost(), []);
    assert_same(&dumped(&core), &live);
}

/// Where the kernel writes a dump of what runs in a directory; `None` where it gives it to
/// another program.
fn by_kernel(directory: &Path, pid: u32) -> Option<PathBuf> {
    let pattern = std::fs::read_to_string("/proc/sys/kernel/core_pattern").ok()?;
    let names = ["core".to_owned(), format!("core.{pid}")];
    let plain = pattern.trim() == "core";
    let found = names.iter().map(|name| directory.join(name));
    plain
        .then(|| found.into_iter().find(|path| path.exists()))
        .flatten()
}

#[test]
fn a_dump_that_the_kernel_wrote_says_the_same_as_the_process() {
    let directory = tempfile::tempdir().unwrap();
    let mut target = start(directory.path());
    let live = live(&target);
    let pid = target.child.id();
    let threads = std::fs::read_dir(format!("/proc/{pid}/task")).unwrap();
    let threads = threads.count();
    // It ends by itself with its input, which waiting for it would close.
    let input = target.child.stdin.take();
    // SAFETY: a number is given to a child that was not waited for.
    assert_eq!(unsafe { libc::kill(pid as libc::pid_t, libc::SIGABRT) }, 0);
    let status = target.child.wait().unwrap();
    drop(input);
    let Some(path) = by_kernel(directory.path(), pid) else {
        eprintln!("the kernel has written no dump here: {status}");
        return;
    };
    assert!(status.core_dumped(), "{status}");
    let core = CoreFile::open(&path).unwrap();
    assert_eq!(core.signal(), Some(libc::SIGABRT as u32));
    assert_eq!(core.threads().count(), threads);
    assert_same(&dumped(&core), &live);
}
