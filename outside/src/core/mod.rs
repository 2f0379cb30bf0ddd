//! A core dump of a tokio process: its memory, threads and files, as of the moment when it
//! was written.
//!
//! [`CoreFile`] is a [`Space`] like that of a process that runs, so that its tasks are
//! listed by the same [`Tasks`](crate::tasks::Tasks) and its chains read by the same code.
//! What a dump does not have is not known: sockets and descriptors, times, what threads
//! have used of the CPU, their names.
//!
//! The kernel leaves out of a dump what is as in a file, foremost the program's code. The
//! program's file is needed, and those of its libraries for what leads through them: at
//! the paths where they were, or beside the dump. Whether they are the same their build
//! ids say.
//!
//! A dump may come from anywhere. Nothing in it is trusted: tables are bounded, what it
//! says to be mapped is read within the file, and no file that it names is opened unless
//! it is a plain one.

mod files;
mod image;
mod notes;
mod readable;
mod threads;

use std::fmt::Write;
use std::fs::File;
use std::io;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::SystemTime;

use looptop_procfs::Mapping;
use looptop_unwind::{Memory, Registers};

use files::Files;
pub use files::LostFile;
use image::{Image, Segment, read_at};
use notes::Notes;
pub use threads::{CoreStacks, ThreadStack};

use crate::code;
use crate::space::{PAGE, Page, Space};
use crate::{Call, sys};

/// A core dump that is read; a clone reads the same.
#[derive(Debug, Clone)]
pub struct CoreFile(Arc<Core>);

#[derive(Debug)]
struct Core {
    image: Image,
    notes: Notes,
    files: Files,
    mappings: Vec<Mapping>,
    program: PathBuf,
    written: Option<SystemTime>,
}

/// A thread of a core dump.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CoreThread {
    /// Its id.
    pub tid: u64,
    /// Where it stood.
    pub registers: Registers,
    /// The address in its register FS: of the C library's description of it.
    pub fs_base: u64,
    /// The system call in which it was.
    pub call: Option<Call>,
    /// The signal that it was given; 0 where it was given none.
    pub signal: u32,
}

/// Why a core dump cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum CoreError {
    /// The file cannot be read.
    #[error("it cannot be read: {0}")]
    Unreadable(io::Error),
    /// It is something else.
    #[error("it is {0}, and no core dump")]
    NotACore(&'static str),
    /// It is packed, by this program.
    #[error("it is packed with {0}; unpack it first")]
    Packed(&'static str),
    /// It is of another machine.
    #[error("it is of {0}; those of x86-64 Linux are read")]
    Machine(String),
    /// The file ends before its threads are described.
    #[error("it ends before its threads are described: it was cut short")]
    Truncated,
    /// It describes no thread.
    #[error("no thread is described in it")]
    NoThreads,
    /// It does not say which files were mapped.
    #[error(
        "it does not say which files were mapped (no NT_FILE), so that the program is not known"
    )]
    NoFiles,
    /// The program's file is needed, and not here.
    #[error("{}", no_program(.0))]
    NoProgram(LostFile),
}

fn no_program(lost: &LostFile) -> String {
    let path = lost.path.display();
    let mut id = String::new();
    for byte in &lost.build_id {
        let _ = write!(id, "{byte:02x}");
    }
    if !id.is_empty() {
        id = format!(" (build id {id})");
    }
    let what = if lost.is_another {
        "is another build than the one that was dumped"
    } else {
        "is not on this machine"
    };
    format!("its program {path} {what}; put the file{id} beside the core dump, under its own name")
}

impl CoreFile {
    /// Opens a core dump, and the files that were mapped: see the module.
    ///
    /// # Errors
    ///
    /// It is none, or one that cannot be understood, or its program's file is not here.
    pub fn open(path: &Path) -> Result<Self, CoreError> {
        let metadata = path.metadata().map_err(CoreError::Unreadable)?;
        if !metadata.is_file() {
            return Err(CoreError::NotACore("no plain file"));
        }
        let file = File::open(path).map_err(CoreError::Unreadable)?;
        let mut image = Image::of(file)?;
        let notes = Notes::of(&image)?;
        image.add_code(notes.files.iter().map(|file| &file.range));
        let mut mappings = mappings(&image, &notes);
        let program = program(&mappings, &notes).ok_or(CoreError::NoFiles)?;
        let path = path.canonicalize().map_err(CoreError::Unreadable)?;
        let directory = path.parent().unwrap_or(Path::new("/"));
        let files = Files::of(&mappings, &Dumped(&image), directory);
        if let Some(lost) = files.lost.iter().find(|lost| lost.path == program) {
            return Err(CoreError::NoProgram(lost.clone()));
        }
        // From here on a file is called by where it is here.
        for mapping in &mut mappings {
            if let Some(found) = files.get(&mapping.path) {
                mapping.path.clone_from(&found.path);
            }
        }
        Ok(Self(Arc::new(Core {
            image,
            notes,
            files,
            mappings,
            program,
            written: metadata.modified().ok(),
        })))
    }

