//! TBD
pub mod symbols;
