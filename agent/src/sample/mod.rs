//! Samplers: they read the state of runtimes, threads, process and host, and
//! put it into the form of the wire. They run only while somebody watches.

#[cfg(all(target_os = "linux", not(looptop_elsewhere)))]
mod machine;
#[cfg(not(all(target_os = "linux", not(looptop_elsewhere))))]
mod other_machine;
mod process;
mod runtimes;
mod shutdown;
mod threads;
mod usage;

pub(crate) use machine::{hostname, started_unix_ns};
#[cfg(not(all(target_os = "linux", not(looptop_elsewhere))))]
use other_machine as machine;
pub(crate) use process::ProcessSampler;
pub(crate) use runtimes::{Context, RuntimeSampler};
pub(crate) use shutdown::ShutdownSampler;
pub(crate) use threads::{Roles, ThreadSampler};
pub(crate) use usage::{Usage, UsageFiles, is_out_of_descriptors};
