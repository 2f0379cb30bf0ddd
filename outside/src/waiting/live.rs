//! A process that runs, as the engine reads it.

use std::collections::HashSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use looptop_procfs::SyscallState;
use nix::time::{ClockId, clock_gettime};

use super::descriptors::Descriptors;
use super::readable::{Readable, ThreadAt};
use crate::awaits::interpreted::Sockets;
use crate::thread::ThreadFiles;
use crate::{ProcessSpace, Subject};

/// Threads that are looked at.
const MAX_THREADS: usize = 1_024;

/// A process that runs.
#[derive(Debug)]
pub struct LiveProcess {
    subject: Subject,
    space: ProcessSpace,
    descriptors: Descriptors,
    /// Threads of the reader's own, where it is this process.
    left_out: HashSet<u64>,
}

impl LiveProcess {
    /// This one.
    pub fn new(subject: &Subject) -> Self {
        Self {
            subject: subject.clone(),
            space: ProcessSpace::of(subject),
            descriptors: Descriptors::default(),
            left_out: HashSet::new(),
        }
    }

    /// Leaves out these threads, which read or serve what is read: where it is the process
    /// itself that reads. The one that reads is left out in any case.
    pub fn leave_out(&mut self, tids: impl IntoIterator<Item = u64>) {
        self.left_out.extend(tids);
    }

    /// The thread that asks, where it is one of the process itself.
    fn own_thread(&self) -> Option<u64> {
        if self.subject.pid() != std::process::id() {
            return None;
        }
        let link = std::fs::read_link("/proc/thread-self").ok()?;
        link.file_name()?.to_str()?.parse().ok()
    }
}

impl Readable for LiveProcess {
    type Space = ProcessSpace;

    fn space(&self) -> &ProcessSpace {
        &self.space
    }

    fn file(&self, path: &Path) -> Option<PathBuf> {
        let process = self.subject.process();
        if process.program().as_deref() == Some(path) {
            return Some(process.path("exe"));
        }
        // Also in another mount namespace.
        let inside = path.strip_prefix("/").ok()?;
        Some(process.path("root").join(inside))
    }

    fn threads(&mut self) -> Vec<ThreadAt> {
        let Ok(tids) = self.subject.process().tids() else {
            return Vec::new();
        };
        let own = self.own_thread();
        let others = tids.filter(|tid| Some(*tid) != own && !self.left_out.contains(tid));
        let tids: Vec<u64> = others.take(MAX_THREADS).collect();
        let threads = tids.into_iter().filter_map(|tid| self.thread(tid));
        threads.collect()
    }

    fn thread(&mut self, tid: u64) -> Option<ThreadAt> {
        let files = ThreadFiles::open(self.subject.process(), tid)?;
        // In this order: one that has run in between has other slices the next time.
        let slices = files.sched()?.slices;
        let state = files.syscall();
        Some(ThreadAt {
            tid,
            state,
            registers: None,
            fs: None,
            slices: (state != SyscallState::Unknown).then_some(slices),
        })
    }

    fn descriptor(&mut self, fd: i32) -> Option<Arc<str>> {
        self.descriptors.ask(self.subject.process(), fd)
    }

    fn sockets(&self) -> Sockets {
        Sockets::of_process(&self.subject)
    }

    fn clock(&self) -> Option<Duration> {
        let now = clock_gettime(ClockId::CLOCK_MONOTONIC);
        now.ok().map(Duration::from)
    }

    fn goes_on(&self) -> bool {
        true
    }
}
