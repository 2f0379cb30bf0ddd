//! The system calls for which no crate has a safe function: `ptrace` with its `waitpid`,
//! as signals of every number are to be handed on, one `ioctl`, and `setpriority` of one
//! thread.
//!
//! The only `unsafe` of this crate is here.
#![allow(unsafe_code)]

use std::io;
use std::os::fd::AsRawFd;
use std::ptr;

/// What `waitpid` reports of a thread that is traced.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Waited {
    /// It runs still.
    NotYet,
    /// It was stopped on request, or is in a stop of its whole process.
    Stopped,
    /// It was about to take this signal, which is to be handed on.
    Signalled(i32),
    /// It has ended.
    Ended,
}

/// `PTRACE_EVENT_STOP` behind the signal of a stop.
const EVENT_STOP: i32 = 128;

fn ptrace(request: libc::c_uint, tid: i32, data: usize) -> io::Result<()> {
    // SAFETY: the requests of this module take no address; `data` is a number.
    let result = unsafe { libc::ptrace(request, tid, ptr::null_mut::<u8>(), data) };
    if result == -1 {
        return Err(io::Error::last_os_error());
    }
    Ok(())
}

/// Begins to trace a thread, which runs on.
pub(crate) fn seize(tid: i32) -> io::Result<()> {
    ptrace(libc::PTRACE_SEIZE, tid, 0)
}

/// Asks a traced thread to stop.
pub(crate) fn interrupt(tid: i32) -> io::Result<()> {
    ptrace(libc::PTRACE_INTERRUPT, tid, 0)
}

/// Lets a stopped thread go on untraced, with a signal that it was about to take, or 0.
pub(crate) fn detach(tid: i32, signal: i32) -> io::Result<()> {
    ptrace(libc::PTRACE_DETACH, tid, signal as usize)
}

/// The registers of a stopped thread.
pub(crate) fn registers(tid: i32) -> io::Result<libc::user_regs_struct> {
    // SAFETY: a structure of numbers, for which all bytes 0 are a value.
    let mut registers: libc::user_regs_struct = unsafe { std::mem::zeroed() };
    let into = &raw mut registers;
    // SAFETY: the request fills such a structure, which lives for the call.
    let result = unsafe { libc::ptrace(libc::PTRACE_GETREGS, tid, ptr::null_mut::<u8>(), into) };
    if result == -1 {
        return Err(io::Error::last_os_error());
    }
    Ok(registers)
}

/// What has become of a traced thread, without waiting.
pub(crate) fn wait(tid: i32) -> io::Result<Waited> {
    let mut status = 0;
    // SAFETY: `status` lives for the call.
    let result = unsafe { libc::waitpid(tid, &raw mut status, libc::__WALL | libc::WNOHANG) };
    if result == -1 {
        return Err(io::Error::last_os_error());
    }
    if result == 0 {
        return Ok(Waited::NotYet);
    }
    Ok(if !libc::WIFSTOPPED(status) {
        Waited::Ended
    } else if status >> 16 == EVENT_STOP {
        Waited::Stopped
    } else {
        Waited::Signalled(libc::WSTOPSIG(status))
    })
}

/// From now on the thread that asks has its CPU after others.
pub(crate) fn lower_priority(by: i32) {
    // SAFETY: the call takes numbers; on Linux 0 is the thread that asks. Where it fails,
    // the thread stays as it is.
    unsafe { libc::setpriority(libc::PRIO_PROCESS, 0, by) };
}

/// Lets a performance event count until it has overflown once, and disables it then.
pub(crate) fn enable_once(event: &impl AsRawFd) -> io::Result<()> {
    /// `_IO('$', 2)`.
    const PERF_EVENT_IOC_REFRESH: libc::c_ulong = 0x2402;
    // SAFETY: the descriptor is open as long as `event` is borrowed; the argument is a
    // number.
    let result = unsafe { libc::ioctl(event.as_raw_fd(), PERF_EVENT_IOC_REFRESH, 1) };
    if result == -1 {
        return Err(io::Error::last_os_error());
    }
    Ok(())
}
