//! What is asked of the kernel to see whether a process may be read.

use std::io;
use std::path::Path;

/// What depends on permission, and what files cannot say; a fake of it in tests.
pub trait Kernel {
    /// Whether processes can be read on this system at all.
    fn is_supported(&self) -> bool {
        cfg!(all(
            target_os = "linux",
            not(looptop_elsewhere),
            target_arch = "x86_64"
        ))
    }

    /// Reads memory of another process by the call that the outside view lives on.
    ///
    /// # Errors
    ///
    /// The kernel's own.
    fn read(&self, pid: u32, address: u64, buffer: &mut [u8]) -> io::Result<usize>;

    /// The user to whom a file of procfs belongs.
    ///
    /// # Errors
    ///
    /// It cannot be looked at.
    fn owner(&self, path: &Path) -> io::Result<u32>;

    /// The name of a user, where the machine has one.
    fn user_name(&self, uid: u32) -> Option<String>;
}

/// The kernel that runs.
#[derive(Debug, Clone, Copy, Default)]
pub struct ThisKernel;

/// No more of the list of users is read.
const MAX_USERS: u64 = 1 << 20;

impl Kernel for ThisKernel {
    #[cfg(all(target_os = "linux", not(looptop_elsewhere), target_arch = "x86_64"))]
    fn read(&self, pid: u32, address: u64, buffer: &mut [u8]) -> io::Result<usize> {
        use nix::sys::uio::{RemoteIoVec, process_vm_readv};
        let pid = i32::try_from(pid).map_err(io::Error::other)?;
        let remote = [RemoteIoVec {
            base: address as usize,
            len: buffer.len(),
        }];
        let mut local = [io::IoSliceMut::new(buffer)];
        Ok(process_vm_readv(
            nix::unistd::Pid::from_raw(pid),
            &mut local,
            &remote,
        )?)
    }

    #[cfg(not(all(target_os = "linux", not(looptop_elsewhere), target_arch = "x86_64")))]
    fn read(&self, _: u32, _: u64, _: &mut [u8]) -> io::Result<usize> {
        Err(io::ErrorKind::Unsupported.into())
    }

    #[cfg(unix)]
    fn owner(&self, path: &Path) -> io::Result<u32> {
        use std::os::unix::fs::MetadataExt;
        Ok(std::fs::metadata(path)?.uid())
    }

    #[cfg(not(unix))]
    fn owner(&self, _: &Path) -> io::Result<u32> {
        Err(io::ErrorKind::Unsupported.into())
    }

    fn user_name(&self, uid: u32) -> Option<String> {
        use std::io::Read;
        let mut users = String::new();
        let file = std::fs::File::open("/etc/passwd").ok()?;
        file.take(MAX_USERS).read_to_string(&mut users).ok()?;
        named(&users, uid)
    }
}

/// `NAME:x:UID:...`
fn named(users: &str, uid: u32) -> Option<String> {
    users.lines().find_map(|line| {
        let mut fields = line.split(':');
        let name = fields.next()?;
        let id: u32 = fields.nth(1)?.parse().ok()?;
        (id == uid && !name.is_empty()).then(|| name.to_owned())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn users_have_names() {
        let users = "root:x:0:0:root:/root:/bin/sh\nbad\n:x:7::\npostgres:x:70:70:::\n";
        assert_eq!(named(users, 70).as_deref(), Some("postgres"));
        assert_eq!(named(users, 0).as_deref(), Some("root"));
        assert_eq!(named(users, 7), None);
        assert_eq!(named(users, 71), None);
    }
}
