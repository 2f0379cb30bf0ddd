//! Where the async fns and blocks are written whose code is in a function, without any
//! debug information.
//!
//! The code of each has a panic for the case that it is polled once more after it has
//! ended. What it passes is a `Location`: file, line and column of its body. Those of
//! async fns that were inlined come along, each with its own.
//!
//! Of several the outermost is the one whose state is looked at first: the place in the
//! code that leads to its panic, by a table of jumps or a condition, comes before those
//! that lead to the panics of what it awaits. That is the order in which the compiler
//! lays code out, not a rule.

use std::collections::HashSet;

use object::Architecture;

use super::Memory;
use crate::image::{Image, relative};

/// A place in a source, as the binary has it.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) struct Written {
    pub(super) file: String,
    pub(super) line: u32,
    pub(super) column: u32,
}

/// Bytes of a path that are read.
const MAX_PATH: u64 = 1_024;
/// Panics in one function that are looked at.
const MAX_PANICS: usize = 256;
/// States of an async fn that have ended: it has returned, it has panicked.
const ENDED: [usize; 2] = [1, 2];

/// A panic in code: where it begins, and what it passes.
#[derive(Debug, Clone, Copy)]
struct Panic {
    at: usize,
    location: u64,
}

/// The places in the function around an address, the outermost first. `is_resumed` says
/// whether a function is the panic of an async fn that has ended. x86-64 only.
pub(super) fn places(
    image: &Image,
    memory: Option<&Memory<'_>>,
    address: u64,
    is_resumed: impl Fn(u64) -> bool,
) -> Vec<Written> {
    let (_, mut panics) = outermost_first(image, address, is_resumed);
    let mut seen = HashSet::new();
    panics.retain(|panic| seen.insert(panic.location));
    let mut found = Vec::new();
    for panic in panics {
        if let Some(place) = location(image, memory, panic.location)
            && !found.contains(&place)
        {
            found.push(place);
        }
    }
    found
}

/// The code in the function around an address that is the outermost async fn's own: where
/// it passes its place to its panic.
pub(super) fn own_code(
    image: &Image,
    address: u64,
    is_resumed: impl Fn(u64) -> bool,
) -> Option<u64> {
    let (start, panics) = outermost_first(image, address, is_resumed);
    Some(start.wrapping_add(panics.first()?.at as u64))
}

/// Where the function around an address begins, and its panics.
fn outermost_first(
    image: &Image,
    address: u64,
    is_resumed: impl Fn(u64) -> bool,
) -> (u64, Vec<Panic>) {
    let code = match image.architecture() {
        Architecture::X86_64 => image.code(address),
        _ => None,
    };
    let Some((start, code)) = code else {
        return (address, Vec::new());
    };
    let mut panics = panics(image, start, &code, is_resumed);
    let leads = leads(image, start, &code, &panics);
    // What nothing leads to comes last: its way is unknown.
    panics.sort_by_key(|panic| {
        let lead = leads.iter().find(|(_, to)| *to == panic.at);
        (lead.map_or(usize::MAX, |(from, _)| *from), panic.at)
    });
    (start, panics)
}

/// `lea rdi, [rip + LOCATION]`, and the call of such a panic behind it.
fn panics(image: &Image, start: u64, code: &[u8], is_resumed: impl Fn(u64) -> bool) -> Vec<Panic> {
    let mut found = Vec::new();
    for (at, bytes) in code.windows(7).enumerate() {
        if bytes[..3] != [0x48, 0x8d, 0x3d] {
            continue;
        }
        let call = at + 7 + comparison(&code[at + 7..]);
        let target = image.call_target(start, code, call);
        let location = relative(code, at + 3, start.wrapping_add(at as u64 + 7));
        if let Some(location) = location
            && target.is_some_and(&is_resumed)
        {
            found.push(Panic { at, location });
            if found.len() >= MAX_PANICS {
                break;
            }
        }
    }
    found
}

