//! Threads that drive a runtime become its workers.

use std::collections::{BTreeMap, HashMap};

use looptop_wire::proto::{self, Flavor, WorkerState};

use super::seen::{Does, Look, Runtime, Thread};

/// The workers that are known, by thread.
#[derive(Debug, Default)]
pub(super) struct Workers {
    places: BTreeMap<u64, Place>,
    /// Of the newest listing: key, id on the wire, flavor.
    runtimes: Vec<(u64, u32, Flavor)>,
    next_runtime: u32,
    /// Runtimes to which a thread's stack leads.
    leads_to: HashMap<u64, Vec<u32>>,
    /// Runtimes whose tasks a thread was seen to poll.
    polls_of: HashMap<u64, u32>,
    listed: bool,
    /// Threads that drive one of several runtimes, which is not known yet, and since when.
    undecided: BTreeMap<u64, u64>,
    /// Another source has runtimes too: of those here, none may be a thread's.
    joins: bool,
    looked_at_ns: u64,
    /// Nothing becomes known later: there is but one look.
    at_once: bool,
    /// The names that all threads of a runtime share.
    names: BTreeMap<u32, String>,
}

/// Which worker a thread is.
#[derive(Debug, Clone, Copy)]
struct Place {
    runtime: u32,
    index: u32,
    busy_ns: u64,
    cpu_ns: u64,
}

/// Runtimes get ids up to here; the model holds 256.
const MAX_RUNTIMES: u32 = 255;
/// What tokio calls its workers, of this time and of an earlier, as Linux cuts it.
const DEFAULT_NAMES: [&str; 2] = ["tokio-rt-worker", "tokio-runtime-w"];
/// So long it may become known which of several runtimes a thread drives.
const PATIENCE_NS: u64 = 3_000_000_000;
/// Which of several runtimes a thread drives is not known.
const UNKNOWN_RUNTIME: u32 = 255;

impl Workers {
    /// Of a session that has runtimes of another source: those here get ids from `first`
    /// on.
    pub(super) fn joining(first: u32) -> Self {
        Self {
            next_runtime: first,
            joins: true,
            ..Self::default()
        }
    }

    /// Of a single look.
    pub(super) fn at_once() -> Self {
        Self {
            at_once: true,
            ..Self::default()
        }
    }

    /// The id of a runtime.
    pub(super) fn runtime(&self, key: u64) -> Option<u32> {
        let known = self.runtimes.iter().find(|(of, ..)| *of == key);
        known.map(|(_, id, _)| *id)
    }

    /// The runtime and index of the worker that a thread is.
    pub(super) fn of(&self, tid: u64) -> Option<(u32, u32)> {
        self.places
            .get(&tid)
            .map(|place| (place.runtime, place.index))
    }

    /// What the threads of a runtime are called, all of them alike, and not as tokio calls
    /// those of any; empty otherwise.
    pub(super) fn name_of(&self, runtime: u32) -> &str {
        self.names.get(&runtime).map_or("", String::as_str)
    }

    fn take_names(&mut self, look: &Look) {
        self.names.clear();
        for thread in &look.threads {
            let Some(place) = self.places.get(&thread.tid) else {
                continue;
            };
            let is_default = DEFAULT_NAMES.contains(&thread.name.as_str());
            let name = if is_default { "" } else { &thread.name };
            let known = self.names.entry(place.runtime);
            let known = known.or_insert_with(|| name.to_owned());
            if *known != name {
                known.clear();
            }
        }
        self.names.remove(&UNKNOWN_RUNTIME);
    }

    /// Takes in the runtimes of a listing: their ids on the wire, in its order, and
    /// the runtimes that are gone.
    pub(super) fn runtimes(&mut self, runtimes: &[Runtime]) -> (Vec<u32>, Vec<u32>) {
        self.listed = true;
        let before = std::mem::take(&mut self.runtimes);
        self.leads_to.clear();
        for runtime in runtimes {
            let known = before.iter().find(|(key, ..)| *key == runtime.key);
            let id = known.map_or_else(
                || {
                    let id = self.next_runtime.min(MAX_RUNTIMES - 1);
                    self.next_runtime += 1;
                    id
                },
                |(_, id, _)| *id,
            );
            self.runtimes.push((runtime.key, id, runtime.flavor));
            for tid in &runtime.threads {
                self.leads_to.entry(*tid).or_default().push(id);
            }
        }
        let ids: Vec<u32> = self.runtimes.iter().map(|(_, id, _)| *id).collect();
        let gone = before.iter().map(|(_, id, _)| *id);
        (ids.clone(), gone.filter(|id| !ids.contains(id)).collect())
    }

