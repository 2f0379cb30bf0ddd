//! The graph of waiting and holding, as of one state of the model.

use std::collections::{HashMap, HashSet};

use looptop_waits::{self as facts, Need, Target};

use crate::model::{
    AwaitKind, AwaitLink, AwaitShape, AwaitsBy, Hold, HoldRole, Model, ResourceKind, TaskId,
    TaskWait, ThreadWait, Tid, Want, WantKind,
};

use super::{Whose, is_polled, kept_in, whose};

/// Who waits or holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Party {
    /// A task.
    Task(TaskId),
    /// A thread.
    Thread(Tid),
}

impl Party {
    /// The task that it is.
    pub fn task(self) -> Option<TaskId> {
        match self {
            Self::Task(task) => Some(task),
            Self::Thread(_) => None,
        }
    }
}

/// Who can give what is waited for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Holder {
    /// Who.
    pub party: Party,
    /// What it has of it; `None` where its end is waited for.
    pub hold: Option<Hold>,
    /// The future that has it is kept, and not polled.
    pub is_kept: bool,
    /// It was given that while it queues for more, and can give nothing itself.
    pub is_queued: bool,
}

/// One of a ring.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Member {
    /// Who waits.
    pub party: Party,
    /// For what.
    pub want: Want,
    /// What the next member has of it; `None` where its end is waited for.
    pub held_by_next: Option<Hold>,
}

/// Parties that wait for each other in a circle: each for the next, the last for the first.
/// A ring of one waits for itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ring {
    /// They, beginning with the lowest.
    pub members: Vec<Member>,
    /// Nothing could let them go on, be it known or not.
    pub is_certain: bool,
    /// Who waits for one of them as well, directly or through others.
    pub behind: Vec<Party>,
}

impl Ring {
    /// What the member at `index` holds that the one before it wants.
    pub fn hold_of(&self, index: usize) -> Option<Hold> {
        let before = (index + self.members.len()).checked_sub(1)? % self.members.len();
        self.members[before].held_by_next
    }

    /// It is in it, or behind it.
    pub fn keeps(&self, party: Party) -> bool {
        self.members.iter().any(|member| member.party == party) || self.behind.contains(&party)
    }
}

/// Who waits for whom. To be made anew when the model's waits have changed
/// ([`is_of`](Self::is_of)); that takes some milliseconds for 10,000 tasks.
#[derive(Debug, Clone, Default)]
pub struct Graph {
    revision: Option<u64>,
    holders: HashMap<u64, Vec<Holder>>,
    waiters: HashMap<u64, Vec<Party>>,
    joiners: HashMap<TaskId, Vec<Party>>,
    rings: Vec<Ring>,
    /// Of each party that a ring keeps the first that does.
    kept_by: HashMap<Party, usize>,
    /// Tasks that something around the application's code could let go on.
    less_certain: HashSet<Party>,
    /// Of each shape which of its nodes are the application's own; while it is made.
    own: HashMap<u32, Vec<bool>>,
}

impl Graph {
    /// The graph of what `model` has now.
    pub fn of(model: &Model) -> Self {
        let mut graph = Self {
            revision: Some(model.waits.revision()),
            ..Self::default()
        };
        let mut waits = facts::Waits::new();
        for resource in model.waits.resources() {
            let kind = kind_of(resource.kind);
            waits.resource(facts::Resource {
                address: resource.id,
                kind,
                free: resource.free,
                total: resource.total.or(is_exclusive(resource.kind).then_some(1)),
                senders: resource.senders,
                name: None,
            });
        }
        for wait in model.waits.tasks() {
            graph.add_task(model, wait, &mut waits);
        }
        for wait in model.waits.threads() {
            graph.add_thread(model, wait, &mut waits);
        }
        for holders in graph.holders.values_mut() {
            holders.sort_by_key(|h| (!h.hold.is_some_and(|hold| hold.certain), h.party));
        }
        graph.add_holds(model, &mut waits);
        let rings = waits.rings();
        graph.rings = rings.iter().map(|r| graph.ring(model, r)).collect();
        for (at, ring) in graph.rings.iter().enumerate() {
            let members = ring.members.iter().map(|member| &member.party);
            for party in members.chain(&ring.behind) {
                graph.kept_by.entry(*party).or_insert(at);
            }
        }
        graph.own = HashMap::new();
        graph
    }

    /// The graph is that of what `model` has now.
    pub fn is_of(&self, model: &Model) -> bool {
        self.revision == Some(model.waits.revision())
    }

