//! Samplers: they read the state of runtimes, threads, process and host, and
//! put it into the form of the wire. They run only while somebody watches.

mod process;
mod runtimes;
mod shutdown;
mod threads;
mod usage;

pub(crate) use process::{ProcessSampler, started_unix_ns};
pub(crate) use runtimes::{Context, RuntimeSampler};
pub(crate) use shutdown::ShutdownSampler;
pub(crate) use threads::{Roles, ThreadSampler};
pub(crate) use usage::{Usage, UsageFiles, is_out_of_descriptors};
