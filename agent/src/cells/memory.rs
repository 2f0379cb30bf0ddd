//! The process's mappings, and the words in them.

use std::fs::File;
use std::ops::Range;

use looptop_procfs::Mapping;

use crate::capture::read_memory;
use crate::procfs;

const PAGE: u64 = 4096;
/// Pages asked for at a time.
const PAGES: u64 = 1024;
/// Mappings that are taken.
const MAX_MAPPINGS: usize = 65_536;

/// Whether it is memory of an allocator: writable, private, of no file.
pub(super) fn is_heap(mapping: &Mapping) -> bool {
    let path = mapping.path.as_os_str().as_encoded_bytes();
    let named = !path.is_empty() && path != b"[heap]";
    // Those that a program named itself, as allocators do.
    let anonymous = path.starts_with(b"[anon");
    mapping.read && mapping.write && !mapping.shared && (!named || anonymous)
}

/// All mappings now.
pub(super) fn mappings() -> Vec<Mapping> {
    let mut all = procfs::own().mappings().unwrap_or_default();
    all.truncate(MAX_MAPPINGS);
    all
}

/// The parts of a range that are in memory, by `/proc/self/pagemap`. To read a
/// page that was never used would make the kernel map one.
pub(super) struct Present(Option<File>);

impl Present {
    pub(super) fn open() -> Self {
        Self(File::open("/proc/self/pagemap").ok())
    }

    /// Everything where the kernel does not say.
    #[cfg(unix)]
    pub(super) fn parts(&self, range: &Range<u64>) -> Vec<Range<u64>> {
        use std::os::unix::fs::FileExt;
        let Some(file) = &self.0 else {
            return vec![range.clone()];
        };
        let mut parts: Vec<Range<u64>> = Vec::new();
        let mut at = range.start;
        while at < range.end {
            let pages = ((range.end - at) / PAGE).min(PAGES);
            let mut entries = vec![0; pages as usize * 8];
            if pages == 0 || file.read_exact_at(&mut entries, at / PAGE * 8).is_err() {
                parts.push(at..range.end);
                break;
            }
            // The topmost bit of an entry, in the kernel's byte order.
            let topmost = if cfg!(target_endian = "little") { 7 } else { 0 };
            for entry in entries.chunks_exact(8) {
                let present = entry[topmost] & 0x80 != 0;
                match parts.last_mut() {
                    Some(last) if present && last.end == at => last.end += PAGE,
                    _ if present => parts.push(at..at + PAGE),
                    _ => {}
                }
                at += PAGE;
            }
        }
        parts
    }

    #[cfg(not(unix))]
    pub(super) fn parts(&self, _range: &Range<u64>) -> Vec<Range<u64>> {
        Vec::new()
    }
}

/// The words from `address` on, as far as they can be read; the address is a
/// multiple of 8.
pub(super) fn words(address: u64, count: usize) -> Vec<u64> {
    let mut bytes = vec![0; count * 8];
    let length = read_memory(address, &mut bytes);
    let words = bytes[..length].chunks_exact(8);
    words
        .map(|word| u64::from_ne_bytes(word.try_into().unwrap_or_default()))
        .collect()
}

/// Text of this process's memory.
pub(super) fn text(address: u64, length: usize) -> Option<String> {
    let mut bytes = vec![0; length];
    let whole = read_memory(address, &mut bytes) == length;
    whole.then(|| String::from_utf8(bytes).ok()).flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_of_an_allocator() {
        let heap = "55d0c0c3a000-55d0c0c5b000 rw-p 00000000 00:00 0       [heap]";
        let file = "7f00-7f10 r-xp 00001000 08:01 42   /opt/my app";
        let stack = "7ffd00000000-7ffd00021000 rw-p 00000000 00:00 0   [stack]";
        let anonymous = "7f20-7f30 rw-p 00000000 00:00 0 ";
        let named = "7f20-7f30 rw-p 00000000 00:00 0 [anon:jemalloc_pg_overcommit]";
        let shared = "7f20-7f30 rw-s 00000000 00:00 7 /dev/shm/x (deleted)";
        for (line, expected) in [
            (heap, true),
            (file, false),
            (stack, false),
            (anonymous, true),
            (named, true),
            (shared, false),
        ] {
            let mapping = Mapping::parse(line.as_bytes()).unwrap();
            assert_eq!(is_heap(&mapping), expected, "{line}");
        }
    }

    #[test]
    #[cfg(all(target_os = "linux", not(looptop_elsewhere)))]
    fn used_pages_are_present() {
        let pages = vec![1_u8; 64 << 10];
        let start = (pages.as_ptr() as u64).next_multiple_of(PAGE);
        let range = start..start + 8 * PAGE;
        assert_eq!(Present::open().parts(&range), std::slice::from_ref(&range));
        assert_eq!(Present(None).parts(&range), [range]);
        assert_eq!(words(pages.as_ptr() as u64 & !7, 4).len(), 4);
    }
}
