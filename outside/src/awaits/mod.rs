//! Where tasks wait.

pub mod interpreted;
