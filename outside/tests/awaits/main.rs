//! Where tasks of a real program wait, by interpreting their polls: the chains are
//! written here by hand.
#![cfg(all(target_os = "linux", not(looptop_elsewhere), target_arch = "x86_64"))]

#[path = "../names/mod.rs"]
mod names;
mod program;

use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use looptop_outside::Subject;
use looptop_outside::awaits::interpreted::Interpreter;
use looptop_outside::awaits::{Leaf, Node, text};
use looptop_outside::tasks::{Flavor, Task, TaskKind, Tasks, Types};
use looptop_procfs::{Procfs, SyscallState};

use names::Names;

const TARGET: &str = "LOOPTOP_AWAITS_TARGET";

/// The program that is looked at, when this file runs itself.
#[test]
#[ignore = "is run by the others"]
fn target() {
    if std::env::var(TARGET).is_ok() {
        program::run();
    }
}

/// A task of the program, as it says itself.
struct Said {
    kind: String,
    id: u64,
    /// What it waits for, where it said so: an address, and bytes there.
    place: std::ops::Range<u64>,
}

struct Target(Child);

impl Drop for Target {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn start() -> (Target, Vec<Said>) {
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "target", "--ignored", "--nocapture"])
        .env(TARGET, "1")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let output = BufReader::new(child.stdout.take().unwrap());
    let target = Target(child);
    let mut said = Vec::new();
    for line in output.lines() {
        let line = line.unwrap();
        let words: Vec<&str> = line.split(' ').collect();
        match words[..] {
            ["task", kind, id, at, size] => {
                let at: u64 = at.parse().unwrap();
                said.push(Said {
                    kind: kind.to_owned(),
                    id: id.parse().unwrap(),
                    place: at..at + size.parse::<u64>().unwrap(),
                });
            }
            ["ready"] => return (target, said),
            _ => {}
        }
    }
    panic!("it has ended");
}

/// The line of `program.rs` that is marked so.
fn line(mark: &str) -> u32 {
    let mut lines = include_str!("program.rs").lines().zip(1..);
    let marked = lines.find(|(line, _)| line.ends_with(&format!("// at: {mark}")));
    marked.unwrap().1
}

/// The chains of each kind: functions, outermost first, each with the mark of the line
/// where it is awaited. Of names the beginning is enough, without this crate's.
type Chain = &'static [(&'static str, Option<&'static str>)];

const ACQUIRE: &str = "tokio::sync::batch_semaphore::Acquire";
const NOTIFIED: &str = "tokio::sync::notify::Notified";
const SLEEP: &str = "tokio::time::sleep::Sleep";
const TIMEOUT: &str = "tokio::time::timeout::Timeout<";
const RECEIVE: &str = "tokio::sync::mpsc::bounded::Receiver<T>::recv::{{closure}}";

