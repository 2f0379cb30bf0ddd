//! A seeded sequence of numbers: the same on every machine and in every run.

/// `SplitMix64`, after Steele, Lea and Flood, "Fast splittable pseudorandom
/// number generators" (2014).
#[derive(Clone)]
pub(crate) struct Random(u64);

impl Random {
    /// A sequence of its own for `part` of whatever `seed` drives.
    pub(crate) fn new(seed: u64, part: u64) -> Self {
        let mut random = Random(seed ^ part.wrapping_mul(0xA24B_AED4_963E_E407));
        random.next();
        random
    }

    /// The next number.
    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    /// The next number from 0 to 1, without 1.
    pub(crate) fn unit(&mut self) -> f64 {
        (self.next() >> 11) as f64 / (1_u64 << 53) as f64
    }
}
