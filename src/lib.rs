//! looptop: see, live, what starves a tokio event loop.
//!
//! `docs/architecture.md` is the map. Data flows one way:
//! [`source`] → [`model`] → [`diagnose`] → [`app`] → [`ui`] or [`report`].
#![forbid(unsafe_code)]

pub mod app;
pub mod check;
pub mod cli;
pub mod command;
pub mod config;
pub mod diagnose;
pub mod escape;
pub mod export;
pub mod feed;
pub mod input;
pub mod keeper;
#[cfg(feature = "demo")]
pub mod lab_child;
#[cfg(feature = "demo")]
pub mod lab_client;
pub mod lab_link;
pub mod model;
pub mod naming;
pub mod record;
pub mod report;
pub mod run;
pub mod screen;
pub mod source;
pub mod symbols;
pub mod terminal;
pub mod ui;
