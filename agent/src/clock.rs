//! The agent's clock.
use std::sync::LazyLock;
use std::time::Instant;

static ORIGIN: LazyLock<Instant> = LazyLock::new(Instant::now);

/// A point on the clock that slots use.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) struct Ticks(pub u64);

/// `t` in nanoseconds since the origin.
pub(crate) fn to_ns(t: Ticks) -> u64 {
    t.0
}

/// Nanoseconds since the origin.
pub(crate) fn now_ns() -> u64 {
    ORIGIN.elapsed().as_nanos() as u64
}
