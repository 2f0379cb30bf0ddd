//! A fixed number of operations on one thread, for counting instructions.

use super::{Outcome, kernels};
use crate::{
    arguments::Arguments,
    setup::{self, Shape},
};

/// Does exactly `times` polls, spawns or wakes on the main thread.
pub(crate) fn run(arguments: &Arguments) -> Outcome {
    let times = usize::try_from(arguments.required("times")?)?;
    let operation = arguments
        .text("operation")
        .ok_or("--operation is missing")?;
    let observed = setup::start(Shape::CurrentThread)?;
    match operation {
        "poll" => as_a_task(&observed, kernels::yields(16, times / 16)),
        "spawn" => as_a_task(&observed, kernels::spawn_one_by_one(times)),
        "wake" => as_a_task(&observed, kernels::ping_pong_notify(times / 2)),
        other => return Err(format!("there is no operation {other:?}").into()),
    }
}

fn as_a_task<F>(observed: &setup::Observed, work: F) -> Outcome
where
    F: Future<Output = ()> + Send + 'static,
{
    super::on_a_worker(&observed.runtime, work)?;
    Ok(())
}
