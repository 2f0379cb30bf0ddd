//! What procfs says of the processes that may be attached to.

use std::{
    collections::HashMap,
    fmt, fs,
    net::{Ipv4Addr, Ipv6Addr, SocketAddr},
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use looptop_outside::{
    access::{self, Kernel, Refusal, ThisKernel},
    program::{Programs, Tokio, TokioVersion},
};
use looptop_procfs::{self as procfs, Listening, Procfs, SchedState};

use super::super::target::Target;

/// The beginning of the name of a thread that serves viewers, and whose it is.
/// The kernel cuts names at 15 bytes.
const SERVERS: [(&str, Instrument); 2] = [
    ("looptop-agent", Instrument::Agent),
    ("console_subscri", Instrument::Console),
];

/// For so long executables are read that were not read before. The rest waits for the
/// next look.
const READING: Duration = Duration::from_millis(600);

/// What serves viewers in a process, judged by its threads.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Instrument {
    Agent,
    Console,
}

impl fmt::Display for Instrument {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Agent => "looptop-agent",
            Self::Console => "console-subscriber",
        })
    }
}

/// A process.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Process {
    pub(super) pid: u32,
    /// The file name of its program, whole.
    pub(super) name: String,
    /// The arguments with which it was started.
    pub(super) arguments: String,
    /// What can be attached to in it.
    pub(super) way: Way,
    /// Its user, by name where it has one.
    pub(super) user: String,
    pub(super) threads: u64,
    /// CPU time so far, and when it started, in ticks.
    pub(super) cpu_ticks: u64,
    pub(super) start_ticks: u64,
}

/// What there is to attach to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Way {
    /// An instrument within, where it listens.
    Within(Instrument, Sockets),
    /// None within: a tokio program, read from outside if that is permitted.
    Outside(Option<TokioVersion>, Result<(), Refusal>),
    /// Neither.
    None,
}

/// Where a process listens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Sockets {
    /// This user may not look.
    Unseen,
    /// A signal or a debugger stopped it: nothing would answer.
    Stopped,
    Seen(Vec<Socket>),
}

/// A socket that listens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Socket {
    pub(super) target: Target,
    /// Whether it is in this network namespace.
    pub(super) reachable: bool,
}

/// Looks at processes, and remembers what executables said.
#[derive(Debug, Default)]
pub(super) struct Scan<K = ThisKernel> {
    procfs: Procfs,
    kernel: K,
    programs: Programs,
    users: HashMap<u32, String>,
}

impl<K: Kernel> Scan<K> {
    /// The processes that have an agent or console-subscriber, and those that are tokio
    /// programs without; and how many executables were not read, since that would have
    /// taken too long. Reads all of procfs: some milliseconds, and some for each
    /// executable that was not read before.
    pub(super) fn all(&mut self) -> (Vec<Process>, usize) {
        let deadline = Instant::now() + READING;
        let mut pids: Vec<u32> = self.procfs.pids().collect();
        pids.sort_unstable();
        let own = program(&self.procfs.own());
        let mut unread = 0;
        let mut found = Vec::new();
        for pid in pids {
            let of = self.procfs.process(pid);
            let way = if let Some(instrument) = instrument(&of) {
                Way::Within(instrument, sockets(&of, &self.procfs.own()))
            } else {
                let may_read = Instant::now() < deadline;
                match access::tokio_in(&of, &mut self.programs, may_read) {
                    Some(Tokio::None) => continue,
                    // Nobody may read it, or nobody has yet.
                    None => {
                        unread += usize::from(program(&of).is_some() && !may_read);
                        continue;
                    }
                    // Another viewer.
                    Some(_) if own.is_some() && own == program(&of) => continue,
                    Some(tokio) => self.outside(pid, tokio),
                }
            };
            found.extend(self.process(pid, way));
        }
        (found, unread)
    }

