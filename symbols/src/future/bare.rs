//! What a program without symbols shows of its async fns: the unwind rules say where
//! functions are, and a text which functions are the panics of async fns that are polled
//! after they have ended.

use std::collections::{BTreeSet, HashSet};

use addr2line::gimli::{BaseAddresses, CieOrFde, EhFrame, LittleEndian, UnwindSection};
use object::{File, Object, ObjectSection, ReadRef};

use crate::image::{Image, Part, relative};

/// What these panics say.
const TEXTS: [&[u8]; 2] = [
    b"`async fn` resumed after completion",
    b"`async fn` resumed after panicking",
];
/// Functions that are taken from a file; a larger one's are not all known.
const MAX_FUNCTIONS: usize = 1 << 21;

/// Address and size of each function, by the unwind rules.
pub(super) fn functions<'a>(object: &File<'a, impl ReadRef<'a>>) -> Vec<(u64, u64)> {
    let mut found = Vec::new();
    let Some(section) = object.section_by_name(".eh_frame") else {
        return found;
    };
    let Ok(data) = section.data() else {
        return found;
    };
    let rules = EhFrame::new(data, LittleEndian);
    let bases = BaseAddresses::default().set_eh_frame(section.address());
    let mut entries = rules.entries(&bases);
    while let Ok(Some(entry)) = entries.next() {
        let CieOrFde::Fde(rule) = entry else { continue };
        if let Ok(rule) = rule.parse(EhFrame::cie_from_offset) {
            found.push((rule.initial_address(), rule.len()));
        }
        if found.len() >= MAX_FUNCTIONS {
            break;
        }
    }
    found
}

/// The panics. x86-64 only.
pub(super) fn resumed(image: &Image) -> HashSet<u64> {
    let mut wanted = BTreeSet::new();
    image.pieces(Part::Data, |at, piece| {
        for (place, _) in piece.iter().enumerate().filter(|(_, byte)| **byte == b'`') {
            if TEXTS.iter().any(|text| piece[place..].starts_with(text)) {
                wanted.insert(at.wrapping_add(place as u64));
            }
        }
    });
    if wanted.is_empty() {
        return HashSet::new();
    }
    // Older versions pass the address of a list of such texts.
    for _ in 0..2 {
        let known = wanted.clone();
        image.words(|at, address| {
            if known.contains(&address) {
                wanted.insert(at);
            }
        });
    }
    let mut found = HashSet::new();
    image.pieces(Part::Code, |at, piece| {
        for place in 0..piece.len() {
            let Some(taken) = address_taken(at, piece, place) else {
                continue;
            };
            if wanted.contains(&taken)
                && let Some((start, _)) = image.function(at.wrapping_add(place as u64))
            {
                found.insert(start);
            }
        }
    });
    found
}

/// What `lea r64, [rip + distance]` gives.
fn address_taken(start: u64, code: &[u8], at: usize) -> Option<u64> {
    let [0x48 | 0x4c, 0x8d, mode, ..] = code.get(at..)? else {
        return None;
    };
    let end = start.wrapping_add(at as u64 + 7);
    (mode & 0xc7 == 0x05).then(|| relative(code, at + 3, end))?
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn instructions_that_take_an_address() {
        for (code, expected, what) in [
            (&[0x48, 0x8d, 0x3d, 0x10, 0, 0, 0][..], Some(0x1017), "rdi"),
            (
                &[0x4c, 0x8d, 0x05, 0xf9, 0xff, 0xff, 0xff],
                Some(0x1000),
                "r8",
            ),
            (&[0x48, 0x8d, 0x3c, 0x10, 0, 0, 0], None, "of registers"),
            (&[0x48, 0x8b, 0x3d, 0x10, 0, 0, 0], None, "a load"),
            (&[0x48, 0x8d, 0x3d, 0x10], None, "cut"),
            (&[], None, "nothing"),
        ] {
            assert_eq!(address_taken(0x1000, code, 0), expected, "{what}");
        }
    }
}
