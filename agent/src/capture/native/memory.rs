//! Reading this process's own memory without trusting the address: what is not
//! mapped yields fewer bytes, never a fault.

use std::ops::Range;
use std::sync::OnceLock;

use looptop_procfs::{Mapping, Pagemap};
use looptop_unwind::{MemFile, Memory};

use crate::procfs;

const PAGE: u64 = 4096;
/// Pages in one call; 64 KiB that need not begin at a page make 17.
const MAX_PIECES: usize = 18;

/// Copies memory from `address` on into `buffer`, up to the first unmapped page,
/// and returns the number of bytes. About 1 µs, 10 µs for 64 KiB.
pub(super) fn read(address: u64, buffer: &mut [u8]) -> usize {
    let mut done = 0;
    while done < buffer.len() {
        let Some(from) = address.checked_add(done as u64) else {
            break;
        };
        let rest = &mut buffer[done..];
        match read_pages(from, rest) {
            Ok(0) => break,
            Ok(count) => done += count,
            // Kernels and sandboxes exist that forbid the call.
            Err(()) => return done + read_file(from, rest),
        }
    }
    done
}

static PAGEMAP: OnceLock<Option<Pagemap>> = OnceLock::new();

/// Opens what [`read_stack_pages`] needs; it stays open.
pub(super) fn prepare() {
    PAGEMAP.get_or_init(|| Pagemap::open(procfs::own()).ok());
}

/// Copies a stack whose end is not known from its pointer on, up to the end of `buffer` or
/// of the memory, and returns the number of bytes. What lies beyond the stack is another's:
/// pages that have no memory yet are not read, for that would make the kernel load them,
/// and this thread wait for it.
pub(super) fn read_stack(sp: u64, buffer: &mut [u8]) -> usize {
    prepare();
    read_pages_with_memory(sp, buffer, read)
}

/// The same of up to 64 KiB, safe in a signal handler once [`prepare`] was called: it makes
/// a system call or two for each piece of the stack, changes `errno` and nothing else.
pub(super) fn read_stack_pages(sp: u64, buffer: &mut [u8]) -> usize {
    read_pages_with_memory(sp, buffer, |at, buffer| read_pages(at, buffer).unwrap_or(0))
}

fn read_pages_with_memory(
    sp: u64,
    buffer: &mut [u8],
    mut read: impl FnMut(u64, &mut [u8]) -> usize,
) -> usize {
    match PAGEMAP.get() {
        Some(Some(pagemap)) => pagemap.copy(sp, buffer, read),
        _ => read(sp, buffer),
    }
}

/// This process's memory, and what of it lasts.
#[derive(Debug, Default)]
pub(super) struct OwnMemory {
    /// Mappings that stay as they are: of the main program and the vDSO, and read-only.
    lasting: Vec<Range<u64>>,
}

impl OwnMemory {
    /// By its mappings, as they are now.
    pub(super) fn of(mappings: &[Mapping]) -> Self {
        let program = procfs::own().program();
        let lasts = |mapping: &&Mapping| {
            let stays =
                mapping.path.as_os_str() == "[vdso]" || Some(&mapping.path) == program.as_ref();
            stays && mapping.read && !mapping.write && !mapping.shared
        };
        let lasting = mappings.iter().filter(lasts);
        Self {
            lasting: lasting.map(|mapping| mapping.range.clone()).collect(),
        }
    }
}

impl Memory for OwnMemory {
    fn read(&self, address: u64, buffer: &mut [u8]) -> usize {
        read(address, buffer)
    }

    fn lasting(&self, range: Range<u64>) -> Option<&'static [u8]> {
        let holds = |of: &&Range<u64>| of.start <= range.start && range.end <= of.end;
        self.lasting.iter().find(holds)?;
        let length = range.end.checked_sub(range.start)? as usize;
        // SAFETY: the range does not end before it begins, and lies within one mapping of
        // the main program's file or the vDSO that the kernel lists as readable and not
        // writable. Nobody unmaps such a mapping or writes to it while the process lives:
        // what the loader must write it has written before `main`.
        Some(unsafe { std::slice::from_raw_parts(range.start as *const u8, length) })
    }
}

/// One call of `process_vm_readv`; `Err` where the call itself is not possible.
///
/// Safe in a signal handler: it makes one system call, changes `errno` and
/// nothing else.
pub(super) fn read_pages(address: u64, buffer: &mut [u8]) -> Result<usize, ()> {
    // One piece per page, because a transfer is only promised to be partial at
    // the edges of pieces.
    let empty = libc::iovec {
        iov_base: std::ptr::null_mut(),
        iov_len: 0,
    };
    let mut remote = [empty; MAX_PIECES];
    let mut count = 0;
    let mut length = 0;
    while length < buffer.len() && count < MAX_PIECES {
        let Some(start) = address.checked_add(length as u64) else {
            break;
        };
        let to_page_end = (PAGE - start % PAGE) as usize;
        let piece = to_page_end.min(buffer.len() - length);
        remote[count] = libc::iovec {
            iov_base: start as *mut libc::c_void,
            iov_len: piece,
        };
        count += 1;
        length += piece;
    }
    let local = libc::iovec {
        iov_base: buffer.as_mut_ptr().cast(),
        iov_len: length,
    };
    // SAFETY: `local` describes `length <= buffer.len()` writable bytes; the
    // remote side is checked by the kernel, page by page.
    let copied = unsafe {
        libc::process_vm_readv(
            libc::getpid(),
            &raw const local,
            1,
            remote.as_ptr(),
            count as libc::c_ulong,
            0,
        )
    };
    if let Ok(copied) = usize::try_from(copied) {
        return Ok(copied);
    }
    // SAFETY: the location of this thread's `errno` is always valid.
    let error = unsafe { *libc::__errno_location() };
    if error == libc::EFAULT {
        Ok(0)
    } else {
        Err(())
    }
}

