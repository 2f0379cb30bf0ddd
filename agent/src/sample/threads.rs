//! The threads of the process, from `/proc/self/task`.
//!
//! A thread that has not run since it was read is as it was: its CPU clock says so for
//! 0.3 µs, so that its files are left alone.

use std::collections::{HashMap, HashSet};

use looptop_procfs::{ProcFile, SchedStat, SchedState, Stat, TICK_NS};
use looptop_wire::{intern::Interner, proto};

use crate::ids::Tid;
use crate::procfs;
use crate::thread_clock::thread_cpu_ns;

/// All threads are read this often, ns: 7 µs for each, and 20 µs for one that has run.
const ALL_PERIOD_NS: u64 = 1_000_000_000;

/// Threads that are listed at most.
const MAX_THREADS: usize = 4_096;

/// Of threads that are read at each call two files stay open: of so many, for they count
/// against the application's limit.
const MAX_OPEN: usize = 32;

/// Which threads are known to be what.
#[derive(Debug, Default)]
pub(crate) struct Roles {
    pub(crate) workers: Vec<Tid>,
    pub(crate) agent: Vec<Tid>,
    /// Drive a runtime that nobody registered.
    pub(crate) strangers: Vec<Tid>,
    /// Every worker's thread is known, so that others are none.
    pub(crate) complete: bool,
}

/// Follows all threads.
#[derive(Debug, Default)]
pub(crate) struct ThreadSampler {
    threads: HashMap<Tid, Known>,
    next_all_ns: Option<u64>,
}

/// A thread as it was when it was read.
#[derive(Debug, Default)]
struct Known {
    record: proto::Thread,
    name: String,
    /// CPU time of the thread just before that, and before its switches were read.
    cpu_ns: Option<u64>,
    switches_cpu_ns: Option<u64>,
    files: Option<Files>,
}

/// What is read of one thread again and again.
#[derive(Debug)]
struct Files {
    stat: Option<ProcFile>,
    schedstat: Option<ProcFile>,
}

impl ThreadSampler {
    /// The records that may have changed since the last call: those that drive runtimes
    /// at each call, where they have run, all threads once a second, ended ones with `gone`
    /// set.
    pub(crate) fn sample(
        &mut self,
        now_ns: u64,
        roles: &Roles,
        interner: &mut Interner,
    ) -> Vec<proto::Thread> {
        if self.next_all_ns.is_some_and(|next| now_ns < next) {
            let often = roles.workers.iter().chain(&roles.strangers);
            return often
                .filter_map(|tid| self.read_often(*tid, roles, interner))
                .collect();
        }
        self.next_all_ns = Some(now_ns + ALL_PERIOD_NS);
        // Without a descriptor to ask with, nothing is known to have ended.
        let Some(alive) = list() else {
            return Vec::new();
        };
        // The names of workers say what others are.
        let stats: Vec<_> = alive
            .iter()
            .filter_map(|tid| {
                let (cpu_ns, stat) = self.stat(*tid)?;
                let known = self.threads.entry(*tid).or_default();
                known.name.clone_from(&stat.name);
                Some((*tid, cpu_ns, stat))
            })
            .collect();
        let mut records: Vec<_> = stats
            .into_iter()
            .map(|(tid, cpu_ns, stat)| {
                self.read_switches(tid, cpu_ns);
                self.record(tid, cpu_ns, &stat, roles, interner)
            })
            .collect();
        let alive: HashSet<Tid> = alive.into_iter().collect();
        let ended = |tid: &Tid| !alive.contains(tid);
        let gone: Vec<Tid> = self.threads.keys().copied().filter(ended).collect();
        records.extend(gone.into_iter().filter_map(|tid| {
            let last = self.threads.remove(&tid)?.record;
            Some(proto::Thread { gone: true, ..last })
        }));
        records
    }

    /// Nobody watches: closes the files.
    pub(crate) fn rest(&mut self) {
        for known in self.threads.values_mut() {
            known.files = None;
        }
    }

