//! Workers of which no thread is known, and the threads that may drive them.
//!
//! As a rule a task of the agent runs on each worker and shows who drives it
//! ([`super::mapping`]). A worker that is stuck before never runs one. What its
//! thread and its counters do at the same time says it as well:
//!
//! - A worker whose counters moved has run. A thread that did not run meanwhile
//!   does not drive it.
//! - A worker that was parked all the time has not run. A thread that did does not
//!   drive it.
//!
//! The threads in question are those that are named as the runtime's workers are,
//! and of them there must be as many as workers. Threads of the blocking pool have
//! the same name: one that is blocked shows by its stack that it is of the pool, and
//! does not count until it runs. With others among them nothing is concluded.

use std::collections::{BTreeSet, HashMap};

use looptop_wire::proto::Flavor;
use tokio::runtime::RuntimeMetrics;

use super::worker::Counters;
use crate::ids::{RuntimeId, Tid, WorkerIndex};
use crate::procfs;
use crate::runtimes::Runtime;
use crate::sync::lock;
use crate::thread_clock::thread_cpu_ns;

/// Tokio's names for its threads, today and formerly, as far as the kernel keeps
/// them.
const DEFAULT_NAMES: [&str; 2] = ["tokio-rt-worker", "tokio-runtime-w"];

/// More threads than this are not tried.
const MAX_THREADS: usize = 256;

/// A thread has evidently run when it had this much of a CPU while the worker was
/// parked: more than the look at timers and sockets takes.
const RAN_NS: u64 = 2_000_000;

/// Stacks that are read in one look, to recognise threads of the blocking pool.
const STACKS: usize = 4;

/// How long threads that were stuck answer for the workers.
const ANSWER_NS: u64 = 500_000_000;

type Worker = (RuntimeId, WorkerIndex);

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Elimination {
    threads: Vec<Candidate>,
    workers: HashMap<Worker, [Option<Counters>; 3]>,
    looks_ns: [u64; 3],
    /// Each of them is stuck in a poll, and which drives which worker is unknown.
    stuck: bool,
    /// When that was last so.
    stuck_ns: Option<u64>,
}

/// Threads that are thought to drive a worker, until what they do contradicts it:
/// a poll that calls `block_in_place` gives its worker to another thread, which
/// tokio says under `--cfg tokio_unstable` only.
#[derive(Debug, Default)]
pub(super) struct Doubts {
    workers: HashMap<Worker, Thought>,
    looks_ns: [u64; 3],
}

#[derive(Debug)]
struct Thought {
    tid: Tid,
    counters: [Option<Counters>; 3],
    cpu_ns: [Option<u64>; 3],
}

impl Doubts {
    /// Looks at workers whose threads are known, and takes those out of the map
    /// that did not run when their worker did, or ran when it did not; true where there were
    /// some.
    pub(super) fn look<'a>(
        &mut self,
        watched: impl Iterator<Item = (&'a Runtime, &'a RuntimeMetrics)>,
        now_ns: u64,
    ) -> bool {
        if cfg!(tokio_unstable) {
            return false;
        }
        let mut some = false;
        self.looks_ns = pushed(self.looks_ns, now_ns);
        for (runtime, metrics) in watched.filter(|(r, _)| r.flavor != Flavor::CurrentThread) {
            for worker in runtime.worker_indices() {
                let mut map = lock(&runtime.map);
                let key = (runtime.id, worker);
                let Some(tid) = map.thread(worker) else {
                    self.workers.remove(&key);
                    continue;
                };
                let counters = Counters::of(metrics, worker);
                if self.is_wrong(key, tid, counters, thread_cpu_ns(tid)) {
                    map.forget(tid);
                    some = true;
                }
            }
        }
        some
    }

    fn is_wrong(
        &mut self,
        worker: Worker,
        tid: Tid,
        counters: Counters,
        cpu_ns: Option<u64>,
    ) -> bool {
        let new = || Thought {
            tid,
            counters: [None; 3],
            cpu_ns: [None; 3],
        };
        let thought = self.workers.entry(worker).or_insert_with(new);
        if thought.tid != tid {
            *thought = new();
        }
        thought.counters = pushed(thought.counters, Some(counters));
        thought.cpu_ns = pushed(thought.cpu_ns, cpu_ns);
        let wrong = contradicts(&thought.counters, &thought.cpu_ns, &self.looks_ns);
        if wrong {
            self.workers.remove(&worker);
        }
        wrong
    }
}

