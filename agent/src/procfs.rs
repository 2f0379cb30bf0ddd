//! This process's own directory in `/proc`.
//!
//! Elsewhere than on Linux there is none, and everything here is `None` or empty:
//! callers report that as unknown.

use std::sync::LazyLock;

use looptop_procfs::{ProcFile, Process, Procfs, SchedStat, SyscallState};

use crate::ids::Tid;

static OWN: LazyLock<Process> = LazyLock::new(|| Procfs::default().own());

/// The directory.
pub(crate) fn own() -> &'static Process {
    &OWN
}

/// Opens a file of a thread that is read again and again, for example `schedstat`.
pub(crate) fn open(tid: Tid, name: &str) -> Option<ProcFile> {
    if !cfg!(all(target_os = "linux", not(looptop_elsewhere))) {
        return None;
    }
    own().thread(tid.0).open(name)
}

/// What the scheduler did with a thread; about 7 µs.
pub(crate) fn schedstat(tid: Tid) -> Option<SchedStat> {
    open(tid, "schedstat")?.parse(SchedStat::parse)
}

/// What a thread does now; about 7 µs.
pub(crate) fn syscall(tid: Tid) -> SyscallState {
    let state = open(tid, "syscall").and_then(|file| file.parse(SyscallState::parse));
    state.unwrap_or(SyscallState::Unknown)
}

/// All threads; `None` where no descriptor is left to list them with.
pub(crate) fn tids() -> Option<impl Iterator<Item = Tid>> {
    Some(own().tids().ok()?.map(Tid))
}

/// The name of a thread, as the kernel cuts it.
pub(crate) fn name(tid: Tid) -> Option<String> {
    own().thread(tid.0).name()
}
