//! Tasks that wait, for as long as the driver wants: what is listed from outside.

use std::{future::pending, io::Write, time::Duration};

use tokio::runtime::Handle;

use super::{Outcome, on_a_worker, until_dismissed};
use crate::{
    arguments::Arguments,
    setup::{self, Shape},
};

/// Prints how many tasks tokio counts once all of them wait, and stays.
pub(crate) fn run(arguments: &Arguments) -> Outcome {
    let wanted = arguments.required("tasks")?;
    let observed = setup::start(Shape::Workers(2))?;
    on_a_worker(&observed.runtime, spawn(wanted))?;
    say_alive(observed.runtime.handle())?;
    until_dismissed();
    // Dropping this many tasks is not what is measured.
    std::process::exit(0);
}

/// Waits until nothing changes, then prints `alive COUNT`.
fn say_alive(handle: &Handle) -> std::io::Result<()> {
    let metrics = handle.metrics();
    let mut before = usize::MAX;
    while before != metrics.num_alive_tasks() {
        before = metrics.num_alive_tasks();
        std::thread::sleep(Duration::from_millis(100));
    }
    println!("alive {before}");
    std::io::stdout().flush()
}

/// Three futures of unlike sizes, as programs have them.
async fn spawn(wanted: u64) {
    for index in 0..wanted {
        match index % 3 {
            0 => drop(tokio::spawn(subscriber())),
            1 => drop(tokio::spawn(session(index))),
            _ => drop(tokio::spawn(lease())),
        }
        if index % 1_000 == 0 {
            tokio::task::yield_now().await;
        }
    }
}

async fn subscriber() {
    pending::<()>().await;
}

/// Holds 320 bytes while it waits.
async fn session(of: u64) -> u64 {
    let state = [of; 40];
    pending::<()>().await;
    state[3]
}

async fn lease() {
    tokio::time::sleep(Duration::from_secs(100_000)).await;
}