/// Whether the CPU time of a thread contradicts that it drives a worker. At each of
/// the three looks the counters were read first, the CPU time a moment later.
fn contradicts(
    counters: &[Option<Counters>; 3],
    cpu_ns: &[Option<u64>; 3],
    looks_ns: &[u64; 3],
) -> bool {
    let (&[first, Some(middle), Some(last)], &[Some(cpu), Some(cpu_later), Some(cpu_now)]) =
        (counters, cpu_ns)
    else {
        return false;
    };
    // The CPU time was read before the older and after the newer counters.
    let moved_without_it = middle != last && cpu == cpu_now;
    // And here within the time in which the worker was parked.
    let parked = last.park_unpark % 2 == 1 && middle == last && first == Some(last);
    let ran_ns = cpu_later.saturating_sub(cpu);
    let wall_ns = looks_ns[1].saturating_sub(looks_ns[0]);
    moved_without_it || (parked && ran_ns >= RAN_NS && ran_ns * 2 > wall_ns)
}

/// A thread that may drive one of the workers.
#[derive(Debug)]
struct Candidate {
    tid: Tid,
    /// CPU time at the last looks, each a moment after the counters were read; the
    /// newest last.
    cpu_ns: [Option<u64>; 3],
    /// Those that it does not drive.
    not: BTreeSet<Worker>,
    /// Where it stood when it had had this much of a CPU.
    stood: Option<(u64, Stand)>,
}

/// Where a blocked thread stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stand {
    /// In the blocking pool, or in `block_in_place`: it drives no worker.
    Apart,
    /// Elsewhere, or it is not known.
    Unclear,
}

