//! The address space of a process: its memory, and what the kernel says of it.

use std::ops::Range;
use std::sync::{Arc, OnceLock};

pub(crate) use looptop_procfs::PAGE;
pub use looptop_procfs::Page;
use looptop_procfs::{Mapping, Pagemap, Process};
use looptop_unwind::Memory;

use crate::{ProcessMemory, Subject};

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

    /// Copies a stack from its pointer on, and returns the number of bytes. Where the stack
    /// ends is not known: what lies beyond is not read where that would make the kernel
    /// load it.
    fn read_stack(&self, sp: u64, buffer: &mut [u8]) -> usize {
        self.read(sp, buffer)
    }
}

/// The address space of a [`Subject`].
#[derive(Debug, Clone)]
pub struct ProcessSpace {
    process: Process,
    memory: ProcessMemory,
    pagemap: Arc<OnceLock<Option<Pagemap>>>,
}

impl ProcessSpace {
    /// That of this process.
    pub fn of(subject: &Subject) -> Self {
        Self {
            process: subject.process().clone(),
            memory: subject.memory(),
            pagemap: Arc::default(),
        }
    }

    /// `None` where the kernel lets nobody look.
    fn pagemap(&self) -> Option<&Pagemap> {
        let open = || Pagemap::open(&self.process).ok();
        self.pagemap.get_or_init(open).as_ref()
    }

    #[cfg(all(target_os = "linux", not(looptop_elsewhere), target_arch = "x86_64"))]
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
        let Some(pagemap) = self.pagemap() else {
            return vec![(range.clone(), Page::Own)];
        };
        // Where the kernel says nothing, reading will.
        let parts = pagemap.parts(range).into_iter();
        parts
            .map(|(range, page)| (range, page.unwrap_or(Page::Own)))
            .collect()
    }

    fn read_stack(&self, sp: u64, buffer: &mut [u8]) -> usize {
        let read = |at, buffer: &mut [u8]| self.memory.read(at, buffer);
        match self.pagemap() {
            Some(pagemap) => pagemap.copy(sp, buffer, read),
            None => read(sp, buffer),
        }
    }
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

#[cfg(all(
    test,
    target_os = "linux",
    not(looptop_elsewhere),
    target_arch = "x86_64"
))]
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
    fn what_lies_behind_a_stack_is_not_loaded() {
        // Memory that nobody has touched, of an allocator that takes so much from the
        // kernel at once.
        let mut memory: Vec<u8> = Vec::with_capacity(64 << 20);
        let start = (memory.as_ptr() as u64).next_multiple_of(PAGE) + PAGE;
        let used = start - memory.as_ptr() as u64;
        memory.resize(used as usize, 5);
        let range = start - PAGE..start + 8 * PAGE;
        let loaded = own().pages(&range);
        let mut copy = vec![1; 9 * PAGE as usize];
        let length = own().read_stack(start - 100, &mut copy);
        let last = loaded.last().unwrap().0.end;
        assert_eq!(length as u64, last - (start - 100));
        assert!(copy[..100].iter().all(|byte| *byte == 5));
        assert_eq!(own().pages(&range), loaded);
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
