//! Where the tasks of a real program wait, compared with what was written by hand beside
//! it: `tests/waiting/expected.txt`.
//!
//! `cargo test -p looptop-outside --test chains -- --ignored --nocapture` builds the program
//! into `target/awaits`, a minute for each build. `LOOPTOP_TEST_BUILDS=own,full` takes some
//! of them only.
#![cfg(all(target_os = "linux", target_arch = "x86_64"))]

use std::cell::Cell;
use std::collections::HashMap;
use std::fmt::Write as _;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use looptop_outside::awaits::{
    self, Awaits, Chain, Held, Interest, Leaf, Link, NoChain, Node, NodeKind, Role, Wanted,
};
use looptop_outside::tasks::{TaskKind, Tasks, Types};
use looptop_outside::waits::{Party, Place, ResourceKind, Waits};
use looptop_outside::{ProcessSpace, Subject};
use looptop_procfs::{Procfs, SyscallState};
use looptop_unwind::Memory;

/// Builds of the program: what stands in its manifest, and the compiler's flags.
struct Build {
    name: &'static str,
    tokio: &'static str,
    profile: &'static str,
    flags: &'static str,
}

/// What is asked of people: full debug information of their own crates.
const OWN: &str = "debug = \"full\"\n\
                   [profile.release.package.\"*\"]\ndebug = \"line-tables-only\"\n";

const BUILDS: &[Build] = &[
    Build {
        name: "own",
        tokio: "1.54",
        profile: OWN,
        flags: "",
    },
    Build {
        name: "full",
        tokio: "1.54",
        profile: "debug = \"full\"\nlto = \"fat\"\ncodegen-units = 1\n",
        flags: "--cfg tokio_unstable",
    },
    Build {
        name: "own-1.47",
        tokio: "1.47",
        profile: OWN,
        flags: "-C dwarf-version=5",
    },
    Build {
        name: "plain",
        tokio: "1.54",
        profile: "",
        flags: "",
    },
    Build {
        name: "lines",
        tokio: "1.54",
        profile: "debug = \"line-tables-only\"\n",
        flags: "",
    },
    Build {
        name: "fat",
        tokio: "1.54",
        profile: "debug = \"line-tables-only\"\nlto = \"fat\"\ncodegen-units = 1\n",
        flags: "",
    },
    Build {
        name: "lines-1.47",
        tokio: "1.47",
        profile: "debug = \"line-tables-only\"\n",
        flags: "--cfg tokio_unstable",
    },
    Build {
        name: "debug",
        tokio: "1.54",
        profile: "debug = \"full\"\nopt-level = 0\n",
        flags: "",
    },
];

#[test]
#[ignore = "builds the program in four ways: a minute each"]
fn every_chain_is_as_written_by_hand() {
    let only = std::env::var("LOOPTOP_TEST_BUILDS").unwrap_or_default();
    let wanted = |name: &str| only.is_empty() || only.split(',').any(|word| word == name);
    let mut problems = Vec::new();
    for build in BUILDS.iter().filter(|build| wanted(build.name)) {
        let found = Running::start(&build.program(), 0).problems();
        eprintln!("{:10} {} problems", build.name, found.len());
        problems.extend(
            found
                .iter()
                .map(|problem| format!("{}: {problem}", build.name)),
        );
    }
    assert!(problems.is_empty(), "{}", problems.join("\n"));
}

