//! When it is worth counting: the memory grows and grows.

use std::collections::VecDeque;

/// Samples are a second apart; growth over so many of them is steady.
const STEADY: usize = 3;
/// What it grows by in that time, at least, in bytes.
const LEAST_GROWTH: u64 = 256 << 10;
/// Between two counts, ns.
const REST_NS: u64 = 2_000_000_000;

/// Follows the memory that is backed by no file.
#[derive(Debug, Default)]
pub(crate) struct Suspicion {
    samples: VecDeque<u64>,
    counted_ns: Option<u64>,
}

impl Suspicion {
    /// Takes a sample, once a second. `true` where it is time to count.
    pub(crate) fn sample(&mut self, now_ns: u64, heap: u64) -> bool {
        self.samples.push_back(heap);
        if self.samples.len() > STEADY + 1 {
            self.samples.pop_front();
        }
        let samples = self.samples.iter();
        let never_falls = samples.clone().zip(samples.skip(1)).all(|(a, b)| b >= a);
        let whole = self.samples.len() > STEADY;
        let growth = heap.saturating_sub(self.samples.front().copied().unwrap_or(heap));
        let rested = self.counted_ns.is_none_or(|at| now_ns >= at + REST_NS);
        let due = whole && never_falls && growth >= LEAST_GROWTH && rested;
        if due {
            self.counted_ns = Some(now_ns);
        }
        due
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn steady_growth_is_suspicious_and_noise_is_not() {
        const MIB: u64 = 1 << 20;
        type Case = (&'static str, fn(u64) -> u64, usize);
        let cases: [Case; 4] = [
            ("grows", |n| n * MIB, 4),
            ("stands still", |_| 7 * MIB, 0),
            ("goes up and down", |n| (n % 3) * MIB, 0),
            ("grows by next to nothing", |n| MIB + n * 4_096, 0),
        ];
        for (what, heap, counts) in cases {
            let mut suspicion = Suspicion::default();
            let seconds = (0..10).filter(|n| suspicion.sample(n * 1_000_000_000, heap(*n)));
            assert_eq!(seconds.count(), counts, "{what}");
        }
    }
}
