//! Prints where the tasks of a process wait, who waits for whom, and what it took:
//! `awaits PID [TASKS]`. So many tasks are printed, and all are read.

#[cfg(all(target_os = "linux", not(looptop_elsewhere), target_arch = "x86_64"))]
fn main() {
    use std::sync::Arc;
    use std::time::{Duration, Instant};

    use looptop_outside::awaits::{Awaits, text, waits};
    use looptop_outside::tasks::{Tasks, Types};
    use looptop_outside::waits::Waits;
    use looptop_outside::{ProcessSpace, Subject};
    use looptop_procfs::{Procfs, SyscallState};

    let mut words = std::env::args().skip(1);
    let pid = words.next().and_then(|word| word.parse().ok());
    let pid = pid.expect("awaits PID [TASKS]");
    let shown = words.next().and_then(|word| word.parse().ok());
    let shown = shown.unwrap_or(usize::MAX);
    let subject = Subject::find(&Procfs::default(), pid).expect("a process");
    let types = Arc::new(Types::load(&subject).expect("tokio's task types"));
    let before = resident();
    let mut awaits = match Awaits::load(&subject, Arc::clone(&types)) {
        Ok(awaits) => awaits,
        Err(error) => return println!("{error}"),
    };
    for costs in awaits.costs() {
        println!(
            "index: {costs:?}, {} KiB resident",
            resident().saturating_sub(before)
        );
    }
    let stacks = || -> Vec<(u64, u64)> {
        let process = subject.process();
        let tids = process.tids().into_iter().flatten();
        let pointer = |tid| match process.thread(tid).syscall() {
            SyscallState::In { sp, .. } | SyscallState::Outside { sp, .. } => Some((tid, sp)),
            _ => None,
        };
        tids.filter_map(pointer).collect()
    };
    let mut tasks = Tasks::new(&subject, types);
    for _ in 0..6 {
        tasks.read(&stacks());
    }
    let listing = tasks.read(&stacks()).clone();
    let space = ProcessSpace::of(&subject);
    let now = std::fs::read_to_string("/proc/uptime").unwrap_or_default();
    let now = now.split(' ').next().and_then(|word| word.parse().ok());
    let now = Duration::from_secs_f64(now.unwrap_or(0.0));
    let (mut chains, mut without) = (Vec::new(), std::collections::BTreeMap::new());
    // The first look reads the types that are met.
    for look in 0..2 {
        chains.clear();
        without.clear();
        let began = Instant::now();
        for task in &listing.tasks {
            match awaits.chain(&space, task) {
                Ok(chain) => chains.push(chain),
                Err(why) => *without.entry(why.to_string()).or_insert(0) += 1,
            }
        }
        let took = began.elapsed();
        let each = took / (chains.len().max(1) as u32);
        println!(
            "look {look}: {} chains in {took:.1?}, {each:.1?} each",
            chains.len()
        );
    }
    for chain in chains.iter().take(shown) {
        println!("\ntask {}", chain.task);
        print!("{}", text(chain, now));
    }
    println!();
    for (why, number) in without {
        println!("{number} without a chain: {why}");
    }
    let began = Instant::now();
    let mut graph = Waits::new();
    waits(&chains, &mut graph);
    let rings = graph.rings();
    println!("who waits for whom: {:.1?}", began.elapsed());
    for ring in rings {
        let certain = if ring.is_certain { "" } else { ", probably" };
        println!("a ring of {}{certain}:", ring.links.len());
        for link in &ring.links {
            let place = link.want.place.as_ref();
            let place = place.map_or(String::new(), |place| format!(" at {place}"));
            let held = link.hold.as_ref().and_then(|hold| hold.place.as_ref());
            let held = held.map_or(String::new(), |place| format!(", which is at {place}"));
            println!("  {} waits{place} for {}{held}", link.party, link.giver);
        }
        println!("  behind it: {:?}", ring.behind);
    }
}

/// KiB of memory that this process has.
#[cfg(all(target_os = "linux", not(looptop_elsewhere), target_arch = "x86_64"))]
fn resident() -> usize {
    let statm = std::fs::read_to_string("/proc/self/statm").unwrap_or_default();
    let pages = statm.split(' ').nth(1).and_then(|word| word.parse().ok());
    pages.unwrap_or(0_usize) * 4
}

#[cfg(not(all(target_os = "linux", not(looptop_elsewhere), target_arch = "x86_64")))]
fn main() {}
