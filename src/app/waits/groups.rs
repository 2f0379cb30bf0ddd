//! Those who wait, in groups: by what they wait for, or by where.
//!
//! Costs a look at each of them; what is known of a shape is worked out once.

use std::collections::HashMap;

use crate::{
    diagnose::waits::{Graph, Party, Whose, is_polled, waited, whose},
    model::{
        AwaitShape, Interest, JobState, LocationId, Model, Moment, ResourceKind, TaskWait, TextId,
        Want, WantKind,
    },
};

/// What those of one group have in common.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum WaitKey {
    /// They wait for each other; the first of them.
    Ring(Party),
    /// What they wait for.
    For(Box<[Wanted]>),
    /// Tasks of the same chain, by the id of its shape.
    Chain(u32),
    /// Threads that wait in one function, at one line.
    Function(Option<TextId>, Option<LocationId>),
}

/// A thing that is waited for, as a group has it in common.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Wanted {
    /// A resource for which several wait.
    Resource(WantKind, u64),
    /// A thing of this kind that each has for itself.
    Own {
        /// What is waited for.
        kind: WantKind,
        /// Of what.
        of: Option<ResourceKind>,
        /// To do what.
        interest: Interest,
        /// Of a job of the blocking pool what it does.
        job: JobState,
        /// Where the wait is written.
        at: Option<LocationId>,
        /// The future that waits, where that place is not known.
        future: Option<TextId>,
    },
}

/// Those who wait for the same, or at the same place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WaitGroup {
    /// What they have in common.
    pub key: WaitKey,
    /// All of them, in the order of their ids.
    pub members: Vec<Party>,
    /// How many of these are tasks.
    pub tasks: u64,
    /// The one that has waited longest.
    pub oldest: Party,
    /// Since when that one waits.
    pub since: Since,
    /// Each waits for something of its own.
    pub several: bool,
    /// They are tasks of different kinds.
    pub mixed: bool,
    /// Some of them wait for each other.
    pub in_ring: bool,
}

/// Since when one waits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Since {
    /// Since then.
    pub at: Moment,
    /// Exactly, rather than at least.
    pub is_exact: bool,
}

/// By what those who wait are grouped.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum WaitGrouping {
    /// By what they wait for.
    Wanted,
    /// By their chain.
    Chain,
}

/// What is known of a shape, whoever has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::app) struct ShapeFacts {
    /// For each node the innermost one of the application's own at or above it.
    own: Box<[Option<u32>]>,
    /// The same of those whose place is known.
    placed: Box<[Option<u32>]>,
    /// Whether a node is polled with its task, rather than kept.
    polled: Box<[bool]>,
}

impl ShapeFacts {
    fn new(model: &Model, shape: &AwaitShape) -> Self {
        let len = shape.nodes.len();
        let mut own: Vec<Option<u32>> = Vec::with_capacity(len);
        let mut placed: Vec<Option<u32>> = Vec::with_capacity(len);
        // By depth, the nodes above.
        let mut above: Vec<usize> = Vec::new();
        for (at, node) in shape.nodes.iter().enumerate() {
            above.truncate(node.depth as usize);
            let inherit = |known: &[Option<u32>]| above.last().and_then(|up| known[*up]);
            let is_own = whose(model, node) == Whose::Application;
            let here = Some(at as u32);
            own.push(if is_own { here } else { inherit(&own) });
            let has_place = is_own && model.location(node.location).is_some();
            placed.push(if has_place { here } else { inherit(&placed) });
            above.push(at);
        }
        Self {
            own: own.into(),
            placed: placed.into(),
            polled: (0..len).map(|node| is_polled(shape, node)).collect(),
        }
    }

    /// A node is polled with its task.
    fn polls(&self, node: u32) -> bool {
        self.polled.get(node as usize).is_none_or(|polled| *polled)
    }

    /// The innermost node of the application's own at or above one.
    pub(in crate::app) fn own(&self, node: u32) -> Option<usize> {
        self.own.get(node as usize).copied()?.map(|at| at as usize)
    }

    /// Where a wait at a node is written: the innermost place of the application's own,
    /// otherwise the innermost place.
    pub(in crate::app) fn place(&self, shape: &AwaitShape, node: u32) -> Option<LocationId> {
        if let Some(at) = self.placed.get(node as usize).copied().flatten() {
            return shape.nodes[at as usize].location;
        }
        let mut at = Some(node as usize);
        while let Some(here) = at {
            let location = shape.nodes.get(here)?.location;
            if location.is_some() {
                return location;
            }
            at = shape.parent(here);
        }
        None
    }
}

/// What is known of shapes, each worked out once.
#[derive(Debug, Clone, Default)]
pub(in crate::app) struct Shapes(HashMap<u32, ShapeFacts>);

/// Shapes of which this is held.
const MAX_SHAPES: usize = 32_768;

