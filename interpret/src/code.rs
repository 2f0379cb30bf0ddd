//! Decoded instructions, kept from one run to the next.

use iced_x86::{Decoder, DecoderOptions, Instruction};

use crate::end::{Refusal, Stop};
use crate::memory::{Host, PAGE};
use crate::op::Op;

/// An instruction, and what it does. `None`: this crate does not know.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Decoded {
    pub(crate) instruction: Instruction,
    pub(crate) op: Option<Op>,
}

/// Bytes of the longest instruction.
const LONGEST: usize = 15;
/// Instructions that are kept: a power of two.
const INSTRUCTIONS: usize = 1 << 14;
/// Pages of code that are kept: a power of two.
const PAGES: usize = 1 << 8;

/// Code as it was read and decoded: what one run has decoded the next one finds. Of a
/// fixed size (about 2 MB); what comes anew takes the place of something older. Code is
/// taken to stay as it is: where a process may have mapped other code, begin a new one.
#[derive(Debug)]
pub struct Code {
    instructions: Vec<Option<(u64, Decoded)>>,
    pages: Vec<Option<(u64, Box<[u8; PAGE]>)>>,
}

impl Default for Code {
    fn default() -> Self {
        Self {
            instructions: vec![None; INSTRUCTIONS],
            pages: vec![None; PAGES],
        }
    }
}

impl Code {
    /// The instruction at `address`.
    pub(crate) fn at(&mut self, host: &mut dyn Host, address: u64) -> Result<Decoded, Stop> {
        let slot = (address ^ address >> 14) as usize % INSTRUCTIONS;
        if let Some((known, decoded)) = &self.instructions[slot]
            && *known == address
        {
            return Ok(*decoded);
        }
        let decoded = self.decode(host, address)?;
        self.instructions[slot] = Some((address, decoded));
        Ok(decoded)
    }

    fn decode(&mut self, host: &mut dyn Host, address: u64) -> Result<Decoded, Stop> {
        let refused = Stop::Refused(Refusal::Code(address));
        let offset = (address % PAGE as u64) as usize;
        let mut bytes = [0; LONGEST];
        let here = (PAGE - offset).min(LONGEST);
        let page = self.page(host, address).ok_or(refused)?;
        bytes[..here].copy_from_slice(&page[offset..offset + here]);
        let mut length = here;
        if here < LONGEST
            && let Some(beyond) = address.checked_add(here as u64)
            && let Some(page) = self.page(host, beyond)
        {
            bytes[here..].copy_from_slice(&page[..LONGEST - here]);
            length = LONGEST;
        }
        let bytes = &bytes[..length];
        let instruction = Decoder::with_ip(64, bytes, address, DecoderOptions::NONE).decode();
        if instruction.is_invalid() && length < LONGEST {
            return Err(refused);
        }
        Ok(Decoded {
            instruction,
            op: Op::of(&instruction),
        })
    }

    fn page(&mut self, host: &mut dyn Host, address: u64) -> Option<&[u8; PAGE]> {
        let number = address / PAGE as u64;
        let entry = &mut self.pages[number as usize % PAGES];
        if !matches!(entry, Some((known, _)) if *known == number) {
            let mut bytes = Box::new([0; PAGE]);
            if !host.code(number * PAGE as u64, &mut bytes) {
                return None;
            }
            *entry = Some((number, bytes));
        }
        entry.as_ref().map(|(_, bytes)| &**bytes)
    }
}
