//! What procfs says of the processes that may be attached to.

use std::{
    fmt, fs,
    net::{Ipv4Addr, Ipv6Addr, SocketAddr},
    path::{Path, PathBuf},
};

use looptop_procfs::{self as procfs, Listening, Procfs, SchedState};

use super::super::target::Target;

/// The beginning of the name of a thread that serves viewers, and whose it is.
/// The kernel cuts names at 15 bytes.
const SERVERS: [(&str, Instrument); 2] = [
    ("looptop-agent", Instrument::Agent),
    ("console_subscri", Instrument::Console),
];

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
    /// `None` where it has neither an agent nor console-subscriber.
    pub(super) instrument: Option<Instrument>,
    pub(super) sockets: Sockets,
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

/// The processes that have an agent or console-subscriber, by id. Reads all of
/// procfs: some milliseconds.
pub(super) fn all() -> Vec<Process> {
    let procfs = Procfs::default();
    let mut pids: Vec<u32> = procfs.pids().collect();
    pids.sort_unstable();
    let instrumented = pids.into_iter().filter_map(|pid| {
        let instrument = instrument(&procfs.process(pid))?;
        Some(process(&procfs, pid, Some(instrument)))
    });
    instrumented.collect()
}

/// The process with this id; `None` where there is none. A thread's id is none.
pub(super) fn of(pid: u32) -> Option<Process> {
    let procfs = Procfs::default();
    let of = procfs.process(pid);
    let leader = of.status()?.process()?;
    (leader == pid).then(|| process(&procfs, pid, instrument(&of)))
}

fn process(procfs: &Procfs, pid: u32, instrument: Option<Instrument>) -> Process {
    let of = procfs.process(pid);
    Process {
        pid,
        name: of.file_name(),
        instrument,
        sockets: sockets(&of, &procfs.own()),
    }
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
        if cfg!(target_os = "linux") {
            assert_eq!(
                from_here(&process, Path::new("a.sock"), true),
                here.join("a.sock")
            );
        }
        let other = PathBuf::from(format!("/proc/{own}/cwd/a.sock"));
        assert_eq!(from_here(&process, Path::new("a.sock"), false), other);
    }

    #[test]
    #[cfg(target_os = "linux")]
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
        let process = of(std::process::id()).unwrap();
        assert_eq!(process.instrument, Some(Instrument::Agent));
        let exe = std::env::current_exe().unwrap();
        assert_eq!(process.name.as_str(), exe.file_name().unwrap());
        assert_eq!(of(*tid.get().unwrap()), None, "the id of a thread");
        assert_eq!(of(u32::MAX), None);
    }
}
