//! The host source: what this machine's procfs knows of a local process that
//! has no agent.
//!
//! The process is the one that owns the listening socket. Its threads are read
//! once a second, off the runtime's threads. Linux only; elsewhere, for remote
//! targets and for processes of other users the reason is given instead.

pub(in crate::source) mod owner;
mod reading;

use std::{collections::BTreeSet, time::Duration};

use looptop_procfs::{CpuTimes, Procfs, SchedState};
use looptop_wire::proto::{Frame, HelloResponse, Host, Process, Thread, ThreadRole, ThreadState};
use tokio::{
    task::{JoinHandle, spawn_blocking},
    time::{Interval, MissedTickBehavior, interval},
};

use super::{Problem, Target, outside::View};

/// Time between samples.
const EVERY: Duration = Duration::from_secs(1);

/// The name of console-subscriber's own thread, as the kernel cuts it.
pub(super) const CONSOLE_THREAD: &str = "console_subscri";

/// Why the target's process cannot be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Unseen {
    NotWanted,
    NotLocal,
    NoProcfs,
    NotFound,
    Forbidden,
}

impl Unseen {
    /// A sentence for the screen.
    pub(super) fn reason(self) -> &'static str {
        match self {
            Self::NotWanted => "reading threads from this host is switched off",
            Self::NotLocal => {
                "threads of a remote process cannot be read; \
                 add looptop_agent::init() to the application"
            }
            Self::NoProcfs => {
                "threads are read from procfs, which only Linux has; \
                 add looptop_agent::init() to the application"
            }
            Self::NotFound => {
                "no process on this host owns the socket (a container or a proxy?); \
                 add looptop_agent::init() to the application"
            }
            Self::Forbidden => {
                "the process belongs to another user; \
                 run looptop as that user or root to see its threads"
            }
        }
    }
}

impl Unseen {
    /// Why its process is not looked at from outside.
    pub(super) fn view(self) -> View {
        let why = match self {
            Self::NotWanted => return View::Off,
            Self::NotLocal => "it is not on this machine",
            Self::NoProcfs => "that is done on Linux alone",
            Self::NotFound => "no process of this host owns the socket (a container or a proxy?)",
            Self::Forbidden => {
                "it belongs to another user: run looptop as that user or as root to look at it"
            }
        };
        View::Not(why.to_owned())
    }
}

/// A thread with its name not yet interned.
pub(crate) type NamedThread = (String, Thread);

/// What was read of a process and its host at one instant.
#[derive(Debug, Clone, Default)]
pub(crate) struct Sample {
    pub(crate) threads: Vec<NamedThread>,
    pub(crate) process: Option<Process>,
    pub(crate) host: Option<Host>,
}

/// Adds to `hello` what procfs knows of a process.
pub(super) fn describe(procfs: &Procfs, pid: u32, hello: &mut HelloResponse) {
    reading::describe(procfs, pid, hello);
}

impl Sample {
    /// As a frame, with names interned by `intern`.
    pub(crate) fn into_frame(self, mut intern: impl FnMut(&str) -> u32) -> Frame {
        let threads = self.threads.into_iter().map(|(name, mut thread)| {
            thread.name = intern(&name);
            thread
        });
        Frame {
            threads: threads.collect(),
            process: self.process,
            host: self.host,
            ..Frame::default()
        }
    }
}

/// Reads one process, again and again.
#[derive(Debug)]
pub(super) struct Sampler {
    pid: u32,
    ticks: Interval,
    reader: Option<Reader>,
    reading: Option<JoinHandle<(Reader, Option<Sample>)>>,
}

impl Sampler {
    /// Finds the process behind `target`.
    pub(super) async fn find(target: Target) -> Result<Self, Unseen> {
        let found =
            spawn_blocking(move || owner::find(&Procfs::default(), &target).map(Reader::new)).await;
        found.unwrap_or(Err(Unseen::NotFound)).map(Self::with)
    }

