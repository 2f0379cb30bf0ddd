//! Part of the signal handler, under its rules: restarting a system call that the
//! signal interrupted.

/// Undoes the harm of a signal that came just after the thread entered a call
/// which fails with `EINTR` despite `SA_RESTART`: the watchdog looks before it
/// signals, but the thread may enter such a call in between.
///
/// The context then stands behind the call instruction with `-EINTR` as result.
/// All argument registers still hold what was passed, only the number is lost;
/// it is in the instruction before, as C libraries write it. A time-out counts
/// from the start again, which is late by the microseconds of the race.
#[cfg(target_arch = "x86_64")]
pub(super) fn interrupted_call(context: &mut libc::ucontext_t) {
    let all = &mut context.uc_mcontext.gregs;
    if all[libc::REG_RAX as usize] != -i64::from(libc::EINTR) {
        return;
    }
    let pc = all[libc::REG_RIP as usize];
    let mut code = [0; 7];
    if super::memory::read_pages((pc as u64).wrapping_sub(7), &mut code) != Ok(code.len()) {
        return;
    }
    let number = match code {
        // mov eax, number; syscall
        [0xb8, a, b, c, d, 0x0f, 0x05] => i64::from(i32::from_le_bytes([a, b, c, d])),
        // xor eax, eax; syscall
        [.., 0x31, 0xc0, 0x0f, 0x05] => 0,
        _ => return,
    };
    if may_be_started_again(number) {
        all[libc::REG_RAX as usize] = number;
        all[libc::REG_RIP as usize] = pc - 2;
    }
}

/// The first argument's register is the result's, so a call cannot be restarted
/// from here.
#[cfg(target_arch = "aarch64")]
pub(super) fn interrupted_call(_context: &mut libc::ucontext_t) {}

/// Calls that did nothing at all when they fail with `EINTR`.
#[cfg(target_arch = "x86_64")]
fn may_be_started_again(number: i64) -> bool {
    matches!(
        number,
        libc::SYS_poll
            | libc::SYS_ppoll
            | libc::SYS_select
            | libc::SYS_pselect6
            | libc::SYS_epoll_wait
            | libc::SYS_epoll_pwait
            | libc::SYS_epoll_pwait2
            | libc::SYS_nanosleep
            | libc::SYS_clock_nanosleep
            | libc::SYS_futex
            | libc::SYS_read
            | libc::SYS_readv
            | libc::SYS_recvfrom
            | libc::SYS_recvmsg
            | libc::SYS_accept
            | libc::SYS_accept4
            | libc::SYS_write
            | libc::SYS_writev
            | libc::SYS_sendto
            | libc::SYS_sendmsg
            | libc::SYS_semop
            | libc::SYS_semtimedop
            | libc::SYS_msgrcv
            | libc::SYS_msgsnd
            | libc::SYS_io_getevents
            | libc::SYS_rt_sigtimedwait
    )
}
