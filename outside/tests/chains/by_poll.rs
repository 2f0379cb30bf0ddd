//! Chains by interpreted polls.

use std::collections::HashMap;
use std::fmt::Write as _;
use std::sync::Arc;
use std::time::{Duration, Instant};

use looptop_outside::Subject;
use looptop_outside::awaits::interpreted::{Interpreter, Sockets};
use looptop_outside::awaits::{Chain, Cut, Leaf, NoChain, Node, NodeKind};
use looptop_outside::tasks::{TaskKind, Tasks, Types};
use looptop_procfs::Procfs;

use crate::build::Build;
use crate::by_types;
use crate::expected::{Marks, Tree, expected, unnamed};
use crate::names::Names;
use crate::render::{Render, unknown};
use crate::running::{Running, stack_pointers};

/// Of a hundred tasks so many.
const KNOWN_WITHOUT_NAMES: usize = 60;

/// What is wrong with what polls on copies say of it. Without lines they say less.
pub(crate) fn problems(running: &Running, build: &Build) -> Vec<String> {
    let has_lines = build.has_lines;
    let (chains, missing) = chains(running, has_lines);
    let marks = Marks::read();
    let render = Render {
        running,
        marks: &marks,
    };
    let (expected, unnamed) = (expected(), unnamed());
    let (mut problems, mut allocating) = (Vec::new(), 0);
    for (id, name) in &running.tasks {
        let by_types = &expected[name];
        if chains.get(id).is_some_and(needs_memory) {
            allocating += 1;
            continue;
        }
        let Some(chain) = chains.get(id) else {
            // Its functions were all inlined into tokio's.
            if has_lines || missing.get(id) != Some(&NoChain::Unnamed) {
                problems.push(format!("{name}: no chain, {:?}", missing.get(id)));
            }
            continue;
        };
        if has_lines {
            // What was inlined has lost its type.
            let of_build = (!build.has_types).then(|| format!("{name}, lines"));
            let of_build = of_build.and_then(|key| expected.get(&key));
            let special = of_build.or_else(|| expected.get(&format!("{name}, interpreted")));
            let expected = match special {
                Some(special) => Tree::of(special),
                None => Tree::of(by_types).as_polled(),
            };
            let mut text = String::new();
            text.push_str(match &chain.cut {
                None => "",
                Some(Cut::List) => "  cut, list\n",
                Some(_) => "  cut\n",
            });
            if let Some(node) = &chain.root {
                tree(&render, node, 1, &mut text);
            }
            let found = Tree::of(&text);
            if found != expected || !chain.is_certain {
                let (cut, certain) = (&chain.cut, chain.is_certain);
                problems.push(format!(
                    "{name} (cut {cut:?}, certain {certain}):\n{found}expected:\n{expected}"
                ));
            }
        } else {
            problems.extend(less(&render, name, chain, &unnamed[name], by_types));
        }
    }
    if allocating * 20 > running.tasks.len() {
        problems.push(format!("{allocating} polls needed more memory"));
    }
    problems
}

/// Whether a poll came to where an allocator asks for more memory than it has, which few do
/// and depends on all that the program has allocated before: the chain says that it ends there.
fn needs_memory(chain: &Chain) -> bool {
    const ASKS: [&str; 3] = ["system call 9 ", "system call 10 ", "system call 12 "];
    let Some(Cut::Poll(why)) = &chain.cut else {
        return false;
    };
    ASKS.iter().any(|call| why.starts_with(call))
}

