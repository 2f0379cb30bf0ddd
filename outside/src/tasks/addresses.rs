//! Maps by address that are fast, and stay so whatever the addresses are.

use std::collections::{HashMap, HashSet};
use std::hash::{BuildHasher, Hasher, RandomState};

/// A map by addresses.
pub type AddressMap<T> = HashMap<u64, T, Addresses>;
/// A set of addresses.
pub type AddressSet = HashSet<u64, Addresses>;

/// Hashes one word by a multiplication with a secret, some 1 ns. Another process, which
/// chooses the addresses, does not know the secret, and cannot make them collide.
#[derive(Debug, Clone)]
pub struct Addresses {
    secret: u64,
}

impl Default for Addresses {
    fn default() -> Self {
        let random = RandomState::new().hash_one(0_u64);
        Self { secret: random | 1 }
    }
}

impl BuildHasher for Addresses {
    type Hasher = AddressHasher;

    fn build_hasher(&self) -> AddressHasher {
        AddressHasher {
            secret: self.secret,
            hash: 0,
        }
    }
}

/// See [`Addresses`].
#[derive(Debug)]
pub struct AddressHasher {
    secret: u64,
    hash: u64,
}

impl Hasher for AddressHasher {
    fn finish(&self) -> u64 {
        self.hash
    }

    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.write_u64(u64::from(*byte));
        }
    }

    fn write_u64(&mut self, word: u64) {
        let product = u128::from((self.hash ^ word).wrapping_add(self.secret))
            * u128::from(self.secret.rotate_left(32) | 1);
        self.hash = (product as u64) ^ ((product >> 64) as u64);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_at_the_same_distance_spread() {
        let build = Addresses::default();
        let low: HashSet<u64> = (0..1_024)
            .map(|n| build.hash_one(0x7f00_0000_0000_u64 + n * 128) % 1_024)
            .collect();
        // Of 1,024 balls in as many bins some 647 are not empty.
        assert!(low.len() > 450, "{}", low.len());
        assert_ne!(build.hash_one(8_u64), Addresses::default().hash_one(8_u64));
    }
}