impl Shapes {
    /// What is known of a shape.
    pub(in crate::app) fn facts(&mut self, model: &Model, shape: &AwaitShape) -> &ShapeFacts {
        if self.0.len() >= MAX_SHAPES && !self.0.contains_key(&shape.id) {
            self.0.clear();
        }
        self.0
            .entry(shape.id)
            .or_insert_with(|| ShapeFacts::new(model, shape))
    }

    /// The same where it was worked out before.
    pub(in crate::app) fn known(&self, shape: &AwaitShape) -> Option<&ShapeFacts> {
        self.0.get(&shape.id)
    }
}

/// Those who wait, whatever they have in common: a look at each.
pub(in crate::app) struct Grouper<'a> {
    pub(in crate::app) model: &'a Model,
    pub(in crate::app) shapes: &'a mut Shapes,
    /// Who waits for whom.
    pub(in crate::app) graph: &'a Graph,
    /// Looks at a task or thread, so far.
    pub(in crate::app) looks: u64,
}

impl Grouper<'_> {
    /// The groups: rings first, then the largest, then the oldest.
    pub(in crate::app) fn groups(&mut self, by: WaitGrouping) -> Vec<WaitGroup> {
        let model = self.model;
        let mut in_ring = HashMap::new();
        for ring in self.graph.rings() {
            let first = ring.members.first().map(|member| member.party);
            let members = ring.members.iter();
            in_ring.extend(members.filter_map(|member| Some((member.party, first?))));
        }
        let mut groups: HashMap<WaitKey, WaitGroup> = HashMap::new();
        for (party, wants) in parties(model) {
            self.looks += 1;
            let ring = in_ring.get(&party);
            let key = match (by, ring) {
                (WaitGrouping::Wanted, Some(first)) => WaitKey::Ring(*first),
                (WaitGrouping::Wanted, None) => WaitKey::For(self.all_wanted(party, wants)),
                (WaitGrouping::Chain, _) => chain_key(model, party),
            };
            let group = groups.entry(key).or_insert_with_key(|key| {
                WaitGroup::new(key.clone(), party, since_or_now(model, party))
            });
            group.add(model, party);
            group.in_ring |= ring.is_some();
        }
        let mut groups: Vec<WaitGroup> = groups.into_values().collect();
        groups.sort_by(|a, b| {
            b.in_ring
                .cmp(&a.in_ring)
                .then_with(|| b.members.len().cmp(&a.members.len()))
                .then_with(|| a.since.at.cmp(&b.since.at))
                .then_with(|| a.key.cmp(&b.key))
        });
        groups
    }

    /// What a party waits for, each thing once.
    fn all_wanted(&mut self, party: Party, wants: &[Want]) -> Box<[Wanted]> {
        let mut wanted = Vec::with_capacity(wants.len().max(1));
        for want in wants {
            if self.polls(party, want.node) {
                wanted.push(self.wanted(party, want));
            }
        }
        if wanted.is_empty() {
            let innermost = wait_of(self.model, party).map_or(0, |wait| wait.shape.nodes.len());
            let node = innermost.saturating_sub(1) as u32;
            let (at, future) = self.place(party, node);
            wanted.push(Wanted::Own {
                kind: WantKind::Unknown,
                of: None,
                interest: Interest::Unknown,
                job: JobState::Unknown,
                at,
                future,
            });
        }
        wanted.sort_unstable();
        wanted.dedup();
        wanted.into()
    }

    /// What a task waits for at a node is polled, rather than kept aside.
    fn polls(&mut self, party: Party, node: u32) -> bool {
        match wait_of(self.model, party) {
            Some(wait) => self.shapes.facts(self.model, &wait.shape).polls(node),
            None => true,
        }
    }

    fn wanted(&mut self, party: Party, want: &Want) -> Wanted {
        let is_shared = |id: &u64| self.graph.waiters(*id).len() > 1;
        if let Some(id) = want.resource.filter(is_shared) {
            return Wanted::Resource(want.kind, id);
        }
        let resource = want.resource.and_then(|id| self.model.waits.resource(id));
        let (at, future) = self.place(party, want.node);
        Wanted::Own {
            kind: want.kind,
            of: resource.map(|known| known.kind),
            interest: want.interest,
            job: want.job,
            at,
            future,
        }
    }

    /// Where a wait is written; where that is not known, in which future.
    fn place(&mut self, party: Party, node: u32) -> (Option<LocationId>, Option<TextId>) {
        let model = self.model;
        let (at, future) = match party {
            Party::Task(_) => match wait_of(model, party) {
                Some(wait) => {
                    let facts = self.shapes.facts(model, &wait.shape);
                    let own = facts.own(node).unwrap_or(node as usize);
                    let future = wait.shape.nodes.get(own).and_then(|node| node.future);
                    (facts.place(&wait.shape, node), future)
                }
                None => (None, None),
            },
            Party::Thread(tid) => match model.waits.thread(tid) {
                Some(thread) => (thread.location, thread.function),
                None => (None, None),
            },
        };
        (at, future.filter(|_| at.is_none()))
    }
}

