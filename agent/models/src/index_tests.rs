use std::sync::OnceLock;

use loom::sync::Arc;
use loom::sync::atomic::AtomicU32;
use loom::sync::atomic::Ordering::{Acquire, Release};
use loom::thread;

use crate::index::{Index, Nodes};

/// A record: its key, and its links in the two sets.
struct Record {
    key: AtomicU32,
    links: [AtomicU32; 2],
}

struct Records([Record; 3]);

impl Nodes for Records {
    type Key = u32;

    fn is(&self, node: u32, key: u32) -> bool {
        self.0[node as usize].key.load(Acquire) == key
    }

    fn hash(&self, node: u32) -> usize {
        self.0[node as usize].key.load(Acquire) as usize
    }

    fn link(&self, node: u32, set: usize) -> &AtomicU32 {
        &self.0[node as usize].links[set]
    }
}

struct Map {
    index: Index,
    records: Records,
}

impl Map {
    /// Two buckets at first, so that keys of the same parity share one.
    fn new() -> Self {
        let record = || Record {
            key: AtomicU32::new(0),
            links: [AtomicU32::new(0), AtomicU32::new(0)],
        };
        Self {
            index: Index {
                levels: [const { OnceLock::new() }; 12],
                current: AtomicU32::new(0),
                first: 2,
                part: 0,
            },
            records: Records([record(), record(), record()]),
        }
    }

    fn insert(&self, node: u32, key: u32, held: usize) {
        self.records.0[node as usize].key.store(key, Release);
        self.index.insert(&self.records, node, held);
    }

    fn remove(&self, node: u32) {
        self.index.remove(&self.records, node);
    }

    fn find(&self, key: u32) -> Option<u32> {
        self.index.find(&self.records, key as usize, key)
    }
}

fn explore(model: impl Fn() + Sync + Send + 'static) {
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = Some(3);
    builder.check(model);
}

/// The record in front of the one that is looked for is taken out, and used again in
/// the other chain: a reader that stands on it comes to the wrong end.
#[test]
fn a_record_that_moves_to_another_chain_hides_nothing() {
    explore(|| {
        let map = Map::new();
        map.insert(0, 2, 1);
        map.insert(1, 4, 2);
        let map = Arc::new(map);
        let writer = thread::spawn({
            let map = Arc::clone(&map);
            move || {
                map.remove(1);
                map.insert(1, 3, 2);
            }
        });
        assert_eq!(map.find(2), Some(0));
        writer.join().unwrap();
        assert_eq!(
            (map.find(2), map.find(3), map.find(4)),
            (Some(0), Some(1), None)
        );
    });
}

/// It comes back into its own chain, in front.
#[test]
fn a_record_that_is_used_again_in_its_chain_hides_nothing() {
    explore(|| {
        let map = Map::new();
        map.insert(0, 2, 1);
        map.insert(1, 4, 2);
        let map = Arc::new(map);
        let writer = thread::spawn({
            let map = Arc::clone(&map);
            move || {
                map.remove(1);
                map.insert(1, 6, 2);
            }
        });
        assert_eq!(map.find(2), Some(0));
        writer.join().unwrap();
        assert_eq!((map.find(4), map.find(6)), (None, Some(1)));
    });
}

/// The map grows beside a reader.
#[test]
fn growth_hides_nothing() {
    explore(|| {
        let map = Map::new();
        map.insert(0, 2, 1);
        map.insert(1, 4, 2);
        let map = Arc::new(map);
        let writer = thread::spawn({
            let map = Arc::clone(&map);
            move || map.insert(2, 6, 3)
        });
        assert_eq!(map.find(2), Some(0));
        assert_eq!(map.find(4), Some(1));
        writer.join().unwrap();
        assert_eq!(
            (map.find(2), map.find(4), map.find(6)),
            (Some(0), Some(1), Some(2))
        );
    });
}

/// Who hears of a key from the thread that inserted it finds it.
#[test]
fn what_was_inserted_is_found_by_whoever_hears_of_it() {
    explore(|| {
        let map = Map::new();
        map.insert(0, 2, 1);
        let map = Arc::new(map);
        let inserted = Arc::new(AtomicU32::new(0));
        let writer = thread::spawn({
            let (map, inserted) = (Arc::clone(&map), Arc::clone(&inserted));
            move || {
                map.insert(1, 4, 2);
                map.remove(0);
                inserted.store(4, Release);
            }
        });
        if inserted.load(Acquire) == 4 {
            assert_eq!(map.find(4), Some(1));
            assert_eq!(map.find(2), None);
        }
        writer.join().unwrap();
    });
}
