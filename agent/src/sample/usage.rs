//! Memory and descriptors of the process, from files that stay open: they can be
//! read when no descriptor is left.

use std::fs::{self, File};

/// What the process uses.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Usage {
    /// Resident memory in bytes.
    pub(crate) resident: Option<u64>,
    /// Addresses that are mapped, in bytes.
    pub(crate) virtual_bytes: Option<u64>,
    /// The part of it that is backed by no file.
    pub(crate) heap: Option<u64>,
    pub(crate) open_files: Option<u64>,
    /// The soft limit of open descriptors.
    pub(crate) open_file_limit: Option<u64>,
    pub(crate) threads: Option<u64>,
}

/// The files that say it.
#[derive(Debug)]
pub(crate) struct UsageFiles {
    status: Option<File>,
    limits: Option<File>,
}

impl UsageFiles {
    /// Opens them; costs two descriptors.
    pub(crate) fn open() -> Self {
        Self {
            status: File::open("/proc/self/status").ok(),
            limits: File::open("/proc/self/limits").ok(),
        }
    }

    /// What the process uses now; some 50 µs.
    pub(crate) fn read(&self) -> Usage {
        let limits = self.limits.as_ref().and_then(text);
        let limit = limits.as_deref().and_then(parse_open_file_limit);
        let status = self.status.as_ref().and_then(text).unwrap_or_default();
        Usage {
            resident: parse_kib(&status, "VmRSS:"),
            virtual_bytes: parse_kib(&status, "VmSize:"),
            heap: parse_kib(&status, "RssAnon:"),
            open_files: open_files(limit),
            open_file_limit: limit,
            threads: parse_number(&status, "Threads:"),
        }
    }
}

/// The content of a small file that is open.
fn text(file: &File) -> Option<String> {
    let mut buffer = [0; 8 << 10];
    let length = looptop_procfs::read_at_start(file, &mut buffer)?;
    Some(String::from_utf8_lossy(buffer.get(..length)?).into_owned())
}

/// How many descriptors are open. Where none is left to ask with, they are as
/// many as the limit allows.
fn open_files(limit: Option<u64>) -> Option<u64> {
    const DIRECTORY: &str = "/proc/self/fd";
    if !cfg!(all(target_os = "linux", not(looptop_elsewhere))) {
        return None;
    }
    // Since Linux 6.2 the directory's size is their number.
    let size = fs::metadata(DIRECTORY).ok().map(|meta| meta.len());
    if let Some(size) = size.filter(|size| *size > 0) {
        return Some(size);
    }
    match fs::read_dir(DIRECTORY) {
        // Without the one that reads.
        Ok(entries) => Some((entries.count() as u64).saturating_sub(1)),
        Err(error) if is_out_of_descriptors(&error) => limit,
        Err(_) => None,
    }
}

/// The process, or the system, has no descriptor left.
pub(crate) fn is_out_of_descriptors(error: &std::io::Error) -> bool {
    #[cfg(unix)]
    {
        matches!(error.raw_os_error(), Some(libc::EMFILE | libc::ENFILE))
    }
    #[cfg(not(unix))]
    {
        let _ = error;
        false
    }
}

/// A line of `/proc/self/status` such as `RssAnon:     9728 kB`, in bytes.
fn parse_kib(status: &str, field: &str) -> Option<u64> {
    let line = status.lines().find_map(|line| line.strip_prefix(field))?;
    let kib: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    kib.checked_mul(1_024)
}

fn parse_number(status: &str, field: &str) -> Option<u64> {
    let line = status.lines().find_map(|line| line.strip_prefix(field))?;
    line.trim().parse().ok()
}

/// The soft limit in a line of `/proc/self/limits`; `None` also where there is
/// none.
fn parse_open_file_limit(limits: &str) -> Option<u64> {
    let line = limits
        .lines()
        .find_map(|line| line.strip_prefix("Max open files"))?;
    line.split_ascii_whitespace().next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_of_the_kernel() {
        let status = "Name:\tx\nVmRSS:\t    2048 kB\nRssAnon:\t    9 kB\nRssFile:\t 1 kB\n";
        assert_eq!(parse_kib(status, "VmRSS:"), Some(2 << 20));
        assert_eq!(parse_kib(status, "RssAnon:"), Some(9 << 10));
        assert_eq!(parse_kib(status, "VmSwap:"), None);
        assert_eq!(parse_number("x\nThreads:\t7\n", "Threads:"), Some(7));
        let limits = "Limit                     Soft Limit           Hard Limit           Units     \n\
                      Max open files            1024                 524288               files     \n";
        assert_eq!(parse_open_file_limit(limits), Some(1_024));
        let none = "Max open files            unlimited            unlimited            files\n";
        assert_eq!(parse_open_file_limit(none), None);
    }

    #[test]
    #[cfg(all(target_os = "linux", not(looptop_elsewhere)))]
    fn descriptors_are_counted_one_by_one() {
        let files = UsageFiles::open();
        let before = files.read();
        let held: Vec<File> = (0..40).map(|_| File::open("/dev/null").unwrap()).collect();
        let after = files.read();
        // Other tests open and close files at the same time.
        let more = after.open_files.unwrap() + 20 - before.open_files.unwrap();
        assert!((30..=90).contains(&more), "{before:?} {after:?}");
        drop(held);
        assert!(
            after
                .heap
                .is_some_and(|heap| heap > 0 && Some(heap) < after.resident)
        );
        assert!(after.open_file_limit.is_none_or(|limit| limit > 40));
    }
}