/// The wait of a task; `None` of a thread.
pub(in crate::app) fn wait_of(model: &Model, party: Party) -> Option<&TaskWait> {
    match party {
        Party::Task(id) => model.waits.task(id),
        Party::Thread(_) => None,
    }
}

/// What a task or thread waits for; empty where that is not known.
pub(in crate::app) fn wants_of(model: &Model, party: Party) -> &[Want] {
    match party {
        Party::Task(_) => wait_of(model, party).map_or(&[], |wait| &wait.wants),
        Party::Thread(tid) => {
            let thread = model.waits.thread(tid);
            thread
                .and_then(|thread| thread.want.as_ref())
                .map_or(&[], std::slice::from_ref)
        }
    }
}

/// All who wait: the tasks whose chain was read, and the threads of which it is known for
/// what.
pub(in crate::app) fn parties(model: &Model) -> impl Iterator<Item = (Party, &[Want])> {
    let tasks = model.waits.tasks();
    let tasks = tasks.map(|wait| (Party::Task(wait.task), &*wait.wants));
    let threads = model.waits.threads().filter_map(|thread| {
        let want = thread.want.as_ref()?;
        Some((Party::Thread(thread.tid), std::slice::from_ref(want)))
    });
    tasks.chain(threads)
}

/// Since when a task or thread waits; `None` where it was seen so once only.
pub(in crate::app) fn since(model: &Model, party: Party) -> Option<Since> {
    let at_least = |at| Since {
        at,
        is_exact: false,
    };
    match party {
        Party::Task(id) => {
            let wait = model.waits.task(id)?;
            match model.waits_since(wait) {
                (at, true) => Some(Since { at, is_exact: true }),
                (at, false) => waited(model, wait).map(|_| at_least(at)),
            }
        }
        Party::Thread(tid) => Some(at_least(model.waits.thread(tid)?.since)),
    }
}

fn since_or_now(model: &Model, party: Party) -> Since {
    since(model, party).unwrap_or(Since {
        at: model.now,
        is_exact: false,
    })
}

fn chain_key(model: &Model, party: Party) -> WaitKey {
    match party {
        Party::Task(_) => WaitKey::Chain(wait_of(model, party).map_or(0, |wait| wait.shape.id)),
        Party::Thread(tid) => {
            let thread = model.waits.thread(tid);
            WaitKey::Function(
                thread.and_then(|thread| thread.function),
                thread.and_then(|thread| thread.location),
            )
        }
    }
}

impl WaitGroup {
    /// Without members so far.
    fn new(key: WaitKey, party: Party, since: Since) -> Self {
        Self {
            key,
            members: Vec::new(),
            tasks: 0,
            oldest: party,
            since,
            several: false,
            mixed: false,
            in_ring: false,
        }
    }

    fn add(&mut self, model: &Model, party: Party) {
        if let Some(first) = self.members.first().copied() {
            self.several |= !same_resources(wants_of(model, first), wants_of(model, party));
            self.mixed |= root(model, first) != root(model, party);
        }
        self.members.push(party);
        self.tasks += u64::from(matches!(party, Party::Task(_)));
        let since = since_or_now(model, party);
        if since.at < self.since.at {
            (self.oldest, self.since) = (party, since);
        }
    }
}

fn same_resources(some: &[Want], others: &[Want]) -> bool {
    let of = |wants: &[Want]| {
        let each = wants
            .iter()
            .map(|want| (want.resource, want.task, want.object));
        each.collect::<Vec<_>>()
    };
    some.len() == others.len() && of(some) == of(others)
}

/// The future of a task.
fn root(model: &Model, party: Party) -> Option<TextId> {
    wait_of(model, party)?.shape.nodes.first()?.future
}

/// The innermost node that is above all of some nodes, or one of them.
pub(in crate::app) fn above_all(shape: &AwaitShape, nodes: impl Iterator<Item = u32>) -> u32 {
    let way = |node: u32| -> Vec<usize> {
        let ups = std::iter::successors(Some(node as usize), |at| shape.parent(*at));
        let mut way: Vec<usize> = ups.collect();
        way.reverse();
        way
    };
    let mut common: Option<Vec<usize>> = None;
    for node in nodes {
        let own = way(node);
        common = Some(match common {
            None => own,
            Some(known) => {
                let same = known.iter().zip(&own).take_while(|(a, b)| a == b);
                same.map(|(at, _)| *at).collect()
            }
        });
    }
    let deepest = common.and_then(|way| way.last().copied());
    deepest.unwrap_or_default() as u32
}
