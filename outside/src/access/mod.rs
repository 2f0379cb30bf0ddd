//! Whether a process may be looked at, and what stands between.
//!
//! - [`kernel`]: what is asked of the kernel,
//! - [`refusal`]: why not, in sentences.
//!
//! The kernel has the last word: eight bytes of the process's own program are read, as
//! its memory would be. What files of procfs say explains a refusal; it does not decide.

mod kernel;
mod refusal;
#[cfg(all(test, unix))]
mod tests;

use std::fmt;
use std::fs::File;
use std::io::{self, Read};

use looptop_procfs::{Process, Procfs, Status, mappings};

pub use kernel::{Kernel, ThisKernel};
pub use refusal::{Refusal, Why};

use crate::program::{Machine, OLDEST_TOKIO, Program, Programs, Tokio, TokioVersion};
use crate::{Subject, SubjectError};

/// A process that may be looked at.
#[derive(Debug, Clone)]
pub struct Access {
    /// It.
    pub subject: Subject,
    /// Its tokio, where the version shows.
    pub tokio: Option<TokioVersion>,
    /// Its functions have names; otherwise its tasks have none either.
    pub has_symbols: bool,
    /// Whether the kernel's sampler may look at its computing threads.
    pub may_sample: Result<(), NoSampler>,
    /// Whether its computing threads may be stopped for a moment.
    pub may_stop: Result<(), NoStop>,
}

/// Why there is no sampler.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NoSampler {
    /// The kernel is built without one.
    Missing,
    /// `kernel.perf_event_paranoid` is this, over 2: for root alone.
    Paranoid(i64),
}

impl fmt::Display for NoSampler {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Missing => f.write_str("this kernel has no perf_event_open"),
            Self::Paranoid(level) => write!(
                f,
                "the kernel's sampler is root's (kernel.perf_event_paranoid = {level}); \
                 `sudo sysctl kernel.perf_event_paranoid=2` lifts it until the next boot"
            ),
        }
    }
}

/// Why no thread may be stopped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NoStop {
    /// This process traces it: a debugger or `strace`.
    Traced(u32),
}

impl fmt::Display for NoStop {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self::Traced(by) = self;
        write!(f, "process {by} traces it already, as a debugger does")
    }
}

/// Whether the process with this id may be looked at.
///
/// # Errors
///
/// It may not, or there is nothing to look at.
pub fn examine(procfs: &Procfs, kernel: &dyn Kernel, pid: u32) -> Result<Access, Refusal> {
    examine_with(procfs, kernel, &mut Programs::default(), pid)
}

/// As [`examine`], for who examines many: executables are read once.
///
/// # Errors
///
/// As [`examine`].
pub fn examine_with(
    procfs: &Procfs,
    kernel: &dyn Kernel,
    programs: &mut Programs,
    pid: u32,
) -> Result<Access, Refusal> {
    let process = procfs.process(pid);
    let name = process.file_name();
    let refused = |why| Refusal::new(pid, &name, why);
    if !kernel.is_supported() {
        return Err(refused(Why::Platform));
    }
    let status = process
        .status()
        .ok_or_else(|| refused(Why::NoSuchProcess))?;
    if let Some(of) = status.process().filter(|of| *of != pid) {
        return Err(refused(Why::Thread { of }));
    }
    let subject = Subject::find(procfs, pid).map_err(|error| match error {
        SubjectError::NoSuchProcess(_) => refused(Why::Ended),
        SubjectError::Unreadable { error, .. } => refused(Why::Forbidden {
            error: error.to_string(),
        }),
    })?;
    if is_of_the_kernel(&status) {
        return Err(refused(Why::KernelThread));
    }
    let program = executable(&process)
        .and_then(|file| programs.of(&file))
        .ok();
    let tokio = judged(&process, program).map_err(refused)?;
    let looker = Looker {
        procfs,
        kernel,
        own: procfs.own().status().unwrap_or_default(),
    };
    looker.read(pid, &process, &status).map_err(refused)?;
    if tokio == Tokio::None {
        // The executable could not be read, though the memory can.
        return Err(refused(Why::NotTokio));
    }
    Ok(Access {
        subject,
        tokio: match tokio {
            Tokio::Version(version) => Some(version),
            Tokio::Unknown | Tokio::None => None,
        },
        has_symbols: program.is_some_and(|program| program.has_symbols),
        may_sample: looker.may_sample(),
        may_stop: match status.number("TracerPid") {
            Some(by @ 1..) => Err(NoStop::Traced(by as u32)),
            _ => Ok(()),
        },
    })
}

