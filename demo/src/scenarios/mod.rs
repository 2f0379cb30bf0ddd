//! The scenarios, a file and a line each.
#![allow(
    clippy::unused_async,
    clippy::large_stack_arrays,
    reason = "the mistakes to show are just these"
)]

mod big_json;
mod blocking_db;
mod blocking_file;
mod blocking_http;
mod blocking_pool_full;
mod burst_timer;
mod busy_yield;
mod cpu_in_handler;
mod fire_and_forget_leak;
mod forgotten_await;
mod forgotten_permit;
mod forgotten_sender;
mod full_mailboxes;
mod futurelock;
mod graceful_shutdown;
mod healthy_busy;
mod heavy_cpu;
mod host_contention;
mod huge_future;
mod lock_order;
mod lost_waker;
mod nested_block_on;
mod nested_permit;
mod never_yields;
mod no_timeout;
mod orphaned_siblings;
mod pool_exhaustion;
mod rate_limited_job;
mod retry_storm;
mod rwlock_reentrant;
mod sequential_awaits;
mod sleep_in_handler;
mod slow_log;
mod std_mutex_held;
mod sync_dns;
mod three_requests;
mod too_many_workers;
mod unbounded_fanout;
mod unbounded_queue;
mod unpolled_buffer;
mod unreaped_tasks;

pub(crate) use cpu_in_handler::{Conversation, format_conversation, long_conversation};
pub(crate) use graceful_shutdown::shut_down;
pub(crate) use host_contention::Neighbours;

use crate::scenario::Scenario;

/// Every scenario, in the order of the stage.
pub(crate) static ALL: &[Scenario] = &[
    sleep_in_handler::SCENARIO,
    cpu_in_handler::SCENARIO,
    heavy_cpu::SCENARIO,
    blocking_http::SCENARIO,
    blocking_db::SCENARIO,
    blocking_file::SCENARIO,
    sync_dns::SCENARIO,
    slow_log::SCENARIO,
    big_json::SCENARIO,
    three_requests::SCENARIO,
    sequential_awaits::SCENARIO,
    unbounded_fanout::SCENARIO,
    fire_and_forget_leak::SCENARIO,
    orphaned_siblings::SCENARIO,
    unreaped_tasks::SCENARIO,
    no_timeout::SCENARIO,
    retry_storm::SCENARIO,
    unbounded_queue::SCENARIO,
    pool_exhaustion::SCENARIO,
    forgotten_permit::SCENARIO,
    std_mutex_held::SCENARIO,
    nested_block_on::SCENARIO,
    busy_yield::SCENARIO,
    burst_timer::SCENARIO,
    lost_waker::SCENARIO,
    never_yields::SCENARIO,
    blocking_pool_full::SCENARIO,
    too_many_workers::SCENARIO,
    futurelock::SCENARIO,
    unpolled_buffer::SCENARIO,
    lock_order::SCENARIO,
    rwlock_reentrant::SCENARIO,
    nested_permit::SCENARIO,
    full_mailboxes::SCENARIO,
    forgotten_sender::SCENARIO,
    forgotten_await::SCENARIO,
    huge_future::SCENARIO,
    rate_limited_job::SCENARIO,
    healthy_busy::SCENARIO,
    host_contention::SCENARIO,
    graceful_shutdown::SCENARIO,
];

/// Path and text of the file that calls it.
macro_rules! source {
    ($name:literal) => {
        (file!(), include_str!($name))
    };
}
use source;
