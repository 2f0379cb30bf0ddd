//! Where a runtime keeps its list of tasks.
//!
//! Each task holds the id of its list, and a pointer to its scheduler, which holds the
//! list: tokio's `OwnedTasks` (of both schedulers) or `LocalOwnedTasks` (of a
//! `LocalSet`). rustc orders the fields of these as it likes, and of what is around
//! them, so they are recognized by what holds of them:
//!
//! - `OwnedTasks` is a boxed slice of shards (a pointer, and a power of two), [tasks
//!   that ever were], a count, the number of shards less one, an id. A shard is a lock,
//!   and the first and last of its tasks.
//! - `LocalOwnedTasks` is the first and last of its tasks, a flag, and an id.

use super::Flavor;
use super::cell::{Cell, HEAD, may_begin_at};
use super::types::Types;
use super::vtable::CELL_ALIGN;
use crate::space::{Space, word, words};

/// Bytes of a lock, with the first and last task behind it.
pub(super) const SHARD: usize = 24;
const MAX_SHARDS: u64 = 1 << 16;
/// A current-thread scheduler has so many shards, a multi-thread one at least.
const FEWEST_SHARDS: u64 = 4;
/// More owners of an `Rc` or `Arc` are none.
pub(super) const MAX_OWNERS: u64 = 1 << 32;
/// How far behind the beginning of a scheduler its list is searched.
pub(super) const HANDLE: usize = 4096;
/// How far around a list the fields of its scheduler are.
const AROUND: u64 = 2048;

/// A list of tasks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Owned {
    /// Its id. 0 as long as it had no task and more than one word may be it.
    pub(super) id: u64,
    /// Where the id is.
    pub(super) id_at: u64,
    pub(super) list: List,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum List {
    /// `OwnedTasks`.
    Sharded {
        /// Where the pointer to the shards is; their number is behind it.
        at: u64,
        shards: u64,
        shard_count: u64,
        /// Where the count is.
        count_at: u64,
    },
    /// `LocalOwnedTasks`: where the first task's address is, and behind it the last's.
    Single { at: u64 },
}

impl Owned {
    /// The list in the scheduler of a task.
    pub(super) fn of_task(space: &impl Space, types: &Types, task: &Cell) -> Option<Self> {
        let mut bytes = [0; HANDLE];
        if task.owner == 0 || !task.scheduler.is_multiple_of(8) {
            return None;
        }
        let length = space.read(task.scheduler, &mut bytes);
        let found = Search {
            space,
            types,
            base: task.scheduler,
            words: &words(&bytes[..length]).collect::<Vec<_>>(),
            left: &Budget::new(0),
        };
        found
            .sharded(Some(task.owner))
            .or_else(|| found.single_of(task.owner))
    }

    /// A list in memory that begins at `base`, whosever it is. Of what it needs to see
    /// that, `left` says how much may be read.
    pub(super) fn within(
        space: &impl Space,
        types: &Types,
        base: u64,
        words: &[u64],
        left: &Budget,
    ) -> Option<Self> {
        let found = Search {
            space,
            types,
            base,
            words,
            left,
        };
        found.sharded(None).or_else(|| found.single())
    }

    /// Which scheduler has it.
    ///
    /// A multi-thread scheduler has two boxed slices: the metrics of its workers, which
    /// begin at multiples of 128, and what others see of its workers, which are two
    /// `Arc`s each. A current-thread scheduler has its only worker's metrics within.
    pub(super) fn flavor(&self, space: &impl Space) -> Flavor {
        let List::Sharded {
            at, shard_count, ..
        } = self.list
        else {
            return Flavor::LocalSet;
        };
        if shard_count > FEWEST_SHARDS {
            return Flavor::MultiThread;
        }
        let mut bytes = [0; 2 * AROUND as usize];
        let mut start = at.saturating_sub(AROUND);
        let mut length = space.read(start, &mut bytes);
        if length < AROUND as usize {
            // The page before is not mapped.
            start = at & !0xfff;
            length = space.read(start, &mut bytes);
        }
        let words: Vec<u64> = words(&bytes[..length]).collect();
        let slices = words
            .windows(2)
            .filter(|pair| pair[1] == 1 && is_pointer(pair[0]));
        let slices: Vec<u64> = slices.map(|pair| pair[0]).collect();
        let metrics = slices.iter().any(|slice| slice.is_multiple_of(CELL_ALIGN));
        if metrics && slices.iter().any(|slice| is_remote(space, *slice)) {
            Flavor::MultiThread
        } else {
            Flavor::CurrentThread
        }
    }
}

