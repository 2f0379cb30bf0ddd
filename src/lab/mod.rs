//! The starvation lab from the screen's side.
//!
//! - `child`: the lab as a child process,
//! - `client`: its remote control,
//! - [`link`]: the screen's end of that, which is there without the lab as well.

#[cfg(feature = "demo")]
pub mod child;
#[cfg(feature = "demo")]
pub mod client;
pub mod link;