    /// The id that the process had.
    pub fn pid(&self) -> u32 {
        self.0.notes.pid
    }

    /// The name of its first thread, which is the program's, cut to 15 bytes.
    pub fn name(&self) -> &str {
        &self.0.notes.name
    }

    /// Its command line, cut to 79 bytes.
    pub fn arguments(&self) -> &str {
        &self.0.notes.arguments
    }

    /// The path of its program, as it saw it.
    pub fn program(&self) -> &Path {
        &self.0.program
    }

    /// When the dump was written, as the file says.
    pub fn written(&self) -> Option<SystemTime> {
        self.0.written
    }

    /// The signal that ended it; `None` where none did.
    pub fn signal(&self) -> Option<u32> {
        let signal = self.0.notes.threads.first()?.signal;
        (signal != 0).then_some(signal)
    }

    /// Its threads, as the dump has them: the one that was ended by a signal first.
    pub fn threads(&self) -> impl ExactSizeIterator<Item = CoreThread> {
        self.0.notes.threads.iter().map(thread)
    }

    /// Where its program's file is here.
    pub fn executable(&self) -> &Path {
        let found = self.0.files.get(&self.0.program);
        found.map_or(&self.0.program, |found| &found.path)
    }

    /// Whether the file at `path` is here one that was mapped: mappings and modules have
    /// the paths of files as they are here.
    pub fn has_file(&self, path: &Path) -> bool {
        self.0.files.is_found_at(path)
    }

    /// Files with code that are not here: stacks end in them.
    pub fn lost(&self) -> &[LostFile] {
        &self.0.files.lost
    }

    /// The dump ends before what it should have: some memory is missing.
    pub fn is_truncated(&self) -> bool {
        self.0.image.truncated
    }

    /// Opens the file of a mapping, where it is here.
    pub(crate) fn file(&self, path: &Path) -> Option<File> {
        // Anew: clones share one position.
        self.has_file(path).then(|| File::open(path).ok()).flatten()
    }
}

/// Errors of system calls that were left for a signal: `EINTR`, and those that the kernel
/// keeps to itself (`ERESTARTSYS` to `ERESTART_RESTARTBLOCK`).
const INTERRUPTED: [i64; 6] = [-4, -512, -513, -514, -516, -515];

fn thread(noted: &notes::Registers) -> CoreThread {
    let word = |at: usize| noted.words[at];
    // What a call that was not left has in RAX a debugger may show as it was: ENOSYS.
    let result = word(RAX) as i64;
    let waits = INTERRUPTED.contains(&result) || result == -38;
    let number = word(notes::ORIG_RAX);
    CoreThread {
        tid: u64::from(noted.tid),
        registers: Registers {
            fp: Some(word(notes::RBP)),
            ..Registers::blocked(word(notes::RIP), word(notes::RSP))
        },
        fs_base: word(notes::FS_BASE),
        call: (waits && number as i64 >= 0).then(|| Call {
            number,
            args: [
                word(notes::RDI),
                word(notes::RSI),
                word(notes::RDX),
                word(notes::R10),
                word(notes::R8),
                word(notes::R9),
            ],
        }),
        signal: noted.signal,
    }
}

/// Position of the register RAX.
const RAX: usize = 10;

/// What was mapped: the dump has a segment for each mapping, and notes which of them are of
/// files.
fn mappings(image: &Image, notes: &Notes) -> Vec<Mapping> {
    let main = notes.threads.iter().find(|thread| thread.tid == notes.pid);
    let stack = main.map(|thread| thread.words[notes::RSP]);
    // Files have numbers here as the process's had on its disk: what has none is of no file.
    let mut numbers = std::collections::BTreeMap::new();
    let mapping = |segment: &Segment| {
        let range = segment.range.clone();
        let of = notes.file(range.start);
        let has = |address: Option<u64>| address.is_some_and(|at| range.contains(&at));
        let path = match of {
            Some(file) => file.path.clone(),
            None if has(notes.vdso) => "[vdso]".into(),
            None if has(stack) => "[stack]".into(),
            None if range.start >> 63 == 1 => "[vsyscall]".into(),
            None => PathBuf::new(),
        };
        let next = numbers.len() as u64 + 1;
        Mapping {
            inode: match of {
                Some(_) => *numbers.entry(path.clone()).or_insert(next),
                None => 0,
            },
            offset: of.map_or(0, |file| {
                file.offset.saturating_add(range.start - file.range.start)
            }),
            read: segment.read,
            write: segment.write,
            execute: segment.execute,
            // A dump does not say.
            shared: false,
            deleted: of.is_some_and(|file| file.deleted),
            range,
            path,
        }
    };
    image.segments.iter().map(mapping).collect()
}

