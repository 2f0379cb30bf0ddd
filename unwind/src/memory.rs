//! Memory of a process, wherever it is.

use std::fs::File;
use std::io;
use std::ops::Range;
use std::path::Path;

/// Memory of the process whose stacks are unwound: this one, another, or one that is
/// only a file by now. Addresses are not to be trusted: what is not mapped yields fewer
/// bytes.
pub trait Memory {
    /// Copies memory from `address` on into `buffer`, up to the first byte that is not
    /// mapped, and returns the number of bytes.
    fn read(&self, address: u64, buffer: &mut [u8]) -> usize;

    /// Reads one word.
    fn read_u64(&self, address: u64) -> Option<u64> {
        let mut bytes = [0; 8];
        (self.read(address, &mut bytes) == 8).then(|| u64::from_le_bytes(bytes))
    }

    /// The bytes at `range` themselves, where they are this process's own and neither
    /// change nor go for as long as it lives. Without it they are copied.
    fn lasting(&self, _range: Range<u64>) -> Option<&'static [u8]> {
        None
    }
}

/// Memory as a file: `/proc/PID/mem`.
#[derive(Debug)]
pub struct MemFile(File);

const PAGE: u64 = 4096;

impl MemFile {
    /// Opens the file at `path`.
    ///
    /// # Errors
    ///
    /// The process has ended, or this user may not read its memory.
    pub fn open(path: &Path) -> io::Result<Self> {
        File::open(path).map(Self)
    }
}

impl Memory for MemFile {
    fn read(&self, address: u64, buffer: &mut [u8]) -> usize {
        let mut done = 0;
        while done < buffer.len() {
            let Some(from) = address.checked_add(done as u64) else {
                break;
            };
            // A page that is not mapped must not take along the one before it.
            let piece = ((PAGE - from % PAGE) as usize).min(buffer.len() - done);
            match read_at(&self.0, from, &mut buffer[done..done + piece]) {
                Ok(count) if count > 0 => done += count,
                _ => break,
            }
        }
        done
    }
}

#[cfg(unix)]
fn read_at(file: &File, at: u64, buffer: &mut [u8]) -> io::Result<usize> {
    std::os::unix::fs::FileExt::read_at(file, buffer, at)
}

#[cfg(not(unix))]
fn read_at(_file: &File, _at: u64, _buffer: &mut [u8]) -> io::Result<usize> {
    Err(io::ErrorKind::Unsupported.into())
}

#[cfg(all(test, target_os = "linux", not(looptop_elsewhere)))]
mod tests {
    use super::*;

    #[test]
    fn reads_what_is_mapped_and_stops_at_what_is_not() {
        let memory = MemFile::open(Path::new("/proc/self/mem")).unwrap();
        let bytes: Vec<u8> = (0..200_000_u32).map(|i| (i % 251) as u8).collect();
        let address = bytes.as_ptr() as u64;
        let mut copy = vec![0; bytes.len()];
        assert_eq!(memory.read(address, &mut copy), bytes.len());
        assert!(copy == bytes);
        assert_eq!(memory.read_u64(address), Some(0x0706_0504_0302_0100));
        for nowhere in [0, 8, 0xdead_0000_0000_0000, u64::MAX - 3] {
            assert_eq!(memory.read(nowhere, &mut [0; 64]), 0, "{nowhere:#x}");
        }
        assert_eq!(memory.lasting(address..address + 8), None);
    }
}
