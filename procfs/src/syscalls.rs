//! Names of Linux's system calls, and what a thread that is blocked in one of
//! them waits for.
//!
//! The tables are text, `NUMBER NAME` on a line in ascending order. An
//! architecture without one shows numbers.

use std::borrow::Cow;
use std::sync::LazyLock;

#[cfg(target_arch = "x86_64")]
const TEXT: &str = include_str!("syscalls/x86_64.txt");
#[cfg(target_arch = "aarch64")]
const TEXT: &str = include_str!("syscalls/aarch64.txt");
#[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
const TEXT: &str = "";

static TABLE: LazyLock<Vec<(u64, &'static str)>> = LazyLock::new(|| parse(TEXT));

fn parse(text: &'static str) -> Vec<(u64, &'static str)> {
    let entry = |line: &'static str| {
        let (number, name) = line.split_once(' ')?;
        Some((number.parse().ok()?, name))
    };
    text.lines().filter_map(entry).collect()
}

/// Calls that wait for time to pass.
const SLEEPS: &[&str] = &["nanosleep", "clock_nanosleep"];

/// Calls that wait for a lock, a condition or another thread's wake.
const LOCKS: &[&str] = &["futex", "futex_wait", "futex_waitv"];

/// Calls that sleep when they are given nothing to wait for: the position of
/// the argument that counts what they wait for.
const WAITS_FOR: &[(&str, usize)] = &[("poll", 1), ("ppoll", 1), ("select", 0), ("pselect6", 0)];

/// Calls whose first argument is a file descriptor.
const TAKES_FD: &[&str] = &[
    "accept",
    "accept4",
    "connect",
    "copy_file_range",
    "epoll_pwait",
    "epoll_wait",
    "fallocate",
    "fcntl",
    "fdatasync",
    "flock",
    "fstat",
    "fsync",
    "ftruncate",
    "getdents64",
    "ioctl",
    "lseek",
    "pread64",
    "preadv",
    "pwrite64",
    "pwritev",
    "read",
    "readv",
    "recvfrom",
    "recvmmsg",
    "recvmsg",
    "sendfile",
    "sendmmsg",
    "sendmsg",
    "sendto",
    "splice",
    "sync_file_range",
    "syncfs",
    "write",
    "writev",
];

/// What a blocked call waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Time.
    Sleep,
    /// A lock or condition.
    Lock,
    /// Anything else.
    Other,
}

/// The name of a call; its number where it is not known.
pub fn name(number: u64) -> Cow<'static, str> {
    match known_name(number) {
        Some(name) => Cow::Borrowed(name),
        None => Cow::Owned(format!("system call {number}")),
    }
}

fn known_name(number: u64) -> Option<&'static str> {
    let at = TABLE.binary_search_by_key(&number, |(n, _)| *n).ok()?;
    Some(TABLE.get(at)?.1)
}

/// What call `number` with `args` waits for.
pub fn kind(number: u64, args: &[u64; 6]) -> Kind {
    let Some(name) = known_name(number) else {
        return Kind::Other;
    };
    let nothing_to_wait_for = |(call, at): &(&str, usize)| *call == name && args[*at] == 0;
    if SLEEPS.contains(&name) || WAITS_FOR.iter().any(nothing_to_wait_for) {
        Kind::Sleep
    } else if LOCKS.contains(&name) {
        Kind::Lock
    } else {
        Kind::Other
    }
}

/// Whether call `number` waits for a lock, a condition or another thread's wake.
pub fn is_futex(number: u64) -> bool {
    known_name(number).is_some_and(|name| LOCKS.contains(&name))
}

/// Calls in which an idle thread waits whatever their arguments.
const IDLES: &[&str] = &[
    "accept",
    "accept4",
    "epoll_pwait",
    "epoll_pwait2",
    "epoll_wait",
    "io_uring_enter",
];

/// Whether call `number` with `args` is one in which idle threads wait: for
/// events, or for a wake with a time limit, as those of a pool do.
pub fn may_idle(number: u64, args: &[u64; 6]) -> bool {
    known_name(number)
        .is_some_and(|name| IDLES.contains(&name) || LOCKS.contains(&name) && args[3] != 0)
}

/// Whether the first argument of call `number` is a file descriptor.
pub(crate) fn takes_fd(number: u64) -> bool {
    known_name(number).is_some_and(|name| TAKES_FD.contains(&name))
}

/// The number of a call by its name, on this architecture.
pub fn number(name: &str) -> Option<u64> {
    TABLE.iter().find(|(_, n)| *n == name).map(|(n, _)| *n)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tables_are_sorted_and_know_the_calls_that_matter() {
        let tables = [
            (
                include_str!("syscalls/x86_64.txt"),
                [
                    (0, "read"),
                    (202, "futex"),
                    (230, "clock_nanosleep"),
                    (74, "fsync"),
                ],
            ),
            (
                include_str!("syscalls/aarch64.txt"),
                [
                    (63, "read"),
                    (98, "futex"),
                    (115, "clock_nanosleep"),
                    (82, "fsync"),
                ],
            ),
        ];
        for (text, expected) in tables {
            let table = parse(text);
            assert_eq!(table.len(), text.lines().count());
            assert!(table.is_sorted_by(|a, b| a.0 < b.0));
            for entry in expected {
                assert!(table.contains(&entry), "{entry:?}");
            }
            let named = SLEEPS.iter().chain(LOCKS).chain(TAKES_FD);
            for name in named {
                // aarch64 has no epoll_wait, only epoll_pwait.
                let known = table.iter().any(|(_, n)| n == name);
                assert!(known || *name == "epoll_wait", "{name}");
            }
        }
    }

    #[test]
    #[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
    fn what_a_call_waits_for() {
        let kind_of = |name, first, second| {
            let number = number(name).expect("in the table");
            kind(number, &[first, second, 0, 0, 0, 0])
        };
        assert_eq!(kind_of("clock_nanosleep", 1, 0), Kind::Sleep);
        assert_eq!(kind_of("ppoll", 0, 0), Kind::Sleep);
        assert_eq!(kind_of("ppoll", 0x7ffc, 3), Kind::Other);
        assert_eq!(kind_of("futex", 0x7ffc, 0), Kind::Lock);
        assert_eq!(kind_of("read", 3, 0), Kind::Other);
        assert_eq!(kind(99_999, &[0; 6]), Kind::Other);
        assert_eq!(name(99_999), "system call 99999");
    }
}