const EXPECTED: &[(&str, &[Chain])] = &[
    (
        "mutex",
        &[&[
            ("locks::{{closure}}", None),
            (
                "tokio::sync::mutex::Mutex<T>::lock::{{closure}}",
                Some("mutex"),
            ),
            (ACQUIRE, None),
        ]],
    ),
    (
        "rwlock",
        &[&[
            ("writes::{{closure}}", None),
            (
                "tokio::sync::rwlock::RwLock<T>::write::{{closure}}",
                Some("rwlock"),
            ),
            (ACQUIRE, None),
        ]],
    ),
    (
        "semaphore",
        &[&[
            ("permits::{{closure}}", None),
            (
                "tokio::sync::semaphore::Semaphore::acquire::{{closure}}",
                Some("semaphore"),
            ),
            (ACQUIRE, None),
        ]],
    ),
    (
        "mpsc",
        &[&[("receives::{{closure}}", None), (RECEIVE, Some("mpsc"))]],
    ),
    (
        "send",
        &[&[
            ("sends::{{closure}}", None),
            (
                "tokio::sync::mpsc::bounded::Sender<T>::send::{{closure}}",
                Some("send"),
            ),
            (ACQUIRE, None),
        ]],
    ),
    (
        "oneshot",
        &[&[
            ("once::{{closure}}", None),
            ("tokio::sync::oneshot::Receiver<", Some("oneshot")),
        ]],
    ),
    (
        "broadcast",
        &[&[
            ("hears::{{closure}}", None),
            (
                "tokio::sync::broadcast::Receiver<T>::recv::{{closure}}",
                Some("broadcast"),
            ),
            ("tokio::sync::broadcast::Recv<", None),
        ]],
    ),
    (
        "watch",
        &[&[
            ("watches::{{closure}}", None),
            (
                "tokio::sync::watch::Receiver<T>::changed::{{closure}}",
                Some("watch"),
            ),
            (NOTIFIED, None),
        ]],
    ),
    (
        "notify",
        &[&[("notified::{{closure}}", None), (NOTIFIED, Some("notify"))]],
    ),
    (
        "sleep",
        &[&[("sleeps::{{closure}}", None), (SLEEP, Some("sleep"))]],
    ),
    (
        "join-handle",
        &[&[
            ("joins::{{closure}}", None),
            (
                "tokio::runtime::task::join::JoinHandle<",
                Some("join-handle"),
            ),
        ]],
    ),
    (
        "tcp",
        &[&[
            ("reads::{{closure}}", None),
            ("tokio::io::util::read::Read<", Some("tcp")),
        ]],
    ),
    (
        "select",
        &[
            &[("selects::{{closure}}", None), (RECEIVE, None)],
            &[
                ("selects::{{closure}}", None),
                ("notified::{{closure}}", None),
                (NOTIFIED, Some("notify")),
            ],
        ],
    ),
    (
        "join",
        &[
            &[
                ("both::{{closure}}", None),
                ("once::{{closure}}", None),
                ("tokio::sync::oneshot::Receiver<", Some("oneshot")),
            ],
            &[
                ("both::{{closure}}", None),
                ("sleeps::{{closure}}", None),
                (SLEEP, Some("sleep")),
            ],
        ],
    ),
    (
        "timeout",
        &[
            &[
                ("in_time::{{closure}}", None),
                (TIMEOUT, Some("timeout")),
                ("receives::{{closure}}", None),
                (RECEIVE, Some("mpsc")),
            ],
            &[
                ("in_time::{{closure}}", None),
                (TIMEOUT, Some("timeout")),
                (SLEEP, None),
            ],
        ],
    ),
    (
        "boxed",
        &[&[
            ("dynamic::{{closure}}", None),
            ("boxed::{{closure}}", None),
            ("notified::{{closure}}", Some("boxed-inner")),
            (NOTIFIED, Some("notify")),
        ]],
    ),
    (
        "nested",
        &[&[
            ("outer::{{closure}}", None),
            ("middle::{{closure}}", Some("nested")),
            ("notified::{{closure}}", Some("nested-middle")),
            (NOTIFIED, Some("notify")),
        ]],
    ),
];

/// The name of a function of the program.
fn own(node: &Node) -> Option<&str> {
    node.name.strip_prefix("awaits::program::")
}

/// Does a path from one of the nodes down have these futures, in this order? What is
/// between them must not be the program's own. `at` is the line where they are awaited.
fn has(nodes: &[Node], at: Option<u32>, chain: &[(&str, Option<&str>)]) -> bool {
    let Some(((name, mark), rest)) = chain.split_first() else {
        return true;
    };
    nodes.iter().any(|node| {
        let function = own(node);
        let is_own = function.is_some();
        let is_named = function.unwrap_or(&node.name).starts_with(name);
        let same = is_named && mark.is_none_or(|mark| at == Some(line(mark)));
        let within = node.location.as_ref().map(|location| location.line);
        (same && has(&node.children, within, rest))
            || (!is_own && has(&node.children, within, chain))
    })
}

/// All paths of the program's own functions from the nodes down.
fn own_paths(nodes: &[Node], before: &[String], all: &mut Vec<Vec<String>>) {
    for node in nodes {
        let mut path = before.to_vec();
        if let Some(own) = own(node) {
            path.push(own.to_owned());
        }
        if node.children.is_empty() {
            all.push(path.clone());
        }
        own_paths(&node.children, &path, all);
    }
}

