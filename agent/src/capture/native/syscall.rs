//! Which system calls a signal leaves as they were.

/// Does the kernel restart the call by itself after a handler that was installed
/// with `SA_RESTART`, so that the application notices nothing?
///
/// A list of what does, not of what does not: an unknown call is left alone.
/// After signal(7), "Interruption of system calls"; a socket counts only without
/// a time-out, a futex wait likewise.
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
