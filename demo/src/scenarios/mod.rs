//! The scenarios, a file and a line each.

mod blocking_file;
mod busy_yield;
mod cpu_in_handler;
mod healthy_busy;
mod never_yields;
mod sequential_awaits;
mod sleep_in_handler;
mod std_mutex_held;
mod three_requests;

use crate::scenario::Scenario;

/// Every scenario, in the order of the stage.
pub(crate) static ALL: &[Scenario] = &[
    sleep_in_handler::SCENARIO,
    cpu_in_handler::SCENARIO,
    blocking_file::SCENARIO,
    three_requests::SCENARIO,
    sequential_awaits::SCENARIO,
    std_mutex_held::SCENARIO,
    busy_yield::SCENARIO,
    never_yields::SCENARIO,
    healthy_busy::SCENARIO,
];

/// Path and text of the file that calls it.
macro_rules! source {
    ($name:literal) => {
        (file!(), include_str!($name))
    };
}
use source;
