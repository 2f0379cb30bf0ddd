//! Where the threads are for which a runtime's shutdown may wait.
//!
//! `Runtime::drop` waits for the jobs of the blocking pool, for ever. Which thread
//! is of which pool tokio does not say, and that somebody waits in the shutdown
//! shows in a name of a stack alone, which the agent does not look up. So it sends
//! the stacks of the threads that may be concerned: those that bear the name of the
//! runtime's threads and do something, and those that wait without a time limit.

use std::collections::HashSet;
use std::sync::Arc;

use looptop_procfs::SyscallState;
use looptop_wire::proto;

use crate::capture;
use crate::clock::now_ns;
use crate::evidence::{self, Cause, is_futex, may_idle};
use crate::ids::Tid;
use crate::procfs;
use crate::runtimes::Runtime;
use crate::shared::Shared;
use crate::sync::lock;

/// The stacks are taken this often, ns.
const PERIOD_NS: u64 = 1_000_000_000;
/// Threads that are looked at.
const MAX_THREADS: usize = 256;
/// Stacks of each of the two kinds that are sent.
const MAX_STACKS: usize = 8;
/// A thread's name as the kernel keeps it.
const MAX_NAME: usize = 15;
/// tokio's name for the threads of a pool.
const DEFAULT_NAME: &str = "tokio-rt-worker";

/// Follows the runtimes that were shut down.
#[derive(Debug, Default)]
pub(crate) struct ShutdownSampler {
    next_ns: u64,
    threads: Vec<Seen>,
}

/// A thread that may be concerned.
#[derive(Debug)]
struct Seen {
    name: String,
    /// It waits in a futex without a time limit.
    waits: bool,
    stack: proto::StackSample,
}

impl ShutdownSampler {
    /// Looks at the threads once a second, if some runtime was shut down.
    pub(crate) fn sample(&mut self, shared: &Arc<Shared>, now_ns: u64) {
        let runtimes = shared.runtimes.all();
        if !runtimes.iter().any(|r| r.is_gone()) {
            self.threads.clear();
            return;
        }
        if now_ns < self.next_ns {
            return;
        }
        self.next_ns = now_ns + PERIOD_NS;
        let mut others: HashSet<Tid> = lock(&shared.own_threads).iter().copied().collect();
        for runtime in runtimes.iter().filter(|r| !r.is_gone()) {
            let map = lock(&runtime.map);
            others.extend(runtime.worker_indices().filter_map(|w| map.thread(w)));
        }
        self.threads = threads()
            .filter(|t| !others.contains(t))
            .filter_map(see)
            .collect();
    }

    /// Notes in `record` that `runtime` was shut down, and where the threads are
    /// that it may wait for.
    pub(crate) fn add(&self, runtime: &Runtime, record: &mut proto::Runtime) {
        let Some(began_ns) = runtime.probe.gone_at_ns() else {
            return;
        };
        record.shutdown_began_at_ns = Some(began_ns);
        let name = kept_name(runtime.probe.thread_name().unwrap_or(DEFAULT_NAME));
        let jobs = self.threads.iter().filter(|t| t.name == name);
        let waiters = self.threads.iter().filter(|t| t.name != name && t.waits);
        record.shutdown_waits = jobs
            .take(MAX_STACKS)
            .chain(waiters.take(MAX_STACKS))
            .map(|thread| thread.stack.clone())
            .collect();
    }
}

/// A name as the kernel keeps it.
fn kept_name(name: &str) -> &str {
    &name[..name.floor_char_boundary(MAX_NAME)]
}

fn threads() -> impl Iterator<Item = Tid> {
    procfs::tids().into_iter().flatten().take(MAX_THREADS)
}

/// `None` for a thread that idles, or whose stack cannot be had.
fn see(tid: Tid) -> Option<Seen> {
    let waits = match procfs::syscall(tid) {
        SyscallState::In { number, args, .. } => {
            if may_idle(number, &args) {
                return None;
            }
            is_futex(number)
        }
        _ => false,
    };
    let captured = capture::capture(tid.0).ok()?;
    let at_ns = now_ns();
    let address = |(module, offset): (Option<capture::ModuleIndex>, u64)| proto::CodeAddress {
        module: module.map_or(0, |index| index.0 + 1),
        offset,
    };
    Some(Seen {
        name: procfs::name(tid)?,
        waits,
        stack: proto::StackSample {
            first_at_ns: at_ns,
            last_at_ns: at_ns,
            count: 1,
            frames: captured.stack.frames.into_iter().map(address).collect(),
            truncated: captured.stack.truncated,
            cause: evidence::on_wire(Cause::of(&captured.doing)).into(),
            syscall: 0,
            evidence: proto::Evidence::Signal.into(),
        },
    })
}

#[cfg(all(
    test,
    target_os = "linux",
    not(looptop_elsewhere),
    any(target_arch = "x86_64", target_arch = "aarch64")
))]
mod tests {
    use super::*;
    use crate::config::Config;
    use crate::runtimes::Registration;
    use std::time::{Duration, Instant};

    #[test]
    fn a_name_is_cut_as_the_kernel_does() {
        assert_eq!(kept_name(DEFAULT_NAME), DEFAULT_NAME);
        assert_eq!(kept_name("image-thumbnails"), "image-thumbnail");
    }

    #[test]
    fn the_job_for_which_a_shutdown_waits_is_sent() {
        if capture::install(9).is_err() {
            return;
        }
        let shared = Arc::new(Shared::new(Config::default(), Ok(())));
        let jobs = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .thread_name("shutdown-test")
            .build()
            .unwrap();
        shared.runtimes.register(Registration {
            name: "jobs".into(),
            handle: jobs.handle().clone(),
            max_blocking_threads: None,
            inside: None,
        });
        let runtime = shared.runtimes.all().pop().unwrap();
        let deadline = Instant::now() + Duration::from_secs(20);
        while runtime.probe.thread_name().is_none() {
            assert!(Instant::now() < deadline, "the probe runs once");
            std::thread::yield_now();
        }
        let (release, released) = std::sync::mpsc::channel::<()>();
        jobs.spawn_blocking(move || _ = released.recv());
        let mut sampler = ShutdownSampler::default();
        let mut record = proto::Runtime::default();
        sampler.sample(&shared, now_ns());
        sampler.add(&runtime, &mut record);
        assert_eq!(record.shutdown_began_at_ns, None, "it runs");
        let waiter = std::thread::spawn(move || drop(jobs));
        loop {
            record = proto::Runtime::default();
            sampler.next_ns = 0;
            sampler.sample(&shared, now_ns());
            sampler.add(&runtime, &mut record);
            // The job and the thread that waits for it.
            if record.shutdown_waits.len() >= 2 {
                break;
            }
            assert!(Instant::now() < deadline, "{record:?}");
            std::thread::sleep(Duration::from_millis(5));
        }
        assert!(record.shutdown_began_at_ns.is_some());
        assert_eq!(runtime.probe.thread_name(), Some("shutdown-test"));
        drop(release);
        waiter.join().unwrap();
    }
}