    /// The process with this id; `None` where there is none. A thread's id is none.
    pub(super) fn of(&mut self, pid: u32) -> Option<Process> {
        let of = self.procfs.process(pid);
        let leader = of.status()?.process()?;
        if leader != pid {
            return None;
        }
        let way = match instrument(&of) {
            Some(instrument) => Way::Within(instrument, sockets(&of, &self.procfs.own())),
            None => match access::tokio_in(&of, &mut self.programs, true) {
                None | Some(Tokio::None) => Way::None,
                Some(tokio) => self.outside(pid, tokio),
            },
        };
        self.process(pid, way)
    }

    /// The process with this id, if it has an agent or console-subscriber. Its
    /// executable is not read.
    pub(super) fn instrumented(&mut self, pid: u32) -> Option<Process> {
        let of = self.procfs.process(pid);
        let instrument = instrument(&of)?;
        let way = Way::Within(instrument, sockets(&of, &self.procfs.own()));
        self.process(pid, way)
    }

    /// Each process and its parent.
    pub(super) fn parents(&self) -> Vec<(u32, u32)> {
        let parent = |pid| {
            let parent = self.procfs.process(pid).status()?.number("PPid")?;
            Some((pid, u32::try_from(parent).ok()?))
        };
        let mut parents: Vec<_> = self.procfs.pids().filter_map(parent).collect();
        parents.sort_unstable();
        parents
    }

    /// Whether there is an agent, console-subscriber or tokio in this process.
    pub(super) fn is_observable(&mut self, pid: u32) -> bool {
        let of = self.procfs.process(pid);
        let mut tokio = || access::tokio_in(&of, &mut self.programs, true);
        instrument(&of).is_some() || !matches!(tokio(), None | Some(Tokio::None))
    }

    fn outside(&mut self, pid: u32, tokio: Tokio) -> Way {
        let version = match tokio {
            Tokio::Version(version) => Some(version),
            Tokio::Unknown | Tokio::None => None,
        };
        let examined =
            access::examine_with(&self.procfs, &self.kernel, &mut self.programs, pid).map(drop);
        Way::Outside(version, examined)
    }

    /// `None` where it has ended meanwhile.
    fn process(&mut self, pid: u32, way: Way) -> Option<Process> {
        let of = self.procfs.process(pid);
        let (status, stat) = (of.status()?, of.stat()?);
        let uid = status.text("Uid")?.split_ascii_whitespace().nth(1)?;
        let uid = uid.parse().ok()?;
        let kernel = &self.kernel;
        let user = self.users.entry(uid);
        let user = user.or_insert_with(|| kernel.user_name(uid).unwrap_or_else(|| uid.to_string()));
        Some(Process {
            pid,
            name: of.file_name(),
            arguments: of.arguments().join(" "),
            way,
            user: user.clone(),
            threads: status.number("Threads").unwrap_or_default(),
            cpu_ticks: stat.user_ticks.saturating_add(stat.system_ticks),
            start_ticks: stat.start_ticks,
        })
    }
}

/// Device and inode of a program's file.
#[cfg(unix)]
fn program(process: &procfs::Process) -> Option<(u64, u64)> {
    use std::os::unix::fs::MetadataExt;
    let file = fs::metadata(process.path("exe")).ok()?;
    Some((file.dev(), file.ino()))
}

#[cfg(not(unix))]
fn program(_: &procfs::Process) -> Option<(u64, u64)> {
    None
}

fn instrument(process: &procfs::Process) -> Option<Instrument> {
    let mut threads = process.tids().ok()?;
    threads.find_map(|tid| {
        let thread = process.thread(tid).name()?;
        let mut servers = SERVERS.iter();
        let server = servers.find(|(prefix, _)| thread.starts_with(prefix));
        server.map(|(_, instrument)| *instrument)
    })
}

fn sockets(process: &procfs::Process, own: &procfs::Process) -> Sockets {
    let Ok(listening) = process.listening() else {
        return Sockets::Unseen;
    };
    let state = process.stat().map(|stat| stat.state);
    if state == Some(SchedState::Stopped) {
        return Sockets::Stopped;
    }
    let (same_network, same_files) = (process.shares("net", own), process.shares("mnt", own));
    let sockets = listening.into_iter().map(|socket| match socket {
        Listening::Tcp(address) => Socket {
            target: tcp(address),
            reachable: same_network,
        },
        Listening::Unix(path) => Socket {
            target: Target::Unix(from_here(process, &path, same_files)),
            reachable: true,
        },
    });
    Sockets::Seen(sockets.collect())
}

