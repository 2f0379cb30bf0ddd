//! Directories of `/proc`: a process, and its threads.

use std::collections::{HashMap, HashSet};
use std::ffi::OsString;
use std::fmt::{Display, Write};
use std::fs;
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};
use std::str::FromStr;

use crate::{
    Ends, Listening, Mapping, ProcFile, SchedStat, Socket, Stat, Status, SyscallState,
    cpu_stat_paths, ends, mappings, net, read_at_start, tcp_listeners, throttled_ns,
    unix_listeners,
};

/// Bytes of a command line that are read.
const MAX_ARGUMENTS: u64 = 4_096;

/// Where it is mounted. A build as of another system sees none.
const ROOT: &str = if cfg!(looptop_elsewhere) {
    "/no-procfs-here"
} else {
    "/proc"
};

/// The root of procfs.
#[derive(Debug, Clone)]
pub struct Procfs {
    root: PathBuf,
}

impl Default for Procfs {
    /// `/proc`.
    fn default() -> Self {
        Self::at(ROOT)
    }
}

impl Procfs {
    /// One that is mounted elsewhere, or looks like it.
    pub fn at(root: impl Into<PathBuf>) -> Self {
        Self { root: root.into() }
    }

    /// The processes that there are, in any order.
    pub fn pids(&self) -> impl Iterator<Item = u32> {
        numbers(&self.root).into_iter().flatten()
    }

    /// A process by its id, whether there is one or not.
    pub fn process(&self, pid: u32) -> Process {
        self.directory(&pid)
    }

    /// The process that asks.
    pub fn own(&self) -> Process {
        self.directory(&"self")
    }

    fn directory(&self, name: &dyn Display) -> Process {
        Process {
            directory: joined(&self.root, name),
        }
    }

    /// A file of the root, as text.
    pub(crate) fn text(&self, name: &str) -> Option<String> {
        fs::read_to_string(self.root.join(name)).ok()
    }
}

/// The numbers among the names in a directory.
fn numbers<T: FromStr>(directory: &Path) -> io::Result<impl Iterator<Item = T> + use<T>> {
    let entries = fs::read_dir(directory)?.flatten();
    Ok(entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok()))
}

fn joined(directory: &Path, name: &dyn Display) -> PathBuf {
    let mut path = OsString::with_capacity(directory.as_os_str().len() + 32);
    path.push(directory);
    // Never fails for memory.
    let _ = write!(path, "/{name}");
    path.into()
}

/// A process's directory.
#[derive(Debug, Clone)]
pub struct Process {
    directory: PathBuf,
}

impl Process {
    /// The path of a file in it.
    pub fn path(&self, name: &str) -> PathBuf {
        joined(&self.directory, &name)
    }

    /// A file in it as text.
    ///
    /// # Errors
    ///
    /// The process has ended, this user may not read it, or it is no text.
    pub fn text(&self, name: &str) -> io::Result<String> {
        fs::read_to_string(self.path(name))
    }

    /// Opens a file in it that is read again and again.
    pub fn open(&self, name: &str) -> Option<ProcFile> {
        ProcFile::open(&self.path(name))
    }

