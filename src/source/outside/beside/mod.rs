//! The view from outside beside another source that speaks of the same process: both are
//! one session. What the other one shows is its own; the view fills what it does not.
//!
//! - `agent`: the tasks of an agent that shows none, and runtimes that nobody registered
//!   with it,
//! - `console`: threads, workers, runtimes, stalls and the names of futures beside
//!   console-subscriber,
//! - `lists`: which list of tasks is a runtime of the agent's,
//! - `own`: what of a listing is the instrument's own,
//! - `place`: frames of the view with the ids and instants of the other's session.

mod agent;
mod console;
mod lists;
mod own;
mod place;

pub(in crate::source) use self::{
    agent::{Beside, Heard, may_read},
    console::{BesideConsole, HeardBesideConsole, Joins},
};

/// So many listings may wait for the names of futures, which say what is the instrument's
/// own.
const WAIT_FOR_NAMES: u32 = 8;