/// The same through `/proc/self/mem`, slower.
fn read_file(address: u64, buffer: &mut [u8]) -> usize {
    static MEMORY: OnceLock<Option<MemFile>> = OnceLock::new();
    let memory = MEMORY.get_or_init(|| MemFile::open(&procfs::own().path("mem")).ok());
    let memory = memory.as_ref();
    memory.map_or(0, |memory| memory.read(address, buffer))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_what_is_mapped_and_stops_at_what_is_not() {
        let bytes: Vec<u8> = (0..200_000_u32).map(|i| (i % 251) as u8).collect();
        let address = bytes.as_ptr() as u64;
        for reader in [read, read_file] {
            let mut copy = vec![0; bytes.len()];
            assert_eq!(reader(address, &mut copy), bytes.len());
            assert_eq!(copy, bytes);
        }
        for nowhere in [0, 8, 0xdead_0000_0000_0000, u64::MAX - 3] {
            assert_eq!(read(nowhere, &mut [0; 64]), 0, "{nowhere:#x}");
        }
    }

    #[test]
    fn code_of_the_program_lasts_and_the_rest_does_not() {
        let memory = OwnMemory::of(&procfs::own().mappings().unwrap());
        let code = read as *const () as u64;
        let mut copy = [0; 64];
        assert_eq!(memory.read(code, &mut copy), copy.len());
        assert_eq!(memory.lasting(code..code + 64), Some(&copy[..]));
        let heap = Box::new(7_u64);
        let heap = &raw const *heap as u64;
        let variable = &raw const VARIABLE as u64;
        let library = libc::getpid as *const () as u64;
        for other in [heap, variable, library, 0] {
            assert_eq!(memory.lasting(other..other + 8), None, "{other:#x}");
        }
        for outside in [code..u64::MAX, code..code - 1, 0..code + 1] {
            assert_eq!(memory.lasting(outside.clone()), None, "{outside:x?}");
        }
    }

    static VARIABLE: std::sync::atomic::AtomicU64 = std::sync::atomic::AtomicU64::new(7);

    #[test]
    fn what_lies_behind_a_stack_is_not_loaded() {
        // SAFETY: a fresh private mapping of three pages; the first is written to.
        let base = unsafe {
            let base = libc::mmap(
                std::ptr::null_mut(),
                3 * 4096,
                libc::PROT_READ | libc::PROT_WRITE,
                libc::MAP_PRIVATE | libc::MAP_ANONYMOUS,
                -1,
                0,
            );
            assert_ne!(base, libc::MAP_FAILED);
            base.cast::<u8>().write_bytes(5, 4096);
            base
        };
        let start = base as u64;
        let range = start..start + 3 * 4096;
        let mut copy = [1; 2 * 4096];
        for reader in [read_stack, read_stack_pages] {
            assert_eq!(reader(start + 100, &mut copy), 4096 - 100);
            assert!(copy[..4096 - 100].iter().all(|byte| *byte == 5));
            let loaded = Pagemap::open(procfs::own()).unwrap().parts(&range);
            let ends = loaded.iter().map(|(range, _)| (range.start, range.end));
            assert_eq!(ends.collect::<Vec<_>>(), [(start, start + 4096)]);
        }
        // SAFETY: the mapping from above, not used afterwards.
        unsafe { libc::munmap(base, 3 * 4096) };
    }

    #[test]
    fn stops_at_a_guard_page() {
        // SAFETY: a fresh private mapping of two pages, used only through `read`.
        let base = unsafe {
            let base = libc::mmap(
                std::ptr::null_mut(),
                8192,
                libc::PROT_READ,
                libc::MAP_PRIVATE | libc::MAP_ANONYMOUS,
                -1,
                0,
            );
            assert_ne!(base, libc::MAP_FAILED);
            libc::mprotect(base.add(4096), 4096, libc::PROT_NONE);
            base
        };
        let mut copy = [1; 8192];
        assert_eq!(read(base as u64 + 100, &mut copy), 4096 - 100);
        assert_eq!(read(base as u64 + 4096, &mut copy), 0);
        // SAFETY: the mapping from above, not used afterwards.
        unsafe { libc::munmap(base, 8192) };
    }
}