#[test]
fn each_kind_of_await_has_its_chain() {
    let (target, said) = start();
    let subject = Subject::find(&Procfs::default(), target.0.id()).unwrap();
    let types = Arc::new(Types::load(&subject).unwrap());
    let mut tasks = Tasks::new(&subject, Arc::clone(&types));
    let process = subject.process();
    let mut stacks = Vec::new();
    let mut interpreter = Interpreter::new(&subject);
    for tid in process.tids().unwrap() {
        let thread = process.thread(tid);
        if let SyscallState::In { sp, .. } = thread.syscall() {
            stacks.push((tid, sp));
        }
    }
    // A worker: the others have no runtime's context.
    let is_worker = |tid: u64| {
        let name = std::fs::read_to_string(format!("/proc/{}/task/{tid}/comm", target.0.id()));
        name.is_ok_and(|name| name.starts_with("tokio-r"))
    };
    let workers = stacks.iter().filter(|(tid, _)| is_worker(*tid));
    let played = workers
        .filter(|(tid, sp)| interpreter.play(*tid, *sp))
        .count();
    assert!(played > 0, "no worker's own memory was found: {stacks:x?}");
    let deadline = Instant::now() + Duration::from_secs(20);
    let listing = loop {
        let listing = tasks.read(&stacks);
        let mut runtimes = listing.runtimes.iter();
        if runtimes.any(|r| r.flavor == Flavor::MultiThread && r.listed >= said.len() as u64) {
            break listing.clone();
        }
        assert!(Instant::now() < deadline, "{:?}", listing.runtimes);
    };
    let mut names = Names::of(process);
    let mut failed = Vec::new();
    for said in &said {
        let is_it = |task: &&Task| task.kind == TaskKind::Async && task.id == said.id;
        let task = listing.tasks.iter().find(is_it).expect("it is listed");
        let chain = interpreter.chain(task, &types, &mut |at| names.functions(at));
        let chain = chain.unwrap();
        let root = chain.root.as_slice();
        let (_, chains) = EXPECTED
            .iter()
            .find(|(kind, _)| *kind == said.kind)
            .unwrap();
        let mut wrong: Vec<String> = Vec::new();
        // What tokio's tracing inlines may be of a crate without lines.
        let is_traced = root.iter().any(|node| node.name.starts_with("tracing::"));
        if chain.cut.is_some() || !(chain.is_certain || is_traced) || chain.is_scheduled {
            wrong.push(format!("{:?}, certain: {}", chain.cut, chain.is_certain));
        }
        for expected in *chains {
            if !has(root, None, expected) {
                wrong.push(format!("not there: {expected:?}"));
            }
        }
        // And nothing of the program that is not expected.
        let mut paths = Vec::new();
        own_paths(root, &[], &mut paths);
        for path in &paths {
            let of_program = |chain: &&Chain| {
                let own = chain.iter().map(|(name, _)| *name);
                let of_tokio = |name: &str| name.contains("tokio");
                let own: Vec<&str> = own.filter(|name| !of_tokio(name)).collect();
                own.len() >= path.len() && own[..path.len()] == path[..]
            };
            if !chains.iter().any(|chain| of_program(&chain)) {
                wrong.push(format!("not expected: {path:?}"));
            }
        }
        let wanted = chain.nodes().filter_map(|node| match &node.leaf {
            Some(Leaf::Resource(wanted)) => Some(wanted.address),
            _ => None,
        });
        let wanted: Vec<u64> = wanted.collect();
        if said.place.start != 0 && !wanted.iter().any(|at| said.place.contains(at)) {
            wrong.push(format!("{:x?} is not among {wanted:x?}", said.place));
        }
        if !wrong.is_empty() {
            let text = text(&chain, Duration::ZERO);
            failed.push(format!("{}: {wrong:#?}\n{text}", said.kind));
        }
    }
    assert!(failed.is_empty(), "{}", failed.join("\n"));
    assert_eq!(said.len(), EXPECTED.len());
}