    /// Who has something of a resource, the certain ones first.
    pub fn holders(&self, resource: u64) -> &[Holder] {
        self.holders.get(&resource).map_or(&[], Vec::as_slice)
    }

    /// Who can give what is wanted: has permits of it, sends into the channel or receives
    /// from it, or is the task whose end is waited for. Who queues for it itself is none of
    /// them, whatever it was given already.
    pub fn holders_of(&self, want: &Want) -> Vec<Holder> {
        let role = match want.kind {
            WantKind::Permits => HoldRole::Permits,
            WantKind::Message | WantKind::Other => HoldRole::Sender,
            WantKind::Room => HoldRole::Receiver,
            WantKind::Task => {
                let end = want.task.map(|task| Holder {
                    party: Party::Task(task),
                    hold: None,
                    is_kept: false,
                    is_queued: false,
                });
                return end.into_iter().collect();
            }
            _ => return Vec::new(),
        };
        let holders = self.holders(want.resource.unwrap_or_default()).iter();
        let has = |holder: &&Holder| holder.hold.is_some_and(|hold| hold.role == role);
        let able = holders.filter(has).filter(|holder| !holder.is_queued);
        able.copied().collect()
    }

    /// Who waits for something of a resource, tasks first, by id.
    pub fn waiters(&self, resource: u64) -> &[Party] {
        self.waiters.get(&resource).map_or(&[], Vec::as_slice)
    }

    /// Whether a party waits for something of a resource.
    fn waits_for(&self, party: Party, resource: u64) -> bool {
        // They were added in their order.
        self.waiters(resource).binary_search(&party).is_ok()
    }

    /// The resources for which somebody waits.
    pub fn wanted(&self) -> impl Iterator<Item = (u64, &[Party])> {
        let all = self.waiters.iter();
        all.map(|(resource, parties)| (*resource, parties.as_slice()))
    }

    /// Who waits for the end of a task.
    pub fn joiners(&self, task: TaskId) -> &[Party] {
        self.joiners.get(&task).map_or(&[], Vec::as_slice)
    }

    /// The rings: parties that nothing known lets go on, each of which waits for the next.
    pub fn rings(&self) -> &[Ring] {
        &self.rings
    }

    /// The ring that a party is in or behind.
    pub fn ring_of(&self, party: Party) -> Option<&Ring> {
        self.rings.get(*self.kept_by.get(&party)?)
    }

    fn add_task(&mut self, model: &Model, wait: &TaskWait, waits: &mut facts::Waits) {
        let party = Party::Task(wait.task);
        let shape = &*wait.shape;
        for hold in &wait.holds {
            let hold = Hold {
                certain: hold.certain && is_its_own(wait),
                ..*hold
            };
            let is_kept = kept_in(shape, hold.node as usize).is_some();
            self.hold(party, hold, (is_kept, false));
        }
        let mut may_be_stuck = false;
        for want in &wait.wants {
            let is_kept = kept_in(shape, want.node as usize).is_some();
            if want.kind == WantKind::Permits && want.given > 0 {
                self.hold(party, given(want, is_its_own(wait)), (is_kept, true));
            }
            if !is_polled(shape, want.node as usize) {
                continue;
            }
            self.want(party, want);
            may_be_stuck |= is_bound(target(model, want));
        }
        // What is not in the tree may let it go on, and so may what has woken it.
        if may_be_stuck && shape.cut.is_none() && !wait.scheduled {
            let own = self.own.entry(shape.id).or_insert_with(|| {
                let nodes = shape.nodes.iter();
                let is_own = |node| whose(model, node) == Whose::Application;
                nodes.map(is_own).collect()
            });
            let (need, passed_over) = need(model, wait, own);
            let may_lack = !wait.certain && !wait.wakers_known;
            if passed_over || may_lack {
                self.less_certain.insert(party);
            }
            let need = if wait.wakers_known {
                Need::All(vec![need, only(model, wait)])
            } else {
                need
            };
            waits.wait(party.fact(), need);
        }
    }

    fn add_thread(&mut self, model: &Model, thread: &ThreadWait, waits: &mut facts::Waits) {
        let party = Party::Thread(thread.tid);
        for hold in &thread.holds {
            self.hold(party, *hold, (false, false));
        }
        let Some(want) = &thread.want else { return };
        self.want(party, want);
        let target = target(model, want);
        if !is_bound(target) {
            return;
        }
        waits.wait(party.fact(), Need::One(one(target)));
        // The task in whose poll the thread waits goes on when that does.
        if let Some(task) = thread.task {
            let end = Target::End(party.fact());
            waits.wait(Party::Task(task).fact(), Need::One(one(end)));
        }
    }

