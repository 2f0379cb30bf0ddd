//! looptop: see, live, what starves a tokio event loop.
//!
//! `docs/architecture.md` is the map. Data flows one way:
//! [`source`] → [`model`] → [`diagnose`] → [`app`] → [`ui`] or [`report`].
#![forbid(unsafe_code)]
// What only the outside view asks for.
#![cfg_attr(
    not(all(target_os = "linux", not(looptop_elsewhere), target_arch = "x86_64")),
    allow(dead_code)
)]

pub mod app;
pub mod cli;
pub mod commands;
pub mod config;
pub mod dump;
pub mod escape;
pub mod export;
pub mod lab;
pub mod live;
#[cfg(feature = "mcp")]
pub mod mcp;
pub mod naming;
pub mod record;
pub mod report;
pub mod source;
pub mod ui;

pub use looptop_diagnosis::{diagnose, model};
