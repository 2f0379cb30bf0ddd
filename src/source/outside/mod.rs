//! The outside view: a process of this machine without an agent, as it is.
//!
//! - `seen`: what was seen, as plain facts,
//! - `hello`: who is looked at, and what cannot be known,
//! - `stop`: how the threads that look are asked to end,
//! - `translate`, `tasks`, `workers`: the facts in the normal form.
#![allow(dead_code, reason = "nobody looks yet")]

mod hello;
mod seen;
mod stop;
mod tasks;
mod translate;
mod workers;
