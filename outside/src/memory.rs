//! The memory of another process.

use looptop_unwind::Memory;

/// Reads the memory of a process by `process_vm_readv`, which copies straight from its
/// pages and neither stops nor signals it. A single read takes some 0.4 µs.
///
/// It needs what `ptrace` needs: the same user, or `CAP_SYS_PTRACE`, and what Yama asks
/// for. The process is found by its id at each read; whether it is still the same one
/// [`Subject::unchanged`](crate::Subject::unchanged) says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ProcessMemory {
    pid: u32,
}

/// A piece of memory of one length that [`ProcessMemory::gather`] reads.
pub type Piece<const LEN: usize> = Option<[u8; LEN]>;

/// Pieces that one system call reads (`IOV_MAX` is 1,024).
const BATCH: usize = 512;

impl ProcessMemory {
    /// The memory of the process with this id.
    pub const fn of(pid: u32) -> Self {
        Self { pid }
    }

    /// `LEN` bytes at each address, in the order of `addresses`; `None` where they are
    /// not all mapped. Some 60 ns for each, a sixth of what single reads take.
    pub fn gather<const LEN: usize>(&self, addresses: &[u64]) -> Vec<Piece<LEN>> {
        let mut pieces = Vec::with_capacity(addresses.len());
        self.each(addresses, |piece| pieces.push(piece.copied()));
        pieces
    }

    /// The same, shown to `see` one by one: of many pieces only few are held.
    pub fn each<const LEN: usize>(
        &self,
        addresses: &[u64],
        mut see: impl FnMut(Option<&[u8; LEN]>),
    ) {
        let mut buffer = vec![[0; LEN]; BATCH.min(addresses.len())];
        let mut rest = addresses;
        while !rest.is_empty() {
            let batch = &rest[..rest.len().min(BATCH)];
            let bytes = buffer[..batch.len()].as_flattened_mut();
            let whole = os::read_pieces(self.pid, batch, LEN, bytes) / LEN;
            buffer[..whole].iter().map(Some).for_each(&mut see);
            rest = &rest[whole..];
            if whole < batch.len() {
                // The kernel ends at the first piece that is not mapped.
                see(None);
                rest = &rest[1..];
            }
        }
    }

    /// `length` bytes, if all of them are mapped.
    pub fn bytes(&self, address: u64, length: usize) -> Option<Vec<u8>> {
        let mut bytes = vec![0; length];
        (self.read(address, &mut bytes) == length).then_some(bytes)
    }
}

impl ProcessMemory {
    /// Fills `buffer` with `length` bytes of each address in one call, at most
    /// [`BATCH`] of them, up to the first piece that is not mapped; the number of
    /// whole pieces.
    pub(crate) fn read_batch(self, addresses: &[u64], length: usize, buffer: &mut [u8]) -> usize {
        let batch = &addresses[..addresses.len().min(BATCH)];
        let buffer = &mut buffer[..batch.len() * length];
        os::read_pieces(self.pid, batch, length, buffer) / length
    }
}

impl Memory for ProcessMemory {
    fn read(&self, address: u64, buffer: &mut [u8]) -> usize {
        let length = buffer.len();
        os::read_pieces(self.pid, &[address], length, buffer)
    }
}

#[cfg(all(target_os = "linux", not(looptop_elsewhere), target_arch = "x86_64"))]
mod os {
    use std::io::IoSliceMut;
    use std::path::Path;
    use std::sync::OnceLock;

    use looptop_unwind::{MemFile, Memory};
    use nix::errno::Errno;
    use nix::sys::uio::{RemoteIoVec, process_vm_readv};
    use nix::unistd::Pid;

