//! looptop: see, live, what starves a tokio event loop.
//!
//! `docs/architecture.md` is the map. Data flows one way:
//! [`source`] → [`model`] → [`diagnose`] → app → screen or [`report`].
#![forbid(unsafe_code)]

pub mod cli;
pub mod diagnose;
pub mod escape;
#[cfg(feature = "demo")]
pub mod lab_child;
pub mod model;
pub mod record;
pub mod report;
pub mod source;