    /// A thread by its id, whether there is one or not.
    pub fn thread(&self, tid: u64) -> Thread<'_> {
        Thread { process: self, tid }
    }

    /// The ids of its threads, in any order.
    ///
    /// # Errors
    ///
    /// The process has ended, or the one that asks has no descriptor left.
    pub fn tids(&self) -> io::Result<impl Iterator<Item = u64> + use<>> {
        numbers(&self.path("task"))
    }

    /// Of the process as a whole; the state is that of its first thread.
    pub fn stat(&self) -> Option<Stat> {
        Stat::parse(&self.text("stat").ok()?)
    }

    /// Memory, CPUs and switches.
    pub fn status(&self) -> Option<Status> {
        self.text("status").ok().map(Status::new)
    }

    /// What is mapped into it, in the order of addresses.
    ///
    /// # Errors
    ///
    /// The process has ended, or this user may not look.
    pub fn mappings(&self) -> io::Result<Vec<Mapping>> {
        Ok(mappings(&fs::read(self.path("maps"))?).collect())
    }

    /// The program's file as the process sees it; ` (deleted)` stands behind one that
    /// is gone.
    pub fn exe(&self) -> Option<PathBuf> {
        fs::read_link(self.path("exe")).ok()
    }

    /// The same without that mark.
    pub fn program(&self) -> Option<PathBuf> {
        let path = self.exe()?;
        let text = path.to_string_lossy();
        match text.strip_suffix(" (deleted)") {
            Some(path) => Some(path.into()),
            None => Some(path),
        }
    }

    /// The first word of its command line.
    pub fn command(&self) -> Option<String> {
        let line = fs::read(self.path("cmdline")).ok()?;
        let first = line.split(|byte| *byte == 0).next()?;
        Some(String::from_utf8_lossy(first).into_owned())
    }

    /// The other words of its command line, as far as its first page.
    pub fn arguments(&self) -> Vec<String> {
        let Ok(file) = fs::File::open(self.path("cmdline")) else {
            return Vec::new();
        };
        let mut line = Vec::new();
        if file.take(MAX_ARGUMENTS).read_to_end(&mut line).is_err() {
            return Vec::new();
        }
        let words = line.strip_suffix(&[0]).unwrap_or(&line);
        let words = words.split(|byte| *byte == 0).skip(1);
        words
            .map(|word| String::from_utf8_lossy(word).into_owned())
            .collect()
    }

    /// The file name of its program, whole; otherwise what it calls itself. Empty where
    /// there is no such process.
    pub fn file_name(&self) -> String {
        let file = |path: &Path| Some(path.file_name()?.to_string_lossy().into_owned());
        let program = self.program().as_deref().and_then(file);
        let command = || file(Path::new(&self.command()?));
        let name = program.or_else(command).or_else(|| self.name());
        name.unwrap_or_default()
    }

    /// The name that it or its first thread gave itself; at most 15 bytes.
    pub fn name(&self) -> Option<String> {
        Some(self.text("comm").ok()?.trim_end().to_owned())
    }

    /// What its descriptors refer to: paths, or texts such as `socket:[42]`.
    ///
    /// # Errors
    ///
    /// The process has ended, or this user may not look.
    pub fn files(&self) -> io::Result<impl Iterator<Item = PathBuf> + use<>> {
        let files = fs::read_dir(self.path("fd"))?.flatten();
        Ok(files.filter_map(|file| fs::read_link(file.path()).ok()))
    }

    /// How many descriptors it has open.
    pub fn open_files(&self) -> Option<u64> {
        let files = fs::read_dir(self.path("fd")).ok()?;
        Some(files.count() as u64)
    }

    /// Whether it is in the same namespace of a kind (`net`, `mnt`) as `other`; also
    /// where neither can be read.
    pub fn shares(&self, namespace: &str, other: &Self) -> bool {
        let of = |process: &Self| fs::read_link(process.path(&format!("ns/{namespace}"))).ok();
        of(self) == of(other)
    }

    /// How long its control group was held back, ns.
    pub fn throttled_ns(&self) -> Option<u64> {
        let paths = cpu_stat_paths(&self.text("cgroup").ok()?);
        paths
            .iter()
            .find_map(|path| throttled_ns(&fs::read_to_string(path).ok()?))
    }

    /// The sockets of its network namespace that listen, with their inodes, whosever
    /// they are; Unix sockets without a path are left out.
    pub fn listeners(&self) -> Vec<(Listening, u64)> {
        let table = |name| self.text(name).unwrap_or_default();
        let tcp = ["net/tcp", "net/tcp6"].map(table);
        let tcp = tcp.iter().flat_map(|table| tcp_listeners(table));
        let tcp = tcp.map(|(address, inode)| (Listening::Tcp(address), inode));
        let unix = table("net/unix");
        let unix = unix_listeners(&unix);
        let unix = unix.map(|(path, inode)| (Listening::Unix(path.to_owned()), inode));
        tcp.chain(unix).collect()
    }

    /// What a socket of its network namespace is, by its inode: as long as it takes to
    /// read the tables of all sockets there, 4 MiB of each at most.
    pub fn socket(&self, inode: u64) -> Option<Socket> {
        net::socket(self, inode)
    }

    /// What the sockets with these inodes are, with both of their ends; the tables are
    /// read once for all of them.
    pub fn sockets(&self, inodes: &HashSet<u64>) -> HashMap<u64, Ends> {
        ends::ends(self, inodes)
    }

    /// The sockets at which the process itself listens.
    ///
    /// # Errors
    ///
    /// It has ended, or this user may not look.
    pub fn listening(&self) -> io::Result<Vec<Listening>> {
        let inode = |file: PathBuf| {
            let text = file.to_str()?.strip_prefix("socket:[")?;
            text.strip_suffix(']')?.parse().ok()
        };
        let own: Vec<u64> = self.files()?.filter_map(inode).collect();
        let mut listeners = self.listeners();
        listeners.retain(|(_, inode)| own.contains(inode));
        Ok(listeners.into_iter().map(|(socket, _)| socket).collect())
    }
}

/// A thread's directory.
#[derive(Debug, Clone, Copy)]
pub struct Thread<'a> {
    process: &'a Process,
    tid: u64,
}

impl Thread<'_> {
    /// The path of a file in it.
    pub fn path(&self, name: &str) -> PathBuf {
        let Self { process, tid } = self;
        joined(&process.directory, &format_args!("task/{tid}/{name}"))
    }

    /// Opens a file in it that is read again and again.
    pub fn open(&self, name: &str) -> Option<ProcFile> {
        ProcFile::open(&self.path(name))
    }

    /// Its state and CPU time.
    pub fn stat(&self) -> Option<Stat> {
        self.open("stat")?.parse(Stat::parse)
    }

    /// What the scheduler did with it.
    pub fn schedstat(&self) -> Option<SchedStat> {
        self.open("schedstat")?.parse(SchedStat::parse)
    }

    /// Times that it gave up its CPU, and that its CPU was taken from it.
    pub fn switches(&self) -> Option<(u64, u64)> {
        // Longer than the beginning that a `ProcFile` reads, and in one call, where it fits.
        let file = fs::File::open(self.path("status")).ok()?;
        let mut buffer = [0; 4096];
        let length = read_at_start(&file, &mut buffer)?;
        if length == buffer.len() {
            let status = fs::read_to_string(self.path("status")).ok()?;
            return Status::parse_switches(&status);
        }
        Status::parse_switches(std::str::from_utf8(buffer.get(..length)?).ok()?)
    }

    /// What it does now; about 6 µs. Who looks again and again keeps a [`ProcFile`].
    pub fn syscall(&self) -> SyscallState {
        let state = self
            .open("syscall")
            .and_then(|file| file.parse(SyscallState::parse));
        state.unwrap_or(SyscallState::Unknown)
    }

    /// The function of the kernel in which it waits, where the kernel says so.
    pub fn wchan(&self) -> Option<String> {
        let name = fs::read_to_string(self.path("wchan")).ok()?;
        (!name.is_empty() && name != "0").then_some(name)
    }

    /// Its name, at most 15 bytes.
    pub fn name(&self) -> Option<String> {
        let name = fs::read_to_string(self.path("comm")).ok()?;
        Some(name.trim_end().to_owned())
    }
}