    /// Reads `length` bytes at each address into `buffer`, up to the first that is not
    /// mapped; the number of bytes.
    pub(super) fn read_pieces(
        pid: u32,
        addresses: &[u64],
        length: usize,
        buffer: &mut [u8],
    ) -> usize {
        // A process id of 0 or below is nobody's.
        let Some(pid) = i32::try_from(pid).ok().filter(|pid| *pid > 0) else {
            return 0;
        };
        let remote = addresses.iter().map(|&address| RemoteIoVec {
            base: address as usize,
            len: length,
        });
        let remote: Vec<_> = remote.collect();
        let mut local = [IoSliceMut::new(buffer)];
        match process_vm_readv(Pid::from_raw(pid), &mut local, &remote) {
            Ok(read) => read,
            // Kernels and sandboxes exist that forbid the call. One's own memory is a file,
            // too.
            Err(Errno::EPERM | Errno::ENOSYS) if Pid::this().as_raw() == pid => {
                read_own_file(addresses, length, buffer)
            }
            Err(_) => 0,
        }
    }

    /// The same of this process by `/proc/self/mem`, slower.
    pub(super) fn read_own_file(addresses: &[u64], length: usize, buffer: &mut [u8]) -> usize {
        static OWN: OnceLock<Option<MemFile>> = OnceLock::new();
        let own = OWN.get_or_init(|| MemFile::open(Path::new("/proc/self/mem")).ok());
        let Some(own) = own else { return 0 };
        let mut done = 0;
        for (address, piece) in addresses.iter().zip(buffer.chunks_mut(length.max(1))) {
            let read = own.read(*address, piece);
            done += read;
            if read < length {
                break;
            }
        }
        done
    }
}

#[cfg(not(all(target_os = "linux", not(looptop_elsewhere), target_arch = "x86_64")))]
mod os {
    pub(super) fn read_pieces(_: u32, _: &[u64], _: usize, _: &mut [u8]) -> usize {
        0
    }
}

#[cfg(all(
    test,
    target_os = "linux",
    not(looptop_elsewhere),
    target_arch = "x86_64"
))]
mod tests {
    use super::*;

    fn own() -> ProcessMemory {
        ProcessMemory::of(std::process::id())
    }

    #[test]
    fn reads_what_is_mapped_and_nothing_else() {
        let bytes: Vec<u8> = (0..100_000_u32).map(|i| (i % 251) as u8).collect();
        let address = bytes.as_ptr() as u64;
        assert_eq!(own().bytes(address, bytes.len()).unwrap(), bytes);
        assert_eq!(own().read_u64(address), Some(0x0706_0504_0302_0100));
        for nowhere in [0, 8, 0xdead_0000_0000_0000, u64::MAX - 3] {
            assert_eq!(own().read(nowhere, &mut [0; 64]), 0, "{nowhere:#x}");
        }
        for nobody in [0, u32::MAX, i32::MAX as u32] {
            let memory = ProcessMemory::of(nobody);
            assert_eq!(memory.read(address, &mut [0; 8]), 0, "{nobody}");
        }
    }

    #[test]
    fn the_own_memory_is_a_file_too() {
        let words: Vec<u64> = (0..600).collect();
        let at = |i: usize| &raw const words[i] as u64;
        let addresses = [at(7), at(599), 0x10, at(3)];
        let mut buffer = [0; 32];
        assert_eq!(os::read_own_file(&addresses, 8, &mut buffer), 16);
        assert_eq!(buffer[..16], [7_u64, 599].map(u64::to_le_bytes).concat());
        assert_eq!(os::read_own_file(&[], 8, &mut buffer), 0);
    }

    #[test]
    fn pieces_stay_at_their_addresses_also_beside_some_that_are_not_mapped() {
        let words: Vec<u64> = (0..2_000).collect();
        let at = |i: usize| words.as_ptr() as u64 + 8 * i as u64;
        // Each seventh address is nobody's: the first, the last and neighbours too.
        let nobody = |i: usize| i.is_multiple_of(7) || (600..640).contains(&i) || i == 1_999;
        let addresses: Vec<u64> = (0..2_000)
            .map(|i| if nobody(i) { 0x10 } else { at(i) })
            .collect();
        let pieces = own().gather::<8>(&addresses);
        assert_eq!(pieces.len(), 2_000);
        for (i, piece) in pieces.iter().enumerate() {
            let expected = (!nobody(i)).then(|| (i as u64).to_le_bytes());
            assert_eq!(*piece, expected, "{i}");
        }
        assert_eq!(own().gather::<8>(&[]), []);
    }
}
