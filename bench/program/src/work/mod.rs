//! The workloads. They know nothing of who watches. Those that are looked at from
//! outside are in the build that nobody observes.

pub(crate) mod churn;
pub(crate) mod count;
#[cfg(feature = "bare")]
pub(crate) mod crowd;
#[cfg(feature = "bare")]
pub(crate) mod heap;
#[cfg(feature = "bare")]
pub(crate) mod hold;
pub(crate) mod http;
pub(crate) mod idle;
pub(crate) mod kernels;
pub(crate) mod micro;
pub(crate) mod scraped;
pub(crate) mod stall;
#[cfg(feature = "bare")]
pub(crate) mod turnover;

use std::{error::Error, io::Read};

use tokio::{runtime::Runtime, task::JoinError};

type Outcome<T = ()> = Result<T, Box<dyn Error>>;

/// Runs `work` as a task on a worker: what `block_on` polls itself is no task
/// to anybody who watches.
fn on_a_worker<F>(runtime: &Runtime, work: F) -> Result<F::Output, JoinError>
where
    F: Future + Send + 'static,
    F::Output: Send + 'static,
{
    runtime.block_on(async { tokio::spawn(work).await })
}

/// Blocks until the driver closes our standard input.
fn until_dismissed() {
    let mut rest = Vec::new();
    // An error ends the wait as well as the end of input does.
    drop(std::io::stdin().read_to_end(&mut rest));
}
