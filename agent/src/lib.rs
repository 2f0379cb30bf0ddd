//! TBD
mod capture;
