//! A hint to the processor.

/// Asks for the memory of `value`, without waiting for it. Does nothing on
/// architectures whose instruction the standard library does not offer.
#[inline]
#[allow(unsafe_code, reason = "the instruction has no safe wrapper")]
pub(super) fn prefetch<T>(value: &T) {
    #[cfg(target_arch = "x86_64")]
    {
        use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};

        const LINE: usize = 64;
        let start = std::ptr::from_ref(value).cast::<i8>();
        for offset in (0..size_of::<T>()).step_by(LINE) {
            // SAFETY: a hint changes nothing and never faults; the instruction is
            // part of SSE, hence of every x86-64.
            unsafe { _mm_prefetch::<_MM_HINT_T0>(start.wrapping_add(offset)) };
        }
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = value;
}