    fn hold(&mut self, party: Party, hold: Hold, (is_kept, is_queued): (bool, bool)) {
        let holders = self.holders.entry(hold.resource).or_default();
        holders.push(Holder {
            party,
            hold: Some(hold),
            is_kept,
            is_queued,
        });
    }

    fn want(&mut self, party: Party, want: &Want) {
        let parties = match (want.resource, want.task) {
            (Some(resource), _) => self.waiters.entry(resource).or_default(),
            (None, Some(task)) => self.joiners.entry(task).or_default(),
            (None, None) => return,
        };
        if parties.last() != Some(&party) {
            parties.push(party);
        }
    }

    fn ring(&self, model: &Model, ring: &facts::Ring) -> Ring {
        let member = |link: &facts::Link| {
            let party = Party::of(link.party);
            Some(Member {
                party,
                want: want_of(model, party, link.want.target)?,
                held_by_next: hold_of(model, link),
            })
        };
        let members: Vec<Member> = ring.links.iter().filter_map(member).collect();
        let goes_on = |member: &Member| self.less_certain.contains(&member.party);
        Ring {
            is_certain: ring.is_certain && !members.iter().any(goes_on),
            members,
            behind: ring.behind.iter().copied().map(Party::of).collect(),
        }
    }

    /// Adds what is held of what somebody waits for; of what is only probable what can be
    /// true. Where very many hold something, one of them goes on.
    fn add_holds(&self, model: &Model, waits: &mut facts::Waits) {
        let wanted = self.holders.iter().filter(|(resource, holders)| {
            self.waiters.contains_key(resource) && holders.len() <= MAX_HOLDERS
        });
        for (resource, holders) in wanted {
            let believed = believed(model, *resource, holders);
            for holder in holders {
                let Some(hold) = holder.hold else { continue };
                // It waits for what it is said to have: a pointer to a lock may be that of
                // one who waits for it.
                let waits_too = || self.waits_for(holder.party, *resource);
                // What a waiter was given is read where it queues, and no pointer.
                let is_guess = !hold.certain && hold.role == HoldRole::Permits && !holder.is_queued;
                if is_guess && (!believed || waits_too()) {
                    continue;
                }
                waits.hold(facts::Hold {
                    party: holder.party.fact(),
                    resource: *resource,
                    role: match hold.role {
                        HoldRole::Receiver => facts::HoldRole::Receiver,
                        HoldRole::Sender => facts::HoldRole::Sender,
                        _ => facts::HoldRole::Permits(hold.amount),
                    },
                    name: None,
                    place: None,
                    is_certain: hold.certain,
                });
            }
        }
    }
}

/// Holders of one resource that are looked at.
const MAX_HOLDERS: usize = 1_000;

/// Whether those that probably have permits of a resource can all have them: of a mutex
/// one, and only where none has it for certain.
fn believed(model: &Model, resource: u64, holders: &[Holder]) -> bool {
    let known = model.waits.resource(resource);
    let exclusive = known.is_some_and(|r| is_exclusive(r.kind));
    let Some(total) = known.and_then(|r| r.total).or(exclusive.then_some(1)) else {
        return true;
    };
    let permits = holders.iter().filter_map(|holder| holder.hold);
    let permits = permits.filter(|hold| hold.role == HoldRole::Permits);
    let held = permits.fold(0_u64, |sum, hold| sum.saturating_add(hold.amount));
    held <= total
}

fn is_exclusive(kind: ResourceKind) -> bool {
    matches!(
        kind,
        ResourceKind::Mutex | ResourceKind::StdMutex | ResourceKind::ParkingLotMutex
    )
}

/// What is said of a task's memory is of this task for certain. By interpretation the tree
/// may lack something, but what is in it, and what the task holds, is its own.
fn is_its_own(wait: &TaskWait) -> bool {
    wait.certain || wait.shape.by == AwaitsBy::Interpreter
}

/// What a waiter was given already nobody else gets.
fn given(want: &Want, certain: bool) -> Hold {
    Hold {
        node: want.node,
        resource: want.resource.unwrap_or_default(),
        role: HoldRole::Permits,
        amount: want.given,
        name: None,
        certain,
    }
}

impl Party {
    fn fact(self) -> facts::Party {
        match self {
            Self::Task(id) => facts::Party::Task(id.0),
            Self::Thread(tid) => facts::Party::Thread(tid.0),
        }
    }

    fn of(fact: facts::Party) -> Self {
        match fact {
            facts::Party::Task(id) => Self::Task(TaskId(id)),
            facts::Party::Thread(tid) => Self::Thread(Tid(tid)),
        }
    }
}

