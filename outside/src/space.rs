//! The address space of a process: its memory, and what the kernel says of it.

use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::ops::Range;

use looptop_procfs::{Mapping, Process};
use looptop_unwind::Memory;

use crate::{ProcessMemory, Subject};

/// Bytes of a page, as pagemap counts.
pub(crate) const PAGE: u64 = 4096;
/// Pages that pagemap is asked for at a time.
const PAGES: u64 = 8192;
/// Mappings that are taken.
const MAX_MAPPINGS: usize = 65_536;

/// Memory of which many small pieces are read at once, and what is mapped into it.
pub trait Space: Memory {
    /// Fills `buffer` with `length` bytes of each address, one piece after the other,
    /// up to one that is not mapped or as many as one call takes; the number of whole
    /// pieces.
    fn read_batch(&self, addresses: &[u64], length: usize, buffer: &mut [u8]) -> usize {
        let pieces = buffer.chunks_exact_mut(length);
        let whole = |(address, piece): (&u64, &mut [u8])| self.read(*address, piece) == length;
        let pieces = addresses.iter().zip(pieces);
        pieces.map(whole).take_while(|whole| *whole).count()
    }

    /// What is mapped now, in the order of addresses.
    fn mappings(&self) -> Vec<Mapping>;

    /// The pages of a range of whole pages, neighbours of one kind together; those
    /// without memory are left out. To read such a page would make the kernel map one.
    fn pages(&self, range: &Range<u64>) -> Vec<(Range<u64>, Page)>;
}

/// What is behind a page.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Page {
    /// The file that is mapped, as it is, or memory that is shared with others.
    File,
    /// Memory of the process's own.
    Own,
    /// The same, written to a swap device.
    Swapped,
}

/// The address space of a [`Subject`].
#[derive(Debug, Clone)]
pub struct ProcessSpace {
    process: Process,
    memory: ProcessMemory,
}

impl ProcessSpace {
    /// That of this process.
    pub fn of(subject: &Subject) -> Self {
        Self {
            process: subject.process().clone(),
            memory: subject.memory(),
        }
    }

    #[cfg(all(target_os = "linux", target_arch = "x86_64"))]
    #[cfg(feature = "watch")]
    pub(crate) fn process(&self) -> &Process {
        &self.process
    }
}

impl Memory for ProcessSpace {
    fn read(&self, address: u64, buffer: &mut [u8]) -> usize {
        self.memory.read(address, buffer)
    }
}

impl Space for ProcessSpace {
    fn read_batch(&self, addresses: &[u64], length: usize, buffer: &mut [u8]) -> usize {
        self.memory.read_batch(addresses, length, buffer)
    }

    fn mappings(&self) -> Vec<Mapping> {
        let mut mappings = self.process.mappings().unwrap_or_default();
        mappings.truncate(MAX_MAPPINGS);
        mappings
    }

    fn pages(&self, range: &Range<u64>) -> Vec<(Range<u64>, Page)> {
        let pagemap = File::open(self.process.path("pagemap"));
        pagemap.map_or_else(
            |_| vec![(range.clone(), Page::Own)],
            |pagemap| pages(&pagemap, range),
        )
    }
}

/// The kernel shows this user no frame numbers, but these bits of an entry.
const PRESENT: u64 = 1 << 63;
const SWAPPED: u64 = 1 << 62;
const OF_FILE: u64 = 1 << 61;

fn pages(mut pagemap: &File, range: &Range<u64>) -> Vec<(Range<u64>, Page)> {
    let mut parts: Vec<(Range<u64>, Page)> = Vec::new();
    let mut at = range.start;
    let mut entries = Vec::new();
    while at < range.end {
        let count = ((range.end - at) / PAGE).min(PAGES);
        entries.resize(count as usize * 8, 0);
        let read = pagemap
            .seek(SeekFrom::Start(at / PAGE * 8))
            .and_then(|_| pagemap.read_exact(&mut entries));
        if count == 0 || read.is_err() {
            // The mapping has gone, or the kernel does not say.
            parts.push((at..range.end, Page::Own));
            break;
        }
        for entry in entries.as_chunks::<8>().0 {
            let entry = u64::from_ne_bytes(*entry);
            let page = match entry {
                entry if entry & PRESENT != 0 && entry & OF_FILE != 0 => Some(Page::File),
                entry if entry & PRESENT != 0 => Some(Page::Own),
                entry if entry & SWAPPED != 0 => Some(Page::Swapped),
                _ => None,
            };
            match (parts.last_mut(), page) {
                (Some((last, kind)), Some(page)) if last.end == at && *kind == page => {
                    last.end += PAGE;
                }
                (_, Some(page)) => parts.push((at..at + PAGE, page)),
                (_, None) => {}
            }
            at += PAGE;
        }
    }
    parts
}