impl Elimination {
    /// Looks at workers without a thread, and maps those of which it becomes clear
    /// who drives them. `search` is true every 100 ms. `is_apart` says of a blocked
    /// thread whether it stands where none drives a worker.
    pub(super) fn look<'a>(
        &mut self,
        watched: &(impl Iterator<Item = (&'a Runtime, &'a RuntimeMetrics)> + Clone),
        now_ns: u64,
        search: bool,
        is_known: impl Fn(Tid) -> bool,
        mut is_apart: impl FnMut(Tid) -> Option<bool>,
    ) {
        let counted = watched.clone().flat_map(|(runtime, metrics)| {
            let counters = move |w| ((runtime.id, w), Counters::of(metrics, w));
            unmapped(runtime).into_iter().map(counters)
        });
        let counters: HashMap<Worker, Counters> = counted.collect();
        if counters.is_empty() {
            *self = Self::default();
            return;
        }
        if search || self.threads.is_empty() {
            self.search(watched.clone().map(|(runtime, _)| runtime), &is_known);
        }
        self.threads.retain(|thread| !is_known(thread.tid));
        if self.threads.len() > counters.len() {
            self.read_stands(search, thread_cpu_ns, &mut is_apart);
        }
        let cpu_ns = self.threads.iter().map(|t| thread_cpu_ns(t.tid)).collect();
        for (worker, tid) in self.conclude(now_ns, &counters, cpu_ns) {
            let mut runtimes = watched.clone().map(|(runtime, _)| runtime);
            if let Some(runtime) = runtimes.find(|r| r.id == worker.0) {
                lock(&runtime.map).known(tid, worker.1);
            }
        }
    }

    /// Threads that are stuck in a poll, where each of them drives one of the
    /// workers without a thread, and all of those stand still.
    pub(super) fn stuck(&self) -> impl Iterator<Item = Tid> {
        let stuck = self.stuck;
        let threads = self.threads.iter().filter(move |t| stuck && !t.is_apart());
        threads.map(|t| t.tid)
    }

    /// Whether the threads answer for workers whose thread is unknown: they are
    /// stuck, or were a moment ago. A worker that publishes its counters now and then
    /// does not make the others' standstill unexplained.
    pub(super) fn answer(&self, now_ns: u64) -> bool {
        let since_ns = |at: u64| now_ns.saturating_sub(at);
        self.stuck_ns.is_some_and(|at| since_ns(at) < ANSWER_NS)
    }

    fn search<'a>(
        &mut self,
        runtimes: impl Iterator<Item = &'a Runtime>,
        is_known: &impl Fn(Tid) -> bool,
    ) {
        let mut names = BTreeSet::new();
        for runtime in runtimes.filter(|r| !unmapped(r).is_empty()) {
            let map = lock(&runtime.map);
            let threads = runtime.worker_indices().filter_map(|w| map.thread(w));
            let known: Vec<String> = threads.filter_map(name).collect();
            if known.is_empty() {
                names.extend(DEFAULT_NAMES.map(String::from));
            } else {
                names.extend(known);
            }
        }
        let mut found: BTreeSet<Tid> = threads()
            .filter(|tid| !is_known(*tid) && name(*tid).is_some_and(|n| names.contains(&n)))
            .take(MAX_THREADS)
            .collect();
        self.threads.retain(|thread| found.remove(&thread.tid));
        self.threads.extend(found.into_iter().map(Candidate::new));
    }

    /// Reads where threads stand that have run since that was last read; of those that
    /// were unclear again when `search` is due.
    fn read_stands(
        &mut self,
        search: bool,
        cpu_ns: impl Fn(Tid) -> Option<u64>,
        is_apart: &mut impl FnMut(Tid) -> Option<bool>,
    ) {
        let mut stacks = 0;
        for thread in &mut self.threads {
            let before = cpu_ns(thread.tid);
            let is_settled = thread.stood.is_some_and(|(at, stand)| {
                before == Some(at) && (stand == Stand::Apart || !search)
            });
            if is_settled || stacks == STACKS {
                continue;
            }
            stacks += 1;
            let stand = match is_apart(thread.tid) {
                Some(true) => Stand::Apart,
                Some(false) | None => Stand::Unclear,
            };
            // It did not run while its stack was read.
            let after = cpu_ns(thread.tid);
            thread.stood = after.filter(|_| before == after).map(|at| (at, stand));
        }
    }

    /// Adds what was seen now; gives what has become certain.
    fn conclude(
        &mut self,
        now_ns: u64,
        counters: &HashMap<Worker, Counters>,
        cpu_ns: Vec<Option<u64>>,
    ) -> Vec<(Worker, Tid)> {
        self.looks_ns = pushed(self.looks_ns, now_ns);
        for (worker, counters) in counters {
            let seen = self.workers.entry(*worker).or_default();
            *seen = pushed(*seen, Some(*counters));
        }
        self.workers
            .retain(|worker, _| counters.contains_key(worker));
        for (thread, cpu_ns) in self.threads.iter_mut().zip(cpu_ns) {
            thread.cpu_ns = pushed(thread.cpu_ns, cpu_ns);
            if thread.is_apart() {
                // It may take a worker over when it runs: nothing of now is true then.
                thread.not.clear();
                continue;
            }
            for (worker, seen) in &self.workers {
                if contradicts(seen, &thread.cpu_ns, &self.looks_ns) {
                    thread.not.insert(*worker);
                }
            }
        }
        // As many as workers: then each drives one.
        let threads = self.threads.iter().filter(|t| !t.is_apart()).count();
        let certain = threads == self.workers.len();
        self.stuck = certain && self.workers.values().all(stands_still);
        if self.stuck {
            self.stuck_ns = Some(now_ns);
        }
        if certain { self.pairs() } else { Vec::new() }
    }

    /// Workers that one thread alone can drive, and threads that can drive but one.
    fn pairs(&mut self) -> Vec<(Worker, Tid)> {
        let mut pairs = Vec::new();
        while let Some((worker, tid)) = self.pair() {
            self.threads.retain(|thread| thread.tid != tid);
            self.workers.remove(&worker);
            pairs.push((worker, tid));
        }
        pairs
    }

    fn pair(&self) -> Option<(Worker, Tid)> {
        let only_thread = self.workers.keys().find_map(|worker| {
            let threads = self.threads.iter().filter(|t| !t.is_apart());
            let mut able = threads.filter(|t| !t.not.contains(worker));
            match (able.next(), able.next()) {
                (Some(thread), None) => Some((*worker, thread.tid)),
                _ => None,
            }
        });
        let only_worker = || {
            let mut threads = self.threads.iter().filter(|t| !t.is_apart());
            threads.find_map(|thread| {
                let mut able = self.workers.keys().filter(|w| !thread.not.contains(w));
                match (able.next(), able.next()) {
                    (Some(worker), None) => Some((*worker, thread.tid)),
                    _ => None,
                }
            })
        };
        only_thread.or_else(only_worker)
    }
}

impl Candidate {
    fn new(tid: Tid) -> Self {
        Self {
            tid,
            cpu_ns: [None; 3],
            not: BTreeSet::new(),
            stood: None,
        }
    }

    /// It drives no worker, and has not run since that was seen.
    fn is_apart(&self) -> bool {
        let [.., now_ns] = self.cpu_ns;
        matches!(self.stood, Some((at, Stand::Apart)) if now_ns == Some(at))
    }
}

/// It neither is parked, nor has it published anything at the last looks.
fn stands_still(seen: &[Option<Counters>; 3]) -> bool {
    let [first, middle, last] = seen;
    last.is_some_and(|c| c.park_unpark.is_multiple_of(2)) && first == middle && middle == last
}

