//! What a test allows.

use std::time::Duration;

use looptop_symbols::{Frame, name};

/// A poll may take this long by default.
const MAX_POLL: Duration = Duration::from_millis(100);
/// Polls shorter than this are not distinguished from others by the looks.
const LEAST_MAX_POLL: Duration = Duration::from_millis(1);

/// The settings of one test.
#[derive(Clone, Debug)]
pub(super) struct Settings {
    /// The path of its function.
    pub(super) name: String,
    max_poll: Duration,
    pub(super) leak: bool,
    pub(super) deadlock: bool,
    /// Functions that may block, and whose tasks may stay.
    allow: Vec<String>,
}

impl Settings {
    pub(super) fn new(name: &str) -> Self {
        Self {
            name: name.to_owned(),
            max_poll: MAX_POLL,
            leak: true,
            deadlock: true,
            allow: Vec::new(),
        }
    }

    pub(super) fn set_max_poll(&mut self, limit: Duration) {
        self.max_poll = limit.max(LEAST_MAX_POLL);
    }

    pub(super) fn allow(&mut self, function: &str) {
        self.allow.push(function.to_owned());
    }

    pub(super) fn max_poll_ns(&self) -> u64 {
        u64::try_from(self.max_poll.as_nanos()).unwrap_or(u64::MAX)
    }

    /// Whether what stands on this stack may block: an allowed function is on it, or
    /// `block_in_place`, which gives the worker away.
    pub(super) fn allows_stack(&self, frames: &[Frame]) -> bool {
        let functions = frames.iter().filter_map(|frame| frame.function.as_deref());
        let mut functions = functions.map(name::clean);
        functions.any(|function| {
            (function.starts_with("tokio::") && names(&function, "block_in_place"))
                || self.allow.iter().any(|allowed| names(&function, allowed))
        })
    }

    /// Whether a task with such a future may stay.
    pub(super) fn allows_task(&self, future: &str) -> bool {
        self.allow.iter().any(|allowed| names(future, allowed))
    }
}

/// Whether a path holds the parts of `wanted`, one after the other.
fn names(path: &str, wanted: &str) -> bool {
    let is_part = |c: char| c.is_alphanumeric() || c == '_';
    path.match_indices(wanted).any(|(at, _)| {
        let before = path[..at].chars().next_back();
        let after = path[at + wanted.len()..].chars().next();
        !before.is_some_and(is_part) && !after.is_some_and(is_part)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn functions_are_named_by_whole_parts_of_their_paths() {
        for (path, wanted, is) in [
            ("shop::price::load", "price::load", true),
            ("shop::price::load::{{closure}}", "price::load", true),
            (
                "<shop::price::Table as core::ops::Drop>::drop",
                "price::Table",
                true,
            ),
            ("shop::price::load_all", "price::load", false),
            ("shop::half_price::load", "price::load", false),
            ("shop::price::load", "shop::price::load", true),
            ("shop::price::load", "store", false),
        ] {
            assert_eq!(names(path, wanted), is, "{path} by {wanted}");
        }
    }

    #[test]
    fn a_limit_is_at_least_what_the_looks_distinguish() {
        let mut settings = Settings::new("a::test");
        assert_eq!(settings.max_poll_ns(), 100_000_000);
        settings.set_max_poll(Duration::ZERO);
        assert_eq!(settings.max_poll_ns(), 1_000_000);
    }
}