    /// `None` for a thread that is as it was, and for one that has ended.
    fn read_often(
        &mut self,
        tid: Tid,
        roles: &Roles,
        interner: &mut Interner,
    ) -> Option<proto::Thread> {
        let cpu_ns = thread_cpu_ns(tid);
        if let Some(known) = self.threads.get(&tid) {
            let has_run = cpu_ns.is_none() || cpu_ns != known.cpu_ns;
            // Whether one that sleeps waits for a CPU now shows once a second.
            let slept = known.record.state() == proto::ThreadState::Sleeping;
            if !has_run && slept && known.record.role() == self.role(tid, &known.name, roles) {
                return None;
            }
        }
        let (cpu_ns, stat) = self.stat(tid)?;
        let record = self.record(tid, cpu_ns, &stat, roles, interner);
        self.keep_open(tid);
        Some(record)
    }

    /// The CPU time first: whoever runs afterwards is read again.
    fn stat(&self, tid: Tid) -> Option<(Option<u64>, Stat)> {
        let files = self
            .threads
            .get(&tid)
            .and_then(|known| known.files.as_ref());
        let file = files.and_then(|files| files.stat.as_ref());
        let cpu_ns = thread_cpu_ns(tid);
        // The file may be of a former thread of this id.
        let stat = file
            .and_then(|file| file.parse(Stat::parse))
            .or_else(|| procfs::open(tid, "stat")?.parse(Stat::parse))?;
        Some((cpu_ns, stat))
    }

    fn record(
        &mut self,
        tid: Tid,
        cpu_ns: Option<u64>,
        stat: &Stat,
        roles: &Roles,
        interner: &mut Interner,
    ) -> proto::Thread {
        let role = self.role(tid, &stat.name, roles);
        let known = self.threads.entry(tid).or_default();
        let last = known.record;
        let run_queue_ns = if cpu_ns.is_some() && cpu_ns == known.cpu_ns {
            last.run_queue_ns
        } else {
            let file = known.files.as_ref().and_then(|f| f.schedstat.as_ref());
            let sched = file
                .and_then(|file| file.parse(SchedStat::parse))
                .or_else(|| procfs::schedstat(tid));
            sched.map(|s| s.run_queue_ns)
        };
        // The ticks of `stat` are 10 ms long; the CPU clock is exact but does
        // not separate user from system.
        let system_ns = stat.system_ticks * TICK_NS;
        let total_ns = cpu_ns.unwrap_or(stat.user_ticks * TICK_NS + system_ns);
        let system_ns = system_ns.min(total_ns).max(last.system_ns);
        known.cpu_ns = cpu_ns;
        known.name.clone_from(&stat.name);
        known.record = proto::Thread {
            tid: tid.0,
            name: interner.string(&stat.name),
            state: state(stat.state).into(),
            role: role.into(),
            user_ns: total_ns.saturating_sub(system_ns).max(last.user_ns),
            system_ns,
            run_queue_ns,
            gone: false,
            ..last
        };
        known.record
    }

    /// Reads how often a thread has been switched, where it has run since: some 15 µs.
    fn read_switches(&mut self, tid: Tid, cpu_ns: Option<u64>) {
        let known = self.threads.entry(tid).or_default();
        if cpu_ns.is_some() && cpu_ns == known.switches_cpu_ns {
            return;
        }
        let switches = procfs::own().thread(tid.0).switches();
        known.switches_cpu_ns = cpu_ns;
        known.record.voluntary_switches = switches.map(|s| s.0);
        known.record.involuntary_switches = switches.map(|s| s.1);
    }

    /// Keeps the files of a thread open, where there is room.
    fn keep_open(&mut self, tid: Tid) {
        let open = self.threads.values().filter(|known| known.files.is_some());
        if open.count() >= MAX_OPEN {
            return;
        }
        if let Some(known) = self.threads.get_mut(&tid) {
            known.files.get_or_insert_with(|| Files {
                stat: procfs::open(tid, "stat"),
                schedstat: procfs::open(tid, "schedstat"),
            });
        }
    }

    fn role(&self, tid: Tid, name: &str, roles: &Roles) -> proto::ThreadRole {
        if roles.agent.contains(&tid) {
            return proto::ThreadRole::Agent;
        }
        if roles.workers.contains(&tid) {
            return proto::ThreadRole::Worker;
        }
        if roles.strangers.contains(&tid) {
            return proto::ThreadRole::Stranger;
        }
        // tokio's blocking threads bear the same name as its workers. That of the main thread
        // goes to all threads that it begins without a name.
        let main = Tid(std::process::id().into());
        let workers = roles.workers.iter().filter(|worker| **worker != main);
        let mut workers = workers.filter_map(|worker| self.threads.get(worker));
        if !workers.any(|worker| worker.name == name) {
            proto::ThreadRole::Other
        } else if roles.complete {
            proto::ThreadRole::Blocking
        } else {
            proto::ThreadRole::Unknown
        }
    }
}

