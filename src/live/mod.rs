//! A target on a terminal, live: where keys, frames, the clock and signals meet.
//!
//! - [`screen`]: the options become a state, a theme and a feed,
//! - `picker`: choosing a target,
//! - [`several`]: several targets, a row for each,
//! - [`run`]: the run loop: keys before the screen before the target, `pace`: when the
//!   screen is drawn,
//! - [`feed`]: events from the source, the names and the lab,
//! - `chores`, `picture`: files that the screen writes beside,
//! - `editor`: a line of source code in an editor, `links`: the same as a link of the
//!   terminal,
//! - [`input`]: what the terminal sends,
//! - [`terminal`]: taking the terminal, and giving it back,
//! - [`history`]: the history of a session, and its recording.

mod chores;
mod editor;
pub mod feed;
pub mod history;
pub mod input;
mod links;
mod pace;
mod picker;
mod picture;
pub mod run;
pub mod screen;
pub mod several;
pub mod terminal;
