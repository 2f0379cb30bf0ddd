//! The system calls for which no crate has a safe function: `ptrace` with its `waitpid`,
//! as signals of every number are to be handed on, one `ioctl`, `lseek` for holes,
//! `setpriority` of one thread, and the processor's counter.
//!
//! The only `unsafe` of this crate is here.
#![allow(unsafe_code)]

use std::fs::File;
use std::io;
use std::ops::Range;
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

/// The processor's counter, which all processes share.
pub(crate) fn counter() -> u64 {
    // SAFETY: it reads a register, which every processor of this kind has.
    unsafe { std::arch::x86_64::_rdtsc() }
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

/// Where a file has data next, within `length` bytes from `start` on: what is skipped is a
/// hole, which reads as zeroes. `None` where there is none.
pub(crate) fn next_data(file: &File, start: u64, length: u64) -> Option<Range<u64>> {
    let end = start.checked_add(length)?;
    let from = i64::try_from(start).ok()?;
    let seek = |from: i64, whence: i32| {
        // SAFETY: the descriptor is open for the call, which takes no address. What moves
        // is the file's position, which nobody here reads from.
        let at = unsafe { libc::lseek(file.as_raw_fd(), from, whence) };
        u64::try_from(at).map_err(|_| io::Error::last_os_error().raw_os_error())
    };
    let data = match seek(from, libc::SEEK_DATA) {
        Ok(data) => data,
        // Nothing but a hole up to the end.
        Err(Some(libc::ENXIO)) => return None,
        // The file's system does not know.
        Err(_) => return (length > 0).then_some(start..end),
    };
    if data >= end {
        return None;
    }
    let hole = seek(data as i64, libc::SEEK_HOLE).unwrap_or(end);
    Some(data.max(start)..hole.clamp(data.max(start), end))
}
