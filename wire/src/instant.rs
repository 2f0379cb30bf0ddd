//! Instants that may be missing, in a field or column that cannot be: 0 for none,
//! otherwise the instant plus 1. The protocol file says of which fields this is so.

/// How the protocol writes `instant`, in ns.
///
/// The last one of all, 584 years after the clock began, becomes the one before it.
#[inline]
pub fn write(instant: Option<u64>) -> u64 {
    instant.map_or(0, |ns| ns.saturating_add(1))
}

/// The instant that [`write`](fn@write) has written, in ns.
#[inline]
pub fn read(written: u64) -> Option<u64> {
    written.checked_sub(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_written_is_read() {
        for instant in [None, Some(0), Some(1), Some(u64::MAX - 1)] {
            assert_eq!(read(write(instant)), instant);
        }
        assert_eq!(write(None), 0, "what an older reader takes for none");
        assert_eq!(read(write(Some(u64::MAX))), Some(u64::MAX - 1));
    }
}
