//! Prints what is read of a core dump: `cargo run -p looptop-outside --example core -- FILE`.

use std::path::Path;
use std::sync::Arc;

use looptop_outside::core::{CoreFile, CoreStacks};
use looptop_outside::tasks::{Tasks, Types};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let path = std::env::args().nth(1).ok_or("which core dump?")?;
    let core = CoreFile::open(Path::new(&path))?;
    println!("{}: pid {}, {}", core.name(), core.pid(), core.arguments());
    println!(
        "program {}, here {}",
        core.program().display(),
        core.executable().display()
    );
    for lost in core.lost() {
        println!(
            "not here: {} (another build: {})",
            lost.path.display(),
            lost.is_another
        );
    }
    let types = Arc::new(Types::of_core(&core)?);
    let mut tasks = Tasks::over(core.clone(), Arc::clone(&types));
    let pointers: Vec<(u64, u64)> = core.threads().map(|t| (t.tid, t.registers.sp)).collect();
    let listing = tasks.read_all(&pointers).clone();
    println!(
        "{} tasks of {} runtimes",
        listing.tasks.len(),
        listing.runtimes.len()
    );
    let mut stacks = CoreStacks::of(&core, Some(&types));
    for (thread, noted) in stacks
        .threads(Some(&tasks.in_poll()))
        .iter()
        .zip(core.threads())
    {
        println!(
            "thread {}: {:?}, parked {}, in poll {}, task {:?}, {} frames{}, call {:?}, {:x?}",
            thread.tid,
            thread.role,
            thread.parked,
            thread.in_poll,
            thread.task.map(|task| task.id),
            thread.frames.len(),
            if thread.truncated { " and more" } else { "" },
            thread.call.map(|call| call.number),
            noted.registers,
        );
    }
    Ok(())
}