/// A measurement: `cargo test -p looptop-outside --test chains -- --ignored cost --nocapture`.
#[test]
#[ignore = "measures"]
fn cost() {
    let running = Running::start(&BUILDS[0].program(), 20_000);
    let subject = Subject::find(&Procfs::default(), running.child.id()).unwrap();
    let types = Arc::new(Types::load(&subject).unwrap());
    let before = resident();
    let mut awaits = Awaits::load(&subject, Arc::clone(&types)).unwrap();
    let costs: Vec<_> = awaits.costs().collect();
    println!("{costs:#?}, {} KiB more are resident", resident() - before);
    let mut tasks = Tasks::new(&subject, types);
    let listing = tasks.read(&stack_pointers(&subject)).clone();
    let space = ProcessSpace::of(&subject);
    for look in 0..3 {
        let began = Instant::now();
        let read = |task| awaits.chain(&space, task).ok();
        let chains: Vec<Chain> = listing.tasks.iter().filter_map(read).collect();
        let took = began.elapsed();
        let each = took / chains.len() as u32;
        let began = Instant::now();
        let mut waits = Waits::new();
        awaits::waits(&chains, &mut waits);
        let rings = waits.rings().len();
        let graph = began.elapsed();
        println!(
            "look {look}: {} chains, {each:.1?} each; {rings} rings in {graph:.1?}",
            chains.len()
        );
    }
    println!("{} KiB more are resident", resident() - before);
}

/// KiB of memory that this process has.
fn resident() -> i64 {
    let statm = std::fs::read_to_string("/proc/self/statm").unwrap();
    statm.split(' ').nth(1).unwrap().parse::<i64>().unwrap() * 4
}

impl Build {
    fn program(&self) -> PathBuf {
        let root = Path::new(env!("CARGO_MANIFEST_DIR"));
        let package = root.parent().unwrap().join("target/awaits").join(self.name);
        std::fs::create_dir_all(&package).unwrap();
        let manifest = format!(
            "[workspace]\n\
             [package]\nname = \"waiting\"\nversion = \"0.0.0\"\nedition = \"2024\"\n\
             [[bin]]\nname = \"waiting\"\npath = \"{}\"\n\
             [dependencies]\n\
             futures = {{ version = \"0.3\", default-features = false, features = [\"std\", \"async-await\"] }}\n\
             parking_lot = {{ version = \"0.12\", features = [\"send_guard\"] }}\n\
             tokio = {{ version = \"~{}\", features = [\"full\"] }}\n\
             tower = {{ version = \"0.5\", features = [\"limit\", \"timeout\", \"util\"] }}\n\
             tracing = {{ version = \"0.1\", default-features = false, features = [\"std\"] }}\n\
             [profile.release]\n{}",
            root.join("tests/waiting/program.rs").display(),
            self.tokio,
            self.profile,
        );
        let path = package.join("Cargo.toml");
        if std::fs::read_to_string(&path).ok().as_ref() != Some(&manifest) {
            std::fs::write(&path, manifest).unwrap();
        }
        let built = Command::new(env!("CARGO"))
            .args(["build", "--release", "--quiet", "--target-dir"])
            .arg(package.join("target"))
            .current_dir(&package)
            .env("RUSTFLAGS", self.flags)
            .env_remove("CARGO_ENCODED_RUSTFLAGS")
            .env_remove("CARGO_TARGET_DIR")
            .status()
            .unwrap();
        assert!(built.success(), "{}", self.name);
        package.join("target/release/waiting")
    }
}