/// Pieces of one length, read at many addresses; kept to be filled again.
#[derive(Debug)]
pub(crate) struct Pieces<const LENGTH: usize> {
    pieces: Vec<[u8; LENGTH]>,
    /// Of the pieces, in their order: those that are not all mapped.
    missing: Vec<usize>,
}

impl<const LENGTH: usize> Default for Pieces<LENGTH> {
    fn default() -> Self {
        Self {
            pieces: Vec::new(),
            missing: Vec::new(),
        }
    }
}

impl<const LENGTH: usize> Pieces<LENGTH> {
    /// Reads `LENGTH` bytes at each address.
    pub(crate) fn read(&mut self, space: &impl Space, addresses: &[u64]) {
        self.missing.clear();
        self.pieces.resize(addresses.len(), [0; LENGTH]);
        let mut done = 0;
        while done < addresses.len() {
            let rest = &addresses[done..];
            let buffer = self.pieces[done..].as_flattened_mut();
            let whole = space.read_batch(rest, LENGTH, buffer).min(rest.len());
            done += whole;
            // One call takes so many, or ended at one that is not mapped. Which of
            // the two it was the next call shows.
            if whole == 0 {
                self.missing.push(done);
                done += 1;
            }
        }
    }

    /// The pieces, in the order of their addresses; `None` where not all of one is
    /// mapped.
    pub(crate) fn iter(&self) -> impl Iterator<Item = Option<&[u8; LENGTH]>> {
        let mut missing = self.missing.iter().copied().peekable();
        self.pieces
            .iter()
            .enumerate()
            .map(move |(i, piece)| missing.next_if_eq(&i).is_none().then_some(piece))
    }
}

/// The word at an offset.
pub(crate) fn word(bytes: &[u8], offset: usize) -> Option<u64> {
    let bytes = bytes.get(offset..offset.checked_add(8)?)?;
    bytes.try_into().ok().map(u64::from_le_bytes)
}

/// The words that `bytes` are.
pub(crate) fn words(bytes: &[u8]) -> impl ExactSizeIterator<Item = u64> {
    let (words, _) = bytes.as_chunks::<8>();
    words.iter().map(|word| u64::from_le_bytes(*word))
}

#[cfg(all(test, target_os = "linux", target_arch = "x86_64"))]
mod tests {
    use looptop_procfs::Procfs;

    use super::*;

    fn own() -> ProcessSpace {
        let subject = Subject::find(&Procfs::default(), std::process::id()).unwrap();
        ProcessSpace::of(&subject)
    }

    #[test]
    fn written_pages_are_the_process_s_own() {
        let bytes = vec![1_u8; 64 << 10];
        let start = (bytes.as_ptr() as u64).next_multiple_of(PAGE);
        let range = start..start + 8 * PAGE;
        assert_eq!(own().pages(&range), [(range, Page::Own)]);
    }

    #[test]
    fn code_is_of_its_file() {
        let here = own as *const () as u64 / PAGE * PAGE;
        let range = here..here + PAGE;
        assert_eq!(own().pages(&range), [(range, Page::File)]);
        let mappings = own().mappings();
        let code = mappings.iter().find(|m| m.range.contains(&here)).unwrap();
        assert!(code.execute);
    }

    #[test]
    fn what_was_never_mapped_has_no_pages() {
        assert_eq!(own().pages(&(0..16 * PAGE)), []);
    }

    #[test]
    fn pieces_say_which_of_them_are_missing() {
        let data: Vec<u64> = (0..3_000).collect();
        let at = |i: usize| {
            let nobody = i.is_multiple_of(7) || (600..640).contains(&i) || i == 2_999;
            if nobody {
                0x10
            } else {
                &raw const data[i] as u64
            }
        };
        let addresses: Vec<u64> = (0..3_000).map(at).collect();
        let mut pieces = Pieces::<8>::default();
        for _ in 0..2 {
            pieces.read(&own(), &addresses);
            for (i, piece) in pieces.iter().enumerate() {
                let expected = (at(i) != 0x10).then(|| (i as u64).to_le_bytes());
                assert_eq!(piece.copied(), expected, "{i}");
            }
        }
        pieces.read(&own(), &[]);
        assert_eq!(pieces.iter().count(), 0);
    }
}
