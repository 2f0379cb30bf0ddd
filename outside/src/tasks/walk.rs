//! A walk along a list of tasks, while it changes.
//!
//! What was read at the last walk is read again in large batches; then the links are
//! followed in this copy, and only what is new is read step by step, one batch for all
//! shards. A link leads backwards too, so that a step into what was unlinked meanwhile
//! is seen, and the list's ends and count are read before and after. Where a chain breaks
//! it is followed from its other end, too.
//!
//! Where ends and count are those of the last walk, and each task is the one that it
//! was and has not ended, nothing came or went: what comes changes an end, and what
//! goes has ended. Then the links are not read at all.

use super::addresses::AddressMap;
use super::cell::{Cell, HEAD, LINE, may_begin_at};
use super::owned::{List, Owned, SHARD};
use super::{TaskKind, Types};
use crate::space::{Pieces, Space, word, words};

/// Tasks of one list that are read.
const MAX_TASKS: usize = 1 << 21;
/// Steps in which a walk reads new tasks.
const MAX_STEPS: usize = 1 << 21;

/// The tasks of a list.
#[derive(Debug, Default)]
pub(super) struct Members {
    nodes: Vec<Node>,
    index: AddressMap<u32>,
    /// Nodes that hold no task.
    unused: Vec<u32>,
    /// The nodes in the order of the newest walk.
    order: Vec<u32>,
    walk: u32,
    chains: Vec<Chain>,
    ends: Vec<u8>,
    ends_after: Vec<u8>,
    addresses: Vec<u64>,
    fresh: Vec<u32>,
    heads: Pieces<HEAD>,
    links: Pieces<16>,
    lines: Pieces<LINE>,
    /// The newest walk was whole, with this count and the ends in `ends_after`.
    #[allow(clippy::option_option, reason = "whole or not, counted or not")]
    settled: Option<Option<u64>>,
    /// Nodes that were added since they were in order.
    added: usize,
}

/// A task, and where it is linked.
#[derive(Debug, Clone, Copy)]
struct Node {
    cell: Cell,
    previous: u64,
    next: u64,
    /// The walk that came along.
    walk: u32,
    /// It was read for the present walk.
    fresh: bool,
}

/// The list of one shard, as far as it was walked.
#[derive(Debug, Clone, Copy)]
struct Chain {
    at: u64,
    previous: u64,
    last: u64,
    /// It is followed from its last task to the first.
    is_back: bool,
}

impl Chain {
    /// It broke: what changes is mostly at its beginning, where tasks are linked when they
    /// are spawned, so that its end is whole; `false` where that was tried.
    fn turn(&mut self) -> bool {
        let turns = !self.is_back && self.last != 0;
        *self = Self {
            at: self.last,
            previous: 0,
            is_back: true,
            ..*self
        };
        turns
    }
}

/// What a walk found.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Walked {
    /// The list's own count, after the walk.
    pub(super) counted: Option<u64>,
    /// What was walked is the list as it was at one time.
    pub(super) whole: bool,
    /// The runtime has been shut down: nothing comes any more.
    pub(super) closed: bool,
}

impl Members {
    /// Its tasks, in the order of the newest walk.
    pub(super) fn iter(&self) -> impl ExactSizeIterator<Item = &Cell> {
        self.order
            .iter()
            .map(|node| &self.nodes[*node as usize].cell)
    }

    pub(super) fn len(&self) -> usize {
        self.order.len()
    }

    /// Walks the list once; `None` where it is no longer there.
    pub(super) fn walk(
        &mut self,
        space: &impl Space,
        types: &Types,
        owned: &Owned,
    ) -> Option<Walked> {
        let before = owned.count(space)?;
        owned.ends(space, &mut self.ends)?;
        let settled = self.settled.take() == Some(before) && self.ends == self.ends_after;
        if settled && self.renew(space, types) {
            let after = owned.count(space)?;
            owned.ends(space, &mut self.ends_after)?;
            if after == before && self.ends == self.ends_after {
                self.settled = Some(after);
                return Some(Walked {
                    counted: after,
                    whole: true,
                    closed: owned.is_closed(space),
                });
            }
            owned.ends(space, &mut self.ends)?;
        }
        let before = owned.count(space)?;
        self.walk = self.walk.wrapping_add(1);
        self.order.clear();
        self.refresh(space, types, owned.id);
        let mut whole = self.follow(space, types, owned.id);
        self.forget_others();
        let after = owned.count(space)?;
        owned.ends(space, &mut self.ends_after)?;
        whole &= before == after && self.ends == self.ends_after;
        whole &= after.is_none_or(|after| after == self.order.len() as u64);
        self.settled = whole.then_some(after);
        Some(Walked {
            counted: after,
            whole,
            closed: owned.is_closed(space),
        })
    }

