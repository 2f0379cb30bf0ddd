//! Where a thread stands with respect to system calls, as the kernel tells it in
//! `/proc/self/task/TID/syscall` (about 2–6 µs per look).

/// What a thread is doing, seen from the kernel.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum SyscallState {
    /// On a CPU, or ready to run.
    Running,
    /// Blocked in a system call.
    InSyscall {
        /// Number of the call, of this architecture.
        nr: u64,
        args: [u64; 6],
        /// Stack pointer at the call.
        sp: u64,
        /// Code address after the call instruction.
        pc: u64,
    },
    /// The kernel does not tell (no such file, not permitted, a page fault).
    Unknown,
}

/// Reads the state of thread `tid` of this process.
#[cfg(target_os = "linux")]
pub(crate) fn read(tid: u64) -> SyscallState {
    use std::io::Read;

    // The longest line is nine hexadecimal numbers.
    let mut line = [0_u8; 256];
    let length = std::fs::File::open(format!("/proc/self/task/{tid}/syscall"))
        .and_then(|mut file| file.read(&mut line));
    match length {
        Ok(length) => parse(&line[..length]),
        Err(_) => SyscallState::Unknown,
    }
}

/// Other systems have no such file.
#[cfg(not(target_os = "linux"))]
pub(crate) fn read(_tid: u64) -> SyscallState {
    SyscallState::Unknown
}

/// Parses a line like `230 0x0 0x0 0x7f.. 0x7f.. 0x0 0x0 0x7ffc.. 0x7f..`, or
/// `running`, or `-1 SP PC` (blocked outside of a system call).
#[allow(dead_code, reason = "only Linux has such lines")]
fn parse(line: &[u8]) -> SyscallState {
    let Ok(line) = std::str::from_utf8(line) else {
        return SyscallState::Unknown;
    };
    let mut words = line.split_ascii_whitespace();
    match words.next() {
        Some("running") => SyscallState::Running,
        Some(number) => {
            let Ok(nr) = number.parse() else {
                return SyscallState::Unknown;
            };
            let mut hex = [0_u64; 8];
            for value in &mut hex {
                let word = words.next().and_then(|word| word.strip_prefix("0x"));
                match word.and_then(|word| u64::from_str_radix(word, 16).ok()) {
                    Some(parsed) => *value = parsed,
                    None => return SyscallState::Unknown,
                }
            }
            let mut args = [0; 6];
            args.copy_from_slice(&hex[..6]);
            SyscallState::InSyscall {
                nr,
                args,
                sp: hex[6],
                pc: hex[7],
            }
        }
        None => SyscallState::Unknown,
    }
}

/// Does the kernel restart the call by itself after a handler that was installed
/// with `SA_RESTART`, so that the application notices nothing?
///
/// A list of what does, not of what does not: an unknown call is left alone.
/// After signal(7), "Interruption of system calls"; a socket counts only without
/// a time-out, a futex wait likewise.
#[cfg(target_os = "linux")]
pub(crate) fn restarts(nr: u64, args: &[u64; 6]) -> bool {
    let Ok(nr) = libc::c_long::try_from(nr) else {
        return false;
    };
    match nr {
        libc::SYS_futex => futex_restarts(args),
        libc::SYS_read
        | libc::SYS_readv
        | libc::SYS_recvfrom
        | libc::SYS_recvmsg
        | libc::SYS_accept
        | libc::SYS_accept4 => !has_timeout(args[0], libc::SO_RCVTIMEO),
        libc::SYS_write
        | libc::SYS_writev
        | libc::SYS_sendto
        | libc::SYS_sendmsg
        | libc::SYS_connect => !has_timeout(args[0], libc::SO_SNDTIMEO),
        libc::SYS_pread64
        | libc::SYS_pwrite64
        | libc::SYS_openat
        | libc::SYS_wait4
        | libc::SYS_waitid
        | libc::SYS_flock
        | libc::SYS_fcntl
        | libc::SYS_fsync
        | libc::SYS_fdatasync
        | libc::SYS_mmap
        | libc::SYS_munmap
        | libc::SYS_mprotect
        | libc::SYS_madvise
        | libc::SYS_brk
        | libc::SYS_getdents64
        | libc::SYS_unlinkat
        | libc::SYS_statx
        | libc::SYS_newfstatat
        | libc::SYS_fstat => true,
        #[cfg(target_arch = "x86_64")]
        libc::SYS_open
        | libc::SYS_stat
        | libc::SYS_unlink
        | libc::SYS_rename
        | libc::SYS_mkdir
        | libc::SYS_rmdir => true,
        _ => false,
    }
}