/// Whether two `Arc`s are there.
fn is_remote(space: &impl Space, address: u64) -> bool {
    let pair = |address: u64| Some([space.read_u64(address)?, space.read_u64(address + 8)?]);
    let is_arc = |arc: u64| {
        let counts = is_pointer(arc).then(|| pair(arc)).flatten();
        counts.is_some_and(|counts| counts.iter().all(|n| (1..MAX_OWNERS).contains(n)))
    };
    pair(address).is_some_and(|arcs| arcs.into_iter().all(is_arc))
}

fn is_pointer(word: u64) -> bool {
    word.is_multiple_of(8) && (1 << 16..1 << 47).contains(&word)
}

/// Bytes that may still be read for one search, of memory that may have anything that
/// looks like a list.
#[derive(Debug)]
pub(super) struct Budget(std::cell::Cell<u64>);

impl Budget {
    pub(super) fn new(bytes: u64) -> Self {
        Self(std::cell::Cell::new(bytes))
    }

    /// Whether so many more may be read.
    fn spend(&self, bytes: u64) -> bool {
        let left = self.0.get().checked_sub(bytes);
        self.0.set(left.unwrap_or(self.0.get()));
        left.is_some()
    }
}

/// Memory in which a list is searched.
struct Search<'a, S> {
    space: &'a S,
    types: &'a Types,
    base: u64,
    words: &'a [u64],
    left: &'a Budget,
}