fn pushed<T: Copy>([_, second, third]: [T; 3], newest: T) -> [T; 3] {
    [second, third, newest]
}

/// The workers of a multi-thread runtime whose threads are unknown.
fn unmapped(runtime: &Runtime) -> Vec<WorkerIndex> {
    if runtime.flavor == Flavor::CurrentThread {
        return Vec::new();
    }
    let map = lock(&runtime.map);
    let workers = runtime.worker_indices();
    workers.filter(|w| map.thread(*w).is_none()).collect()
}

/// The threads of this process; none where there is no `/proc`.
pub(super) fn threads() -> impl Iterator<Item = Tid> {
    procfs::tids().into_iter().flatten()
}

/// The name of a thread, without what numbers it.
fn name(tid: Tid) -> Option<String> {
    let name = procfs::name(tid)?;
    let stem = name.trim_end_matches(|c: char| c.is_ascii_digit());
    Some(stem.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: u64 = 1_000_000;

    fn worker(index: u32) -> Worker {
        (RuntimeId(0), WorkerIndex(index))
    }

    /// Two workers and as many threads as CPU times are given, looked at every
    /// 10 ms. At each look: the workers' counts of parks (odd: parked), and the
    /// threads' CPU times in ms.
    fn concluded(looks: &[([u64; 2], &[u64])]) -> (Vec<(u32, u64)>, Vec<u64>) {
        concluded_with(&[], looks)
    }

    /// The same, where threads of `pool` show by their stacks that they are of the
    /// blocking pool.
    fn concluded_with(pool: &[u64], looks: &[([u64; 2], &[u64])]) -> (Vec<(u32, u64)>, Vec<u64>) {
        let mut elimination = Elimination::default();
        let mut pairs = Vec::new();
        for (n, (parks, cpu_ms)) in (0..).zip(looks) {
            if elimination.threads.is_empty() && pairs.is_empty() {
                let tids = (0..cpu_ms.len() as u64).map(|n| Tid(10 + n));
                elimination.threads = tids.map(Candidate::new).collect();
            }
            let mapped = |w: u32| pairs.iter().any(|(worker, _)| *worker == w);
            let counters = (0..2u32).filter(|w| !mapped(*w)).map(|w| {
                let counters = Counters {
                    park_unpark: parks[w as usize],
                    busy_ns: 0,
                };
                (worker(w), counters)
            });
            let counters = counters.collect();
            let of = |tid: Tid| Some(cpu_ms.get(tid.0 as usize - 10)? * MS);
            elimination.read_stands(false, of, &mut |tid| Some(pool.contains(&tid.0)));
            let cpu = cpu_ms.iter().map(|ms| Some(ms * MS)).collect();
            for (worker, tid) in elimination.conclude(n * 10 * MS, &counters, cpu) {
                pairs.push((worker.1.0, tid.0));
            }
        }
        pairs.sort_unstable();
        (pairs, elimination.stuck().map(|t| t.0).collect())
    }

    #[test]
    fn who_drives_which() {
        let both: Vec<(u32, u64)> = vec![(0, 11), (1, 10)];
        // An endless loop in a first poll on worker 1, thread 10.
        let endless = concluded(&[([1, 0], &[0, 0]), ([1, 0], &[10, 0]), ([1, 0], &[20, 0])]);
        assert_eq!(endless, (both.clone(), vec![]));
        // Worker 1 waits for ever, on thread 10; worker 0 runs now and then.
        let waits = concluded(&[([1, 0], &[0, 0]), ([1, 0], &[0, 0]), ([3, 0], &[0, 1])]);
        assert_eq!(waits, (both, vec![]));
    }

    #[test]
    fn threads_of_the_blocking_pool_do_not_count_until_they_run() {
        let both: Vec<(u32, u64)> = vec![(0, 11), (1, 10)];
        // Worker 1 waits for ever, on thread 10; worker 0 runs now and then.
        let looks: [([u64; 2], &[u64]); 3] = [
            ([1, 0], &[0, 0, 3]),
            ([1, 0], &[0, 0, 3]),
            ([3, 0], &[0, 1, 3]),
        ];
        assert_eq!(concluded(&looks), (vec![], vec![]), "three may drive two");
        assert_eq!(concluded_with(&[12], &looks), (both, vec![]));
        // Both wait for each other from the start; a job sleeps beside them.
        let stuck: [([u64; 2], &[u64]); 3] = [([2, 4], &[7, 7, 3]); 3];
        assert_eq!(concluded_with(&[12], &stuck), (vec![], vec![10, 11]));
        // It ran after its stack was read: it may have taken a worker over.
        let mut elimination = Elimination {
            threads: vec![Candidate::new(Tid(12))],
            ..Elimination::default()
        };
        let mut cpu_ns = 5;
        elimination.read_stands(false, |_| Some(cpu_ns), &mut |_| Some(true));
        let is_apart = |elimination: &mut Elimination, cpu_ns| {
            elimination.conclude(0, &HashMap::new(), vec![Some(cpu_ns)]);
            elimination.threads[0].is_apart()
        };
        assert!(is_apart(&mut elimination, cpu_ns));
        cpu_ns += 1;
        assert!(!is_apart(&mut elimination, cpu_ns));
        elimination.read_stands(false, |_| Some(cpu_ns), &mut |_| Some(false));
        assert!(!is_apart(&mut elimination, cpu_ns), "it drives one now");
        elimination.read_stands(false, |_| Some(cpu_ns), &mut |_| Some(true));
        assert!(!is_apart(&mut elimination, cpu_ns), "it has not run");
        elimination.read_stands(true, |_| Some(cpu_ns), &mut |_| Some(true));
        assert!(is_apart(&mut elimination, cpu_ns), "asked again");
    }

    #[test]
    fn a_thread_that_gave_its_worker_away_is_found_out() {
        // The worker's count of parks, and the CPU time of the thread.
        let wrong = |looks: &[(u64, u64)]| {
            let mut doubts = Doubts::default();
            let mut looks = (0..).zip(looks);
            looks.any(|(n, (park_unpark, cpu_ns))| {
                doubts.looks_ns = pushed(doubts.looks_ns, n * 10 * MS);
                let counters = Counters {
                    park_unpark: *park_unpark,
                    busy_ns: 0,
                };
                doubts.is_wrong(worker(0), Tid(10), counters, Some(*cpu_ns))
            })
        };
        assert!(
            !wrong(&[(1, 5), (3, 6), (5, 7), (5, 7), (5, 7)]),
            "it parks"
        );
        assert!(!wrong(&[(1, 5), (1, 5), (3, 6)]), "it ran");
        // The counters moved just before they were read, the clock was read later.
        assert!(!wrong(&[(1, 5), (3, 6), (3, 6), (3, 6)]));
        assert!(wrong(&[(1, 5), (2, 6), (2, 6), (4, 6)]), "another ran");
        let ms = |ms: u64| 5 + ms * MS;
        assert!(
            wrong(&[(1, 5), (1, ms(9)), (1, ms(19))]),
            "it ran while parked"
        );
        assert!(!wrong(&[(2, 5), (2, ms(9)), (2, ms(19))]), "it computes");
    }

    #[test]
    fn without_evidence_nothing_is_concluded() {
        // Both wait for each other from the start.
        let stuck = concluded(&[([2, 4], &[7, 7]), ([2, 4], &[7, 7]), ([2, 4], &[7, 7])]);
        assert_eq!(stuck, (vec![], vec![10, 11]), "each is in a poll");
        // One of them is parked; which thread, nobody knows.
        let parked = concluded(&[([3, 4], &[7, 7]), ([3, 4], &[7, 7]), ([3, 4], &[7, 7])]);
        assert_eq!(parked, (vec![], vec![]));
        // A thread of the blocking pool is among them.
        let three = concluded(&[
            ([2, 4], &[7, 7, 0]),
            ([2, 4], &[7, 7, 0]),
            ([2, 4], &[7, 7, 0]),
        ]);
        assert_eq!(three, (vec![], vec![]));
        // Both threads ran while both workers moved.
        let busy = concluded(&[([2, 4], &[0, 0]), ([4, 6], &[5, 5]), ([6, 8], &[9, 9])]);
        assert_eq!(busy, (vec![], vec![]));
    }

    #[test]
    #[cfg(all(target_os = "linux", not(looptop_elsewhere)))]
    fn threads_are_found_by_the_name_of_workers() {
        let (done, wait) = std::sync::mpsc::channel::<()>();
        let thread = std::thread::Builder::new().name("elimination-7".into());
        let (send, receive) = std::sync::mpsc::channel();
        let thread = thread.spawn(move || {
            let _ = send.send(crate::thread_clock::current_tid());
            let _ = wait.recv();
        });
        let tid = receive.recv().ok().flatten().expect("Linux has thread ids");
        assert!(threads().any(|t| t == tid));
        assert_eq!(name(tid).as_deref(), Some("elimination-"));
        drop(done);
        thread.expect("a thread").join().expect("it ends");
    }
}
