//! Who waits for what, as the screen shows it: in groups, with those who could end it.
//!
//! What is worked out of all who wait is held ([`Seen`]), and made anew only when the
//! model's waits have changed, and for many of them not more often than that can be
//! afforded: never for a frame that is drawn.

mod below;
pub(super) mod chain;
mod groups;
pub mod overview;
pub mod words;

#[cfg(test)]
mod tests;

use std::{
    collections::HashSet,
    sync::Arc,
    time::{Duration, Instant},
};

pub(super) use below::below;
pub use groups::{Since, WaitGroup, WaitGrouping, WaitKey, Wanted};
pub(super) use groups::{above_all, parties, since, wait_of, wants_of};

use crate::{
    diagnose::waits::{Graph, Party},
    model::{LocationId, Model, TaskWait},
};

use super::{Details, Snapshot, State, ViewId, rows};
use groups::{Grouper, Shapes};

/// How those who wait are laid out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum WaitLayout {
    /// In groups, by what they wait for.
    #[default]
    Wanted,
    /// In groups, by their chain.
    Chains,
    /// One by one.
    List,
}

impl WaitLayout {
    /// The one after it, round and round.
    #[must_use]
    pub fn next(self) -> Self {
        match self {
            Self::Wanted => Self::Chains,
            Self::Chains => Self::List,
            Self::List => Self::Wanted,
        }
    }
}

/// What was worked out of all who wait.
#[derive(Debug, Default)]
pub struct Seen {
    /// The snapshot, where it is not the live one, and the revision of its waits.
    of: Option<(Option<u64>, u64)>,
    made_at: Option<Instant>,
    graph: Arc<Graph>,
    in_rings: HashSet<Party>,
    shapes: Shapes,
    wanted: Option<Arc<[WaitGroup]>>,
    chains: Option<Arc<[WaitGroup]>>,
    looks: u64,
}

/// Of so many who wait for whom is worked out here, where the diagnosis is behind.
const FEW: usize = 5_000;

impl Seen {
    /// Who waits for whom.
    pub fn graph(&self) -> &Graph {
        &self.graph
    }

    /// One waits for another that waits for it as well, directly or through others.
    pub fn in_ring(&self, party: Party) -> bool {
        self.in_rings.contains(&party)
    }

    /// The groups: rings first, then the largest.
    pub fn groups(&self, by: WaitGrouping) -> Arc<[WaitGroup]> {
        let groups = match by {
            WaitGrouping::Wanted => &self.wanted,
            WaitGrouping::Chain => &self.chains,
        };
        groups.clone().unwrap_or_else(|| Arc::new([]))
    }

    /// How often a task or thread was looked at for it, so far.
    pub fn looks(&self) -> u64 {
        self.looks
    }

    /// Where a wait at a node of a task's chain is written.
    pub(super) fn place(&self, wait: &TaskWait, node: u32) -> Option<LocationId> {
        let known = self.shapes.known(&wait.shape);
        known.and_then(|facts| facts.place(&wait.shape, node))
    }

    /// Makes it current, if it is not and that can be afforded.
    fn update(
        &mut self,
        shown: &Snapshot,
        frozen: Option<u64>,
        now: Instant,
        by: Option<WaitGrouping>,
    ) {
        let model = &*shown.model;
        let of = (frozen, model.waits.revision());
        let parties = count(&model.waits.tasks()) + count(&model.waits.threads());
        let is_another = self.of.is_none_or(|(snapshot, _)| snapshot != frozen);
        let rested = self
            .made_at
            .is_none_or(|at| now.saturating_duration_since(at) >= rest(parties));
        let shared = shown.waits.as_ref();
        let is_better = !self.graph.is_of(model) && shared.is_some_and(|graph| graph.is_of(model));
        if (self.of != Some(of) || is_better) && (is_another || rested) {
            self.graph = match shared {
                // The diagnosis looks at many every second.
                Some(graph) if graph.is_of(model) || parties > FEW => Arc::clone(graph),
                _ => {
                    self.looks += parties as u64;
                    Arc::new(Graph::of(model))
                }
            };
            let members = self.graph.rings().iter().flat_map(|ring| &ring.members);
            self.in_rings = members.map(|member| member.party).collect();
            (self.wanted, self.chains) = (None, None);
            self.of = Some(of);
            self.made_at = Some(now);
        }
        let Some(by) = by else { return };
        let groups = match by {
            WaitGrouping::Wanted => &mut self.wanted,
            WaitGrouping::Chain => &mut self.chains,
        };
        if groups.is_none() {
            let mut grouper = Grouper {
                model,
                shapes: &mut self.shapes,
                graph: &self.graph,
                looks: 0,
            };
            *groups = Some(grouper.groups(by).into());
            self.looks += grouper.looks;
        }
    }
}

/// How many there are, of what knows that without a look at each.
fn count(all: &impl Iterator) -> usize {
    all.size_hint().0
}

/// A look at each of many is dear, and what they wait for seldom new: as often as a table
/// of so many is sorted.
fn rest(parties: usize) -> Duration {
    rows::rest(parties)
}

impl State {
    /// Makes what is known of those who wait current, where what is on screen shows it.
    pub(super) fn look_at_waits(&mut self) {
        let by = match (self.view, self.details) {
            (_, Some(Details::Task(_) | Details::Thread(_) | Details::Stall(_))) => None,
            (ViewId::Overview, _) => Some(WaitGrouping::Wanted),
            (ViewId::Waits, _) if self.wait_layout == WaitLayout::Chains => {
                Some(WaitGrouping::Chain)
            }
            (ViewId::Waits, _) if self.wait_layout == WaitLayout::Wanted => {
                Some(WaitGrouping::Wanted)
            }
            (ViewId::Waits, _) => None,
            _ => return,
        };
        let mut seen = std::mem::take(&mut self.waits);
        let frozen = self.frozen.as_ref().map(|frozen| frozen.snapshot.revision);
        seen.update(self.shown(), frozen, self.now, by);
        self.waits = seen;
    }
}

/// The details of one who waits, or holds.
pub(super) fn details_of(model: &Model, party: Party) -> Option<Details> {
    match party {
        Party::Task(id) => model.tasks.get(id).map(|_| Details::Task(id)),
        Party::Thread(tid) => {
            let stall = model.stalls.on_thread(tid);
            let is_known = model.waits.thread(tid).is_some() || model.threads.contains_key(&tid);
            let thread = is_known.then_some(Details::Thread(tid));
            stall.map(|stall| Details::Stall(stall.id)).or(thread)
        }
    }
}
