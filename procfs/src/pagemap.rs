//! Which pages of a process have memory.

use std::fs::File;
use std::io;
use std::ops::Range;

use crate::Process;

/// Bytes of a page, as pagemap counts.
pub const PAGE: u64 = 4096;

/// Pages that [`Pagemap::copy`] asks for at a time.
const AT_ONCE: usize = 64;

/// The kernel shows every user these bits of an entry, if not the frame's number.
const PRESENT: u64 = 1 << 63;
const SWAPPED: u64 = 1 << 62;
const OF_FILE: u64 = 1 << 61;

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

impl Page {
    /// `None` where nothing is mapped, or nothing was loaded yet.
    const fn of(entry: u64) -> Option<Self> {
        match entry {
            entry if entry & PRESENT != 0 && entry & OF_FILE != 0 => Some(Self::File),
            entry if entry & PRESENT != 0 => Some(Self::Own),
            entry if entry & SWAPPED != 0 => Some(Self::Swapped),
            _ => None,
        }
    }
}

/// `pagemap` of a process, open. It shows the address space that the process had when
/// it was opened: after an `exec`, nothing.
///
/// Who reads a page that has no memory makes the kernel give it some, which may wait for
/// a disk or, with `userfaultfd`, for the process itself, and changes what is being
/// looked at. A read of `pagemap` takes a microsecond, and so does asking first.
#[derive(Debug)]
pub struct Pagemap(File);

impl Pagemap {
    /// Opens that of a process.
    ///
    /// # Errors
    ///
    /// The process has ended, or this user may not look at its memory.
    pub fn open(process: &Process) -> io::Result<Self> {
        File::open(process.path("pagemap")).map(Self)
    }

    /// The pages of a range, neighbours of one kind together; those without memory are
    /// left out. Of the rest of a range with `None` the kernel says nothing.
    pub fn parts(&self, range: &Range<u64>) -> Vec<(Range<u64>, Option<Page>)> {
        let mut parts: Vec<(Range<u64>, Option<Page>)> = Vec::new();
        let mut entries = [0; AT_ONCE * 64];
        let mut at = range.start / PAGE * PAGE;
        while at < range.end {
            let count = (range.end - at).div_ceil(PAGE).min(AT_ONCE as u64 * 8);
            let entries = &mut entries[..count as usize * 8];
            if !self.read(at, entries) {
                parts.push((at.max(range.start)..range.end, None));
                break;
            }
            for entry in entries.as_chunks::<8>().0 {
                let page = Page::of(u64::from_ne_bytes(*entry));
                let next = at.saturating_add(PAGE);
                let of = at.max(range.start)..next.min(range.end);
                match (parts.last_mut(), page) {
                    (Some((last, kind)), Some(_)) if last.end == at && *kind == page => {
                        last.end = of.end;
                    }
                    (_, Some(_)) => parts.push((of, page)),
                    (_, None) => {}
                }
                at = next;
            }
        }
        parts
    }

    /// Copies memory from `start` on with `read`, which fills a buffer from an address on
    /// and returns how many bytes it did, as far as there is any: pages without memory are
    /// not touched. They count as zeros between others, and are left out at the end.
    /// Returns the number of bytes. Where the kernel says nothing of the pages, `read` is
    /// asked for all of it.
    ///
    /// It allocates nothing, and calls `read` once for neighbouring pages.
    pub fn copy(
        &self,
        start: u64,
        buffer: &mut [u8],
        mut read: impl FnMut(u64, &mut [u8]) -> usize,
    ) -> usize {
        let mut entries = [0; AT_ONCE * 8];
        // What was copied or is zero; what of it was copied.
        let (mut seen, mut copied) = (0, 0);
        while seen < buffer.len() {
            let Some(at) = start.checked_add(seen as u64) else {
                break;
            };
            let first = at / PAGE * PAGE;
            let end = at.saturating_add((buffer.len() - seen) as u64);
            let count = (end - first).div_ceil(PAGE).min(AT_ONCE as u64);
            let entries = &mut entries[..count as usize * 8];
            if !self.read(first, entries) {
                return seen + read(at, &mut buffer[seen..]);
            }
            let has_memory = |entry: &[u8; 8]| Page::of(u64::from_ne_bytes(*entry)).is_some();
            let entries = entries.as_chunks::<8>().0;
            let mut until = first;
            for pages in entries.chunk_by(|one, next| has_memory(one) == has_memory(next)) {
                until = until.saturating_add(pages.len() as u64 * PAGE);
                let piece = seen..(until.min(end) - start) as usize;
                seen = piece.end;
                if !has_memory(&pages[0]) {
                    buffer[piece].fill(0);
                    continue;
                }
                let done = read(start + piece.start as u64, &mut buffer[piece.clone()]);
                copied = piece.start + done;
                if done < piece.len() {
                    return copied;
                }
            }
        }
        copied
    }

