use loom::sync::Arc;
use loom::sync::atomic::Ordering::Relaxed;
use loom::sync::atomic::{AtomicBool, AtomicU32};
use loom::thread;

use crate::dirty::{DirtyList, Link, NONE, taken};

/// A record: what may change, and its place on the list.
struct Record {
    value: AtomicU32,
    mark: AtomicBool,
    next: AtomicU32,
}

struct Table {
    list: DirtyList,
    records: [Record; 2],
}

impl Table {
    fn new() -> Arc<Self> {
        let record = || Record {
            value: AtomicU32::new(0),
            mark: AtomicBool::new(false),
            next: AtomicU32::new(NONE),
        };
        Arc::new(Self {
            list: DirtyList {
                head: AtomicU32::new(NONE),
            },
            records: [record(), record()],
        })
    }

    fn link(&self, index: u32) -> Link<'_> {
        let record = &self.records[index as usize];
        Link {
            index,
            mark: &record.mark,
            next: &record.next,
        }
    }

    /// As the agent's hot path: a look at the mark first.
    fn change(&self, index: u32, value: u32) {
        let record = &self.records[index as usize];
        record.value.store(value, Relaxed);
        if !record.mark.load(Relaxed) {
            self.list.put(self.link(index));
        }
    }

    /// Indices and values, as a collector reads them.
    fn take(&self) -> Vec<(u32, u32)> {
        let mut found = Vec::new();
        let mut next = self.list.take();
        while let Some(index) = next {
            next = taken(self.link(index));
            found.push((index, self.value(index)));
            assert!(found.len() <= 2, "a record twice, or a circle: {found:?}");
        }
        found
    }

    fn value(&self, index: u32) -> u32 {
        self.records[index as usize].value.load(Relaxed)
    }
}

fn explore(model: impl Fn() + Sync + Send + 'static) {
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = Some(3);
    builder.check(model);
}

#[test]
fn what_two_threads_change_is_taken_once() {
    explore(|| {
        let table = Table::new();
        let threads = [0, 1].map(|index| {
            let table = Arc::clone(&table);
            thread::spawn(move || table.change(index, 7))
        });
        let mut taken = table.take();
        for thread in threads {
            thread.join().unwrap();
        }
        taken.extend(table.take());
        taken.sort_unstable();
        assert_eq!(taken, [(0, 7), (1, 7)]);
        table.change(0, 8);
        assert_eq!(table.take(), [(0, 8)], "what was taken may come again");
    });
}

/// A change that finds the mark still set is not listed again, and the collector
/// may have read before it: that is why the collector reads what it took once
/// more, the next time.
#[test]
fn a_change_beside_the_collector_is_read_now_or_the_next_time() {
    explore(|| {
        let table = Table::new();
        table.change(0, 1);
        let collector = thread::spawn({
            let table = Arc::clone(&table);
            move || table.take()
        });
        table.change(0, 2);
        let first = collector.join().unwrap();
        let again = first.iter().map(|(index, _)| (*index, table.value(*index)));
        let second: Vec<_> = table.take().into_iter().chain(again).collect();
        assert!(second.contains(&(0, 2)), "{first:?}, then {second:?}");
    });
}

/// One record changes while it is taken, another beside it.
#[test]
fn a_record_is_never_on_the_list_twice() {
    explore(|| {
        let table = Table::new();
        let collector = thread::spawn({
            let table = Arc::clone(&table);
            move || table.take()
        });
        let other = thread::spawn({
            let table = Arc::clone(&table);
            move || table.change(1, 7)
        });
        table.change(0, 1);
        table.change(0, 2);
        other.join().unwrap();
        let mut taken = collector.join().unwrap();
        let rest = table.take();
        assert!(rest.len() <= 2, "{rest:?}");
        taken.extend(rest);
        assert!(taken.contains(&(1, 7)), "{taken:?}");
        assert!(taken.iter().any(|(index, _)| *index == 0), "{taken:?}");
    });
}