/// The program, with what it says of itself.
struct Running {
    child: Child,
    tasks: HashMap<u64, String>,
    descriptors: HashMap<i32, String>,
    /// By address.
    resources: Vec<(u64, String)>,
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Running {
    fn start(program: &Path, more: u32) -> Self {
        let child = Command::new(program)
            .arg(more.to_string())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn();
        let mut running = Self {
            child: child.unwrap(),
            tasks: HashMap::new(),
            descriptors: HashMap::new(),
            resources: Vec::new(),
        };
        let output = running.child.stdout.take().unwrap();
        for line in BufReader::new(output).lines() {
            let line = line.unwrap();
            let words: Vec<&str> = line.split(' ').collect();
            match words[..] {
                ["task", name, id] => {
                    running.tasks.insert(id.parse().unwrap(), name.to_owned());
                }
                ["fd", name, fd] => {
                    running
                        .descriptors
                        .insert(fd.parse().unwrap(), name.to_owned());
                }
                ["resource", name, address] => {
                    let address = address.strip_prefix("0x").unwrap();
                    let address = u64::from_str_radix(address, 16).unwrap();
                    running.resources.push((address, name.to_owned()));
                }
                ["ready"] => break,
                _ => panic!("{line}"),
            }
        }
        running.resources.sort_unstable();
        running
    }

    /// What is wrong with what is seen of it.
    fn problems(&self) -> Vec<String> {
        let subject = Subject::find(&Procfs::default(), self.child.id()).unwrap();
        let types = Arc::new(Types::load(&subject).unwrap());
        let mut awaits = Awaits::load(&subject, Arc::clone(&types)).unwrap();
        let mut tasks = Tasks::new(&subject, types);
        let space = ProcessSpace::of(&subject);
        let mut chains: HashMap<u64, Chain> = HashMap::new();
        let mut missing: HashMap<u64, NoChain> = HashMap::new();
        let deadline = Instant::now() + Duration::from_secs(20);
        while self.tasks.keys().any(|id| !chains.contains_key(id)) && Instant::now() < deadline {
            let listing = tasks.read(&stack_pointers(&subject)).clone();
            for task in listing.tasks.iter().filter(|t| t.kind == TaskKind::Async) {
                match awaits.chain(&space, task) {
                    Ok(chain) => drop(chains.insert(task.id, chain)),
                    Err(why) => drop(missing.insert(task.id, why)),
                }
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        let costs: Vec<_> = awaits.costs().collect();
        eprintln!("{costs:?}");
        let mut problems = Vec::new();
        let listing = tasks.read(&stack_pointers(&subject)).clone();
        for seed in 1..40 {
            // Whatever memory says, a look ends, and does not take long.
            let liar = Liar {
                space: &space,
                random: Cell::new(seed),
            };
            let began = Instant::now();
            for task in &listing.tasks {
                let _ = awaits.chain(&liar, task);
            }
            let took = began.elapsed() / listing.tasks.len() as u32;
            if took > Duration::from_millis(100) {
                problems.push(format!("memory that lies takes {took:?} a task"));
            }
        }
        let expected = expected();
        for (id, name) in &self.tasks {
            let Some(expected) = expected.get(name) else {
                problems.push(format!("{name}: nothing is expected of it"));
                continue;
            };
            match chains.get(id) {
                None => problems.push(format!("{name}: no chain, {:?}", missing.get(id))),
                Some(chain) => {
                    let mut text = String::new();
                    if let Some(root) = &chain.root {
                        self.render(root, 1, &mut text);
                    }
                    let (found, expected) = (Tree::of(&text), Tree::of(expected));
                    if found != expected || chain.cut.is_some() || !chain.is_certain {
                        problems.push(format!(
                            "{name} (cut {:?}, certain {}):\n{found}expected:\n{expected}",
                            chain.cut, chain.is_certain
                        ));
                    }
                }
            }
        }
        for name in expected.keys() {
            if !self.tasks.values().any(|known| known == name) {
                problems.push(format!("{name}: there is no such task"));
            }
        }
        problems.extend(self.wrong_rings(chains.values()));
        problems
    }

    /// The rings, with the lines of both sides.
    fn wrong_rings<'a>(&self, chains: impl Iterator<Item = &'a Chain>) -> Vec<String> {
        let mut waits = Waits::new();
        awaits::waits(chains, &mut waits);
        let name = |party: Party| match party {
            Party::Task(id) => self.tasks.get(&id).cloned().unwrap_or_default(),
            Party::Thread(tid) => format!("thread {tid}"),
        };
        let marks = marks();
        let place = |place: Option<&Place>| {
            let found = place.and_then(|place| mark(&marks, &place.file, place.line));
            found.unwrap_or_else(|| format!("{place:?}"))
        };
        let rings = waits.rings();
        let mut found: Vec<String> = rings
            .iter()
            .map(|ring| {
                let mut links: Vec<String> = ring
                    .links
                    .iter()
                    .map(|link| {
                        let hold = link.hold.as_ref().and_then(|hold| hold.place.as_ref());
                        format!(
                            "{} {} -> {} {}",
                            name(link.party),
                            place(link.want.place.as_ref()),
                            name(link.giver),
                            place(hold)
                        )
                    })
                    .collect();
                links.sort();
                let behind: Vec<String> = ring.behind.iter().map(|p| name(*p)).collect();
                format!("{} | {} | {behind:?}", links.join(", "), ring.is_certain)
            })
            .collect();
        found.sort();
        let mut expected = [
            "abba_reload #abba_reload -> abba_status #abba_status, \
             abba_status #abba_status -> abba_reload #abba_reload | true | [\"abba_late\"]",
            "reads_twice #reads_again -> writes_between #writes_between, \
             writes_between #writes_between -> reads_twice #reads_twice | true | []",
            // How many permits there are its semaphore does not say.
            "self_call #self_call -> self_call #self_over | false | []",
            "actor_left #actor -> actor_right #actor, \
             actor_right #actor -> actor_left #actor | true | []",
            "asks_left #asks -> asks_right #asks, \
             asks_right #asks -> asks_left #asks | true | []",
        ];
        expected.sort_unstable();
        if found == expected {
            return Vec::new();
        }
        vec![format!(
            "rings:\n{}\nexpected:\n{}",
            found.join("\n"),
            expected.join("\n")
        )]
    }

    fn render(&self, node: &Node, depth: usize, text: &mut String) {
        let is_async = matches!(node.kind, NodeKind::AsyncFn | NodeKind::AsyncBlock);
        let is_plumbing = is_async && node.name.starts_with("tokio::");
        let depth_within = if is_plumbing { depth } else { depth + 1 };
        if !is_plumbing {
            let _ = writeln!(text, "{:1$}{2}", "", depth * 2, self.line(node));
        }
        for held in &node.holds {
            let _ = writeln!(text, "{:1$}{2}", "", depth_within * 2, self.held(held));
        }
        for child in &node.children {
            self.render(child, depth_within, text);
        }
    }

    fn line(&self, node: &Node) -> String {
        let link = match node.link {
            Link::Awaited => "",
            Link::NotStarted => "not started: ",
            Link::Kept => "kept: ",
        };
        let path = node.name.split('<').next().unwrap();
        let last = path.rsplit("::").next().unwrap();
        let is_macro = node.is_of_macro();
        let own = || {
            let path = path.strip_prefix("waiting::").unwrap_or(path);
            let parts = path.split("::").filter(|part| !part.starts_with('{'));
            parts.collect::<Vec<_>>().join("::")
        };
        let name = match (node.kind, &node.leaf) {
            (_, Some(leaf)) => self.leaf(leaf),
            (NodeKind::AsyncFn, _) => own(),
            (NodeKind::AsyncBlock, _) => format!("{}{{}}", own()),
            (NodeKind::Select, _) if is_macro => "select".to_owned(),
            (NodeKind::Join, _) if is_macro => "join".to_owned(),
            (NodeKind::Select, _) => format!("{last}, any"),
            (NodeKind::Join, _) => format!("{last}, all"),
            (NodeKind::Wrapper | NodeKind::Combinator, _) => last.to_owned(),
            (NodeKind::Leaf, None) => format!("? {}", node.name),
        };
        let location = node.location.as_ref();
        let place = location.map(|at| mark(&marks(), &at.file, at.line).unwrap_or(at.to_string()));
        let place = place.map_or(String::new(), |place| {
            let place = if node.by_macro {
                place.replace('#', "~")
            } else {
                place
            };
            format!(" {place}")
        });
        format!("{link}{name}{place}")
    }

    /// The resource in which an address is.
    fn resource(&self, address: u64) -> String {
        let before = self.resources.iter().rev();
        let mut before = before.skip_while(|(at, _)| *at > address);
        let name = before.next().filter(|(at, _)| address - at < 128);
        name.map_or(String::new(), |(_, name)| format!(" {name}"))
    }

    fn held(&self, held: &Held) -> String {
        let resource = self.resource(held.address);
        let amount = match (held.role, held.amount) {
            (Role::Receiver, _) => ", receiver".to_owned(),
            (Role::Sender, _) => ", sender".to_owned(),
            (Role::Guard, 1) => String::new(),
            (Role::Guard, amount) => format!(", {}", many(amount)),
        };
        format!("holds {:?}{resource} in {}{amount}", held.kind, held.name)
    }

    fn leaf(&self, leaf: &Leaf) -> String {
        let of = match leaf {
            Leaf::Resource(wanted) => self.wanted(wanted),
            Leaf::Task { id, .. } => {
                let name = id.and_then(|id| self.tasks.get(&id));
                format!("Task {}", name.map_or("?", String::as_str))
            }
            Leaf::Timer { due } => {
                let now = monotonic();
                let hours = (due.as_secs_f64() - now.as_secs_f64()) / 3_600.0;
                format!("Timer {} h", hours.round())
            }
            Leaf::Socket { fd, interest } => {
                let name = fd.and_then(|fd| self.descriptors.get(&fd));
                let interest = match interest {
                    Interest::Unknown => String::new(),
                    interest => format!(", {interest:?}"),
                };
                format!("Socket {}{interest}", name.map_or("?", String::as_str))
            }
            Leaf::Never => "Never".to_owned(),
        };
        format!("-> {of}")
    }

    fn wanted(&self, wanted: &Wanted) -> String {
        let named = format!("{:?}{}", wanted.kind, self.resource(wanted.address));
        let senders = wanted.senders.map(|senders| format!("{senders} senders"));
        let senders = senders.unwrap_or_default();
        match wanted.kind {
            ResourceKind::RwLock | ResourceKind::Semaphore => {
                assert_eq!(wanted.free, Some(0), "{wanted:?}");
                format!("{named}, wants {}", many(wanted.amount))
            }
            ResourceKind::Barrier => {
                let (arrived, of) = (wanted.arrived.unwrap(), wanted.total.unwrap());
                format!("{named}, {arrived} of {of}")
            }
            ResourceKind::Mpsc if wanted.senders.is_none() => {
                let (queued, of) = (wanted.queued.unwrap(), wanted.total.unwrap());
                format!("{named} room, {queued} of {of}")
            }
            ResourceKind::Mpsc => {
                format!(
                    "{named} message, {senders}, {} queued",
                    wanted.queued.unwrap()
                )
            }
            ResourceKind::Oneshot if wanted.amount == 0 => format!("{named} closed"),
            ResourceKind::Oneshot => format!("{named} message, {senders}"),
            _ if senders.is_empty() => named,
            _ => format!("{named}, {senders}"),
        }
    }
}

/// Memory of which some words are others'.
struct Liar<'a> {
    space: &'a ProcessSpace,
    random: Cell<u64>,
}

impl Memory for Liar<'_> {
    fn read(&self, address: u64, buffer: &mut [u8]) -> usize {
        let read = self.space.read(address, buffer);
        let random = self.random.get();
        let random = random.wrapping_mul(0x5851_f42d_4c95_7f2d).wrapping_add(1);
        self.random.set(random);
        // The first words are what a task is known by.
        if !address.is_multiple_of(128) && (random >> 60) == 0 {
            let byte = (random >> 40) as u8;
            let at = (random >> 50) as usize % buffer.len().max(1);
            if let Some(changed) = buffer.get_mut(at) {
                *changed = byte;
            }
        }
        read
    }
}