    /// Reads again what its tasks do; whether they are those of the last walk.
    fn renew(&mut self, space: &impl Space, types: &Types) -> bool {
        self.addresses.clear();
        let used = self.nodes.iter().filter(|node| node.cell.header != 0);
        self.addresses.extend(used.map(|node| node.cell.header));
        self.lines.read(space, &self.addresses);
        let used = self.nodes.iter_mut().filter(|node| node.cell.header != 0);
        let mut lines = used.zip(self.lines.iter());
        lines.all(|(node, line)| line.is_some_and(|line| node.cell.renew(space, types, line)))
    }

    /// Reads again what is known.
    fn refresh(&mut self, space: &impl Space, types: &Types, owner: u64) {
        self.addresses.clear();
        self.fresh.clear();
        for (node, i) in self.nodes.iter_mut().zip(0..) {
            node.fresh = false;
            if node.cell.header != 0 {
                self.addresses.push(node.cell.header);
                self.fresh.push(i);
            }
        }
        self.read_fresh(space, types, owner);
    }

    /// Reads the tasks at `addresses` into the nodes `fresh`.
    fn read_fresh(&mut self, space: &impl Space, types: &Types, owner: u64) {
        self.heads.read(space, &self.addresses);
        let nodes = &mut self.nodes;
        let mut of_tasks = 0;
        for (i, head) in self.fresh.iter().zip(self.heads.iter()) {
            let node = &mut nodes[*i as usize];
            let cell = head.and_then(|head| node.cell.again(space, types, head));
            let cell = cell
                .filter(|cell| cell.owner == owner && types.at(cell.kind).kind == TaskKind::Async);
            if let Some(cell) = cell {
                node.cell = cell;
                node.fresh = true;
                of_tasks += 1;
            }
        }
        self.addresses.clear();
        self.addresses.reserve(of_tasks);
        self.fresh.retain(|i| {
            let node = &nodes[*i as usize];
            if node.fresh {
                let trailer = types.at(node.cell.kind).trailer_offset;
                self.addresses.push(node.cell.header.wrapping_add(trailer));
            }
            node.fresh
        });
        self.links.read(space, &self.addresses);
        for (i, links) in self.fresh.iter().zip(self.links.iter()) {
            let node = &mut nodes[*i as usize];
            let links = links.and_then(|links| Some((word(links, 0)?, word(links, 8)?)));
            node.fresh = links.is_some();
            (node.previous, node.next) = links.unwrap_or_default();
        }
    }

    /// Follows the links from the ends of each shard on; whether all led to its other
    /// end.
    fn follow(&mut self, space: &impl Space, types: &Types, owner: u64) -> bool {
        let ends = self.ends.as_chunks::<16>().0.iter();
        let ends = ends.filter_map(|ends| Some((word(ends, 0)?, word(ends, 8)?)));
        self.chains.clear();
        self.chains.extend(ends.map(|(first, last)| Chain {
            at: first,
            previous: 0,
            last,
            is_back: false,
        }));
        let mut whole = true;
        for _ in 0..MAX_STEPS {
            self.addresses.clear();
            self.fresh.clear();
            let mut chains = std::mem::take(&mut self.chains);
            chains.retain_mut(|chain| {
                loop {
                    match self.advance(chain) {
                        Step::End => return false,
                        Step::Unknown if self.nodes.len() - self.unused.len() < MAX_TASKS => {
                            self.add(chain.at);
                            return true;
                        }
                        Step::Broken | Step::Unknown => whole = false,
                    }
                    if !chain.turn() {
                        return false;
                    }
                }
            });
            self.chains = chains;
            if self.chains.is_empty() {
                return whole;
            }
            self.read_fresh(space, types, owner);
        }
        false
    }

    /// Goes along what is known.
    fn advance(&mut self, chain: &mut Chain) -> Step {
        while chain.at != 0 {
            let Some(i) = self.index.get(&chain.at) else {
                return if may_begin_at(chain.at) {
                    Step::Unknown
                } else {
                    Step::Broken
                };
            };
            let node = &mut self.nodes[*i as usize];
            let (before, after) = if chain.is_back {
                (node.next, node.previous)
            } else {
                (node.previous, node.next)
            };
            let linked = node.fresh && before == chain.previous;
            if !linked || node.walk == self.walk {
                return Step::Broken;
            }
            node.walk = self.walk;
            self.order.push(*i);
            chain.previous = chain.at;
            chain.at = after;
        }
        if chain.previous == chain.last {
            Step::End
        } else {
            Step::Broken
        }
    }

