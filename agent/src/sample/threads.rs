//! The threads of the process, from `/proc/self/task`.

use std::collections::HashMap;

use looptop_procfs::{SchedState, Stat, TICK_NS};
use looptop_wire::{intern::Interner, proto};

use crate::ids::Tid;
use crate::procfs;
use crate::thread_clock::thread_cpu_ns;

/// All threads are read this often, ns: about 20 µs for each.
const ALL_PERIOD_NS: u64 = 1_000_000_000;

/// Threads that are listed at most.
const MAX_THREADS: usize = 4_096;

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
    threads: HashMap<Tid, proto::Thread>,
    names: HashMap<Tid, String>,
    next_all_ns: Option<u64>,
}

impl ThreadSampler {
    /// The records that may have changed since the last call: workers at each
    /// call, all threads once a second, ended ones with `gone` set.
    pub(crate) fn sample(
        &mut self,
        now_ns: u64,
        roles: &Roles,
        interner: &mut Interner,
    ) -> Vec<proto::Thread> {
        if self.next_all_ns.is_some_and(|next| now_ns < next) {
            let workers = roles.workers.iter().chain(&roles.agent);
            let workers = workers.chain(&roles.strangers);
            return workers
                .filter_map(|tid| self.read(*tid, roles, interner))
                .collect();
        }
        self.next_all_ns = Some(now_ns + ALL_PERIOD_NS);
        // Without a descriptor to ask with, nothing is known to have ended.
        let Some(alive) = list() else {
            return Vec::new();
        };
        self.names.clear();
        for tid in &alive {
            if let Some(stat) = stat(*tid) {
                self.names.insert(*tid, stat.name);
            }
        }
        let mut records: Vec<_> = alive
            .iter()
            .filter_map(|tid| self.read(*tid, roles, interner))
            .collect();
        let ended = |tid: &Tid| !alive.contains(tid);
        let gone: Vec<Tid> = self.threads.keys().copied().filter(ended).collect();
        records.extend(gone.into_iter().filter_map(|tid| {
            let last = self.threads.remove(&tid)?;
            Some(proto::Thread { gone: true, ..last })
        }));
        records
    }

    fn read(&mut self, tid: Tid, roles: &Roles, interner: &mut Interner) -> Option<proto::Thread> {
        let stat = stat(tid)?;
        let last = self.threads.get(&tid).copied().unwrap_or_default();
        let sched = procfs::schedstat(tid);
        let switches = procfs::own().thread(tid.0).switches();
        // The ticks of `stat` are 10 ms long; the CPU clock is exact but does
        // not separate user from system.
        let system_ns = stat.system_ticks * TICK_NS;
        let total_ns = thread_cpu_ns(tid).unwrap_or(stat.user_ticks * TICK_NS + system_ns);
        let system_ns = system_ns.min(total_ns).max(last.system_ns);
        let record = proto::Thread {
            tid: tid.0,
            name: interner.string(&stat.name),
            state: state(stat.state).into(),
            role: self.role(tid, &stat.name, roles).into(),
            user_ns: total_ns.saturating_sub(system_ns).max(last.user_ns),
            system_ns,
            run_queue_ns: sched.map(|s| s.run_queue_ns),
            voluntary_switches: switches.map(|s| s.0),
            involuntary_switches: switches.map(|s| s.1),
            gone: false,
        };
        self.threads.insert(tid, record);
        Some(record)
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
        // tokio's blocking threads bear the same name as its workers.
        let mut names = roles.workers.iter().filter_map(|w| self.names.get(w));
        if !names.any(|worker| worker == name) {
            proto::ThreadRole::Other
        } else if roles.complete {
            proto::ThreadRole::Blocking
        } else {
            proto::ThreadRole::Unknown
        }
    }
}

fn stat(tid: Tid) -> Option<Stat> {
    procfs::open(tid, "stat")?.parse(Stat::parse)
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