/// What is wrong with a chain of a build in which what was inlined has no name.
fn less(
    render: &Render<'_>,
    name: &str,
    chain: &Chain,
    expected: &str,
    by_types: &str,
) -> Option<String> {
    let (perhaps, expected) = match expected.strip_prefix("? ") {
        Some(expected) => (true, expected),
        None => (false, expected),
    };
    let mut expected: Vec<&str> = expected.split("; ").filter(|text| *text != "-").collect();
    expected.sort_unstable();
    let mut found: Vec<String> = chain
        .nodes()
        .filter_map(|node| node.leaf.as_ref())
        .map(|leaf| render.leaf(leaf).trim_start_matches("-> ").to_owned())
        .collect();
    found.sort_unstable();
    let is_there = |text: &String| expected.contains(&text.as_str());
    let is_right = if perhaps {
        found.iter().all(is_there)
    } else {
        found == expected
    };
    // Functions of the program that are named are those that are there, in their order.
    let mut functions = by_types.lines().filter_map(|line| {
        let (function, _) = line
            .trim()
            .split_once(" #")
            .or(line.trim().split_once(" ~"))?;
        Some(function.trim_end_matches("{}"))
    });
    let own = chain.nodes().filter_map(|node| {
        let own = node.name.strip_prefix("waiting::")?;
        Some(own.replace("::{{closure}}", ""))
    });
    let mut strange: Vec<String> = own
        .filter(|own| *own != "forever" && !functions.any(|function| function == own))
        .collect();
    // The one within a stream or a list may come first.
    strange.dedup();
    let is_certain = chain.is_certain;
    if is_right && strange.is_empty() && !is_certain {
        return None;
    }
    Some(format!(
        "{name} (certain {is_certain}, strange {strange:?}): {found:?}, expected {expected:?}"
    ))
}

/// What is wrong with what is known of a program without names: it may be less, and of a
/// lock it may be known only that it has permits.
pub(crate) fn wrong_without_names(running: &Running) -> Vec<String> {
    let (chains, _) = chains(running, false);
    let marks = Marks::read();
    let render = Render {
        running,
        marks: &marks,
    };
    let unnamed = unnamed();
    let of_permits = |text: &str| match text.split_once(' ') {
        Some(("Mutex" | "OnceCell", name)) if !name.contains("wants") => {
            format!("Semaphore {name}, wants 1")
        }
        Some(("RwLock" | "OnceCell", rest)) => format!("Semaphore {rest}"),
        _ => text.to_owned(),
    };
    let mut problems = Vec::new();
    let (mut wait, mut known) = (0, 0);
    for (id, name) in &running.tasks {
        let expected = unnamed[name].trim_start_matches("? ");
        let expected: Vec<String> = expected
            .split("; ")
            .filter(|text| *text != "-")
            .map(of_permits)
            .collect();
        wait += usize::from(!expected.is_empty());
        let Some(chain) = chains.get(id) else {
            continue;
        };
        let leaves = chain.nodes().filter_map(|node| node.leaf.as_ref());
        let found: Vec<String> = leaves
            .map(|leaf| of_permits(render.leaf(leaf).trim_start_matches("-> ")))
            .collect();
        let is_known = expected.iter().all(|text| found.contains(text));
        known += usize::from(is_known && !expected.is_empty());
        if chain.is_certain || found.iter().any(|text| !expected.contains(text)) {
            problems.push(format!("{name}: {found:?}, expected {expected:?}"));
        }
    }
    eprintln!("without names: of {wait} tasks {known} are known");
    if known * 100 < wait * KNOWN_WITHOUT_NAMES {
        problems.push(format!("of {wait} tasks only {known} are known"));
    }
    problems
}

/// A node and those below it, by marks alone, without what only passes polls on.
fn tree(render: &Render<'_>, node: &Node, depth: usize, text: &mut String) {
    let is_async = matches!(node.kind, NodeKind::AsyncFn | NodeKind::AsyncBlock);
    let mark = node.location.as_ref().filter(|_| is_async).map(|at| {
        let lines = at.line..at.line + if node.by_macro { 5 } else { 1 };
        let mut marks = lines.map(|line| render.marks.at(&at.file, line));
        marks.find_map(|mark| mark).unwrap_or(at.to_string())
    });
    let path = node.name.split('<').next().unwrap_or(&node.name);
    let last = path.rsplit("::").next().unwrap_or(path);
    let line = match (node.kind, &node.leaf) {
        // It is seen where nothing was inlined.
        (_, Some(Leaf::Never)) => None,
        (_, Some(leaf)) => Some(render.leaf(leaf)),
        (NodeKind::AsyncFn | NodeKind::AsyncBlock, _) if is_plumbing(node) => None,
        (NodeKind::AsyncFn | NodeKind::AsyncBlock, _) => Some(mark.unwrap_or("?".to_owned())),
        (NodeKind::Select, _) if node.is_of_macro() => Some("select".to_owned()),
        (NodeKind::Join, _) if node.is_of_macro() => Some("join".to_owned()),
        (NodeKind::Select, _) => Some(format!("{last}, any")),
        (NodeKind::Join, _) => Some(format!("{last}, all")),
        (NodeKind::Wrapper | NodeKind::Combinator, _) => None,
        (NodeKind::Leaf, None) => Some(unknown(node)),
    };
    let within = depth + usize::from(line.is_some());
    if let Some(line) = line {
        let _ = writeln!(text, "{:1$}{line}", "", depth * 2);
    }
    for child in &node.children {
        tree(render, child, within, text);
    }
}

