//! What each task holds, by what it would give back.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;
use std::time::{Duration, Instant};

use looptop_outside::Subject;
use looptop_outside::awaits::Leaf;
use looptop_outside::awaits::interpreted::{Interpreter, Lock, NotPolled, Sockets};
use looptop_outside::tasks::{Listing, TaskKind, Tasks, Types};
use looptop_procfs::Procfs;

use crate::expected;
use crate::running::{Running, stack_pointers};

/// All of an `RwLock`.
const ALL: u64 = (u32::MAX >> 3) as u64;
/// Its semaphore is not where it begins.
const ELSEWHERE: &[&str] = &["menu"];
/// Tasks are asked again for so long where they have moved.
const PATIENCE: Duration = Duration::from_secs(20);

/// What is held, as it is written: the resource's name, and how much of it.
type Holds = BTreeSet<(String, u64)>;

/// What is written of each task, and of each lock that is held whether it is tokio's.
fn written() -> (HashMap<String, Holds>, BTreeMap<String, bool>) {
    let (mut held, mut locks) = (HashMap::new(), BTreeMap::new());
    for (task, tree) in expected::expected() {
        let mut holds = Holds::new();
        for line in tree.lines() {
            let Some(said) = line.trim().strip_prefix("holds ") else {
                continue;
            };
            let words: Vec<&str> = said.split(' ').collect();
            let [kind, name, "in", ..] = words[..] else {
                continue;
            };
            let is_tokios = matches!(kind, "Mutex" | "RwLock" | "Semaphore");
            let is_word = kind.starts_with("Std") || kind.starts_with("ParkingLot");
            if ELSEWHERE.contains(&name) || !(is_tokios || is_word) {
                continue;
            }
            let amount = match said.rsplit_once(", ") {
                Some((_, "all")) if is_tokios => ALL,
                Some((_, amount)) if is_tokios => amount.parse().unwrap(),
                _ => 1,
            };
            locks.insert(name.to_owned(), is_tokios);
            holds.insert((name.to_owned(), amount));
        }
        held.insert(task, holds);
    }
    (held, locks)
}

/// Of each two actors that send to each other one that sends, and who receives from it.
fn actors(running: &Running) -> Vec<(u64, u64)> {
    let of = |which: &str| {
        let tasks = running.tasks.iter().filter(|(_, name)| *name == which);
        let mut ids: Vec<u64> = tasks.map(|(id, _)| *id).collect();
        ids.sort_unstable();
        ids
    };
    of("actor_left")
        .into_iter()
        .zip(of("actor_right"))
        .collect()
}

/// What is wrong: a task would give back something else than is written of it.
pub(crate) fn problems(running: &Running) -> Vec<String> {
    let (written, locks) = written();
    let asked: Vec<(&str, Lock)> = running
        .resources
        .iter()
        .filter_map(|(address, _, name)| {
            let lock = match locks.get(name)? {
                true => Lock::Semaphore(*address),
                false => Lock::Word(*address & !7),
            };
            Some((&**name, lock))
        })
        .collect();
    let which: Vec<Lock> = asked.iter().map(|(_, lock)| *lock).collect();
    let subject = Subject::find(&Procfs::default(), running.child.id()).unwrap();
    let types = Arc::new(Types::load(&subject).unwrap());
    let mut tasks = Tasks::new(&subject, Arc::clone(&types));
    let mut interpreter = Interpreter::new(&subject);
    interpreter.know(Sockets::of_process(&subject));
    let process = subject.process();
    let is_worker = |tid: u64| {
        let name = process.text(&format!("task/{tid}/comm"));
        name.is_ok_and(|name| name.starts_with("tokio-r"))
    };
    let deadline = Instant::now() + PATIENCE;
    let (mut problems, mut ends) = (Vec::new(), BTreeMap::<String, usize>::new());
    let mut answered: BTreeSet<u64> = BTreeSet::new();
    let (mut played, mut held, mut parts) = (false, 0, 0);
    while answered.len() < running.tasks.len() && Instant::now() < deadline {
        let stacks = stack_pointers(&subject);
        let mut workers = stacks.iter().filter(|(tid, _)| is_worker(*tid));
        played = played || workers.any(|(tid, sp)| interpreter.play(*tid, *sp));
        let listing = tasks.read(&stacks).clone();
        for task in listing.tasks.iter().filter(|t| t.kind == TaskKind::Async) {
            let Some(name) = running.tasks.get(&task.id) else {
                continue;
            };
            let of = types.get(task.vtable).unwrap();
            if answered.contains(&task.id) {
                continue;
            }
            let given = match interpreter.gives_back(task, of, &which) {
                Ok(given) => given,
                Err(NotPolled::Moved | NotPolled::Running) => continue,
                Err(why) => {
                    problems.push(format!("{name}: {why}"));
                    answered.insert(task.id);
                    continue;
                }
            };
            answered.insert(task.id);
            *ends.entry(given.end.to_string()).or_default() += 1;
            let found = asked.iter().zip(&given.permits);
            let found = found.filter(|(_, permits)| **permits > 0);
            let found: Vec<(String, u64)> = found
                .map(|((lock, _), permits)| ((*lock).to_owned(), *permits))
                .collect();
            held += found.len();
            let expected = written.get(name).cloned().unwrap_or_default();
            let is_right =
                found.len() == expected.len() && found.iter().all(|hold| expected.contains(hold));
            parts += usize::from(!given.is_whole());
            if !is_right {
                let end = given.end;
                problems.push(format!(
                    "{name} would give back {found:?}, expected {expected:?}; it {end}"
                ));
            }
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    let listing = tasks.read(&stack_pointers(&subject)).clone();
    problems.extend(wrong_actors(running, &listing, &types, &mut interpreter));
    for (id, name) in &running.tasks {
        if !answered.contains(id) {
            problems.push(format!("{name} has not answered"));
        }
    }
    eprintln!("by drops: {held} holds; {ends:?}");
    // An allocator that needs more memory than it has asks the system.
    if parts * 20 > running.tasks.len() {
        problems.push(format!("{parts} drops ended early: {ends:?}"));
    }
    problems.sort();
    problems.dedup();
    problems
}

/// What is wrong: who receives from an actor does not close its channel, or another does.
fn wrong_actors(
    running: &Running,
    listing: &Listing,
    types: &Types,
    interpreter: &mut Interpreter,
) -> Vec<String> {
    let mut problems = Vec::new();
    for (sender, receiver) in actors(running) {
        let task = |id: u64| listing.tasks.iter().find(|task| task.id == id);
        let (Some(sender), Some(receiver)) = (task(sender), task(receiver)) else {
            problems.push("an actor is not listed".to_owned());
            continue;
        };
        let chain = interpreter.chain(sender, types, &mut |_| Vec::new());
        let room = chain.ok().and_then(|chain| {
            let mut leaves = chain.nodes().filter_map(|node| node.leaf.clone());
            leaves.find_map(|leaf| match leaf {
                Leaf::Resource(wanted) => Some(wanted.address),
                _ => None,
            })
        });
        let Some(channel) = room else {
            problems.push("an actor waits for nothing".to_owned());
            continue;
        };
        for (task, expected) in [(sender, 0), (receiver, 1)] {
            let of = types.get(task.vtable).unwrap();
            let given = interpreter.gives_back(task, of, &[Lock::Receiver(channel)]);
            let found = given.map(|given| given.permits[0]);
            if found != Ok(expected) {
                problems.push(format!(
                    "an actor would close {found:?}, expected {expected}"
                ));
            }
        }
    }
    problems
}
