//! Memory of tasks that wait.

use std::{thread::sleep, time::Duration};

use super::{Outcome, kernels::Idle, on_a_worker};
use crate::{
    arguments::Arguments,
    process::resident,
    setup::{self, Shape},
};

/// Prints how many tasks it spawned and how many bytes became resident.
pub(crate) fn run(arguments: &Arguments) -> Outcome {
    let wanted = arguments.required("tasks")?;
    let cap = arguments.required("cap-mb")? << 20;
    let observed = setup::start(Shape::Workers(2))?;
    // Whatever is made at the first spawn belongs to the program, not to a task.
    on_a_worker(&observed.runtime, super::kernels::spawn_together(100))?;
    settle();
    let before = resident()?;
    let spawned = on_a_worker(&observed.runtime, spawn(wanted, before + cap))?;
    settle();
    let after = resident()?;
    println!("tasks {spawned}");
    println!("resident_bytes {after}");
    println!(
        "bytes_per_task {}",
        (after - before) as f64 / spawned as f64
    );
    // Dropping this many tasks is not what is measured.
    std::process::exit(0);
}

/// Spawns up to `wanted` tasks, and stops where they would take too much.
async fn spawn(wanted: u64, cap: u64) -> u64 {
    for spawned in 0..wanted {
        if spawned % 1_000 == 0 {
            tokio::task::yield_now().await;
            if resident().is_ok_and(|bytes| bytes > cap) {
                return spawned;
            }
        }
        drop(tokio::spawn(Idle::default()));
    }
    wanted
}

/// Time for background threads to take in what happened.
fn settle() {
    sleep(Duration::from_millis(700));
}