    /// No listing will say which runtimes there are.
    pub(super) fn without_runtimes(&mut self) {
        self.listed = true;
    }

    /// A thread was seen to poll a task of this runtime.
    pub(super) fn polls(&mut self, tid: u64, runtime: u32) {
        self.polls_of.insert(tid, runtime);
    }

    /// The runtime that a thread drives: one of whose tasks it was seen to poll, the only
    /// one of its kind, or the only one of these to which its stack leads. `None` while it
    /// may become known.
    fn runtime_of(&mut self, now_ns: u64, thread: &Thread) -> Option<u32> {
        if !self.listed {
            return None;
        }
        let alike = self.runtimes.iter().filter(|(.., f)| *f == thread.drives);
        let alike: Vec<u32> = alike.map(|(_, id, _)| *id).collect();
        let polled = self.polls_of.get(&thread.tid);
        if let Some(id) = polled.filter(|id| alike.contains(id)) {
            return Some(*id);
        }
        let leads_to = self.leads_to.get(&thread.tid).into_iter().flatten();
        let led: Vec<u32> = leads_to.filter(|id| alike.contains(id)).copied().collect();
        match (alike.as_slice(), led.as_slice()) {
            ([id], _) | (_, [id]) => Some(*id),
            ([], _) if self.joins => None,
            ([], _) if self.runtimes.is_empty() => Some(0),
            ([], _) => Some(UNKNOWN_RUNTIME),
            // A thread that always runs has no stack that could be searched.
            _ => {
                let since = *self.undecided.entry(thread.tid).or_insert(now_ns);
                let waited = self.at_once || now_ns.saturating_sub(since) >= PATIENCE_NS;
                waited.then_some(UNKNOWN_RUNTIME)
            }
        }
    }

    /// The workers as of a look.
    pub(super) fn look(&mut self, now_ns: u64, look: &Look) -> Vec<proto::Worker> {
        let elapsed_ns = now_ns.saturating_sub(self.looked_at_ns);
        let first = std::mem::replace(&mut self.looked_at_ns, now_ns) == 0;
        let drives = |thread: &&Thread| thread.drives != Flavor::Unknown;
        let mut gone: Vec<Place> = Vec::new();
        self.places.retain(|tid, place| {
            let stays = look.threads.iter().filter(drives).any(|t| t.tid == *tid);
            if !stays {
                gone.push(*place);
            }
            stays
        });
        let lives = |tid: &u64| look.threads.iter().any(|thread| thread.tid == *tid);
        self.polls_of.retain(|tid, _| lives(tid));
        self.undecided.retain(|tid, _| lives(tid));
        let mut workers = Vec::new();
        for thread in look.threads.iter().filter(drives) {
            let Some(place) = self.place(now_ns, thread) else {
                continue;
            };
            let cpu_ns = thread.user_ns.saturating_add(thread.system_ns);
            let used_ns = cpu_ns.saturating_sub(place.cpu_ns);
            place.cpu_ns = cpu_ns;
            if !first {
                // It was busy while it had a CPU, and since its poll began, also where
                // that sleeps. What blocked between two looks is not seen.
                let in_poll_ns = match thread.does {
                    Does::Polling { since_ns, .. } => now_ns.saturating_sub(since_ns),
                    _ => 0,
                };
                place.busy_ns += used_ns.max(in_poll_ns).min(elapsed_ns);
            }
            let (state, poll) = match thread.does {
                Does::Unknown => (WorkerState::Unknown, None),
                Does::Parked => (WorkerState::Parked, None),
                Does::Active => (WorkerState::Active, None),
                Does::Polling { since_ns, .. } => (WorkerState::Polling, Some(since_ns)),
            };
            workers.push(proto::Worker {
                runtime: place.runtime,
                index: place.index,
                state: state.into(),
                tid: Some(thread.tid),
                poll_started_at_ns: poll,
                busy_ns: place.busy_ns,
                ..proto::Worker::default()
            });
        }
        self.take_names(look);
        // Another thread may have taken the place.
        let taken = |place: &&Place| {
            let same = |w: &proto::Worker| (w.runtime, w.index) == (place.runtime, place.index);
            !workers.iter().any(same)
        };
        let empty: Vec<_> = gone.iter().filter(taken).map(vacant).collect();
        workers.extend(empty);
        workers
    }

