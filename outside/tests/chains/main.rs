//! Where the tasks of a real program wait, by types and by interpreted polls, compared with
//! what was written by hand beside it: `tests/waiting/expected.txt` and `unnamed.txt`.
//!
//! `cargo test -p looptop-outside --test chains -- --ignored --nocapture` builds the program
//! into `target/awaits`, a minute for each build. `LOOPTOP_TEST_BUILDS=own,full` takes some
//! of them only.
#![cfg(all(target_os = "linux", not(looptop_elsewhere), target_arch = "x86_64"))]

mod build;
mod by_drop;
mod by_poll;
mod by_types;
mod expected;
#[path = "../names/mod.rs"]
mod names;
mod render;
mod running;

use std::sync::Arc;
use std::time::Instant;

use looptop_outside::awaits::{self, Awaits, Chain};
use looptop_outside::tasks::{Tasks, Types};
use looptop_outside::waits::Waits;
use looptop_outside::{ProcessSpace, Subject};
use looptop_procfs::Procfs;

use build::BUILDS;
use running::{Running, stack_pointers};

/// How often the program starts all of its tasks: a thousand of them.
/// `LOOPTOP_TEST_SETS` has another number.
const SETS: u32 = 9;

fn sets() -> u32 {
    let set = std::env::var("LOOPTOP_TEST_SETS").ok();
    set.map_or(SETS, |sets| sets.parse().unwrap())
}

#[test]
#[ignore = "builds the program in many ways: a minute each"]
fn every_chain_is_as_written_by_hand() {
    let only = std::env::var("LOOPTOP_TEST_BUILDS").unwrap_or_default();
    let wanted = |name: &str| only.is_empty() || only.split(',').any(|word| word == name);
    let mut problems = Vec::new();
    for build in BUILDS.iter().filter(|build| wanted(build.name)) {
        let running = Running::start(&build.program(), 0, sets());
        let mut add = |way: &str, found: Vec<String>| {
            eprintln!("{:10} {way}: {} problems", build.name, found.len());
            let found = found.iter();
            problems.extend(found.map(|problem| format!("{}, {way}: {problem}", build.name)));
        };
        if build.has_types {
            add(
                "by types",
                by_types::problems(&running, build.has_all_types()),
            );
            add("lines of macros", by_poll::wrong_lines(&running));
        }
        add("by drops", by_drop::problems(&running));
        if build.has_names() {
            add("by polls", by_poll::problems(&running, build));
        } else {
            add("without names", by_poll::wrong_without_names(&running));
        }
    }
    assert!(problems.is_empty(), "{}", problems.join("\n"));
}

/// A measurement: `cargo test -p looptop-outside --test chains -- --ignored cost --nocapture`.
#[test]
#[ignore = "measures"]
fn cost() {
    let running = Running::start(&BUILDS[0].program(), 20_000, 1);
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
        let facts = began.elapsed();
        let began = Instant::now();
        let rings = waits.rings().len();
        let graph = began.elapsed();
        println!(
            "look {look}: {} chains, {each:.1?} each; facts in {facts:.1?}, {rings} \
             rings in {graph:.1?}",
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
