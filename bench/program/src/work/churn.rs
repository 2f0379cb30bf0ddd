//! Memory under a steady stream of short tasks.

use std::{
    io::Write,
    time::{Duration, Instant},
};

use super::{Outcome, on_a_worker};
use crate::{
    arguments::Arguments,
    process::{cpu_time, resident},
    setup::{self, Shape},
};

/// How often a portion is spawned.
const STEP: Duration = Duration::from_millis(5);

/// Spawns `rate` tasks a second; prints the resident bytes at the end.
pub(crate) fn run(arguments: &Arguments) -> Outcome {
    let rate = arguments.required("rate")?;
    let time = Duration::from_secs(arguments.required("seconds")?);
    let cap = arguments.required("cap-mb")? << 20;
    let observed = setup::start(Shape::Workers(2))?;
    let end = on_a_worker(&observed.runtime, churn(rate, time, cap))?;
    let cpu = cpu_time()?;
    println!("spawned {}", end.spawned);
    println!("seconds {}", end.lasted.as_secs_f64());
    println!("resident_bytes {}", resident()?);
    println!(
        "cpu_ns_per_spawn {}",
        cpu.as_nanos() as f64 / end.spawned as f64
    );
    std::io::stdout().flush()?;
    std::process::exit(0);
}

struct End {
    spawned: u64,
    lasted: Duration,
}

async fn churn(rate: u64, time: Duration, cap: u64) -> End {
    let begin = Instant::now();
    let mut spawned = 0;
    let mut look = begin;
    loop {
        let lasted = begin.elapsed();
        let over = look.elapsed() > Duration::from_millis(200) && {
            look = Instant::now();
            resident().is_ok_and(|bytes| bytes > cap)
        };
        if lasted >= time || over {
            return End { spawned, lasted };
        }
        let due = (lasted.as_secs_f64() * rate as f64) as u64;
        // A program that cannot keep up looks at its memory now and then.
        for _ in spawned..due.min(spawned + 1_000) {
            drop(tokio::spawn(tokio::task::yield_now()));
            spawned += 1;
        }
        tokio::time::sleep(STEP).await;
    }
}
