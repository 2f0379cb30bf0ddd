//! Log-bucketed durations, so that both ends agree on the boundaries.
//!
//! Bucket 0 holds 0 ns. Every power of two above is cut into
//! [`SUB_BUCKETS`] equal parts, so that a bucket's width is at most a quarter
//! of its lower bound: a percentile read from the histogram is off by at most
//! 25 % upwards. [`BUCKETS`] of them reach 2^[`MAX_POWER`] ns (about 9
//! minutes); longer durations count in the last.

/// Parts of a power of two.
pub const SUB_BUCKETS: u32 = 4;
/// The histogram ends at 2^39 ns.
pub const MAX_POWER: u32 = 39;
/// Number of buckets: 0 ns, 1, 2 and 3 ns, and four for each further power.
pub const BUCKETS: usize = 4 + (SUB_BUCKETS * (MAX_POWER - 2)) as usize;

/// The bucket of a duration in nanoseconds. A few instructions, no branch
/// misprediction to speak of: it runs once per poll at levels 1 and 2.
#[inline]
pub const fn bucket(ns: u64) -> usize {
    if ns < SUB_BUCKETS as u64 {
        return ns as usize;
    }
    let power = u64::BITS - 1 - ns.leading_zeros();
    let sub = (ns >> (power - 2)) & 3;
    let index = 4 + ((power - 2) * SUB_BUCKETS) as usize + sub as usize;
    if index < BUCKETS { index } else { BUCKETS - 1 }
}

/// The smallest duration in nanoseconds that counts in `bucket`.
pub const fn lower_bound(bucket: usize) -> u64 {
    if bucket < 4 {
        return bucket as u64;
    }
    let step = bucket - 4;
    let power = step as u32 / SUB_BUCKETS + 2;
    let sub = step as u64 % SUB_BUCKETS as u64;
    (4 + sub) << (power - 2)
}

/// The smallest duration in nanoseconds above `bucket`; of the last bucket, its
/// nominal end.
pub const fn upper_bound(bucket: usize) -> u64 {
    lower_bound(bucket + 1)
}

/// The duration in nanoseconds below which the share `quantile` (0 to 1) of all
/// entries lie, as the upper bound of its bucket; `None` without entries.
///
/// `counts` yields pairs of bucket and count in ascending order of buckets.
pub fn quantile(
    counts: impl IntoIterator<Item = (usize, u64)> + Clone,
    quantile: f64,
) -> Option<u64> {
    let total: u64 = counts.clone().into_iter().map(|(_, n)| n).sum();
    if total == 0 {
        return None;
    }
    let rank = ((total as f64 * quantile).ceil() as u64).clamp(1, total);
    let mut seen = 0;
    counts.into_iter().find_map(|(bucket, n)| {
        seen += n;
        (seen >= rank).then(|| upper_bound(bucket.min(BUCKETS - 1)))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_duration_lies_within_its_bucket() {
        let edges = (0..u64::BITS).flat_map(|p| [(1 << p) - 1, 1 << p, (1 << p) + 1]);
        for ns in (0..5_000).chain(edges) {
            let b = bucket(ns);
            assert!(lower_bound(b) <= ns, "{ns} in bucket {b}");
            if b < BUCKETS - 1 {
                assert!(ns < upper_bound(b), "{ns} in bucket {b}");
            }
        }
        assert_eq!(bucket(u64::MAX), BUCKETS - 1);
        assert_eq!(upper_bound(BUCKETS - 1), 1 << MAX_POWER);
    }

    #[test]
    fn buckets_are_at_most_a_quarter_wide() {
        for b in 4..BUCKETS {
            let (lower, upper) = (lower_bound(b), upper_bound(b));
            assert!(lower < upper && (upper - lower) * 4 <= lower, "bucket {b}");
        }
    }

    #[test]
    fn quantiles() {
        assert_eq!(quantile([], 0.5), None);
        let counts = [(bucket(100), 98), (bucket(5_000), 1), (bucket(70_000), 1)];
        assert_eq!(quantile(counts, 0.5), Some(112));
        assert_eq!(quantile(counts, 0.98), Some(112));
        assert_eq!(quantile(counts, 0.99), Some(5_120));
        assert_eq!(quantile(counts, 1.0), Some(81_920));
    }
}
