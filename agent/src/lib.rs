//! TBD
#![deny(unsafe_code)]

mod capture {
    pub(crate) fn register_current_thread() {}
}
#[allow(dead_code)]
mod clock;
mod hooks;
#[cfg(feature = "tracing")]
mod layer;
#[allow(dead_code)]
mod slot;
#[allow(dead_code)]
mod task;

pub use hooks::{Hooks, instrument};
#[cfg(feature = "tracing")]
pub use layer::{TaskLayer, layer};
