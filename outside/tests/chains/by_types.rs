//! Chains by types.

use std::cell::Cell;
use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use looptop_outside::awaits::{self, Awaits, Chain, Leaf, NoChain, Node};
use looptop_outside::tasks::{TaskKind, Tasks, Types};
use looptop_outside::waits::{Party, Place, Waits};
use looptop_outside::{ProcessSpace, Subject};
use looptop_procfs::Procfs;
use looptop_unwind::Memory;

use crate::expected::{Marks, Tree, expected};
use crate::render::Render;
use crate::running::{Running, stack_pointers};

/// As many tasks are about one set of them.
const KINDS: usize = 140;

/// What tasks call what they hold and wait for.
const NAMES: &[(&str, &[&str])] = &[
    ("keep_orders", &["holds shop.orders"]),
    ("mutex", &["waits for shop.orders"]),
    ("write", &["waits for shop.prices"]),
    ("notified", &["waits for shop.bell"]),
    ("second_menu", &["waits for shop.menu"]),
    ("owned_permit", &["waits for tables"]),
    ("keep_tables", &["holds tables"]),
    ("recv", &["holds jobs", "waits for jobs"]),
    ("oneshot", &["waits for answer"]),
    ("watch", &["waits for level"]),
    (
        "select_loop",
        &["holds queue", "holds queue", "waits for queue"],
    ),
    (
        "abba_status",
        &["holds audit.cancellers", "waits for audit.registry"],
    ),
    ("reads_twice", &["holds settings", "waits for settings"]),
    ("self_call", &["holds pool", "waits for pool"]),
    ("owned_mutex", &["holds lock"]),
];

/// What a node calls what it holds and waits for.
fn called(node: &Node) -> Vec<String> {
    let holds = node.holds.iter().filter_map(|held| held.resource.as_ref());
    let mut called: Vec<String> = holds.map(|name| format!("holds {name}")).collect();
    if let Some(Leaf::Resource(wanted)) = &node.leaf {
        called.extend(wanted.name.iter().map(|name| format!("waits for {name}")));
    }
    called
}

/// What was read of the tasks that the program has named.
pub(crate) struct Found {
    pub(crate) awaits: Awaits,
    pub(crate) chains: HashMap<u64, Chain>,
    missing: HashMap<u64, NoChain>,
}

pub(crate) fn chains(running: &Running) -> Found {
    let subject = Subject::find(&Procfs::default(), running.child.id()).unwrap();
    let types = Arc::new(Types::load(&subject).unwrap());
    let mut tasks = Tasks::new(&subject, Arc::clone(&types));
    let space = ProcessSpace::of(&subject);
    let mut found = Found {
        awaits: Awaits::load(&subject, types).unwrap(),
        chains: HashMap::new(),
        missing: HashMap::new(),
    };
    let deadline = Instant::now() + Duration::from_secs(20);
    let mut is_done = false;
    while !is_done && Instant::now() < deadline {
        let listing = tasks.read(&stack_pointers(&subject)).clone();
        for task in listing.tasks.iter().filter(|t| t.kind == TaskKind::Async) {
            if found.chains.contains_key(&task.id) {
                continue;
            }
            match found.awaits.chain(&space, task) {
                Ok(chain) => drop(found.chains.insert(task.id, chain)),
                Err(why) => drop(found.missing.insert(task.id, why)),
            }
        }
        std::thread::sleep(Duration::from_millis(20));
        let mut ids = running.tasks.keys();
        is_done = ids.all(|id| found.chains.contains_key(id));
    }
    found
}

/// What is wrong with what types say of it.
pub(crate) fn problems(running: &Running, has_all_types: bool) -> Vec<String> {
    let Found {
        mut awaits,
        chains,
        missing,
    } = chains(running);
    let subject = Subject::find(&Procfs::default(), running.child.id()).unwrap();
    let space = ProcessSpace::of(&subject);
    let mut tasks = Tasks::new(&subject, Arc::new(Types::load(&subject).unwrap()));
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
        let tasks = listing.tasks.len().min(KINDS);
        for task in &listing.tasks[..tasks] {
            let _ = awaits.chain(&liar, task);
        }
        let took = began.elapsed() / tasks as u32;
        if took > Duration::from_millis(100) {
            problems.push(format!("memory that lies takes {took:?} a task"));
        }
    }
    let expected = expected();
    let marks = Marks::read();
    let render = Render {
        running,
        marks: &marks,
    };
    eprintln!(
        "{} tasks, {} expectations",
        running.tasks.len(),
        expected.len()
    );
    for (id, name) in &running.tasks {
        let own = expected.get(&format!("{name}, own"));
        let own = own.filter(|_| !has_all_types);
        let Some(expected) = own.or(expected.get(name)) else {
            problems.push(format!("{name}: nothing is expected of it"));
            continue;
        };
        match chains.get(id) {
            None => problems.push(format!("{name}: no chain, {:?}", missing.get(id))),
            Some(chain) => {
                let mut text = String::new();
                if let Some(root) = &chain.root {
                    render.render(root, 1, &mut text);
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
    let names = expected.keys().filter(|name| !name.contains(", "));
    for name in names {
        if !running.tasks.values().any(|known| known == name) {
            problems.push(format!("{name}: there is no such task"));
        }
    }
    for (task, expected) in NAMES {
        let id = running.tasks.iter().find(|(_, name)| name == task);
        let chain = id.and_then(|(id, _)| chains.get(id));
        let nodes = chain.into_iter().flat_map(Chain::nodes);
        let mut called: Vec<String> = nodes.flat_map(called).collect();
        called.sort();
        if called != *expected {
            problems.push(format!("{task} calls {called:?}, and not {expected:?}"));
        }
    }
    problems.extend(wrong_rings(running, &marks, chains.values()));
    problems
}

/// The rings, with the lines of both sides.
fn wrong_rings<'a>(
    running: &Running,
    marks: &Marks,
    chains: impl Iterator<Item = &'a Chain>,
) -> Vec<String> {
    let mut waits = Waits::new();
    awaits::waits(chains, &mut waits);
    let name = |party: Party| match party {
        Party::Task(id) => running.tasks.get(&id).cloned().unwrap_or_default(),
        Party::Thread(tid) => format!("thread {tid}"),
    };
    let place = |place: Option<&Place>| {
        let found = place.and_then(|place| marks.at(&place.file, place.line));
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
    let sets = running.tasks.values().filter(|name| *name == "abba_late");
    let sets = sets.count();
    let expected = [
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
    let expected = expected.iter().flat_map(|ring| vec![*ring; sets]);
    let mut expected: Vec<&str> = expected.collect();
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
