//! Sources against real peers: scripted servers on loopback, and unchanged
//! applications with console-subscriber.

mod agent;
mod console_app;
mod console_oldest;
mod console_scripts;
mod core_dump;
mod observed;
mod outside;
mod problems;
#[path = "../programs/mod.rs"]
mod programs;
mod script;
mod versions;