    /// A node for the task at `header`, which is read next.
    fn add(&mut self, header: u64) {
        let node = Node {
            cell: Cell::unread(header),
            previous: 0,
            next: 0,
            walk: self.walk.wrapping_sub(1),
            fresh: false,
        };
        let i = if let Some(i) = self.unused.pop() {
            self.nodes[i as usize] = node;
            i
        } else {
            self.nodes.push(node);
            self.nodes.len() as u32 - 1
        };
        self.added += 1;
        self.index.insert(header, i);
        self.addresses.push(header);
        self.fresh.push(i);
    }

    /// Drops what the walk did not come along.
    fn forget_others(&mut self) {
        for (node, i) in self.nodes.iter_mut().zip(0..) {
            if node.cell.header != 0 && node.walk != self.walk {
                self.index.remove(&node.cell.header);
                node.cell = Cell::unread(0);
                self.unused.push(i);
            }
        }
        let few = self.unused.len() > self.nodes.len() / 4 * 3;
        if self.nodes.len() > 1_024 && (few || self.added > self.nodes.len() / 2) {
            self.tidy();
        }
    }

    /// Gives back the memory of a list that was much longer, and has the nodes in the
    /// order of addresses, in which they are read faster.
    fn tidy(&mut self) {
        let mut order: Vec<(u64, usize)> = Vec::with_capacity(self.order.len());
        let headers = self
            .order
            .iter()
            .map(|i| self.nodes[*i as usize].cell.header);
        order.extend(headers.zip(0..));
        order.sort_unstable();
        let mut nodes = Vec::with_capacity(order.len());
        let places = self.order.clone();
        for ((_, place), i) in order.into_iter().zip(0..) {
            nodes.push(self.nodes[places[place] as usize]);
            self.order[place] = i;
        }
        self.nodes = nodes;
        self.unused = Vec::new();
        self.index.clear();
        self.index.shrink_to(self.nodes.len());
        let headers = self.nodes.iter().map(|node| node.cell.header);
        self.index.extend(headers.zip(0..));
        self.added = 0;
        self.heads = Pieces::default();
        self.links = Pieces::default();
        self.lines = Pieces::default();
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Step {
    End,
    /// It leads to what is no task of this list, or in a circle.
    Broken,
    Unknown,
}

impl Owned {
    /// Its own count, where it has one; `None` where the list is no longer there.
    #[allow(clippy::option_option, reason = "there or not, counted or not")]
    fn count(&self, space: &impl Space) -> Option<Option<u64>> {
        if space.read_u64(self.id_at)? != self.id {
            return None;
        }
        let List::Sharded {
            at,
            shards,
            shard_count,
            count_at,
        } = self.list
        else {
            return Some(None);
        };
        let mut slice = [0; 16];
        let whole = space.read(at, &mut slice) == 16;
        let same = whole && words(&slice).eq([shards, shard_count]);
        same.then(|| space.read_u64(count_at))?.map(Some)
    }

    /// Whether its flag says that it takes no more tasks. That stands behind the id, if
    /// the id is behind the rest.
    fn is_closed(&self, space: &impl Space) -> bool {
        let List::Sharded { at, .. } = self.list else {
            return false;
        };
        self.id_at > at
            && space
                .read_u64(self.id_at + 8)
                .is_some_and(|flag| flag & 0xff == 1)
    }

    /// The first and the last task of each shard, 16 bytes each.
    pub(super) fn ends(&self, space: &impl Space, ends: &mut Vec<u8>) -> Option<()> {
        match self.list {
            List::Single { at } => {
                ends.resize(16, 0);
                (space.read(at, ends) == 16).then_some(())
            }
            List::Sharded {
                shards,
                shard_count,
                ..
            } => {
                let count = shard_count as usize;
                ends.resize(count * SHARD, 0);
                if space.read(shards, ends) != ends.len() {
                    return None;
                }
                // Locks change without a change of the list.
                for shard in 0..count {
                    let from = shard * SHARD + 8;
                    ends.copy_within(from..from + 16, shard * 16);
                }
                ends.truncate(count * 16);
                Some(())
            }
        }
    }
}
