//! Where a process's tasks wait, by interpreting their polls on copies; what that took,
//! and why polls ended early.
//!
//! `cargo run --release -p looptop-outside --example interpreted -- PID [PER_TYPE]`

#[cfg(all(target_os = "linux", target_arch = "x86_64"))]
fn main() {
    let mut arguments = std::env::args()
        .skip(1)
        .filter_map(|word| word.parse().ok());
    match arguments.next() {
        Some(pid) => show::show(pid, arguments.next().unwrap_or(1)),
        None => eprintln!("usage: interpreted PID [PER_TYPE]"),
    }
}

#[cfg(not(all(target_os = "linux", target_arch = "x86_64")))]
fn main() {}

#[cfg(all(target_os = "linux", target_arch = "x86_64"))]
mod show {
    use std::collections::{BTreeMap, HashMap};
    use std::path::PathBuf;
    use std::sync::Arc;
    use std::time::{Duration, Instant};

    use looptop_outside::Subject;
    use looptop_outside::awaits::interpreted::{Await, Interpreter, Named, Outcome};
    use looptop_outside::tasks::{Tasks, Types};
    use looptop_procfs::{Mapping, Procfs, SyscallState};
    use looptop_symbols::Lines;

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
        let mut names = Names {
            mappings: process.mappings()?,
            files: HashMap::new(),
        };
        let mut ends: BTreeMap<String, usize> = BTreeMap::new();
        let mut of_type: HashMap<u64, u32> = HashMap::new();
        let (mut polled, mut steps, mut pages, mut took) = (0, 0, 0, Duration::ZERO);
        for task in &tasks.listing().tasks {
            let Some(of) = types.get(task.vtable) else {
                continue;
            };
            let begun = Instant::now();
            let result = interpreter.poll(task, of);
            let spent = begun.elapsed();
            let polled_task = match result {
                Ok(polled_task) => polled_task,
                Err(reason) => {
                    *ends.entry(reason.to_string()).or_default() += 1;
                    continue;
                }
            };
            let end = match polled_task.outcome {
                Outcome::Partial(end) => end.to_string(),
                other => format!("{other:?}"),
            };
            *ends.entry(end.clone()).or_default() += 1;
            took += spent;
            polled += 1;
            steps += polled_task.run.steps;
            pages += polled_task.run.pages as u64;
            let shown = of_type.entry(task.vtable).or_default();
            *shown += 1;
            if *shown <= per_type {
                println!(
                    "task {}: {} instructions, {end}",
                    task.id, polled_task.run.steps
                );
                print(&polled_task.awaits(|address| names.functions(address)), 1);
            }
        }
        let count = polled.max(1);
        println!(
            "{polled} polls: {:.1?} each, {} instructions and {} pages; {:.1} instructions a \
             microsecond",
            took / count as u32,
            steps / count,
            pages / count,
            steps as f64 / took.as_micros().max(1) as f64,
        );
        for (end, count) in ends {
            println!("{count:>6} {end}");
        }
        Ok(())
    }

    fn print(nodes: &[Await], depth: usize) {
        for node in nodes {
            let at = node.awaited_at.map(|line| format!(" awaited at {line}"));
            let name: String = node.function.chars().take(100).collect();
            println!("{}{name}{}", "  ".repeat(depth), at.unwrap_or_default());
            for resource in &node.atomics {
                let by: String = resource.by.chars().take(60).collect();
                println!(
                    "{}· {:#x} by {by}",
                    "  ".repeat(depth + 1),
                    resource.address
                );
            }
            print(&node.inner, depth + 1);
        }
    }

    /// Names by the files that are mapped.
    struct Names {
        mappings: Vec<Mapping>,
        files: HashMap<PathBuf, Option<Lines>>,
    }

    impl Names {
        fn functions(&mut self, address: u64) -> Vec<Named> {
            let mapping = self.mappings.iter().find(|m| m.range.contains(&address));
            let Some(mapping) = mapping.filter(|m| m.inode != 0) else {
                return Vec::new();
            };
            let first = self.mappings.iter().find(|m| m.path == mapping.path);
            let offset = address - first.map_or(0, |first| first.range.start);
            let open = || Lines::open(&mapping.path).ok();
            let lines = self.files.entry(mapping.path.clone()).or_insert_with(open);
            let functions = lines.as_ref().map(|lines| lines.functions(offset));
            let named = functions.unwrap_or_default().into_iter();
            named
                .map(|function| Named {
                    name: function.name.unwrap_or_default(),
                    file: function.file,
                    line: function.line,
                })
                .collect()
        }
    }
}