/// Bytes of a comparison with the state, and of the conditional jump to the other of the
/// two panics, which may stand before the call.
fn comparison(code: &[u8]) -> usize {
    let compared = match code {
        // cmp al, 1; cmp REGISTER, 1
        [0x3c, 1, ..] => 2,
        [0x80 | 0x83, 0xf8..=0xff, 1, ..] => 3,
        [0x40..=0x4f, 0x80 | 0x83, 0xf8..=0xff, 1, ..] => 4,
        _ => 0,
    };
    compared
        + match code.get(compared..) {
            Some([0x74 | 0x75, _, ..]) => 2,
            Some([0x0f, 0x84 | 0x85, ..]) => 6,
            _ => 0,
        }
}

/// What leads to the panics: place in the code and the panic's, by place. A jump names
/// its target, and `lea reg, [rip + TABLE]` a table of distances, by state.
fn leads(image: &Image, start: u64, code: &[u8], panics: &[Panic]) -> Vec<(usize, usize)> {
    let targets: HashSet<usize> = panics.iter().map(|panic| panic.at).collect();
    let mut leads = Vec::new();
    if targets.is_empty() {
        return leads;
    }
    let short = |at: usize| {
        let distance = isize::from(code.get(at + 1)?.cast_signed());
        (at + 2).checked_add_signed(distance)
    };
    let near = |at: usize, length: usize| {
        let target = relative(
            code,
            at + length - 4,
            start.wrapping_add((at + length) as u64),
        )?;
        usize::try_from(target.checked_sub(start)?).ok()
    };
    for (at, byte) in code.iter().enumerate() {
        let next = code.get(at + 1).copied().unwrap_or_default();
        let to = match (byte, next) {
            (0x0f, 0x80..=0x8f) => near(at, 6),
            (0xe9, _) => near(at, 5),
            (0x70..=0x7f | 0xeb, _) => short(at),
            // lea reg, [rip + TABLE]
            (0x48 | 0x4c, 0x8d) if code.get(at + 2).is_some_and(|mode| mode & 0xc7 == 5) => {
                let table = relative(code, at + 3, start.wrapping_add(at as u64 + 7));
                let to = table.map(|table| by_table(image, start, table));
                let to = to.into_iter().flatten();
                leads.extend(to.filter(|to| targets.contains(to)).map(|to| (at, to)));
                continue;
            }
            _ => continue,
        };
        leads.extend(to.filter(|to| targets.contains(to)).map(|to| (at, to)));
    }
    leads
}

/// Where a table of jumps leads in the states of an async fn that has ended.
fn by_table(image: &Image, start: u64, table: u64) -> Vec<usize> {
    let mut entries = [0; 12];
    if !image.read(table, &mut entries) {
        return Vec::new();
    }
    let targets = ENDED.iter().filter_map(|state| {
        let target = relative(&entries, state * 4, table)?;
        usize::try_from(target.checked_sub(start)?).ok()
    });
    targets.collect()
}

/// A `core::panic::Location`: the file's name and its length, line, column.
fn location(image: &Image, memory: Option<&Memory<'_>>, address: u64) -> Option<Written> {
    let word = |at| match memory {
        Some(memory) => memory.word(at),
        None => image.word(at),
    };
    let read = |at, buffer: &mut [u8]| match memory {
        Some(memory) => (memory.read)(at, buffer),
        None => image.read(at, buffer),
    };
    let length = read_u64(&read, address.wrapping_add(8))?;
    let mut numbers = [0; 8];
    if length == 0 || length > MAX_PATH || !read(address.wrapping_add(16), &mut numbers) {
        return None;
    }
    let mut file = vec![0; usize::try_from(length).ok()?];
    if !read(word(address)?, &mut file) {
        return None;
    }
    // Newer versions count the zero behind the name.
    while file.last() == Some(&0) {
        file.pop();
    }
    let file = String::from_utf8(file).ok()?;
    let number = |at: usize| {
        let bytes = numbers[at..at + 4].try_into();
        bytes.map_or(0, u32::from_le_bytes)
    };
    let (line, column) = (number(0), number(4));
    // Whatever else stands there is none.
    let is_path = !file.is_empty() && !file.chars().any(char::is_control);
    (is_path && line > 0).then_some(Written { file, line, column })
}

fn read_u64(read: &impl Fn(u64, &mut [u8]) -> bool, address: u64) -> Option<u64> {
    let mut bytes = [0; 8];
    read(address, &mut bytes).then(|| u64::from_le_bytes(bytes))
}
