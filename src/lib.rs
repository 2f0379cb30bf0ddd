//! TBD
pub mod source;
