//! The agent beside the oldest tokio that it promises to work with; `tests/` has all.
