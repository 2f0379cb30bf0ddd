//! Polls of 200 ms in an otherwise healthy program.

use std::{
    io::Write,
    thread,
    time::{Duration, Instant},
};

use super::{Outcome, on_a_worker};
use crate::{
    arguments::Arguments,
    process::monotonic,
    setup::{self, Shape},
};

/// How long the worker is held.
const STALL: Duration = Duration::from_millis(200);

/// Prints when each stall began, on the system's monotonic clock. Sleeping and
/// computing stalls take turns.
pub(crate) fn run(arguments: &Arguments) -> Outcome {
    let stalls = arguments.required("stalls")?;
    let gap = Duration::from_millis(arguments.required("gap-ms")?);
    let rate = arguments.required("churn")?;
    let observed = setup::start(Shape::Workers(2))?;
    observed.runtime.spawn(churn(rate));
    on_a_worker(&observed.runtime, async move {
        for _ in 0..8 {
            drop(tokio::spawn(tick()));
        }
        tokio::time::sleep(gap).await;
        for index in 0..stalls {
            hold(index)?;
            // Out of step with whatever looks at regular times.
            tokio::time::sleep(gap + Duration::from_millis(index * 37 % 100)).await;
        }
        Ok::<_, std::io::Error>(())
    })??;
    std::process::exit(0);
}

/// Background life: a timer every 20 ms.
async fn tick() {
    loop {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// `rate` short tasks a second.
async fn churn(rate: u64) {
    while rate > 0 {
        for _ in 0..rate.div_ceil(100) {
            drop(tokio::spawn(tokio::task::yield_now()));
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

/// Blocks the worker on purpose.
fn hold(index: u64) -> std::io::Result<()> {
    println!("stall {}", monotonic()?.as_nanos());
    std::io::stdout().flush()?;
    if index % 2 == 0 {
        thread::sleep(STALL);
    } else {
        let start = Instant::now();
        while start.elapsed() < STALL {
            std::hint::spin_loop();
        }
    }
    Ok(())
}