    fn place(&mut self, now_ns: u64, thread: &Thread) -> Option<&mut Place> {
        if !self.places.contains_key(&thread.tid) {
            let runtime = self.runtime_of(now_ns, thread)?;
            self.undecided.remove(&thread.tid);
            let taken = |index: &u32| {
                let mut places = self.places.values();
                places.any(|place| (place.runtime, place.index) == (runtime, *index))
            };
            let index = (0..u32::MAX).find(|index| !taken(index))?;
            let place = Place {
                runtime,
                index,
                busy_ns: 0,
                cpu_ns: thread.user_ns.saturating_add(thread.system_ns),
            };
            self.places.insert(thread.tid, place);
        }
        self.places.get_mut(&thread.tid)
    }
}

/// A worker that no thread runs.
fn vacant(place: &Place) -> proto::Worker {
    proto::Worker {
        runtime: place.runtime,
        index: place.index,
        busy_ns: place.busy_ns,
        ..proto::Worker::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn thread(tid: u64, does: Does) -> Thread {
        Thread {
            tid,
            drives: Flavor::MultiThread,
            does,
            ..Thread::default()
        }
    }

    fn look(threads: &[(u64, Does)]) -> Look {
        Look {
            threads: threads
                .iter()
                .map(|(tid, does)| thread(*tid, *does))
                .collect(),
            ..Look::default()
        }
    }

    fn runtime(key: u64, flavor: Flavor, threads: &[u64]) -> Runtime {
        Runtime {
            key,
            flavor,
            threads: threads.to_vec(),
            ..Runtime::default()
        }
    }

    #[test]
    fn a_thread_keeps_its_place_and_a_place_that_is_left_is_taken_again() {
        let mut workers = Workers::default();
        let mut places = |threads: &[(u64, Does)], listed: &[Runtime]| -> Vec<(u32, u32, u64)> {
            if !listed.is_empty() {
                workers.runtimes(listed);
            }
            let found = workers.look(1, &look(threads));
            let place = |w: &proto::Worker| (w.runtime, w.index, w.tid.unwrap_or(0));
            found.iter().map(place).collect()
        };
        let parked = Does::Parked;
        let one = [runtime(0x100, Flavor::MultiThread, &[])];
        assert_eq!(
            places(&[(7, parked), (8, parked)], &[]),
            [],
            "of no runtime yet"
        );
        let both = [(0, 0, 7), (0, 1, 8)];
        assert_eq!(places(&[(7, parked), (8, parked)], &one), both);
        assert_eq!(places(&[(8, parked)], &[]), [(0, 1, 8), (0, 0, 0)]);
        assert_eq!(
            places(&[(8, parked), (9, parked)], &[]),
            [(0, 1, 8), (0, 0, 9)]
        );
    }

    #[test]
    fn a_thread_drives_the_only_runtime_of_its_kind_or_an_unknown_one() {
        use Flavor::{CurrentThread, Local, MultiThread};
        let none = &[][..];
        for (listed, expected) in [
            (vec![(MultiThread, none)], [0, UNKNOWN_RUNTIME]),
            (vec![(MultiThread, none), (CurrentThread, none)], [0, 1]),
            (
                vec![
                    (MultiThread, none),
                    (MultiThread, &[7][..]),
                    (CurrentThread, none),
                ],
                [1, 2],
            ),
            (
                vec![(CurrentThread, none), (CurrentThread, none), (Local, none)],
                [UNKNOWN_RUNTIME; 2],
            ),
            (vec![], [0, 0]),
        ] {
            let mut workers = Workers::default();
            let runtimes: Vec<Runtime> = listed
                .iter()
                .zip(1..)
                .map(|((flavor, threads), key)| runtime(key, *flavor, threads))
                .collect();
            workers.runtimes(&runtimes);
            let mut look = look(&[(7, Does::Parked), (8, Does::Parked)]);
            look.threads[1].drives = CurrentThread;
            workers.look(1, &look);
            let found = workers.look(1 + PATIENCE_NS, &look);
            let found: Vec<u32> = found.iter().map(|w| w.runtime).collect();
            assert_eq!(found, expected, "{listed:?}");
        }
    }

    #[test]
    fn which_of_several_runtimes_a_thread_drives_becomes_known() {
        let mut workers = Workers::default();
        let both = |first: &[u64], second: &[u64]| {
            [
                runtime(0x100, Flavor::MultiThread, first),
                runtime(0x200, Flavor::MultiThread, second),
            ]
        };
        let look = look(&[(7, Does::Parked), (8, Does::Parked), (9, Does::Parked)]);
        let mut runtimes = |now_ns, listed: &[Runtime], polls: Option<(u64, u32)>| {
            workers.runtimes(listed);
            if let Some((tid, runtime)) = polls {
                workers.polls(tid, runtime);
            }
            let found = workers.look(now_ns, &look);
            let place = |w: &proto::Worker| (w.tid.unwrap_or(0), w.runtime);
            found.iter().map(place).collect::<Vec<_>>()
        };
        assert_eq!(runtimes(1, &both(&[], &[]), None), []);
        // The second holds handles of both.
        let found = runtimes(2, &both(&[7, 8], &[8]), None);
        assert_eq!(found, [(7, 0)]);
        let found = runtimes(3, &both(&[], &[8]), Some((9, 1)));
        assert_eq!(found, [(7, 0), (8, 1), (9, 1)]);
    }

    #[test]
    fn a_runtime_is_called_as_all_of_its_threads() {
        let mut workers = Workers::default();
        workers.runtimes(&[runtime(0x100, Flavor::MultiThread, &[])]);
        let mut name = |names: [&str; 2]| {
            let mut look = look(&[(7, Does::Parked), (8, Does::Parked)]);
            for (thread, name) in look.threads.iter_mut().zip(names) {
                thread.name = name.to_owned();
            }
            workers.look(1, &look);
            workers.name_of(0).to_owned()
        };
        assert_eq!(name(["io", "io"]), "io");
        assert_eq!(name(["io", "cpu"]), "");
        assert_eq!(name(["tokio-rt-worker", "tokio-rt-worker"]), "");
    }

    #[test]
    fn a_runtime_keeps_its_id_and_one_that_is_not_listed_is_gone() {
        let mut workers = Workers::default();
        let listed = [
            runtime(0x100, Flavor::MultiThread, &[]),
            runtime(0x200, Flavor::CurrentThread, &[]),
        ];
        assert_eq!(workers.runtimes(&listed), (vec![0, 1], vec![]));
        assert_eq!(workers.runtimes(&listed[1..]), (vec![1], vec![0]));
        assert_eq!(workers.runtimes(&listed), (vec![2, 1], vec![]));
    }

    #[test]
    fn a_worker_is_busy_while_it_is_seen_at_work() {
        let mut workers = Workers::default();
        workers.without_runtimes();
        let mut busy = |now_ns, does, cpu_ns| {
            let mut look = look(&[(7, does)]);
            look.threads[0].user_ns = cpu_ns;
            workers.look(now_ns, &look)[0].busy_ns
        };
        let polling = Does::Polling {
            since_ns: 1,
            task: None,
        };
        assert_eq!(busy(1_000, Does::Parked, 500), 0);
        assert_eq!(busy(2_000, Does::Parked, 550), 50);
        assert_eq!(busy(3_000, polling, 550), 1_050, "it sleeps in a poll");
        assert_eq!(busy(4_000, Does::Active, 600), 1_100);
    }
}
