//! What the fuzz targets do with an input. Each module is a target: its `run` takes the
//! bytes, and whatever they are it neither panics nor takes more than [`guard`] allows.
//!
//! Nothing here needs libFuzzer: the tests of this package run each target over its seeds.

pub mod guard;

pub mod core;
pub mod dwarf;
pub mod elf;
pub mod file;
pub mod frames;
pub mod interpret;
pub mod procfs;
pub mod seeds;
pub mod snapshot;
pub mod tasks;
pub mod types;
pub mod unwind;
pub mod waiting;

#[cfg(feature = "viewer")]
pub mod config;
#[cfg(feature = "viewer")]
pub mod console;
#[cfg(feature = "viewer")]
pub mod filter;
#[cfg(feature = "viewer")]
mod http;
#[cfg(feature = "viewer")]
pub mod http_agent;
#[cfg(feature = "viewer")]
pub mod http_lab;
#[cfg(feature = "viewer")]
pub mod recording;
#[cfg(feature = "viewer")]
pub mod text;

/// A target: its name, and what it does with an input.
pub type Target = (&'static str, fn(&[u8]));

/// All targets, those most likely to break first.
pub const TARGETS: &[Target] = &[
    ("tasks", tasks::run),
    ("waiting", waiting::run),
    ("types", types::run),
    ("dwarf", dwarf::run),
    ("elf", elf::run),
    ("interpret", interpret::run),
    ("core", core::run),
    ("unwind", unwind::run),
    ("frames", frames::run),
    ("procfs", procfs::run),
    #[cfg(feature = "viewer")]
    ("recording", recording::run),
    #[cfg(feature = "viewer")]
    ("console", console::run),
    #[cfg(feature = "viewer")]
    ("http_agent", http_agent::run),
    #[cfg(feature = "viewer")]
    ("http_lab", http_lab::run),
    #[cfg(feature = "viewer")]
    ("filter", filter::run),
    #[cfg(feature = "viewer")]
    ("config", config::run),
    #[cfg(feature = "viewer")]
    ("text", text::run),
];