fn many(amount: u64) -> String {
    if amount >= 1 << 20 {
        "all".to_owned()
    } else {
        amount.to_string()
    }
}

/// The system's monotonic clock, as long as the machine was not suspended.
fn monotonic() -> Duration {
    let text = std::fs::read_to_string("/proc/uptime").unwrap();
    Duration::from_secs_f64(text.split(' ').next().unwrap().parse().unwrap())
}

fn stack_pointers(subject: &Subject) -> Vec<(u64, u64)> {
    let process = subject.process();
    let pointer = |tid| match process.thread(tid).syscall() {
        SyscallState::In { sp, .. } | SyscallState::Outside { sp, .. } => Some((tid, sp)),
        _ => None,
    };
    process.tids().unwrap().filter_map(pointer).collect()
}

fn sources() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/waiting")
}

/// The marks of the program's sources, by file and line.
fn marks() -> HashMap<(String, u32), String> {
    let mut marks = HashMap::new();
    for file in std::fs::read_dir(sources()).unwrap().flatten() {
        let name = file.file_name().into_string().unwrap();
        let text = std::fs::read_to_string(file.path()).unwrap();
        for (line, number) in text.lines().zip(1..) {
            if let Some((code, mark)) = line.rsplit_once("// #") {
                // One that stands alone is of the line before it.
                let of = if code.trim().is_empty() {
                    number - 1
                } else {
                    number
                };
                marks.insert((name.clone(), of), mark.trim().to_owned());
            }
        }
    }
    marks
}