    /// The entries of the pages from an address on.
    #[cfg(unix)]
    fn read(&self, at: u64, entries: &mut [u8]) -> bool {
        use std::os::unix::fs::FileExt;
        self.0.read_exact_at(entries, at / PAGE * 8).is_ok()
    }

    #[cfg(not(unix))]
    fn read(&self, _at: u64, _entries: &mut [u8]) -> bool {
        false
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    /// A pagemap of pages from address 0 on: `p`resent, of a `f`ile, `s`wapped, or none.
    fn pagemap(pages: &str) -> Pagemap {
        let mut file = tempfile::tempfile().unwrap();
        for page in pages.chars() {
            let entry: u64 = match page {
                'p' => PRESENT,
                'f' => PRESENT | OF_FILE,
                's' => SWAPPED,
                _ => 0,
            };
            file.write_all(&entry.to_ne_bytes()).unwrap();
        }
        Pagemap(file)
    }

    #[test]
    fn neighbours_of_a_kind_are_one_part() {
        let of = pagemap("pp.ffs.p");
        let part = |pages: Range<u64>, kind| (pages.start * PAGE..pages.end * PAGE, Some(kind));
        assert_eq!(
            of.parts(&(0..8 * PAGE)),
            [
                part(0..2, Page::Own),
                part(3..5, Page::File),
                part(5..6, Page::Swapped),
                part(7..8, Page::Own),
            ]
        );
        let rest = of.parts(&(7 * PAGE..9 * PAGE));
        assert_eq!(rest, [(7 * PAGE..9 * PAGE, None)]);
        let within = of.parts(&(100..PAGE + 8));
        assert_eq!(within, [(100..PAGE + 8, Some(Page::Own))]);
    }

    #[test]
    fn only_pages_with_memory_are_read() {
        const P: usize = PAGE as usize;
        // Pages, start, wanted; what is read, and how much there is in all.
        type Row = (&'static str, usize, usize, &'static [(usize, usize)], usize);
        let rows: &[Row] = &[
            ("pppp", 0, 4 * P, &[(0, 4 * P)], 4 * P),
            ("pppp", 100, 50, &[(100, 150)], 50),
            ("pp..", 100, 4 * P - 100, &[(100, 2 * P)], 2 * P - 100),
            ("p.p.", 8, 4 * P - 8, &[(8, P), (2 * P, 3 * P)], 3 * P - 8),
            ("psf.", 0, 4 * P, &[(0, 3 * P)], 3 * P),
            ("....", 0, 4 * P, &[], 0),
            (".p..", P + 8, 2 * P, &[(P + 8, 2 * P)], P - 8),
            // The kernel says nothing of what is behind the last page.
            ("pp", 0, 4 * P, &[(0, 4 * P)], 4 * P),
        ];
        for (pages, start, wanted, expected, length) in rows {
            let mut reads = Vec::new();
            let mut buffer = vec![7; *wanted];
            let copied = pagemap(pages).copy(*start as u64, &mut buffer, |at, buffer| {
                reads.push((at as usize, at as usize + buffer.len()));
                buffer.fill(1);
                buffer.len()
            });
            assert_eq!((&reads[..], copied), (*expected, *length), "{pages}");
            for (i, byte) in buffer[..copied].iter().enumerate() {
                let read = reads
                    .iter()
                    .any(|(from, to)| (*from..*to).contains(&(start + i)));
                assert_eq!(*byte, u8::from(read), "{pages} at {i}");
            }
        }
    }

    #[test]
    fn many_pages_are_asked_for_in_turns() {
        let pages = format!("{}.{}..", "p".repeat(130), "p".repeat(70));
        let mut buffer = vec![0; 203 * PAGE as usize];
        let copied = pagemap(&pages).copy(0, &mut buffer, |_, buffer| buffer.len());
        assert_eq!(copied, 201 * PAGE as usize);
    }

    #[test]
    fn a_read_that_ends_early_ends_the_copy() {
        let mut buffer = vec![0; 4 * PAGE as usize];
        let copied = pagemap("pp.p").copy(0, &mut buffer, |_, _| 5_000);
        assert_eq!(copied, 5_000);
    }
}
