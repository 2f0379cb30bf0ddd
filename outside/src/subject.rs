//! A process that is looked at, and whether it is still the same.

use std::io;

use looptop_procfs::{Process, Procfs, SchedState, Stat};

use crate::ProcessMemory;

/// A process that is looked at.
#[derive(Debug, Clone)]
pub struct Subject {
    pid: u32,
    process: Process,
    identity: Identity,
}

/// What a process keeps for as long as it runs one program.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Identity {
    /// In ticks since the machine started; an id is given anew, with another start.
    started: u64,
    /// Device and inode of the program's file, and where its stack was put: `exec`
    /// keeps the start, and changes these.
    program: Option<(u64, u64)>,
    stack: Option<u64>,
}

/// Why a process cannot be looked at.
#[derive(Debug, thiserror::Error)]
pub enum SubjectError {
    /// Nobody has this id.
    #[error("no process has the id {0}")]
    NoSuchProcess(u32),
    /// procfs does not say what it is.
    #[error("/proc/{pid} cannot be read: {error}")]
    Unreadable {
        /// Whose.
        pid: u32,
        /// What happened.
        error: io::Error,
    },
}

/// What became of a process that is no longer what it was.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Changed {
    /// It has ended; perhaps another has its id.
    Ended,
    /// It runs another program (`exec`): all addresses are void.
    OtherProgram,
}

impl Subject {
    /// The process with this id, below this root of procfs. That says nothing yet about
    /// whether its memory may be read.
    ///
    /// # Errors
    ///
    /// There is none, or procfs does not describe it.
    pub fn find(procfs: &Procfs, pid: u32) -> Result<Self, SubjectError> {
        Self::at(procfs.process(pid), pid)
    }

    /// This process, which may always read itself.
    ///
    /// # Errors
    ///
    /// procfs does not describe it.
    pub fn own() -> Result<Self, SubjectError> {
        Self::at(Procfs::default().own(), std::process::id())
    }

    fn at(process: Process, pid: u32) -> Result<Self, SubjectError> {
        let identity = match Identity::of(&process) {
            Ok(Some(identity)) => identity,
            Ok(None) => return Err(SubjectError::NoSuchProcess(pid)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                return Err(SubjectError::NoSuchProcess(pid));
            }
            Err(error) => return Err(SubjectError::Unreadable { pid, error }),
        };
        Ok(Self {
            pid,
            process,
            identity,
        })
    }

    /// Its id.
    pub fn pid(&self) -> u32 {
        self.pid
    }

    /// Its directory of procfs.
    pub fn process(&self) -> &Process {
        &self.process
    }

    /// Its memory.
    pub fn memory(&self) -> ProcessMemory {
        ProcessMemory::of(self.pid)
    }

    /// Whether it is still the process and the program that was found. Two small files
    /// of procfs are read, some 20 µs.
    ///
    /// # Errors
    ///
    /// It is not, and what became of it.
    pub fn unchanged(&self) -> Result<(), Changed> {
        match Identity::of(&self.process) {
            Ok(Some(now)) if now == self.identity => Ok(()),
            // One that is ending has no memory any more, hence no program.
            Ok(Some(now))
                if now.started == self.identity.started
                    && (now.program.is_some() || self.identity.program.is_none()) =>
            {
                Err(Changed::OtherProgram)
            }
            _ => Err(Changed::Ended),
        }
    }
}

impl Identity {
    /// `None` where the process has ended, also where nobody has waited for it yet.
    fn of(process: &Process) -> io::Result<Option<Self>> {
        let text = process.text("stat")?;
        let stat = Stat::parse(&text);
        let Some(stat) = stat.filter(|stat| stat.state != SchedState::Dead) else {
            return Ok(None);
        };
        Ok(Some(Self {
            started: stat.start_ticks,
            program: program(process),
            stack: stat.stack_start,
        }))
    }
}

#[cfg(unix)]
fn program(process: &Process) -> Option<(u64, u64)> {
    use std::os::unix::fs::MetadataExt;
    let file = std::fs::metadata(process.path("exe")).ok()?;
    Some((file.dev(), file.ino()))
}

#[cfg(not(unix))]
fn program(_: &Process) -> Option<(u64, u64)> {
    None
}

#[cfg(all(test, target_os = "linux", not(looptop_elsewhere)))]
mod tests {
    use std::io::{Read, Write};
    use std::process::{Command, Stdio};
    use std::time::{Duration, Instant};

    use super::*;

    #[test]
    fn a_process_is_itself_until_it_runs_another_program_or_ends() {
        let procfs = Procfs::default();
        let own = Subject::find(&procfs, std::process::id()).unwrap();
        assert_eq!(own.unchanged(), Ok(()));

        // A shell that becomes another program when it is told to.
        let mut child = Command::new("sh")
            .args(["-c", "echo ready; read word; exec cat"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut output = child.stdout.take().unwrap();
        output.read_exact(&mut [0; 6]).unwrap();
        let subject = Subject::find(&procfs, child.id()).unwrap();
        assert_eq!(subject.unchanged(), Ok(()));
        let mut input = child.stdin.take().unwrap();
        input.write_all(b"go\n").unwrap();
        let deadline = Instant::now() + Duration::from_secs(20);
        while subject.unchanged() != Err(Changed::OtherProgram) {
            assert!(Instant::now() < deadline);
        }

        // It has ended before its parent asks.
        drop(input);
        while subject.unchanged() != Err(Changed::Ended) {
            assert!(Instant::now() < deadline);
        }
        let gone = || {
            matches!(
                Subject::find(&procfs, child.id()),
                Err(SubjectError::NoSuchProcess(_))
            )
        };
        while !gone() {
            assert!(Instant::now() < deadline);
        }
        child.wait().unwrap();
        assert_eq!(subject.unchanged(), Err(Changed::Ended));
    }
}
