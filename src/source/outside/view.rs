//! Whether the process of another source can be looked at from outside, too, and what of
//! it; what that source must say for it.

/// Whether it is looked at.
#[cfg_attr(
    not(all(target_os = "linux", not(looptop_elsewhere), target_arch = "x86_64")),
    allow(dead_code, reason = "no process is looked at there")
)]
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::source) enum View {
    /// Nobody wants it.
    Off,
    /// It turns out soon.
    Begins,
    /// It is not, for this reason.
    Not(String),
    /// It is.
    Is {
        /// Why stalls and workers are not seen even so.
        no_stalls: Option<String>,
        /// Why functions have no names.
        no_names: Option<String>,
    },
}

impl View {
    /// Of a process that is looked at, with what is missing.
    #[cfg(all(target_os = "linux", not(looptop_elsewhere), target_arch = "x86_64"))]
    pub(super) fn of(missing: &super::hello::Missing) -> Self {
        Self::Is {
            no_stalls: missing.stalls.clone(),
            no_names: missing.names.clone(),
        }
    }
}

/// A task as another source shows it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::source) struct Shown {
    /// Its id there.
    pub(in crate::source) id: u64,
    /// Where it was spawned, as that source numbers places; 0 where it does not say.
    pub(in crate::source) location: u32,
}
