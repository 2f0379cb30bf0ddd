//! Prints where the tasks and threads of a process wait, and what it took to read them:
//! `waiting PID [SHOWN] [SECONDS]`.

#[cfg(all(target_os = "linux", not(looptop_elsewhere), target_arch = "x86_64"))]
fn main() {
    use std::collections::{BTreeMap, HashMap};
    use std::sync::Arc;
    use std::time::{Duration, Instant};

    use looptop_outside::Subject;
    use looptop_outside::tasks::{AddressSet, Task, Tasks, Types};
    use looptop_outside::waiting::{LiveProcess, Waiting};
    use looptop_procfs::{Procfs, SyscallState};
    use looptop_symbols::Resolver;

    let mut words = std::env::args().skip(1);
    let pid = words.next().and_then(|word| word.parse().ok());
    let pid = pid.expect("waiting PID [SHOWN] [SECONDS]");
    let mut number = |default| words.next().and_then(|w| w.parse().ok()).unwrap_or(default);
    let (shown, seconds) = (number(20), number(1));
    let subject = Subject::find(&Procfs::default(), pid).expect("a process");
    let types = Arc::new(Types::load(&subject).expect("tokio's task types"));
    let stacks = || -> Vec<(u64, u64)> {
        let process = subject.process();
        let tids = process.tids().into_iter().flatten();
        let pointer = |tid| match process.thread(tid).syscall() {
            SyscallState::In { sp, .. } | SyscallState::Outside { sp, .. } => Some((tid, sp)),
            _ => None,
        };
        tids.filter_map(pointer).collect()
    };
    let mut tasks = Tasks::new(&subject, Arc::clone(&types));
    let began = Instant::now();
    let live = LiveProcess::new(&subject);
    let mut waiting = Waiting::new(live, types, Resolver::new(Some(pid)));
    println!("begun in {:.1?}", began.elapsed());
    let (mut shapes, mut waits, mut threads) = (HashMap::new(), BTreeMap::new(), BTreeMap::new());
    let mut resources = BTreeMap::new();
    let start = Instant::now();
    let mut spent = Duration::ZERO;
    while start.elapsed() < Duration::from_secs(seconds as u64) {
        let listing: Arc<[Task]> = tasks.read(&stacks()).tasks.clone().into();
        let began = Instant::now();
        waiting.take_listing((listing, 0), &AddressSet::default(), began);
        waiting.look_at_threads(began);
        let first = Instant::now();
        waiting.read(Duration::from_secs(1));
        spent += began.elapsed();
        let found = waiting.take();
        println!(
            "{:?} after {:.1?}, {:.1?} of it to read",
            found.read,
            began.elapsed(),
            first.elapsed()
        );
        for wait in found
            .threads
            .iter()
            .filter(|w| w.want.is_some() || !w.holds.is_empty())
        {
            println!(
                "  thread {} at {:?} {:?}",
                wait.tid, wait.function, wait.place
            );
            println!("    wants {:?}, holds {:?}", wait.want, wait.holds);
        }
        shapes.extend(found.shapes);
        waits.extend(found.tasks.into_iter().map(|wait| (wait.task, wait)));
        threads.extend(found.threads.into_iter().map(|wait| (wait.tid, wait)));
        for tid in found.threads_void {
            threads.remove(&tid);
        }
        resources.extend(found.resources.into_iter().map(|fact| (fact.address, fact)));
        std::thread::sleep(Duration::from_millis(150));
    }
    println!(
        "{} tasks, {} shapes in {spent:.1?}",
        waits.len(),
        shapes.len()
    );
    for wait in waits.values().take(shown) {
        println!("task {}, {:?}", wait.task.id, wait.since.elapsed());
        for (node, at) in shapes[&wait.shape].nodes.iter().zip(0..) {
            let place = node.location.as_ref().map(ToString::to_string);
            let place = place.unwrap_or_default();
            let indent = node.depth as usize * 2 + 2;
            let name: String = node.name.chars().take(90).collect();
            println!("{:indent$}{:?} {name} {place}", "", node.kind);
            for want in wait.wants.iter().filter(|want| want.node == at) {
                println!("{:indent$}  wants {:?}", "", want.what);
            }
            for hold in wait.holds.iter().filter(|hold| hold.node == at) {
                println!("{:indent$}  holds {hold:?}", "");
            }
        }
        if let Some(cut) = &shapes[&wait.shape].cut {
            println!("  ({cut})");
        }
    }
    for wait in threads.values() {
        println!("{wait:?}");
    }
    for fact in resources.values().take(shown) {
        println!("{fact:x?}");
    }
}

#[cfg(not(all(target_os = "linux", not(looptop_elsewhere), target_arch = "x86_64")))]
fn main() {}
