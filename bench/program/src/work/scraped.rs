//! Tasks that each wake up once a second, for as long as the driver wants: what a page of
//! metrics is made of when all of it changes between two scrapes.

use std::{io::Write, time::Duration};

use super::{Outcome, on_a_worker, until_dismissed};
use crate::{
    arguments::Arguments,
    setup::{self, Shape},
};

/// Says `alive` once all of them are spawned, and stays.
pub(crate) fn run(arguments: &Arguments) -> Outcome {
    let wanted = arguments.required("tasks")?;
    let observed = setup::start(Shape::Workers(2))?;
    on_a_worker(&observed.runtime, async move {
        for index in 0..wanted {
            drop(tokio::spawn(heartbeat(index)));
            if index % 1_000 == 0 {
                tokio::task::yield_now().await;
            }
        }
    })?;
    println!("alive {wanted}");
    std::io::stdout().flush()?;
    until_dismissed();
    // Dropping this many tasks is not what is measured.
    std::process::exit(0);
}

/// Not all of them at once.
async fn heartbeat(index: u64) {
    tokio::time::sleep(Duration::from_millis(index % 1_000)).await;
    loop {
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
}