/// The program's path: of the file in which it begins, or of the first that has code.
fn program(mappings: &[Mapping], notes: &Notes) -> Option<PathBuf> {
    let of_file = |mapping: &&Mapping| mapping.inode != 0 && mapping.execute;
    let entry = notes.entry.and_then(|entry| {
        let mut all = mappings.iter().filter(of_file);
        all.find(|mapping| mapping.range.contains(&entry))
    });
    let found = entry.or_else(|| mappings.iter().find(of_file))?;
    Some(found.path.clone())
}

/// What the dump itself has, without the files.
struct Dumped<'a>(&'a Image);

impl Memory for Dumped<'_> {
    fn read(&self, address: u64, buffer: &mut [u8]) -> usize {
        let segment = self.0.segment(address);
        segment.map_or(0, |segment| self.0.read(segment, address, buffer))
    }
}

impl Core {
    /// Reads within one segment; the number of bytes.
    fn read_in(&self, segment: &Segment, address: u64, buffer: &mut [u8]) -> usize {
        let left = usize::try_from(segment.range.end - address).unwrap_or(usize::MAX);
        let length = buffer.len().min(left);
        let buffer = &mut buffer[..length];
        let dumped = segment.range.start + segment.dumped;
        if address < dumped {
            return self.image.read(segment, address, buffer);
        }
        let Some(mapped) = self.notes.file(address) else {
            return 0;
        };
        let Some(found) = self.files.get(&mapped.path) else {
            return 0;
        };
        let length = buffer.len().min((mapped.range.end - address) as usize);
        let buffer = &mut buffer[..length];
        let Some(offset) = mapped.offset.checked_add(address - mapped.range.start) else {
            return 0;
        };
        let read = read_at(&found.file, buffer, offset).unwrap_or(0);
        // The rest of a file's last page is zeroes.
        let end = found.length.next_multiple_of(PAGE).saturating_sub(offset);
        let whole = usize::try_from(end).unwrap_or(usize::MAX).min(length);
        if read < whole && offset.saturating_add(read as u64) >= found.length {
            buffer[read..whole].fill(0);
            return whole;
        }
        read
    }
}

impl Memory for CoreFile {
    fn read(&self, address: u64, buffer: &mut [u8]) -> usize {
        let mut done = 0;
        while done < buffer.len() {
            let Some(at) = address.checked_add(done as u64) else {
                break;
            };
            let Some(segment) = self.0.image.segment(at) else {
                break;
            };
            match self.0.read_in(segment, at, &mut buffer[done..]) {
                0 => break,
                read => done += read,
            }
        }
        done
    }
}

impl Space for CoreFile {
    fn mappings(&self) -> Vec<Mapping> {
        self.0.mappings.clone()
    }

    /// What the dump has is the process's own, except for holes of its file: pages of
    /// zeroes.
    fn pages(&self, range: &Range<u64>) -> Vec<(Range<u64>, Page)> {
        let image = &self.0.image;
        let mut parts: Vec<(Range<u64>, Page)> = Vec::new();
        let first = image
            .segments
            .partition_point(|s| s.range.end <= range.start);
        for segment in &image.segments[first..] {
            if segment.range.start >= range.end {
                break;
            }
            let within = |part: Range<u64>| part.start.max(range.start)..part.end.min(range.end);
            let dumped = segment.range.start + segment.dumped;
            let own = within(segment.range.start..dumped);
            let mut at = own.start;
            while at < own.end {
                let offset = segment.offset + (at - segment.range.start);
                let Some(data) = sys::next_data(image.file(), offset, own.end - at) else {
                    break;
                };
                let part = at + (data.start - offset)..at + (data.end - offset);
                at = part.end;
                // A page is the smallest part.
                let pages = part.start & !(PAGE - 1)..part.end.next_multiple_of(PAGE);
                let pages = pages.start.max(own.start)..pages.end.min(own.end);
                match parts.last_mut() {
                    Some((last, Page::Own)) if last.end >= pages.start => {
                        last.end = pages.end;
                    }
                    _ => parts.push((pages, Page::Own)),
                }
            }
            let rest = within(dumped..segment.range.end);
            let mapped = self.0.notes.file(rest.start);
            let files = &self.0.files;
            if !rest.is_empty() && mapped.is_some_and(|m| files.get(&m.path).is_some()) {
                parts.push((rest, Page::File));
            }
        }
        parts
    }
}

impl code::Image for CoreFile {
    fn program(&self) -> Option<PathBuf> {
        Some(CoreFile::executable(self).to_owned())
    }

    fn executable(&self) -> io::Result<File> {
        File::open(CoreFile::executable(self))
    }
}

#[cfg(test)]
mod tests;