/// The address to dial: loopback where it listens at all of them.
fn tcp(address: SocketAddr) -> Target {
    let ip = match address {
        SocketAddr::V4(v4) if v4.ip().is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        SocketAddr::V6(v6) if v6.ip().is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        other => other.ip(),
    };
    Target::Tcp {
        host: ip.to_string(),
        port: address.port(),
    }
}

/// A path that a process bound, as this process finds it: through the other's
/// working directory where it is relative, through its root where it sees other
/// file systems. A Unix socket is a file, which no network namespace hides.
fn from_here(process: &procfs::Process, path: &Path, same_files: bool) -> PathBuf {
    if path.is_relative() {
        let directory = process.path("cwd");
        let seen = fs::read_link(&directory).ok().filter(|_| same_files);
        return seen.unwrap_or(directory).join(path);
    }
    match path.strip_prefix("/") {
        Ok(inside) if !same_files => process.path("root").join(inside),
        _ => path.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_such_as_can_be_dialled() {
        for (bound, dialled) in [
            ("127.0.0.1:6669", "127.0.0.1:6669"),
            ("0.0.0.0:6669", "127.0.0.1:6669"),
            ("[::]:6669", "[::1]:6669"),
            ("10.1.2.3:80", "10.1.2.3:80"),
        ] {
            assert_eq!(tcp(bound.parse().unwrap()).to_string(), dialled);
        }
    }

    #[test]
    fn paths_are_such_as_can_be_opened() {
        let own = std::process::id();
        let process = Procfs::default().process(own);
        let here = std::env::current_dir().unwrap();
        let app = Path::new("/run/app.sock");
        assert_eq!(from_here(&process, app, true), app);
        let other = PathBuf::from(format!("/proc/{own}/root/run/app.sock"));
        assert_eq!(from_here(&process, app, false), other);
        if cfg!(all(target_os = "linux", not(looptop_elsewhere))) {
            assert_eq!(
                from_here(&process, Path::new("a.sock"), true),
                here.join("a.sock")
            );
        }
        let other = PathBuf::from(format!("/proc/{own}/cwd/a.sock"));
        assert_eq!(from_here(&process, Path::new("a.sock"), false), other);
    }

    #[test]
    #[cfg(all(target_os = "linux", not(looptop_elsewhere)))]
    fn a_process_is_told_by_its_id() {
        let (_end, ended) = std::sync::mpsc::channel::<()>();
        let named = std::thread::Builder::new().name("looptop-agent".into());
        let tid = std::sync::Arc::new(std::sync::OnceLock::new());
        let own_tid = std::sync::Arc::clone(&tid);
        named
            .spawn(move || {
                let path = fs::read_link("/proc/thread-self").unwrap();
                let name = path.file_name().unwrap().to_str().unwrap();
                own_tid.set(name.parse::<u32>().unwrap()).unwrap();
                let _ = ended.recv();
            })
            .unwrap();
        let deadline = std::time::Instant::now() + std::time::Duration::from_secs(30);
        while tid.get().is_none() {
            assert!(std::time::Instant::now() < deadline);
            std::thread::yield_now();
        }
        let mut scan = Scan::<ThisKernel>::default();
        let process = scan.of(std::process::id()).unwrap();
        assert!(matches!(process.way, Way::Within(Instrument::Agent, _)));
        let exe = std::env::current_exe().unwrap();
        assert_eq!(process.name.as_str(), exe.file_name().unwrap());
        assert_eq!(scan.of(*tid.get().unwrap()), None, "the id of a thread");
        assert_eq!(scan.of(u32::MAX), None);
    }

    /// A kernel that permits everything.
    struct Permissive;

    impl Kernel for Permissive {
        fn is_supported(&self) -> bool {
            true
        }

        fn read(&self, _: u32, _: u64, buffer: &mut [u8]) -> std::io::Result<usize> {
            Ok(buffer.len())
        }

        fn owner(&self, _: &Path) -> std::io::Result<u32> {
            Ok(1_000)
        }

        fn user_name(&self, uid: u32) -> Option<String> {
            Some(format!("user{uid}"))
        }
    }

    /// An ELF file whose only segment has these constants behind a megabyte of others.
    fn executable(constants: &[u8]) -> Vec<u8> {
        const HEADERS: usize = 64 + 56;
        let size = (1 << 20) + constants.len();
        let mut file = vec![0; HEADERS + (1 << 20)];
        file[..6].copy_from_slice(b"\x7fELF\x02\x01");
        file[18] = 62;
        file[32] = 64;
        file[56] = 1;
        file[64] = 1;
        file[72] = HEADERS as u8;
        file[96..104].copy_from_slice(&(size as u64).to_le_bytes());
        file.extend_from_slice(constants);
        file
    }

    /// A machine of so many processes of two threads each, of 100 programs, of which
    /// every fifth has tokio; every tenth process has an agent.
    fn machine(processes: u32) -> tempfile::TempDir {
        use std::os::unix::fs::symlink;
        let root = tempfile::tempdir().unwrap();
        let write = |name: String, text: &str| {
            let path = root.path().join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        };
        for program in 0..100 {
            let constants: &[u8] = if program % 5 == 0 {
                b"/tokio-1.54.1/src/lib.rs"
            } else {
                b"/serde-1.0.1/src/lib.rs"
            };
            fs::write(
                root.path().join(format!("app{program}")),
                executable(constants),
            )
            .unwrap();
        }
        write(
            "self/status".into(),
            "Tgid:\t1\nUid:\t1000\t1000\t1000\t1000\n",
        );
        for pid in 1..=processes {
            let status = format!(
                "Tgid:\t{pid}\nPPid:\t1\nUid:\t1000\t1000\t1000\t1000\nVmSize:\t 9 kB\nThreads:\t8\n"
            );
            write(format!("{pid}/status"), &status);
            let stat =
                format!("{pid} (app) S 1 2 3 4 5 6 7 8 9 10 7 8 0 0 20 0 1 0 9 2 3 4 5 6 7 8");
            write(format!("{pid}/stat"), &stat);
            write(
                format!("{pid}/maps"),
                "7f10-7f20 r--p 00000000 08:01 42 /opt/app\n",
            );
            let program = root.path().join(format!("app{}", pid % 100));
            symlink(program, root.path().join(format!("{pid}/exe"))).unwrap();
            for thread in 0..2 {
                let tid = pid * 100 + thread;
                let name = if thread == 1 && pid % 10 == 3 {
                    "looptop-agent"
                } else {
                    "app"
                };
                write(format!("{pid}/task/{tid}/comm"), &format!("{name}\n"));
            }
        }
        root
    }

    #[test]
    #[cfg(all(target_os = "linux", not(looptop_elsewhere)))]
    fn many_processes_are_looked_at() {
        let root = machine(500);
        let mut scan = Scan {
            procfs: Procfs::at(root.path()),
            kernel: Permissive,
            programs: Programs::default(),
            users: HashMap::new(),
        };
        let mut left = usize::MAX;
        let found = loop {
            let began = Instant::now();
            let (found, unread) = scan.all();
            eprintln!(
                "{} of 500 processes, {unread} not read, in {:.0?}",
                found.len(),
                began.elapsed()
            );
            if unread == 0 {
                break found;
            }
            // Each look reads on.
            assert!(unread < left);
            left = unread;
        };
        let outside = |process: &&Process| {
            process.way == Way::Outside(Some(TokioVersion::new(1, 54, 1)), Ok(()))
        };
        assert_eq!(found.iter().filter(outside).count(), 100);
        let within = |process: &&Process| matches!(process.way, Way::Within(Instrument::Agent, _));
        assert_eq!(found.iter().filter(within).count(), 50);
        assert_eq!(found.len(), 150);
        assert_eq!((found[0].pid, found[0].user.as_str()), (3, "user1000"));
        assert_eq!((found[0].threads, found[0].cpu_ticks), (8, 15));
    }
}
