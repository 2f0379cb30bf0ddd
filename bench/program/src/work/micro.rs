//! Nanoseconds per spawn, per poll, per wake.

use std::{
    pin::Pin,
    time::{Duration, Instant},
};

use super::{Outcome, kernels, on_a_worker};
use crate::{
    arguments::Arguments,
    process::Clock,
    setup::{self, Observed, Shape},
};

/// Prints nanoseconds per operation of each kernel: CPU time of the worker where
/// there is one, wall time where there are more.
pub(crate) fn run(arguments: &Arguments) -> Outcome {
    let time = Duration::from_millis(arguments.required("millis")?);
    let workers = usize::try_from(arguments.required("workers")?)?;
    let observed = setup::start(Shape::Workers(workers))?;
    let clock = if workers == 1 {
        Clock::Thread
    } else {
        Clock::Wall
    };
    let only = arguments.text("only");
    for kernel in KERNELS {
        if only.is_none_or(|only| only.split(',').any(|name| name == kernel.name)) {
            println!(
                "{} {:.2}",
                kernel.name,
                measure(&observed, kernel, time, clock)?
            );
        }
    }
    Ok(())
}

/// A batch takes some 100 µs or more, so that reading the clock costs nothing.
struct Kernel {
    name: &'static str,
    /// Operations in a batch.
    operations: usize,
    batch: fn(Clock) -> Batch,
}

/// Does the work and says how long it took.
type Batch = Pin<Box<dyn Future<Output = Duration> + Send>>;

const KERNELS: &[Kernel] = &[
    Kernel {
        name: "spawn_one",
        operations: 1_000,
        batch: |clock| timed(clock, kernels::spawn_one_by_one(1_000)),
    },
    Kernel {
        name: "spawn_1000",
        operations: 1_000,
        batch: |clock| timed(clock, kernels::spawn_together(1_000)),
    },
    // The spawns are part of the batch: 1 in 1,000 operations.
    Kernel {
        name: "yield_1",
        operations: 1_000,
        batch: |clock| timed(clock, kernels::yields(1, 1_000)),
    },
    Kernel {
        name: "yield_16",
        operations: 16_000,
        batch: |clock| timed(clock, kernels::yields(16, 1_000)),
    },
    Kernel {
        name: "yield_4000",
        operations: 100_000,
        batch: |clock| Box::pin(kernels::yields_of_many(4_000, 25, clock)),
    },
    Kernel {
        name: "notify",
        operations: 4_000,
        batch: |clock| timed(clock, kernels::ping_pong_notify(2_000)),
    },
    Kernel {
        name: "mpsc",
        operations: 4_000,
        batch: |clock| timed(clock, kernels::ping_pong_mpsc(2_000)),
    },
];

fn timed(clock: Clock, work: impl Future<Output = ()> + Send + 'static) -> Batch {
    Box::pin(async move {
        let start = clock.now();
        work.await;
        clock.now().saturating_sub(start)
    })
}

/// Nanoseconds per operation, of as many batches as fit into `time` the lower
/// quartile: a disturbance can only add.
fn measure(observed: &Observed, kernel: &Kernel, time: Duration, clock: Clock) -> Outcome<f64> {
    let batch = kernel.batch;
    on_a_worker(&observed.runtime, batch(clock))?;
    let work = async move {
        let mut batches = Vec::new();
        let begin = Instant::now();
        while batches.is_empty() || begin.elapsed() < time {
            batches.push(batch(clock).await);
        }
        batches
    };
    let mut batches = on_a_worker(&observed.runtime, work)?;
    batches.sort();
    Ok(batches[batches.len() / 4].as_nanos() as f64 / kernel.operations as f64)
}
