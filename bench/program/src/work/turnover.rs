//! Short tasks come and go beside some that stay, and their number is known at any
//! moment: what a list must not get wrong.

use std::{
    io::Write,
    sync::atomic::{AtomicU64, Ordering::SeqCst},
    time::{Duration, Instant},
};

use super::{Outcome, until_dismissed};
use crate::{
    arguments::Arguments,
    setup::{self, Shape},
};

/// Tasks that were about to be spawned, that are spawned, and that were about to end:
/// the number of live ones lies between `SPAWNED - ENDED` and `BEGUN - ENDED`, and as
/// many more as there are workers.
static BEGUN: AtomicU64 = AtomicU64::new(0);
static SPAWNED: AtomicU64 = AtomicU64::new(0);
static ENDED: AtomicU64 = AtomicU64::new(0);

/// How often a portion is spawned.
const STEP: Duration = Duration::from_millis(5);
const WORKERS: usize = 2;

/// Prints where the counters are, how many tasks stay and the greatest of their ids.
pub(crate) fn run(arguments: &Arguments) -> Outcome {
    let rate = arguments.required("rate")?;
    let staying = arguments.required("staying")?;
    let observed = setup::start(Shape::Workers(WORKERS))?;
    let mut newest = 0_u64;
    for _ in 0..staying {
        let task = observed.runtime.spawn(std::future::pending::<()>());
        newest = task.id().to_string().parse()?;
    }
    // Those that `setup` has spawned, and the one that spawns all others.
    let begin = observed.runtime.metrics().num_alive_tasks() + 1;
    println!(
        "counters {} {} {} {begin} {newest} {WORKERS}",
        (&raw const BEGUN).addr(),
        (&raw const SPAWNED).addr(),
        (&raw const ENDED).addr(),
    );
    std::io::stdout().flush()?;
    observed.runtime.spawn(come_and_go(rate));
    until_dismissed();
    println!("spawned {}", SPAWNED.load(SeqCst));
    std::process::exit(0);
}

async fn come_and_go(rate: u64) {
    let begin = Instant::now();
    loop {
        let due = (begin.elapsed().as_secs_f64() * rate as f64) as u64;
        let spawned = SPAWNED.load(SeqCst);
        // What a busy machine has missed is not made up for at once.
        for _ in spawned..due.min(spawned + 1_000) {
            BEGUN.fetch_add(1, SeqCst);
            drop(tokio::spawn(short()));
            SPAWNED.fetch_add(1, SeqCst);
        }
        tokio::time::sleep(STEP).await;
    }
}

async fn short() {
    tokio::time::sleep(Duration::from_millis(3)).await;
    ENDED.fetch_add(1, SeqCst);
}
