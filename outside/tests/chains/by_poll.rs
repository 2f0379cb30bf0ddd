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

use crate::expected::{Marks, Tree, expected, unnamed};
use crate::names::Names;
use crate::render::Render;
use crate::running::{Running, stack_pointers};

/// What is wrong with what polls on copies say of it. Without lines they say less.
pub(crate) fn problems(running: &Running, has_lines: bool) -> Vec<String> {
    let (chains, missing) = chains(running, has_lines);
    let marks = Marks::read();
    let render = Render {
        running,
        marks: &marks,
    };
    let (expected, unnamed) = (expected(), unnamed());
    let mut problems = Vec::new();
    for (id, name) in &running.tasks {
        let by_types = &expected[name];
        let Some(chain) = chains.get(id) else {
            // Its functions were all inlined into tokio's.
            if has_lines || missing.get(id) != Some(&NoChain::Unnamed) {
                problems.push(format!("{name}: no chain, {:?}", missing.get(id)));
            }
            continue;
        };
        if has_lines {
            let special = expected.get(&format!("{name}, interpreted"));
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
    problems
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
        (NodeKind::AsyncFn | NodeKind::AsyncBlock, _) if is_of_tokio(node) => None,
        (NodeKind::AsyncFn | NodeKind::AsyncBlock, _) => Some(mark.unwrap_or("?".to_owned())),
        (NodeKind::Select, _) if node.is_of_macro() => Some("select".to_owned()),
        (NodeKind::Join, _) if node.is_of_macro() => Some("join".to_owned()),
        (NodeKind::Select, _) => Some(format!("{last}, any")),
        (NodeKind::Join, _) => Some(format!("{last}, all")),
        (NodeKind::Wrapper | NodeKind::Combinator, _) => None,
        (NodeKind::Leaf, None) => Some(format!("? {}", node.name)),
    };
    let within = depth + usize::from(line.is_some());
    if let Some(line) = line {
        let _ = writeln!(text, "{:1$}{line}", "", depth * 2);
    }
    for child in &node.children {
        tree(render, child, within, text);
    }
}

fn is_of_tokio(node: &Node) -> bool {
    let own = node.location.as_ref();
    node.name.starts_with("tokio::") || own.is_some_and(|at| at.source.contains("/tokio-1."))
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
            match interpreter.chain(task, &types, &mut |at| names.functions(at)) {
                Ok(chain) => drop(chains.insert(task.id, chain)),
                Err(why) => drop(missing.insert(task.id, why)),
            }
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    (chains, missing)
}
