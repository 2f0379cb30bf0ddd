//! Debug information, without the headers of the file around it: what names code
//! addresses.

use crate::file::{Input, Section, elf};
use crate::guard::guarded;

/// Sections that an input has, in this order.
pub const SECTIONS: [&str; 11] = [
    ".debug_info",
    ".debug_abbrev",
    ".debug_line",
    ".debug_str",
    ".debug_line_str",
    ".debug_ranges",
    ".debug_rnglists",
    ".debug_addr",
    ".debug_str_offsets",
    ".debug_aranges",
    ".text",
];

/// Where the code is.
pub const TEXT: u64 = 0x40_1000;

/// The input are the sections, each with its length before it.
pub fn run(data: &[u8]) {
    let file = file_of(data);
    guarded(|| crate::elf::all(&file));
}

/// The file that has the sections of an input.
pub fn file_of(data: &[u8]) -> Vec<u8> {
    let mut input = Input(data);
    let sections = SECTIONS.map(|name| {
        let code = name == ".text";
        Section {
            name,
            kind: 1,
            flags: if code { 6 } else { 0 },
            address: if code { TEXT } else { 0 },
            link: 0,
            entry: 0,
            bytes: input.part(),
        }
    });
    elf(&sections)
}
