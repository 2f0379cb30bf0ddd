//! Samplers: they read the state of runtimes, threads, process and host, and
//! put it into the form of the wire. They run only while somebody watches.

mod process;
mod runtimes;
mod threads;

pub(crate) use process::{ProcessSampler, started_unix_ns};
pub(crate) use runtimes::{Context, RuntimeSampler};
pub(crate) use threads::{Roles, ThreadSampler};