fn mark(marks: &HashMap<(String, u32), String>, file: &str, line: u32) -> Option<String> {
    let name = file.rsplit('/').next()?;
    let mark = marks.get(&(name.to_owned(), line))?;
    Some(format!("#{mark}"))
}

/// What is expected of each task.
fn expected() -> HashMap<String, String> {
    let text = std::fs::read_to_string(sources().join("expected.txt")).unwrap();
    let mut expected: HashMap<String, String> = HashMap::new();
    let mut name = String::new();
    for line in text
        .lines()
        .filter(|line| !line.starts_with('#') && !line.is_empty())
    {
        if line.starts_with(' ') {
            let of = expected.get_mut(&name).unwrap();
            let _ = writeln!(of, "{line}");
        } else {
            name = line.to_owned();
            let before = expected.insert(name.clone(), String::new());
            assert_eq!(before, None, "{name} is there twice");
        }
    }
    expected
}

/// Lines and those below them, in the order of their texts.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Tree {
    line: String,
    below: Vec<Self>,
}

impl Tree {
    fn of(text: &str) -> Self {
        let lines: Vec<(usize, &str)> = text
            .lines()
            .map(|line| {
                let trimmed = line.trim_start();
                (line.len() - trimmed.len(), trimmed)
            })
            .collect();
        Self {
            line: String::new(),
            below: Self::all(&lines),
        }
    }

    fn all(mut lines: &[(usize, &str)]) -> Vec<Self> {
        let mut trees = Vec::new();
        while let Some(((depth, line), rest)) = lines.split_first() {
            let end = rest.iter().position(|(other, _)| other <= depth);
            let (below, after) = rest.split_at(end.unwrap_or(rest.len()));
            let (times, line) = line
                .split_once(" x ")
                .and_then(|(times, line)| Some((times.parse().ok()?, line)))
                .unwrap_or((1, *line));
            for _ in 0..times {
                trees.push(Self {
                    line: line.to_owned(),
                    below: Self::all(below),
                });
            }
            lines = after;
        }
        trees.sort();
        trees
    }

    fn write(&self, f: &mut std::fmt::Formatter<'_>, depth: usize) -> std::fmt::Result {
        for below in &self.below {
            writeln!(f, "{:1$}{2}", "", depth * 2, below.line)?;
            below.write(f, depth + 1)?;
        }
        Ok(())
    }
}

impl std::fmt::Display for Tree {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.write(f, 1)
    }
}
