//! The stalls that are known: those in progress, and the newest of the others.

use std::{
    collections::{BTreeMap, VecDeque},
    sync::Arc,
};

use looptop_wire::proto;

use super::{Resolved, Stall};
use crate::model::{Holder, LocationId, StallId, Tid, WorkerId};

/// Stalls in progress, and the newest of those that ended.
#[derive(Debug, Clone, Default)]
pub struct StallLog {
    live: BTreeMap<StallId, Stall>,
    /// The function that tasks spawned at a location run; `None` where they run
    /// several.
    futures: BTreeMap<LocationId, Option<Arc<str>>>,
    ended: VecDeque<Stall>,
    /// Stalls that ended, whether or not they are still held.
    pub total_ended: u64,
}

/// Stacks that are asked for what they lack; all of one program lack the same.
const RECENT: usize = 64;
/// Locations of which it is remembered what their tasks run.
const MAX_LOCATIONS: usize = 4_096;
/// Ended stalls held.
pub(super) const MAX_ENDED: usize = 2_000;
/// Stalls in progress held, whatever a peer sends; there is at most one a thread.
const MAX_LIVE: usize = 10_000;

impl StallLog {
    /// In progress, oldest first.
    pub fn live(&self) -> impl DoubleEndedIterator<Item = &Stall> {
        self.live.values()
    }

    /// Ended, newest first.
    pub fn ended(&self) -> impl DoubleEndedIterator<Item = &Stall> {
        self.ended.iter().rev()
    }

    /// In progress first, oldest first, then ended ones, newest first.
    pub fn iter(&self) -> impl Iterator<Item = &Stall> {
        self.live().chain(self.ended())
    }

    /// How many are held.
    pub fn len(&self) -> usize {
        self.live.len() + self.ended.len()
    }

    /// None is held.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The stall of an id.
    pub fn get(&self, id: StallId) -> Option<&Stall> {
        self.live
            .get(&id)
            .or_else(|| self.ended.iter().rev().find(|s| s.id == id))
    }

    /// The stall in progress on a thread.
    pub fn on_thread(&self, tid: Tid) -> Option<&Stall> {
        self.live.values().find(|s| s.tid == Some(tid))
    }

    /// The stall in progress on a worker.
    pub fn on_worker(&self, worker: WorkerId) -> Option<&Stall> {
        self.live.values().find(|s| s.worker == Some(worker))
    }

    /// Gives a stall its stack with names, unless a recording did.
    pub fn resolve(&mut self, id: StallId, resolved: Arc<Resolved>) {
        if let Some(stall) = self.get_mut(id).filter(|s| !s.recorded_names) {
            let (location, future) = (stall.location, resolved.future.clone());
            stall.resolved = Some(resolved);
            self.learn(location, future.as_deref());
        }
    }

    /// Remembers which function the tasks of a location run.
    fn learn(&mut self, location: Option<LocationId>, future: Option<&str>) {
        let (Some(location), Some(future)) = (location, future) else {
            return;
        };
        if self.futures.len() >= MAX_LOCATIONS && !self.futures.contains_key(&location) {
            return;
        }
        let known = self
            .futures
            .entry(location)
            .or_insert_with(|| Some(future.into()));
        if known.as_deref().is_some_and(|known| known != future) {
            *known = None;
        }
    }

    /// The function that all tasks spawned at a location run, as far as stacks
    /// have named it.
    pub fn future_of(&self, location: LocationId) -> Option<&str> {
        self.futures.get(&location)?.as_deref()
    }

    /// Gives a stall the names of a recording.
    pub(in crate::model) fn resolve_recorded(&mut self, id: StallId, resolved: Arc<Resolved>) {
        if let Some(stall) = self.get_mut(id) {
            let (location, future) = (stall.location, resolved.future.clone());
            stall.resolved = Some(resolved);
            stall.recorded_names = true;
            self.learn(location, future.as_deref());
        }
    }

    fn get_mut(&mut self, id: StallId) -> Option<&mut Stall> {
        let ended = self.ended.iter_mut().rev().find(|s| s.id == id);
        self.live.get_mut(&id).or(ended)
    }

    /// What of names or lines the stacks of the newest stalls lack, and how to get
    /// it.
    pub fn missing_names(&self) -> Option<&str> {
        let stacks = self.iter().filter_map(|s| s.resolved.as_deref());
        stacks.take(RECENT).find_map(Resolved::missing)
    }

    /// Takes over the names that stalls have in `other`, a log of the same
    /// session.
    pub fn adopt_names(&mut self, other: &StallLog) {
        let names: BTreeMap<StallId, &Arc<Resolved>> = other
            .iter()
            .filter_map(|s| Some((s.id, s.resolved.as_ref()?)))
            .collect();
        for stall in self.live.values_mut().chain(&mut self.ended) {
            if let Some(resolved) = names.get(&stall.id) {
                stall.resolved.get_or_insert_with(|| Arc::clone(resolved));
            }
        }
        for (location, future) in &other.futures {
            self.futures
                .entry(*location)
                .or_insert_with(|| future.clone());
        }
    }

    /// The holders whose stacks are held, to be given names.
    pub(in crate::model) fn holders_mut(&mut self) -> impl Iterator<Item = &mut Arc<Holder>> {
        let stalls = self.live.values_mut().chain(&mut self.ended);
        stalls.filter_map(|stall| stall.holder.as_mut())
    }

    pub(in crate::model) fn update(&mut self, stall: &proto::Stall) {
        let id = StallId(stall.id);
        let at = self.ended.iter().rposition(|s| s.id == id);
        let earlier = self
            .live
            .remove(&id)
            .or_else(|| at.and_then(|at| self.ended.get(at).cloned()));
        if stall.withdrawn {
            if let Some(at) = at {
                self.ended.remove(at);
                self.total_ended -= 1;
            }
            return;
        }
        let stall = Stall::new(stall, earlier.as_ref());
        self.insert(stall, at);
    }

    pub(in crate::model) fn insert(&mut self, stall: Stall, ended_at: Option<usize>) {
        if stall.live {
            if self.live.len() < MAX_LIVE {
                self.live.insert(stall.id, stall);
            }
            return;
        }
        if let Some(held) = ended_at.and_then(|at| self.ended.get_mut(at)) {
            *held = stall;
            return;
        }
        self.total_ended += 1;
        self.live.remove(&stall.id);
        self.ended.push_back(stall);
        if self.ended.len() > MAX_ENDED {
            self.ended.pop_front();
        }
    }
}
