//! Steps of AES and of SHA-256.

use iced_x86::Instruction;

use super::Machine;
use super::lane::{PART, build, bytes, from_bytes, lane};
use super::vector::{length, number_of};
use crate::end::Stop;
use crate::op::Cipher;
use crate::state::Vector;

/// A product in AES's field of 256 elements.
const fn product(mut a: u8, mut b: u8) -> u8 {
    let mut sum = 0;
    while b != 0 {
        if b & 1 == 1 {
            sum ^= a;
        }
        let carry = a & 0x80 != 0;
        a <<= 1;
        if carry {
            a ^= 0x1b;
        }
        b >>= 1;
    }
    sum
}

/// AES's substitution of bytes, and its inverse.
const fn substitutions() -> ([u8; 256], [u8; 256]) {
    let (mut forward, mut back) = ([0_u8; 256], [0_u8; 256]);
    forward[0] = 0x63;
    back[0x63] = 0;
    // Through all elements but 0: powers of 3, and at their side their inverses.
    let (mut power, mut inverse) = (1_u8, 1_u8);
    loop {
        power = product(power, 3);
        // 0xf6 is the inverse of 3.
        inverse = product(inverse, 0xf6);
        let turned = inverse
            ^ inverse.rotate_left(1)
            ^ inverse.rotate_left(2)
            ^ inverse.rotate_left(3)
            ^ inverse.rotate_left(4)
            ^ 0x63;
        forward[power as usize] = turned;
        back[turned as usize] = power;
        if power == 1 {
            return (forward, back);
        }
    }
}

static SUBSTITUTIONS: ([u8; 256], [u8; 256]) = substitutions();

/// Each column times a polynomial.
fn mix(state: [u8; PART], by: [u8; 4]) -> [u8; PART] {
    std::array::from_fn(|at| {
        let (column, row) = (at / 4 * 4, at % 4);
        (0..4).fold(0, |sum, other| {
            sum ^ product(state[column + other], by[(other + 4 - row) % 4])
        })
    })
}

const MIX: [u8; 4] = [2, 3, 1, 1];
const MIX_BACK: [u8; 4] = [14, 11, 13, 9];

fn encrypt(state: [u8; PART], last: bool) -> [u8; PART] {
    // Rows go to the left by their number.
    let state = std::array::from_fn(|at| {
        let from = (at + at % 4 * 4) % PART;
        SUBSTITUTIONS.0[usize::from(state[from])]
    });
    if last { state } else { mix(state, MIX) }
}

fn decrypt(state: [u8; PART], last: bool) -> [u8; PART] {
    let state = std::array::from_fn(|at| {
        let from = (at + PART - at % 4 * 4) % PART;
        SUBSTITUTIONS.1[usize::from(state[from])]
    });
    if last { state } else { mix(state, MIX_BACK) }
}

fn substitute(word: u64) -> u32 {
    let bytes = (word as u32).to_le_bytes();
    u32::from_le_bytes(bytes.map(|byte| SUBSTITUTIONS.0[usize::from(byte)]))
}

impl Machine<'_> {
    pub(super) fn cipher(&mut self, cipher: Cipher, i: &Instruction) -> Result<(), Stop> {
        match cipher {
            Cipher::Encrypt { last } => self.round(i, |state| encrypt(state, last)),
            Cipher::Decrypt { last } => self.round(i, |state| decrypt(state, last)),
            Cipher::MixInverse => {
                let a = bytes(&self.source(i, 1)?);
                let (parts, _) = a.as_chunks::<PART>();
                let mixed = mix(parts[0], MIX_BACK);
                self.each(i, 1, |at| u64::from(mixed[at]))
            }
            Cipher::AssistKey => {
                let a = self.source(i, 1)?;
                let by = number_of(i) as u32;
                self.each(i, 4, |at| {
                    let word = substitute(lane(&a, 4, at / 2 * 2 + 1));
                    u64::from(match at % 2 {
                        0 => word,
                        _ => word.rotate_right(8) ^ by,
                    })
                })
            }
            Cipher::HashRounds | Cipher::HashFirst | Cipher::HashSecond => {
                let (a, b) = (self.source(i, 0)?, self.source(i, 1)?);
                let words =
                    |of: &Vector| -> [u32; 4] { std::array::from_fn(|at| lane(of, 4, at) as u32) };
                let (a, b) = (words(&a), words(&b));
                let result = match cipher {
                    Cipher::HashRounds => hash_rounds(a, b, words(&self.state.vector[0])),
                    Cipher::HashFirst => hash_first(a, b),
                    _ => hash_second(a, b),
                };
                self.each(i, 4, |at| u64::from(result[at]))
            }
        }
    }

    /// Each 16 bytes through a round, and its key.
    fn round(
        &mut self,
        i: &Instruction,
        of: impl Fn([u8; PART]) -> [u8; PART],
    ) -> Result<(), Stop> {
        let (state, key) = self.pair(i)?;
        let mut state = bytes(&state);
        let (parts, _) = state.as_chunks_mut::<PART>();
        for part in parts.iter_mut().take(length(i) / PART) {
            *part = of(*part);
        }
        let state = from_bytes(&state);
        let result = build(8, length(i) / 8, |at| state[at] ^ key[at]);
        self.put(i, result, 8, length(i))
    }
}

/// Two rounds of SHA-256.
#[allow(clippy::many_single_char_names, reason = "the standard calls them so")]
fn hash_rounds(a: [u32; 4], b: [u32; 4], keys: [u32; 4]) -> [u32; 4] {
    let mut state = [b[3], b[2], a[3], a[2], b[1], b[0], a[1], a[0]];
    for key in &keys[..2] {
        let [a, b, c, d, e, f, g, h] = state;
        let chosen = e & f ^ !e & g;
        let sum = e.rotate_right(6) ^ e.rotate_right(11) ^ e.rotate_right(25);
        let first = [chosen, sum, *key, h]
            .into_iter()
            .fold(0, u32::wrapping_add);
        let most = a & b ^ a & c ^ b & c;
        let sum = a.rotate_right(2) ^ a.rotate_right(13) ^ a.rotate_right(22);
        let second = most.wrapping_add(sum);
        state = [
            first.wrapping_add(second),
            a,
            b,
            c,
            first.wrapping_add(d),
            e,
            f,
            g,
        ];
    }
    [state[5], state[4], state[1], state[0]]
}

fn hash_first(a: [u32; 4], b: [u32; 4]) -> [u32; 4] {
    let words = [a[0], a[1], a[2], a[3], b[0]];
    std::array::from_fn(|at| {
        let next: u32 = words[at + 1];
        let small = next.rotate_right(7) ^ next.rotate_right(18) ^ next >> 3;
        words[at].wrapping_add(small)
    })
}

fn hash_second(a: [u32; 4], b: [u32; 4]) -> [u32; 4] {
    let small = |word: u32| word.rotate_right(17) ^ word.rotate_right(19) ^ word >> 10;
    let first = a[0].wrapping_add(small(b[2]));
    let second = a[1].wrapping_add(small(b[3]));
    let third = a[2].wrapping_add(small(first));
    [first, second, third, a[3].wrapping_add(small(second))]
}
