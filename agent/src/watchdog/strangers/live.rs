//! The census's view of this process: its threads, and tokio's functions in it.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, OnceLock};

use looptop_procfs::{ProcFile, SchedStat, SyscallState};
use looptop_symbols::scheduler::{self, Landmarks, Place, Unknown, Wait, place};

use super::Threads;
use crate::capture;
use crate::ids::Tid;
use crate::procfs;
use crate::thread_clock::thread_cpu_ns;

/// Of strangers the file that is read at each look stays open: so many, for they count
/// against the application's limit.
const MAX_OPEN: usize = 32;

/// The process's own threads.
#[derive(Debug, Default)]
pub(super) struct LiveThreads {
    scheds: HashMap<Tid, Option<ProcFile>>,
    /// Module of the program itself among those of captures.
    program: Option<u32>,
}

/// The functions of tokio's scheduler, once they were read.
static LANDMARKS: OnceLock<Result<Arc<Landmarks>, Unknown>> = OnceLock::new();

/// Name of the thread that reads them.
const READER: &str = "looptop-names";

/// Reads the functions of tokio's scheduler, on a thread of its own.
pub(super) fn read_landmarks() {
    let reader = std::thread::Builder::new().name(READER.into());
    // Without a thread there are no landmarks, and strangers stay unread.
    drop(reader.spawn(|| {
        LANDMARKS.get_or_init(|| {
            let file = std::fs::File::open("/proc/self/exe").map_err(|_| Unknown::Unreadable)?;
            scheduler::read(&file).map(Arc::new)
        });
    }));
}

/// Whether strangers can be distinguished from other threads, or why not. Before the symbols
/// were read they are expected to be there.
pub(crate) fn can_tell() -> Result<(), String> {
    match LANDMARKS.get() {
        Some(Err(unknown)) => Err(unknown.to_string()),
        Some(Ok(_)) | None => Ok(()),
    }
}

impl Threads for LiveThreads {
    fn list(&mut self) -> Vec<Tid> {
        procfs::tids().into_iter().flatten().collect()
    }

    fn is_ready(&mut self) -> bool {
        matches!(LANDMARKS.get(), Some(Ok(_)))
    }

    fn sched(&mut self, tid: Tid) -> Option<SchedStat> {
        procfs::schedstat(tid)
    }

    fn sched_often(&mut self, tid: Tid) -> Option<SchedStat> {
        if !self.scheds.contains_key(&tid) {
            if self.scheds.len() >= MAX_OPEN {
                return self.sched(tid);
            }
            let file = procfs::open(tid, "schedstat");
            self.scheds.insert(tid, file);
        }
        self.scheds.get(&tid)?.as_ref()?.parse(SchedStat::parse)
    }

    fn is_pending(&mut self) -> bool {
        LANDMARKS.get().is_none()
    }

    fn syscall(&mut self, tid: Tid) -> SyscallState {
        procfs::syscall(tid)
    }

    fn cpu_ns(&mut self, tid: Tid) -> Option<u64> {
        thread_cpu_ns(tid)
    }

    fn place(&mut self, tid: Tid, wait: Wait) -> Option<Place> {
        let landmarks = LANDMARKS.get()?.as_ref().ok()?;
        let stack = capture::capture(tid.0).ok()?.stack;
        let program = self.program()?;
        let own = stack
            .frames
            .iter()
            .filter(|(module, _)| module.is_some_and(|m| m.0 == program));
        let marks = landmarks.on(own.map(|(_, address)| *address));
        let place = place(&marks, wait, landmarks.parks_apart());
        // What is missing outside may be the scheduler.
        let sure = !stack.truncated || !matches!(place, Place::Elsewhere | Place::Pool);
        sure.then_some(place)
    }

    fn read(&self, address: u64, buffer: &mut [u8]) -> usize {
        capture::read_memory(address, buffer)
    }

    fn retain(&mut self, tids: &HashSet<Tid>) {
        self.scheds.retain(|tid, _| tids.contains(tid));
    }
}

impl LiveThreads {
    fn program(&mut self) -> Option<u32> {
        if self.program.is_none() {
            let path = procfs::own().program()?;
            let modules = capture::modules();
            let index = modules.iter().position(|m| m.path == path)?;
            self.program = Some(index as u32);
        }
        self.program
    }
}
