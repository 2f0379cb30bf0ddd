//! Scales CPU work to the machine and the build, so that "50 ms" is 50 ms
//! everywhere.

use std::{hint::black_box, time::Duration};

use nix::time::{ClockId, clock_gettime};

/// How many `n` make `work` of what `prepare(n)` gave use `target` of CPU. Takes
/// about half of `target`, and what `prepare` takes.
///
/// Measures CPU time, not wall time: other load on the machine must not make the
/// work smaller. Assumes that the time grows linearly with `n`.
pub(crate) fn sized<I, O>(
    target: Duration,
    mut prepare: impl FnMut(usize) -> I,
    mut work: impl FnMut(&I) -> O,
) -> usize {
    let enough = target / 8;
    // Short work is repeated: the clock itself takes half a microsecond.
    let runs = (WINDOW.as_nanos() / enough.as_nanos().max(1)).clamp(1, 1000) as u32;
    let mut n = 1;
    loop {
        let input = black_box(prepare(n));
        // Once for the caches and the page tables.
        black_box(work(&input));
        let before = thread_cpu();
        for _ in 0..runs {
            black_box(work(&input));
        }
        let used = thread_cpu().saturating_sub(before) / runs;
        if used >= enough || n >= 1 << 30 {
            let scaled = target.as_secs_f64() / used.max(Duration::from_nanos(1)).as_secs_f64();
            return ((n as f64 * scaled) as usize).max(1);
        }
        n *= 2;
    }
}

/// Measure for so long at least.
const WINDOW: Duration = Duration::from_millis(1);

/// CPU time of this thread so far; wall time where the system has no such clock.
pub(crate) fn thread_cpu() -> Duration {
    clock_gettime(ClockId::CLOCK_THREAD_CPUTIME_ID)
        .or_else(|_| clock_gettime(ClockId::CLOCK_MONOTONIC))
        .map_or(Duration::ZERO, Duration::from)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn twice_the_target_is_about_twice_the_work() {
        let work = |n: &usize| (0..*n as u64).fold(0_u64, |sum, i| black_box(sum ^ i));
        let one = sized(Duration::from_millis(8), |n| n, work) as f64;
        let two = sized(Duration::from_millis(16), |n| n, work) as f64;
        // Wide, because clocks and caches are not: what matters is the order.
        assert!((0.5..8.0).contains(&(two / one)), "{one} {two}");
    }
}