impl<S: Space> Search<'_, S> {
    fn get(&self, at: Option<usize>) -> Option<u64> {
        self.words.get(at?).copied()
    }

    fn address(&self, at: usize) -> u64 {
        self.base + 8 * at as u64
    }

    /// An `OwnedTasks` with this id, or with any.
    fn sharded(&self, id: Option<u64>) -> Option<Owned> {
        let pairs = self.words.windows(2).enumerate();
        let mut slices = pairs.filter(|(_, pair)| {
            let (shards, count) = (pair[0], pair[1]);
            count.is_power_of_two()
                && (FEWEST_SHARDS..=MAX_SHARDS).contains(&count)
                && is_pointer(shards)
        });
        slices.find_map(|(at, _)| self.sharded_at(at, id))
    }

    fn sharded_at(&self, at: usize, id: Option<u64>) -> Option<Owned> {
        let (shards, shard_count) = (self.words[at], self.words[at + 1]);
        // Since 1.41 the tasks that ever were come before the count.
        for mask in [at + 4, at + 3] {
            if self.get(Some(mask)) != Some(shard_count - 1) {
                continue;
            }
            let near = [
                Some(mask + 1),
                at.checked_sub(1),
                Some(mask + 2),
                at.checked_sub(2),
            ];
            let near = near.into_iter().flatten();
            let owner = match id {
                Some(id) => Some(id),
                None => self.owner_of_shards(shards, shard_count)?,
            };
            let of_list = |at: &usize| {
                let word = self.words.get(*at).copied();
                word.is_some_and(|word| match owner {
                    Some(owner) => word == owner,
                    // A count of lists: nothing else is there but a flag.
                    None => (1..1 << 32).contains(&word),
                })
            };
            let Some(id_at) = near.into_iter().find(of_list) else {
                continue;
            };
            return Some(Owned {
                id: self.words[id_at],
                id_at: self.address(id_at),
                list: List::Sharded {
                    at: self.address(at),
                    shards,
                    shard_count,
                    count_at: self.address(mask - 1),
                },
            });
        }
        None
    }

    /// The owner of the tasks in some shards, `Some(None)` where there are none, `None`
    /// where these are no shards.
    #[allow(clippy::option_option, reason = "no shards, no tasks, an owner")]
    fn owner_of_shards(&self, shards: u64, count: u64) -> Option<Option<u64>> {
        if !self.left.spend(count * (SHARD + HEAD) as u64) {
            return None;
        }
        let mut bytes = vec![0; count as usize * SHARD];
        if self.space.read(shards, &mut bytes) != bytes.len() {
            return None;
        }
        let mut owner = None;
        for shard in bytes.chunks_exact(SHARD) {
            let (lock, first, last) = (word(shard, 0)?, word(shard, 8)?, word(shard, 16)?);
            // A futex word of 0 to 2, or a flag; what follows is no part of it.
            if lock & 0xff > 3 || (first == 0) != (last == 0) {
                return None;
            }
            if first == 0 {
                continue;
            }
            let task = self.task(first)?;
            if *owner.get_or_insert(task.owner) != task.owner || !may_begin_at(last) {
                return None;
            }
        }
        Some(owner)
    }

    fn task(&self, header: u64) -> Option<Cell> {
        Cell::at(self.space, self.types, header).filter(|task| task.owner != 0)
    }

    /// The `LocalOwnedTasks` with this id.
    fn single_of(&self, id: u64) -> Option<Owned> {
        let ids = self.words.iter().enumerate();
        let mut ids = ids.filter(|(_, word)| **word == id);
        ids.find_map(|(id_at, _)| {
            let pairs = [
                id_at.checked_sub(3),
                Some(id_at + 1),
                id_at.checked_sub(2),
                Some(id_at + 2),
            ];
            let at = pairs
                .into_iter()
                .flatten()
                .find(|at| self.is_pair_of(*at, id))?;
            Some(self.single_at(at, id_at, id))
        })
    }

    /// Any `LocalOwnedTasks` that has tasks.
    fn single(&self) -> Option<Owned> {
        let pairs = self.words.windows(2).enumerate();
        let mut pairs = pairs.filter(|(_, pair)| may_begin_at(pair[0]) && may_begin_at(pair[1]));
        pairs.find_map(|(at, pair)| {
            let may_read = self.left.spend(HEAD as u64);
            let id = may_read.then(|| self.task(pair[0]))??.owner;
            let near = [
                Some(at + 3),
                at.checked_sub(1),
                Some(at + 2),
                at.checked_sub(2),
            ];
            let id_at = near
                .into_iter()
                .flatten()
                .find(|near| self.get(Some(*near)) == Some(id))?;
            self.is_pair_of(at, id)
                .then(|| self.single_at(at, id_at, id))
        })
    }

    fn single_at(&self, at: usize, id_at: usize, id: u64) -> Owned {
        Owned {
            id,
            id_at: self.address(id_at),
            list: List::Single {
                at: self.address(at),
            },
        }
    }

    /// Whether the words at `at` are the first and the last task of the list `id`:
    /// nothing is linked before the one and after the other.
    fn is_pair_of(&self, at: usize, id: u64) -> bool {
        let end = |header: Option<u64>, link: u64| {
            let header = header?;
            let task = self.task(header).filter(|task| task.owner == id)?;
            let links = header + self.types.at(task.kind).trailer_offset;
            self.space.read_u64(links + link).filter(|link| *link == 0)
        };
        let (first, last) = (self.get(Some(at)), self.get(at.checked_add(1)));
        end(first, 0).is_some() && end(last, 8).is_some()
    }
}