    /// Of a process that is known.
    pub(super) fn of(pid: u32) -> Self {
        Self::with(Reader::new(pid))
    }

    /// The process that is read.
    pub(super) fn pid(&self) -> u32 {
        self.pid
    }

    fn with(reader: Reader) -> Self {
        let mut ticks = interval(EVERY);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        Self {
            pid: reader.pid,
            ticks,
            reader: Some(reader),
            reading: None,
        }
    }

    /// Adds what procfs knows of the process.
    pub(super) fn describe(&self, hello: &mut HelloResponse) {
        describe(&Procfs::default(), self.pid, hello);
    }

    /// The next sample, at most one a second; never, once the process ended.
    /// Safe to cancel.
    pub(super) async fn next(&mut self) -> Sample {
        loop {
            if let Some(reading) = &mut self.reading {
                let read = reading.await;
                self.reading = None;
                if let Ok((reader, Some(sample))) = read {
                    self.reader = Some(reader);
                    return sample;
                }
            }
            if self.reader.is_none() {
                std::future::pending::<()>().await;
            }
            self.ticks.tick().await;
            self.reading = self.reader.take().map(|mut reader| {
                spawn_blocking(move || {
                    let sample = reader.read();
                    (reader, sample)
                })
            });
        }
    }
}

/// Reads a process, and remembers what the next reading is compared with.
#[derive(Debug)]
struct Reader {
    procfs: Procfs,
    pid: u32,
    threads: BTreeSet<u64>,
    cpu: Option<CpuTimes>,
}

impl Reader {
    fn new(pid: u32) -> Self {
        let procfs = Procfs::default();
        Self {
            pid,
            threads: BTreeSet::new(),
            cpu: procfs.cpu_times(),
            procfs,
        }
    }

    /// `None` where the process has ended.
    fn read(&mut self) -> Option<Sample> {
        let process = self.procfs.process(self.pid);
        let mut threads = reading::threads(&process)?;
        let mut agent_cpu_ns = 0;
        for (name, thread) in &mut threads {
            if name == CONSOLE_THREAD {
                thread.role = ThreadRole::Agent.into();
                agent_cpu_ns += thread.user_ns + thread.system_ns;
            }
        }
        let present: BTreeSet<u64> = threads.iter().map(|(_, thread)| thread.tid).collect();
        let gone = self.threads.difference(&present).map(|tid| {
            let thread = Thread {
                tid: *tid,
                state: ThreadState::Other.into(),
                gone: true,
                ..Thread::default()
            };
            (String::new(), thread)
        });
        threads.extend(gone.collect::<Vec<_>>());
        self.threads = present;
        Some(Sample {
            process: Some(Process {
                thread_count: self.threads.len() as u64,
                agent_cpu_ns,
                ..reading::process(&process)
            }),
            host: Some(self.host()),
            threads,
        })
    }

    fn host(&mut self) -> Host {
        let before = std::mem::replace(&mut self.cpu, self.procfs.cpu_times());
        let cpu_ratio = match (before, self.cpu) {
            (Some(before), Some(now)) => now.busy_share_since(before),
            _ => 0.0,
        };
        Host {
            cpu_ratio,
            ..reading::host(&self.procfs)
        }
    }
}

/// The problem, where the process behind a local `target` is stopped.
pub(super) async fn stopped(target: Target) -> Option<Problem> {
    let look = move || {
        let procfs = Procfs::default();
        let pid = owner::find(&procfs, &target).ok()?;
        let stat = procfs.process(pid).stat()?;
        (stat.state == SchedState::Stopped).then(|| Problem::stopped(pid, &stat.name))
    };
    spawn_blocking(look).await.ok().flatten()
}

#[cfg(all(test, target_os = "linux", not(looptop_elsewhere)))]
mod tests {
    use super::*;

