//! Where a process's tasks wait, by interpreting their polls on copies; what that took,
//! and why polls ended early.
//!
//! `cargo run --release -p looptop-outside --example interpreted -- PID [PER_TYPE]`

#[cfg(all(target_os = "linux", not(looptop_elsewhere), target_arch = "x86_64"))]
#[path = "../tests/names/mod.rs"]
mod names;

#[cfg(all(target_os = "linux", not(looptop_elsewhere), target_arch = "x86_64"))]
fn main() {
    let mut arguments = std::env::args()
        .skip(1)
        .filter_map(|word| word.parse().ok());
    match arguments.next() {
        Some(pid) => show::show(pid, arguments.next().unwrap_or(1)),
        None => eprintln!("usage: interpreted PID [PER_TYPE]"),
    }
}

#[cfg(not(all(target_os = "linux", not(looptop_elsewhere), target_arch = "x86_64")))]
fn main() {}

#[cfg(all(target_os = "linux", not(looptop_elsewhere), target_arch = "x86_64"))]
mod show {
    use std::collections::{BTreeMap, HashMap};
    use std::sync::Arc;
    use std::time::{Duration, Instant};

    use looptop_outside::Subject;
    use looptop_outside::awaits::interpreted::{Interpreter, Sockets};
    use looptop_outside::awaits::text;
    use looptop_outside::tasks::{Listing, Tasks, Types};
    use looptop_procfs::{Procfs, SyscallState};

    use crate::names::Names;

    pub(crate) fn show(pid: u32, per_type: u32) {
        if let Err(error) = look(pid, per_type) {
            eprintln!("{error}");
        }
    }

    fn look(pid: u32, per_type: u32) -> Result<(), Box<dyn std::error::Error>> {
        let subject = Subject::find(&Procfs::default(), pid)?;
        let types = Arc::new(Types::load(&subject)?);
        let mut tasks = Tasks::new(&subject, Arc::clone(&types));
        let mut interpreter = Interpreter::new(&subject);
        interpreter.know(Sockets::of_process(&subject));
        let process = subject.process();
        let mut stacks = Vec::new();
        for tid in process.tids()? {
            if let SyscallState::In { sp, .. } = process.thread(tid).syscall() {
                stacks.push((tid, sp));
            }
        }
        let is_worker = |tid: u64| {
            let name = process.text(&format!("task/{tid}/comm"));
            name.is_ok_and(|name| name.starts_with("tokio-r"))
        };
        let worker = stacks
            .iter()
            .find(|(tid, _)| is_worker(*tid))
            .or(stacks.first());
        let played = worker.is_some_and(|(tid, sp)| interpreter.play(*tid, *sp));
        println!("plays {worker:x?}: {played}");
        for _ in 0..5 {
            tasks.read(&stacks);
        }
        let mut names = Names::of(process);
        let uptime = std::fs::read_to_string("/proc/uptime")?;
        let now = uptime.split(' ').next().and_then(|word| word.parse().ok());
        let now = Duration::from_secs_f64(now.unwrap_or_default());
        let mut ends: BTreeMap<String, usize> = BTreeMap::new();
        let mut of_type: HashMap<u64, u32> = HashMap::new();
        // The second time everything has a name.
        for look in 0..2 {
            let (mut chains, mut took, mut polling) = (0_u32, Duration::ZERO, Duration::ZERO);
            let (mut steps, mut pages) = (0, 0);
            ends.clear();
            for task in &tasks.listing().tasks {
                let Some(of) = types.get(task.vtable) else {
                    continue;
                };
                let begun = Instant::now();
                if let Ok(polled) = interpreter.poll(task, of) {
                    polling += begun.elapsed();
                    steps += polled.run.steps;
                    pages += polled.run.pages as u64;
                }
                let begun = Instant::now();
                let chain = interpreter.chain(task, &types, &mut |at| names.functions(at));
                let chain = match chain {
                    Ok(chain) => chain,
                    Err(reason) => {
                        *ends.entry(reason.to_string()).or_default() += 1;
                        continue;
                    }
                };
                took += begun.elapsed();
                chains += 1;
                let end = chain.cut.as_ref().map(ToString::to_string);
                *ends.entry(end.unwrap_or("whole".to_owned())).or_default() += 1;
                let shown = of_type.entry(task.vtable).or_default();
                *shown += u32::from(look == 1);
                if look == 1 && *shown <= per_type {
                    let certain = if chain.is_certain {
                        ""
                    } else {
                        ", not certain"
                    };
                    println!("task {}{certain}", task.id);
                    print!("{}", text(&chain, now));
                }
            }
            let count = chains.max(1);
            println!(
                "look {look}: {chains} chains, {:.1?} each, of which {:.1?} for the poll: {} \
                 instructions and {} pages; {:.1} instructions a microsecond",
                took / count,
                polling / count,
                steps / u64::from(count),
                pages / u64::from(count),
                steps as f64 / polling.as_micros().max(1) as f64,
            );
        }
        for (end, count) in ends {
            println!("{count:>6} {end}");
        }
        drops(&mut interpreter, &types, tasks.listing());
        Ok(())
    }

    /// How drops end, and what they take.
    fn drops(interpreter: &mut Interpreter, types: &Types, listing: &Listing) {
        let mut drops: BTreeMap<String, (usize, Duration)> = BTreeMap::new();
        for task in &listing.tasks {
            let Some(of) = types.get(task.vtable) else {
                continue;
            };
            let begun = Instant::now();
            let end = match interpreter.gives_back(task, of, &[]) {
                Ok(given) => given.end.to_string(),
                Err(why) => why.to_string(),
            };
            let of_end = drops.entry(end).or_default();
            of_end.0 += 1;
            of_end.1 += begun.elapsed();
        }
        for (end, (count, took)) in drops {
            println!("{count:>6} drops {end}, {:.1?} each", took / count as u32);
        }
    }
}
