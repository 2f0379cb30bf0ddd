//! Numbers by chance, from a seed that a failure prints.

use looptop_interpret::Extended;

pub(crate) struct Random(u64);

impl Random {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed | 1)
    }

    pub(crate) fn next(&mut self) -> u64 {
        // xorshift64*
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    pub(crate) fn below(&mut self, end: u64) -> u64 {
        (self.next() >> 11) % end
    }

    pub(crate) fn one_in(&mut self, count: u64) -> bool {
        self.below(count) == 0
    }

    pub(crate) fn pick<T: Copy>(&mut self, of: &[T]) -> T {
        of[self.below(of.len() as u64) as usize]
    }

    /// A word of which edges are as likely as all others.
    pub(crate) fn word(&mut self) -> u64 {
        match self.below(8) {
            0 => 0,
            1 => u64::MAX,
            2 => self.below(300),
            3 => self.below(300).wrapping_neg(),
            4 => 1 << self.below(64),
            5 => (1 << self.below(64)) - 1,
            6 => self.next() & 0x8080_8080_8080_8080,
            _ => self.next(),
        }
    }

    /// Words that are numbers with a point, pieces of text, and anything.
    pub(crate) fn vector(&mut self) -> [u64; 8] {
        let kind = self.below(8);
        std::array::from_fn(|_| match kind {
            0 => self.single() << 32 | self.single(),
            1 => self.double(),
            2 => self.next() & 0x0303_0303_0303_0303,
            3 => self.word(),
            4 => 0,
            _ => self.next(),
        })
    }

    /// A number of 80 bits: mostly one whose exponent is near that of others.
    pub(crate) fn extended(&mut self) -> Extended {
        let digits = match self.below(4) {
            0 => 1 << 63,
            1 => self.word() | 1 << 63,
            2 => self.next() & 0xffff_0000_0000_0000 | 1 << 63,
            _ => self.next() | 1 << 63,
        };
        let sign = (self.below(2) as u16) << 15;
        let exponent = match self.below(16) {
            0 => {
                return Extended {
                    head: sign,
                    digits: 0,
                };
            }
            1 => {
                return Extended {
                    head: sign | 0x7fff,
                    digits: 1 << 63,
                };
            }
            2 => self.below(0x8000),
            3..=5 => 16_383 + self.below(128) - 64,
            _ => 16_383 + self.below(70) - 4,
        };
        Extended {
            head: sign | exponent as u16,
            digits,
        }
    }

    fn single(&mut self) -> u64 {
        let of = [
            0.0_f32,
            -0.0,
            1.0,
            -1.5,
            f32::INFINITY,
            f32::NEG_INFINITY,
            f32::NAN,
            f32::MIN_POSITIVE,
            f32::MAX,
            2_147_483_648.0,
            -2_147_483_648.0,
            9.223_372e18,
            0.5,
            2.5,
        ];
        match self.below(4) {
            0 => u64::from(self.pick(&of).to_bits()),
            1 => u64::from((self.below(2000) as f32 / 7.0 - 140.0).to_bits()),
            2 => 0x7f80_0001 + self.below(0x7f_fffe),
            _ => self.next() & 0xffff_ffff,
        }
    }

    fn double(&mut self) -> u64 {
        let of = [
            0.0_f64,
            -0.0,
            1.0,
            -1.5,
            f64::INFINITY,
            f64::NEG_INFINITY,
            f64::NAN,
            f64::MIN_POSITIVE,
            f64::MAX,
            2_147_483_647.5,
            -2_147_483_648.5,
            9.223_372_036_854_776e18,
            0.5,
            3.5,
            1e-42,
        ];
        match self.below(4) {
            0 => self.pick(&of).to_bits(),
            1 => (self.below(2000) as f64 / 7.0 - 140.0).to_bits(),
            2 => 0x7ff0_0000_0000_0001 + self.below(0xf_ffff_ffff_fffe),
            _ => self.next(),
        }
    }
}

/// The seed, and how much longer than usual: from the environment, or the usual ones.
pub(crate) fn settings() -> (u64, usize) {
    let number = |name: &str| std::env::var(name).ok()?.parse::<u64>().ok();
    let seed = number("LOOPTOP_INTERPRET_SEED").unwrap_or(0x10_0970_9f2d);
    let rounds = number("LOOPTOP_INTERPRET_ROUNDS").unwrap_or(1);
    println!("LOOPTOP_INTERPRET_SEED={seed} LOOPTOP_INTERPRET_ROUNDS={rounds}");
    (seed, rounds as usize)
}