    #[test]
    fn this_process_is_read() {
        let mut reader = Reader::new(std::process::id());
        let (stop, stopped) = std::sync::mpsc::channel::<()>();
        let named = std::thread::Builder::new().name("a-named-thread".into());
        let thread = named.spawn(move || stopped.recv()).unwrap();

        // The kernel learns a thread's name a moment after the thread exists.
        let deadline = std::time::Instant::now() + Duration::from_secs(10);
        let (sample, tid) = loop {
            let sample = reader.read().unwrap();
            let found = sample.threads.iter().find(|(n, _)| n == "a-named-thread");
            if let Some(tid) = found.map(|(_, thread)| thread.tid) {
                break (sample, tid);
            }
            assert!(std::time::Instant::now() < deadline, "{:?}", sample.threads);
        };
        let process = sample.process.unwrap();
        assert!(process.resident_bytes > 0 && process.virtual_bytes > process.resident_bytes);
        assert!(process.open_files.unwrap() > 0);
        let live = sample.threads.iter().filter(|(_, thread)| !thread.gone);
        assert_eq!(process.thread_count, live.count() as u64);
        let host = sample.host.unwrap();
        assert!(host.cpus > 0 && host.total_memory_bytes > host.available_memory_bytes);

        stop.send(()).unwrap();
        thread.join().unwrap().unwrap();
        let deadline = std::time::Instant::now() + Duration::from_secs(10);
        let gone = |sample: &Sample| sample.threads.iter().any(|(_, t)| t.tid == tid && t.gone);
        while !gone(&reader.read().unwrap()) {
            assert!(std::time::Instant::now() < deadline);
        }
    }

    #[test]
    fn a_process_that_is_none_has_no_sample() {
        assert!(Reader::new(u32::MAX).read().is_none());
    }

    #[tokio::test]
    async fn the_owner_of_a_port_is_found() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let target: Target = listener.local_addr().unwrap().to_string().parse().unwrap();
        let mut sampler = Sampler::find(target.clone()).await.unwrap();
        assert_eq!(sampler.pid, std::process::id());
        assert!(!sampler.next().await.threads.is_empty());
        assert_eq!(stopped(target.clone()).await, None);

        let mut hello = HelloResponse::default();
        sampler.describe(&mut hello);
        assert_eq!(hello.pid, std::process::id());
        assert_eq!(
            hello.exe,
            std::env::current_exe().unwrap().display().to_string()
        );
        assert!(hello.cpus > 0 && hello.process_started_unix_ns.is_some());
        drop(listener);
        assert_eq!(
            owner::find(&Procfs::default(), &target),
            Err(Unseen::NotFound)
        );
    }

    #[cfg(all(target_os = "linux", not(looptop_elsewhere)))]
    #[test]
    fn a_program_whose_file_was_replaced_keeps_its_name() {
        let dir = tempfile::tempdir().unwrap();
        let app = dir.path().join("app");
        std::fs::copy("/bin/sleep", &app).unwrap();
        let mut child = std::process::Command::new(&app).arg("60").spawn().unwrap();
        std::fs::remove_file(&app).unwrap();
        let mut hello = HelloResponse::default();
        reading::describe(&Procfs::default(), child.id(), &mut hello);
        child.kill().unwrap();
        child.wait().unwrap();
        assert_eq!(hello.name, "app");
        let session = crate::model::Model::new(&hello).session;
        assert_eq!(session.replaced(), app.to_str());
    }

    #[tokio::test]
    async fn the_owner_of_a_unix_socket_is_found() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a socket");
        let _listener = std::os::unix::net::UnixListener::bind(&path).unwrap();
        let found = owner::find(&Procfs::default(), &Target::Unix(path));
        assert_eq!(found, Ok(std::process::id()));
    }

    #[test]
    fn a_remote_target_has_no_local_process() {
        let target = "192.0.2.1:80".parse().unwrap();
        assert_eq!(
            owner::find(&Procfs::default(), &target),
            Err(Unseen::NotLocal)
        );
    }
}