/// A wait with a time-out fails with `EINTR`; one without is restarted.
#[cfg(target_os = "linux")]
fn futex_restarts(args: &[u64; 6]) -> bool {
    const COMMAND: u64 = 0x7f;
    let waits = matches!(
        (args[1] & COMMAND) as i32,
        libc::FUTEX_WAIT
            | libc::FUTEX_WAIT_BITSET
            | libc::FUTEX_LOCK_PI
            | libc::FUTEX_WAIT_REQUEUE_PI
    );
    let timeout = args[3];
    waits && timeout == 0
}

/// Does `fd` refer to a socket with this time-out set? Not being a socket is no.
#[cfg(target_os = "linux")]
fn has_timeout(fd: u64, option: libc::c_int) -> bool {
    let mut value = libc::timeval {
        tv_sec: 0,
        tv_usec: 0,
    };
    let mut length = std::mem::size_of::<libc::timeval>() as libc::socklen_t;
    // SAFETY: `value` and `length` live for the call and describe each other;
    // a descriptor that is none yields an error.
    let result = unsafe {
        libc::getsockopt(
            fd as libc::c_int,
            libc::SOL_SOCKET,
            option,
            (&raw mut value).cast(),
            &raw mut length,
        )
    };
    result == 0 && (value.tv_sec != 0 || value.tv_usec != 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_of_the_kernel() {
        let cases: &[(&str, SyscallState)] = &[
            ("running\n", SyscallState::Running),
            ("-1 0x7ffc00 0x7f1200\n", SyscallState::Unknown),
            (
                "202 0x1 0x80 0x2 0x0 0x0 0xffffffffffffffff 0x7ffc00 0x7f1200\n",
                SyscallState::InSyscall {
                    nr: 202,
                    args: [1, 0x80, 2, 0, 0, u64::MAX],
                    sp: 0x7f_fc00,
                    pc: 0x7f_1200,
                },
            ),
            ("", SyscallState::Unknown),
            ("202 0x1", SyscallState::Unknown),
            ("202 1 2 3 4 5 6 7 8", SyscallState::Unknown),
            ("\u{fffd}", SyscallState::Unknown),
        ];
        for (line, expected) in cases {
            assert_eq!(parse(line.as_bytes()), *expected, "{line:?}");
        }
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn only_calls_that_restart_are_signalled() {
        let wait = libc::FUTEX_WAIT as u64;
        let cases: &[(libc::c_long, [u64; 6], bool)] = &[
            (libc::SYS_clock_nanosleep, [0; 6], false),
            (libc::SYS_ppoll, [0; 6], false),
            (libc::SYS_epoll_pwait, [0; 6], false),
            (libc::SYS_futex, [1, wait | 128, 2, 0, 0, 0], true),
            (libc::SYS_futex, [1, wait | 128, 2, 0xbeef, 0, 0], false),
            (libc::SYS_fsync, [0; 6], true),
            (libc::SYS_wait4, [0; 6], true),
            (100_000, [0; 6], false),
        ];
        for (nr, args, expected) in cases {
            assert_eq!(restarts(*nr as u64, args), *expected, "call {nr} {args:?}");
        }
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn a_socket_with_a_time_out_is_left_alone() {
        use std::os::fd::AsRawFd;
        let (one, other) = std::os::unix::net::UnixStream::pair().expect("socket pair");
        let read = |fd: i32| restarts(libc::SYS_read as u64, &[fd as u64, 0, 0, 0, 0, 0]);
        one.set_read_timeout(Some(std::time::Duration::from_secs(1)))
            .expect("set time-out");
        assert!(!read(one.as_raw_fd()));
        assert!(read(other.as_raw_fd()));
    }
}
