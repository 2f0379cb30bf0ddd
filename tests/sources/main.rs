//! Sources against real peers: scripted servers on loopback, and an unchanged
//! application with console-subscriber.

mod agent;
mod console_app;
mod console_scripts;
mod problems;
mod script;
