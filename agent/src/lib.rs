//! TBD
#![deny(unsafe_code)]

mod capture {
    pub(crate) fn register_current_thread() {}
}
#[allow(dead_code)]
mod clock;
#[cfg(feature = "tracing")]
mod layer;
#[allow(dead_code)]
mod slot;
#[allow(dead_code)]
mod task;

#[cfg(feature = "tracing")]
pub use layer::{TaskLayer, layer};
