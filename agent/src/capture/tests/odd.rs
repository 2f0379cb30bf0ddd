//! Unusual threads.