/// Whether tokio is in a process, judged by its executable, or by its threads where
/// that says nothing or may not be read. `programs` are those that are known already;
/// with `may_read` others are read.
pub fn tokio_in(process: &Process, programs: &mut Programs, may_read: bool) -> Option<Tokio> {
    let file = executable(process).ok();
    let file = file.filter(|file| may_read || programs.knows(file));
    let program = file.and_then(|file| programs.of(&file).ok());
    match program.map(|program| program.tokio) {
        Some(tokio @ (Tokio::Version(_) | Tokio::Unknown)) => Some(tokio),
        _ if has_worker(process) => Some(Tokio::Unknown),
        Some(Tokio::None) => Some(Tokio::None),
        None => None,
    }
}

/// How tokio names the threads of a runtime, unless the program names them: the kernel
/// cuts names at 15 bytes.
const WORKERS: [&str; 2] = ["tokio-rt-worker", "tokio-runtime-w"];
/// No more threads of a process are asked for their names.
const MAX_THREADS: usize = 256;

fn has_worker(process: &Process) -> bool {
    let threads = process.tids().into_iter().flatten().take(MAX_THREADS);
    let mut names = threads.filter_map(|tid| process.thread(tid).name());
    names.any(|name| WORKERS.contains(&name.as_str()))
}

/// The executable, wherever it is: procfs opens it across mount namespaces, and also
/// where it has been deleted.
fn executable(process: &Process) -> io::Result<File> {
    File::open(process.path("exe"))
}

/// The tokio of a process, `None` where its executable may not be read.
fn judged(process: &Process, program: Option<Program>) -> Result<Tokio, Why> {
    let Some(program) = program else {
        let seen = if has_worker(process) {
            Tokio::Unknown
        } else {
            Tokio::None
        };
        return Ok(seen);
    };
    match program.machine {
        Machine::Bits32 => return Err(Why::ThirtyTwoBit),
        Machine::Other(number) => return Err(Why::OtherMachine(number)),
        Machine::X86_64 | Machine::NoElf => {}
    }
    match program.tokio {
        Tokio::Version(version) if version < OLDEST_TOKIO => Err(Why::TooOld(version)),
        Tokio::None if has_worker(process) => Ok(Tokio::Unknown),
        Tokio::None => Err(Why::NotTokio),
        tokio => Ok(tokio),
    }
}

/// A process that has memory of its own says how much.
fn is_of_the_kernel(status: &Status) -> bool {
    status.number("Kthread") == Some(1) || status.number("VmSize").is_none()
}

/// Who looks.
struct Looker<'a> {
    procfs: &'a Procfs,
    kernel: &'a dyn Kernel,
    own: Status,
}

/// Capabilities, by their bits.
const SYS_PTRACE: u32 = 19;
const SYS_ADMIN: u32 = 21;
const PERFMON: u32 = 38;

/// The kernel's answers that mean something.
const NO_SUCH_PROCESS: i32 = 3;
const BAD_ADDRESS: i32 = 14;
const NO_SUCH_CALL: i32 = 38;

/// The user that the kernel shows for one whom a user namespace does not have.
const OVERFLOW: u32 = 65_534;

/// What is enough of `maps` to find the first mapping of a file.
const MAPS: u64 = 16 << 10;

