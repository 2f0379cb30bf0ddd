//! Tests with the attribute: what turns red, with which words, and what stays green.
//!
//! Those that fail on purpose are ignored; `red` runs each in a process of its own and reads
//! what it says.
#![cfg(all(target_os = "linux", not(looptop_elsewhere)))]

mod attribute;
mod blocking;
mod deadlocks;
mod leaks;
mod red;
mod results;
