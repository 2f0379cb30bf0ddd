//! Where the tasks of every scenario of the lab wait, read from outside: how many chains
//! come to an end, and why others do not.
//!
//! `cargo build` and then `cargo test -p looptop-outside --test lab -- --ignored --nocapture`;
//! `LOOPTOP_LAB` is the program, `LOOPTOP_LAB_ONLY=lock-order,futurelock` some scenarios.
#![cfg(all(target_os = "linux", not(looptop_elsewhere), target_arch = "x86_64"))]

use std::collections::{BTreeMap, HashMap};
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use looptop_outside::Subject;
use looptop_outside::awaits::{By, Link};
use looptop_outside::tasks::{AddressSet, Task, Tasks, Types};
use looptop_outside::waiting::{LiveProcess, ReadSoFar, Shape, TaskWait, Waiting};
use looptop_procfs::{Procfs, SyscallState};
use looptop_symbols::Resolver;

/// Of a hundred idle tasks so many are understood to the end.
const WANTED: u64 = 95;
/// How long a scenario is under load before it is read.
const LOADED: Duration = Duration::from_secs(3);
/// How long it is read at most.
const READ: Duration = Duration::from_secs(12);

/// How many chains come to an end, and why others do not.
#[derive(Default)]
struct Tally {
    idle: u64,
    whole: u64,
    by_types: u64,
    reasons: BTreeMap<String, u64>,
}

impl Tally {
    fn add(&mut self, shape: &Shape, wait: &TaskWait) {
        self.idle += 1;
        match is_whole(shape, wait) {
            Ok(()) => {
                self.whole += 1;
                self.by_types += u64::from(shape.by == By::Types);
            }
            Err(why) => *self.reasons.entry(why).or_default() += 1,
        }
    }

    fn take(&mut self, other: Self) {
        self.idle += other.idle;
        self.whole += other.whole;
        self.by_types += other.by_types;
        for (why, number) in other.reasons {
            *self.reasons.entry(why).or_default() += number;
        }
    }

    fn print(&self, name: &str) {
        let (whole, idle, by_types) = (self.whole, self.idle, self.by_types);
        println!("{name}: {whole} of {idle} to the end, {by_types} by types");
        for (why, number) in &self.reasons {
            println!("    {number} x {why}");
        }
    }
}

/// Whether everything that is awaited comes to something that is known.
fn is_whole(shape: &Shape, wait: &TaskWait) -> Result<(), String> {
    if let Some(cut) = &shape.cut {
        return Err(cut.to_string());
    }
    let nodes = &shape.nodes;
    let mut kept = None;
    for (at, node) in nodes.iter().enumerate() {
        // What is not polled keeps nobody waiting but others.
        if kept.is_some_and(|depth| node.depth > depth) {
            continue;
        }
        kept = (node.link != Link::Awaited).then_some(node.depth);
        let below = nodes
            .get(at + 1)
            .is_some_and(|next| next.depth > node.depth);
        let is_known = wait.wants.iter().any(|want| want.node as usize == at);
        if kept.is_none() && !below && !is_known {
            let name = node.name.split('<').next().unwrap_or(&node.name);
            return Err(format!("what {name} waits for is not known"));
        }
    }
    Ok(())
}

/// The lab with one scenario.
struct Lab(Child);

impl Drop for Lab {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl Lab {
    fn start(program: &Path, scenario: &str, mode: &str) -> Self {
        let child = Command::new(program)
            .args(["lab", "--scenario", scenario, "--mode", mode])
            // Its agent, which has tasks of its own, does nothing.
            .env("LOOPTOP", "off")
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn();
        let mut lab = Self(child.expect("the lab; `cargo build` makes it"));
        let output = lab.0.stdout.take().unwrap();
        let mut lines = BufReader::new(output).lines().map_while(Result::ok);
        let is_ready = lines.any(|line| line.starts_with("listening"));
        assert!(is_ready, "{scenario} {mode} has not started");
        let loaded = Instant::now() + LOADED;
        std::thread::sleep(loaded.saturating_duration_since(Instant::now()));
        lab
    }
}

fn program() -> PathBuf {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    let given = std::env::var_os("LOOPTOP_LAB").map(PathBuf::from);
    given.unwrap_or_else(|| root.join("target/debug/looptop"))
}

/// All of them: a file each.
fn scenarios() -> Vec<String> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    let files = std::fs::read_dir(folder.join("demo/src/scenarios")).unwrap();
    let names = files.flatten().map(|file| {
        let name = file.file_name().into_string().unwrap();
        name.trim_end_matches(".rs").replace('_', "-")
    });
    let only = std::env::var("LOOPTOP_LAB_ONLY").unwrap_or_default();
    let is_wanted = |name: &String| only.is_empty() || only.split(',').any(|one| one == name);
    let mut names: Vec<String> = names
        .filter(|name| name != "mod" && is_wanted(name))
        .collect();
    names.sort();
    names
}

/// The chains of all idle tasks, by types or else by interpretation.
fn read(pid: u32) -> Tally {
    let subject = Subject::find(&Procfs::default(), pid).unwrap();
    let types = Arc::new(Types::load(&subject).unwrap());
    let mut tasks = Tasks::new(&subject, Arc::clone(&types));
    let live = LiveProcess::new(&subject);
    let mut waiting = Waiting::new(live, types, Resolver::new(Some(pid)));
    let process = subject.process();
    let pointer = |tid| match process.thread(tid).syscall() {
        SyscallState::In { sp, .. } | SyscallState::Outside { sp, .. } => Some((tid, sp)),
        _ => None,
    };
    let (mut shapes, mut waits) = (HashMap::new(), BTreeMap::new());
    let mut read = ReadSoFar::default();
    let end = Instant::now() + READ;
    while !read.is_complete && Instant::now() < end {
        let stacks: Vec<(u64, u64)> = process.tids().unwrap().filter_map(pointer).collect();
        let found = tasks.read(&stacks);
        let listing: (Arc<[Task]>, u64) = (found.tasks.clone().into(), found.lacks());
        let now = Instant::now();
        waiting.take_listing(listing, &AddressSet::default(), now);
        waiting.look_at_threads(now);
        waiting.read(Duration::from_secs(1));
        let found = waiting.take();
        shapes.extend(found.shapes);
        for task in found.void {
            waits.remove(&task);
        }
        waits.extend(found.tasks.into_iter().map(|wait| (wait.task, wait)));
        read = found.read;
        std::thread::sleep(Duration::from_millis(50));
    }
    let mut tally = Tally::default();
    for wait in waits.values() {
        tally.add(&shapes[&wait.shape], wait);
    }
    if read.without > 0 {
        tally.idle += read.without;
        let why = read.without_reason.as_deref().unwrap_or("no reason");
        tally
            .reasons
            .insert(format!("nothing is known: {why}"), read.without);
    }
    tally
}

#[test]
#[ignore = "runs the lab: ten minutes"]
fn tasks_of_the_lab_are_understood_to_the_end() {
    let mut all = Tally::default();
    for scenario in scenarios() {
        for mode in ["broken", "fixed"] {
            let lab = Lab::start(&program(), &scenario, mode);
            let tally = read(lab.0.id());
            tally.print(&format!("{scenario} {mode}"));
            all.take(tally);
        }
    }
    all.print("all");
    assert!(all.whole * 100 >= all.idle * WANTED);
}
