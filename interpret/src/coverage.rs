//! How much of a program's code is known.

use std::collections::BTreeMap;

use iced_x86::{Code as Encoding, Decoder, DecoderOptions, Mnemonic};

use crate::op::Op;

/// Instructions that were counted.
#[derive(Debug, Clone, Default)]
pub struct Coverage {
    /// All of them, those that end a program and fill gaps left out.
    pub instructions: u64,
    /// Those that are not known, by their encodings.
    pub unknown: BTreeMap<Encoding, u64>,
    /// Bytes that are no instructions.
    pub invalid: u64,
}

impl Coverage {
    /// Counts the instructions of `code`, which is loaded at `address`.
    pub fn count(&mut self, code: &[u8], address: u64) {
        let decoder = Decoder::with_ip(64, code, address, DecoderOptions::NONE);
        for instruction in decoder {
            if instruction.is_invalid() {
                self.invalid += 1;
                continue;
            }
            if instruction.mnemonic() == Mnemonic::Int3 {
                continue;
            }
            self.instructions += 1;
            if Op::of(&instruction).is_none() {
                *self.unknown.entry(instruction.code()).or_default() += 1;
            }
        }
    }

    /// Adds what was counted elsewhere.
    pub fn add(&mut self, other: &Self) {
        self.instructions += other.instructions;
        self.invalid += other.invalid;
        for (encoding, count) in &other.unknown {
            *self.unknown.entry(*encoding).or_default() += count;
        }
    }

    /// Those that are not known, by their names, the most frequent first.
    pub fn names(&self) -> Vec<(String, u64)> {
        let mut names: BTreeMap<String, u64> = BTreeMap::new();
        for (encoding, count) in &self.unknown {
            let name = format!("{:?}", encoding.mnemonic()).to_lowercase();
            *names.entry(name).or_default() += count;
        }
        let mut names: Vec<_> = names.into_iter().collect();
        names.sort_by(|a, b| b.1.cmp(&a.1).then_with(|| a.0.cmp(&b.0)));
        names
    }

    /// Is an instruction known, in the form in which it is?
    pub fn knows(instruction: &iced_x86::Instruction) -> bool {
        Op::of(instruction).is_some()
    }
}