fn list() -> Option<Vec<Tid>> {
    Some(procfs::tids()?.take(MAX_THREADS).collect())
}

fn state(state: SchedState) -> proto::ThreadState {
    match state {
        SchedState::Running => proto::ThreadState::Running,
        SchedState::Sleeping => proto::ThreadState::Sleeping,
        SchedState::Disk => proto::ThreadState::Disk,
        SchedState::Stopped => proto::ThreadState::Stopped,
        SchedState::Dead | SchedState::Other => proto::ThreadState::Other,
    }
}

#[cfg(all(test, target_os = "linux", not(looptop_elsewhere)))]
mod tests {
    use super::*;
    use crate::thread_clock::current_tid;

    #[test]
    fn threads_called_as_the_main_thread_that_drives_a_runtime_are_not_the_pools() {
        let main = Tid(std::process::id().into());
        let name = procfs::own().thread(main.0).stat().expect("it runs").name;
        let (stop, stopped) = std::sync::mpsc::channel::<()>();
        let (started, start) = std::sync::mpsc::channel();
        let namesake = std::thread::Builder::new().name(name);
        let namesake = namesake.spawn(move || {
            started.send(current_tid()).ok();
            stopped.recv().ok();
        });
        let namesake = namesake.expect("a thread");
        let tid = start.recv().ok().flatten().expect("it has an id");
        let roles = Roles {
            workers: vec![main],
            complete: true,
            ..Roles::default()
        };
        let records = ThreadSampler::default().sample(0, &roles, &mut Interner::default());
        let role = |tid: Tid| {
            let record = records.iter().find(|thread| thread.tid == tid.0);
            record.map(proto::Thread::role)
        };
        assert_eq!(role(main), Some(proto::ThreadRole::Worker));
        assert_eq!(role(tid), Some(proto::ThreadRole::Other));
        drop(stop);
        namesake.join().ok();
    }

    #[test]
    fn this_thread_appears_and_an_ended_one_goes_with_a_last_record() {
        let mut sampler = ThreadSampler::default();
        let mut interner = Interner::default();
        let me = current_tid().expect("Linux has thread ids");
        let (stop, stopped) = std::sync::mpsc::channel::<()>();
        let (started, start) = std::sync::mpsc::channel();
        let other = std::thread::Builder::new().name("short-lived".into());
        let other = other.spawn(move || {
            started.send(current_tid()).ok();
            stopped.recv().ok();
        });
        let other = other.expect("a thread");
        let tid = start.recv().ok().flatten().expect("it has an id");
        let roles = Roles {
            workers: vec![me],
            ..Roles::default()
        };
        let records = sampler.sample(0, &roles, &mut interner);
        let role = |records: &[proto::Thread], tid: Tid| {
            records
                .iter()
                .find(|t| t.tid == tid.0)
                .map(proto::Thread::role)
        };
        assert_eq!(role(&records, me), Some(proto::ThreadRole::Worker));
        assert_eq!(role(&records, tid), Some(proto::ThreadRole::Other));
        let own = records.iter().find(|thread| thread.tid == me.0);
        assert!(own.is_some_and(|own| own.voluntary_switches.is_some()));
        drop(stop);
        other.join().ok();
        let deadline = std::time::Instant::now() + std::time::Duration::from_secs(20);
        while thread_cpu_ns(tid).is_some() {
            assert!(std::time::Instant::now() < deadline);
        }
        assert_eq!(sampler.sample(500_000_000, &roles, &mut interner).len(), 1);
        let records = sampler.sample(2 * ALL_PERIOD_NS, &roles, &mut interner);
        let gone = records.iter().find(|t| t.tid == tid.0).map(|t| t.gone);
        assert_eq!(gone, Some(true));
        let records = sampler.sample(4 * ALL_PERIOD_NS, &roles, &mut interner);
        assert!(records.iter().all(|t| t.tid != tid.0), "only once");
    }
}
