//! Typed ids and moments, so that no bare number crosses a module's edge.

use std::{fmt, time::Duration};

macro_rules! ids {
    ($($(#[$doc:meta])* $name:ident($inner:ty);)*) => {$(
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(pub $inner);

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }
    )*};
}

ids! {
    /// A task, within one session.
    TaskId(u64);
    /// A stall, within one session.
    StallId(u64);
    /// A resource, within one session.
    ResourceId(u64);
    /// An operation on a resource, within one session.
    AsyncOpId(u64);
    /// A thread of the operating system.
    Tid(u64);
    /// A runtime, in the order of registration.
    RuntimeId(u32);
    /// An interned text.
    TextId(u32);
    /// An interned source location.
    LocationId(u32);
}

/// A worker of a runtime.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct WorkerId {
    /// The runtime.
    pub runtime: RuntimeId,
    /// Counts from 0 within the runtime.
    pub index: u32,
}

/// A moment on the observed program's clock, nanoseconds since its agent
/// started.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Moment(pub u64);

impl Moment {
    /// How long after `earlier` this is; zero where it is not.
    pub fn since(self, earlier: Moment) -> Duration {
        Duration::from_nanos(self.0.saturating_sub(earlier.0))
    }

    /// The moment `by` earlier, not before the clock's start.
    #[must_use]
    pub fn minus(self, by: Duration) -> Moment {
        Moment(self.0.saturating_sub(nanos(by)))
    }

    /// The moment `by` later.
    #[must_use]
    pub fn plus(self, by: Duration) -> Moment {
        Moment(self.0.saturating_add(nanos(by)))
    }
}

/// A duration as whole nanoseconds, at most 584 years.
pub(super) fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}