impl Looker<'_> {
    /// Tries to read the first bytes of the process's program.
    fn read(&self, pid: u32, process: &Process, status: &Status) -> Result<(), Why> {
        let denied = |error: &io::Error| self.explained(process, status, error);
        let mut maps = Vec::new();
        let read = File::open(process.path("maps"))
            .and_then(|file| file.take(MAPS).read_to_end(&mut maps));
        if let Err(error) = read {
            return Err(if is_gone(&error) {
                Why::Ended
            } else {
                denied(&error)
            });
        }
        let first = mappings(&maps).find(|mapping| mapping.read && mapping.inode != 0);
        // One that is ending has no memory any more.
        let address = first.ok_or(Why::Ended)?.range.start;
        match self.kernel.read(pid, address, &mut [0; 8]) {
            Ok(_) => Ok(()),
            Err(error) if is_gone(&error) => Err(Why::Ended),
            // It may be read, and has just been mapped anew.
            Err(error) if error.raw_os_error() == Some(BAD_ADDRESS) => Ok(()),
            Err(error) => Err(denied(&error)),
        }
    }

    /// Why the kernel refused, in the order in which it decides.
    fn explained(&self, process: &Process, status: &Status, error: &io::Error) -> Why {
        if error.raw_os_error() == Some(NO_SUCH_CALL) {
            return if self.is_filtered() {
                Why::Seccomp
            } else {
                Why::NoCall
            };
        }
        let own = ids(&self.own, "Uid").first().copied().unwrap_or_default();
        let theirs = ids(status, "Uid");
        let may_trace = has(&self.own, "CapEff", SYS_PTRACE);
        let is_nested = self.is_nested();
        if is_nested && theirs.contains(&OVERFLOW) {
            return Why::UserNamespace;
        }
        if let Some(&uid) = theirs.iter().find(|uid| **uid != own && !may_trace) {
            return Why::OtherUser {
                uid,
                user: self.kernel.user_name(uid),
                own,
            };
        }
        if self.is_in_another_namespace(process, is_nested) {
            return Why::UserNamespace;
        }
        if may_trace {
            return self.unexplained(error);
        }
        let euid = theirs.get(1).copied().unwrap_or(own);
        let owner = self.kernel.owner(&process.path("maps"));
        if owner.is_ok_and(|owner| owner != euid) {
            return Why::NotDumpable;
        }
        let permitted = |status: &Status| bits(status, "CapPrm").unwrap_or_default();
        if permitted(status) & !permitted(&self.own) != 0 {
            return Why::Capabilities;
        }
        self.unexplained(error)
    }

    /// Whether the one that looks is in another user namespace than the machine's first.
    fn is_nested(&self) -> bool {
        let map = self.procfs.own().text("uid_map").unwrap_or_default();
        let all = ["0", "0", "4294967295"];
        !map.is_empty() && !map.split_ascii_whitespace().eq(all)
    }

    fn is_in_another_namespace(&self, process: &Process, is_nested: bool) -> bool {
        let namespace = |of: &Process| std::fs::read_link(of.path("ns/user")).ok();
        match (namespace(process), namespace(&self.procfs.own())) {
            (Some(theirs), Some(own)) => theirs != own,
            // One of the same namespace may be asked for it.
            _ => is_nested,
        }
    }

    /// What decides whatever the users are.
    fn unexplained(&self, error: &io::Error) -> Why {
        let scope = self.procfs.setting("yama/ptrace_scope").unwrap_or_default();
        let traces = has(&self.own, "CapEff", SYS_PTRACE);
        match scope {
            1 | 2 if !traces => Why::Yama { scope },
            3.. => Why::Yama { scope },
            _ if self.is_filtered() => Why::Seccomp,
            _ => Why::Forbidden {
                error: error.to_string(),
            },
        }
    }

    /// A filter of system calls is in force on the one that looks.
    fn is_filtered(&self) -> bool {
        self.own.number("Seccomp") == Some(2)
    }

    fn may_sample(&self) -> Result<(), NoSampler> {
        let privileged = [PERFMON, SYS_ADMIN]
            .into_iter()
            .any(|bit| has(&self.own, "CapEff", bit));
        match self.procfs.setting("perf_event_paranoid") {
            None => Err(NoSampler::Missing),
            Some(level @ 3..) if !privileged => Err(NoSampler::Paranoid(level)),
            Some(_) => Ok(()),
        }
    }
}

fn is_gone(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::NotFound || error.raw_os_error() == Some(NO_SUCH_PROCESS)
}

/// Real, effective, saved and file-system id.
fn ids(status: &Status, key: &str) -> Vec<u32> {
    let words = status
        .text(key)
        .unwrap_or_default()
        .split_ascii_whitespace();
    words.take(3).filter_map(|word| word.parse().ok()).collect()
}

fn bits(status: &Status, key: &str) -> Option<u64> {
    u64::from_str_radix(status.text(key)?, 16).ok()
}

fn has(status: &Status, key: &str, bit: u32) -> bool {
    bits(status, key).is_some_and(|bits| bits >> bit & 1 == 1)
}