fn one(target: Target) -> facts::Want {
    facts::Want {
        target,
        place: None,
    }
}

/// Only some known party can give it.
fn is_bound(target: Target) -> bool {
    !matches!(
        target,
        Target::Other { .. } | Target::Outside | Target::Never
    )
}

fn target(model: &Model, want: &Want) -> Target {
    let resource = want.resource.unwrap_or_default();
    let kind = super::kind(model, resource);
    match want.kind {
        WantKind::Permits if want.resource.is_some() => Target::Permits {
            resource,
            amount: want.amount.max(1).saturating_sub(want.given),
        },
        WantKind::Message if matches!(kind, ResourceKind::Mpsc | ResourceKind::Oneshot) => {
            Target::Message { resource }
        }
        WantKind::Room if want.resource.is_some() => Target::Room { resource },
        WantKind::Task => match want.task {
            Some(task) => Target::End(Party::Task(task).fact()),
            None => Target::Outside,
        },
        WantKind::Message | WantKind::Other if want.resource.is_some() => {
            Target::Other { resource }
        }
        WantKind::Never => Target::Never,
        _ => Target::Outside,
    }
}

/// One of what a task waits for, where nothing else can wake it.
fn only(model: &Model, wait: &TaskWait) -> Need {
    let wants = wait.wants.iter();
    Need::Any(
        wants
            .map(|want| Need::One(one(target(model, want))))
            .collect(),
    )
}

/// What a future needs to go on.
struct Needed {
    need: Need,
    /// Some of the application's own code is in it.
    has_own: bool,
    /// It waits for sockets and notifications alone.
    is_soft: bool,
}

/// What a task needs to go on, by its futures, from the inside out; and whether something
/// around the application's code was passed over: what serves a connection also waits for
/// its peer to hang up, and for a shutdown.
fn need(model: &Model, wait: &TaskWait, own: &[bool]) -> (Need, bool) {
    let shape = &*wait.shape;
    let mut needs: Vec<Vec<Needed>> = Vec::new();
    needs.resize_with(shape.nodes.len(), Vec::new);
    let mut unstarted = vec![false; shape.nodes.len()];
    for want in &wait.wants {
        if let Some(of_node) = needs.get_mut(want.node as usize) {
            of_node.push(Needed {
                need: Need::One(one(target(model, want))),
                has_own: false,
                is_soft: matches!(want.kind, WantKind::Socket | WantKind::Other),
            });
        }
    }
    let parents = parents(shape);
    let mut passed_over = false;
    for at in (1..shape.nodes.len()).rev() {
        let above = parents[at];
        match shape.nodes[at].link {
            AwaitLink::Kept => {}
            AwaitLink::NotStarted => unstarted[above] = true,
            AwaitLink::Awaited | AwaitLink::Unknown => {
                let below = std::mem::take(&mut needs[at]);
                let of_node = OfNode {
                    future: model.text(shape.nodes[at].future),
                    kind: shape.nodes[at].kind,
                    is_own: own[at],
                    has_unstarted: unstarted[at],
                };
                // From the last child to the first.
                needs[above].push(of_node.need(below, &mut passed_over));
            }
        }
    }
    let root = OfNode {
        future: model.text(shape.nodes[0].future),
        kind: shape.nodes[0].kind,
        is_own: own[0],
        has_unstarted: unstarted[0],
    };
    let needed = root.need(std::mem::take(&mut needs[0]), &mut passed_over);
    (needed.need, passed_over)
}

/// Of each node the one above it; of the root itself.
fn parents(shape: &AwaitShape) -> Vec<usize> {
    let mut open: Vec<usize> = Vec::new();
    let mut parents = Vec::with_capacity(shape.nodes.len());
    for (at, node) in shape.nodes.iter().enumerate() {
        open.truncate(node.depth as usize);
        parents.push(open.last().copied().unwrap_or(at));
        open.push(at);
    }
    parents
}

/// A future, and what of it says what it needs.
struct OfNode<'a> {
    future: &'a str,
    kind: AwaitKind,
    is_own: bool,
    has_unstarted: bool,
}

