//! looptop: see, live, what starves a tokio event loop.
//!
//! `docs/architecture.md` is the map. Data flows one way:
//! source → [`model`] → diagnosis → app → screen or report.
#![forbid(unsafe_code)]

pub mod diagnose;
pub mod escape;
pub mod model;
pub mod report;