/// Whether it is an async fn of a crate that the program uses.
fn is_plumbing(node: &Node) -> bool {
    let at = node.location.as_ref();
    at.is_some_and(|at| at.source.contains("/registry/src/"))
}

/// What tasks wait at that macros wrote, where a poll has said it.
const BY_MACROS: &[(&str, &str)] = &[
    ("select", "#in_select"),
    ("select_loop", "#in_select_loop"),
    ("join", "#in_join"),
    ("futures_join", "#in_futures_join"),
    ("half_joined", "#in_half_joined"),
];

/// What is wrong with the lines of macros that chains by types have from polls.
pub(crate) fn wrong_lines(running: &Running) -> Vec<String> {
    let (polled, _) = chains(running, true);
    let mut by_types = by_types::chains(running);
    let marks = Marks::read();
    let mut problems = Vec::new();
    for (name, expected) in BY_MACROS {
        let id = running.tasks.iter().find(|(_, known)| known == name);
        let id = id.unwrap().0;
        let (awaits, chains) = (&mut by_types.awaits, &mut by_types.chains);
        let chain = chains.get_mut(id).unwrap();
        let wanted = awaits.wants_lines(chain);
        awaits.learn_lines(chain, &polled[id]);
        let root = chain.root.as_ref().unwrap();
        let at = root.location.as_ref().unwrap();
        let mark = marks.at(&at.file, at.line);
        if !wanted || root.by_macro || mark.as_deref() != Some(expected) {
            problems.push(format!(
                "{name} (wanted {wanted}) is at {at}, and not {expected}"
            ));
        }
    }
    problems
}

/// The chains of all tasks that the program has named, and why there is none of others.
fn chains(running: &Running, has_lines: bool) -> (HashMap<u64, Chain>, HashMap<u64, NoChain>) {
    let subject = Subject::find(&Procfs::default(), running.child.id()).unwrap();
    let process = subject.process();
    let types = Arc::new(Types::load(&subject).unwrap());
    let mut tasks = Tasks::new(&subject, Arc::clone(&types));
    let mut interpreter = Interpreter::new(&subject);
    interpreter.know(Sockets::of_process(&subject));
    let mut names = Names::of(process);
    let is_worker = |tid: u64| {
        let name = process.text(&format!("task/{tid}/comm"));
        name.is_ok_and(|name| name.starts_with("tokio-r"))
    };
    let deadline = Instant::now() + Duration::from_secs(20);
    let (mut chains, mut missing) = (HashMap::new(), HashMap::new());
    let mut played = false;
    let is_done = |chains: &HashMap<u64, Chain>, missing: &HashMap<u64, NoChain>| {
        running.tasks.keys().all(|id| {
            let has_no_name = !has_lines && missing.get(id) == Some(&NoChain::Unnamed);
            chains.contains_key(id) || has_no_name
        })
    };
    while !is_done(&chains, &missing) && Instant::now() < deadline {
        let stacks = stack_pointers(&subject);
        let mut workers = stacks.iter().filter(|(tid, _)| is_worker(*tid));
        played = played || workers.any(|(tid, sp)| interpreter.play(*tid, *sp));
        let listing = tasks.read(&stacks).clone();
        for task in listing.tasks.iter().filter(|t| t.kind == TaskKind::Async) {
            if chains.contains_key(&task.id) {
                continue;
            }
            match interpreter.chain(task, &types, &mut |at| names.functions(at)) {
                Ok(chain) => drop(chains.insert(task.id, chain)),
                Err(why) => drop(missing.insert(task.id, why)),
            }
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    (chains, missing)
}