impl OfNode<'_> {
    fn need(&self, mut below: Vec<Needed>, passed_over: &mut bool) -> Needed {
        let has_own = self.is_own || below.iter().any(|needed| needed.has_own);
        let is_soft = !below.is_empty() && below.iter().all(|needed| needed.is_soft);
        let done = |need| Needed {
            need,
            has_own,
            is_soft,
        };
        if self.kind == AwaitKind::Join && !below.is_empty() {
            let all = below.into_iter().map(|needed| needed.need);
            return done(Need::All(all.collect()));
        }
        let is_async = matches!(self.kind, AwaitKind::AsyncFn | AwaitKind::AsyncBlock);
        let branches = matches!(self.kind, AwaitKind::Select | AwaitKind::Combinator);
        // Whoever is served hangs up, or the service ends: that is no way on for the code
        // that serves.
        let around = branches && !self.is_own && has_own;
        if around {
            let before = below.len();
            below.retain(|needed| needed.has_own || !needed.is_soft);
            *passed_over |= below.len() < before || self.kind == AwaitKind::Combinator;
        }
        let is_whole = around || is_whole(self.future, self.kind);
        let mut needs: Vec<Need> = below.into_iter().map(|needed| needed.need).collect();
        // It is polled soon, or what it waits for is not known.
        if needs.is_empty() || (self.has_unstarted && !is_async) || !is_whole {
            needs.push(Need::One(one(Target::Outside)));
        }
        done(if needs.len() == 1 {
            needs.remove(0)
        } else {
            Need::Any(needs)
        })
    }
}

/// What a future may go on for is all among those right below it.
fn is_whole(future: &str, kind: AwaitKind) -> bool {
    match kind {
        AwaitKind::AsyncFn
        | AwaitKind::AsyncBlock
        | AwaitKind::Wrapper
        | AwaitKind::Join
        | AwaitKind::Leaf => true,
        AwaitKind::Select => {
            let own = future.strip_prefix('<').unwrap_or(future);
            own.starts_with("core::future::poll_fn::") || own.starts_with("tokio::time::timeout::")
        }
        AwaitKind::Combinator | AwaitKind::Unknown => false,
    }
}

/// What of a party's wants a target is. That of a task in whose poll a thread waits is the
/// thread's.
fn want_of(model: &Model, party: Party, about: Target) -> Option<Want> {
    let is_it = |want: &&Want| target(model, want) == about;
    match party {
        Party::Task(id) => {
            let wait = model.waits.task(id)?;
            let polled = |want: &&Want| is_polled(&wait.shape, want.node as usize);
            wait.wants.iter().filter(polled).find(is_it).copied()
        }
        Party::Thread(tid) => model
            .waits
            .thread(tid)?
            .want
            .as_ref()
            .filter(is_it)
            .copied(),
    }
}

fn hold_of(model: &Model, link: &facts::Link) -> Option<Hold> {
    let held = link.hold.as_ref()?;
    let role = match held.role {
        facts::HoldRole::Receiver => HoldRole::Receiver,
        facts::HoldRole::Sender => HoldRole::Sender,
        facts::HoldRole::Permits(_) => HoldRole::Permits,
    };
    let is_it = |hold: &&Hold| hold.resource == held.resource && hold.role == role;
    match Party::of(held.party) {
        Party::Task(id) => {
            let wait = model.waits.task(id)?;
            let known = wait.holds.iter().find(is_it).copied();
            let given_to = |want: &&Want| want.resource == Some(held.resource) && want.given > 0;
            let was_given = || wait.wants.iter().find(given_to);
            known.or_else(|| was_given().map(|want| given(want, is_its_own(wait))))
        }
        Party::Thread(tid) => model.waits.thread(tid)?.holds.iter().find(is_it).copied(),
    }
}

fn kind_of(kind: ResourceKind) -> facts::ResourceKind {
    match kind {
        ResourceKind::Mutex => facts::ResourceKind::Mutex,
        ResourceKind::RwLock => facts::ResourceKind::RwLock,
        ResourceKind::Semaphore => facts::ResourceKind::Semaphore,
        ResourceKind::OnceCell => facts::ResourceKind::OnceCell,
        ResourceKind::Notify => facts::ResourceKind::Notify,
        ResourceKind::Oneshot => facts::ResourceKind::Oneshot,
        ResourceKind::Mpsc => facts::ResourceKind::Mpsc,
        ResourceKind::Watch => facts::ResourceKind::Watch,
        ResourceKind::Broadcast => facts::ResourceKind::Broadcast,
        ResourceKind::Barrier => facts::ResourceKind::Barrier,
        ResourceKind::StdMutex => facts::ResourceKind::StdMutex,
        ResourceKind::StdRwLock => facts::ResourceKind::StdRwLock,
        ResourceKind::ParkingLotMutex => facts::ResourceKind::ParkingLotMutex,
        ResourceKind::ParkingLotRwLock => facts::ResourceKind::ParkingLotRwLock,
        ResourceKind::Unknown => facts::ResourceKind::Other,
    }
}
