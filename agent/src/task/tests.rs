//! The table against a naive model, and under threads.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::atomic::Ordering::{Acquire, Relaxed, Release};
use std::sync::atomic::{AtomicBool, AtomicU64};

use looptop_wire::columns::{Row, check};
use looptop_wire::intern::Interner;
use looptop_wire::proto::{TaskKind, TaskState};
use proptest::prelude::*;

use super::collect::{Collector, Gathered};
use super::local;
use super::shard::{SHARDS, Source};
use super::{Birth, Limits, Table};
use crate::clock::{self, Ticks};

fn table(limits: Limits) -> &'static Table {
    let table: &'static Table = Box::leak(Box::new(Table::new()));
    table.configure(limits);
    table
}

fn spawn(table: &Table, id: u64) -> bool {
    let birth = Birth {
        id,
        kind: TaskKind::Task,
        parent: id / 2,
        spawned: 1,
        traced: id.is_multiple_of(3),
        ..Birth::default()
    };
    table.spawn(&birth, None, None).is_some()
}

fn poll(table: &Table, id: u64) {
    let Some(handle) = table.find(id) else { return };
    let hot = handle.hot();
    hot.poll_begins(7, Ticks(10));
    table.changed(hot);
    hot.poll_ends(5, Ticks(15));
    table.changed(hot);
}

fn retire(table: &Table, id: u64) {
    local::with(|local| table.retire(local, id, Ticks(99), Source::Layer));
}

/// What a viewer knows: polls and whether the task has ended, by id.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
struct Viewer {
    tasks: BTreeMap<u64, (u64, bool)>,
}

impl Viewer {
    fn apply(&mut self, gathered: &Gathered) -> usize {
        let changes = gathered.encode(&mut Interner::default());
        let mut rows = 0;
        for tasks in &changes.tasks {
            check(tasks).unwrap();
            for row in Row::all(tasks) {
                let ended = row.state() == TaskState::Completed;
                assert_eq!(row.ended_at_ns().unwrap().is_some(), ended);
                assert_eq!(row.parent().unwrap_or(0), row.id() / 2);
                self.tasks.insert(row.id(), (row.polls().unwrap(), ended));
                rows += 1;
            }
        }
        for id in &changes.forgotten {
            self.tasks.remove(id);
        }
        rows
    }
}

/// What the table is meant to hold, said plainly.
#[derive(Debug, Default)]
struct Model {
    tasks: BTreeMap<u64, (u64, bool)>,
    history: BTreeMap<u64, VecDeque<u64>>,
    lost: u64,
    evicted: u64,
}

impl Model {
    fn live_in(&self, shard: u64) -> usize {
        let of_shard = |id: &u64| id % SHARDS as u64 == shard;
        let live = self.tasks.iter().filter(|(_, (_, ended))| !ended);
        live.filter(|(id, _)| of_shard(id)).count()
    }

    fn spawn(&mut self, id: u64, limits: Limits) {
        if self.live_in(id % SHARDS as u64) >= limits.live / SHARDS {
            self.lost += 1;
        } else {
            self.tasks.insert(id, (0, false));
        }
    }

    fn retire(&mut self, id: u64, limits: Limits) {
        let Some((_, ended)) = self.tasks.get_mut(&id) else {
            return;
        };
        if std::mem::replace(ended, true) {
            return;
        }
        let history = self.history.entry(id % SHARDS as u64).or_default();
        history.push_back(id);
        if history.len() > limits.history / SHARDS
            && let Some(oldest) = history.pop_front()
        {
            self.tasks.remove(&oldest);
            self.evicted += 1;
        }
    }
}

#[test]
fn a_task_between_two_polls_says_since_when() {
    let table = table(Limits::default());
    let mut collector = Collector::of(table);
    collector.set_watched(true);
    // By the hooks, and by the layer.
    for (id, resting) in [(1, TaskState::Unknown), (3, TaskState::Idle)] {
        let mut reported = || {
            let changes = collector.gather().encode(&mut Interner::default());
            let rows = changes.tasks.iter().flat_map(Row::all);
            let row = rows.last().expect("a change");
            let instants = [row.poll_started_at_ns(), row.idle_since_ns()];
            (row.state(), instants.map(Option::flatten))
        };
        spawn(table, id);
        assert_eq!(reported(), (TaskState::Scheduled, [None, None]));
        let hot = table.find(id).unwrap().hot();
        let now = clock::ticks();
        let ns = clock::to_ns(now);
        hot.poll_begins(7, now);
        table.changed(hot);
        assert_eq!(reported(), (TaskState::Running, [Some(ns), None]));
        hot.poll_ends(5, now);
        table.changed(hot);
        assert_eq!(reported(), (resting, [None, Some(ns)]));
        retire(table, id);
        assert_eq!(reported(), (TaskState::Completed, [None, None]));
    }
}

#[derive(Debug, Clone)]
enum Step {
    Spawn(u64),
    Poll(u64),
    Retire(u64),
    Gather,
}

/// Ids of three shards, so that bounds are met soon.
fn steps() -> impl Strategy<Value = Vec<Step>> {
    let id = (1_u64..40, 0..3_u64).prop_map(|(n, shard)| n * SHARDS as u64 + shard);
    let step = prop_oneof![
        4 => id.clone().prop_map(Step::Spawn),
        4 => id.clone().prop_map(Step::Poll),
        3 => id.prop_map(Step::Retire),
        1 => Just(Step::Gather),
    ];
    proptest::collection::vec(step, 1..200)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// A viewer that applies every change knows exactly what the table holds.
    #[test]
    fn a_viewer_knows_what_the_model_holds(steps in steps()) {
        let limits = Limits { live: 5 * SHARDS, history: 3 * SHARDS, history_bytes: 1 << 20 };
        let table = table(limits);
        let (mut model, mut viewer) = (Model::default(), Viewer::default());
        let mut seen = BTreeSet::new();
        let mut collector = Collector::of(table);
        collector.set_watched(true);
        viewer.apply(&collector.snapshot());
        for step in steps.into_iter().chain([Step::Gather]) {
            match step {
                // Ids are unique: none comes twice.
                Step::Spawn(id) if !seen.insert(id) => {}
                Step::Spawn(id) => {
                    spawn(table, id);
                    model.spawn(id, limits);
                }
                Step::Poll(id) => {
                    poll(table, id);
                    model.tasks.entry(id).and_modify(|(polls, _)| *polls += 1);
                }
                Step::Retire(id) => {
                    retire(table, id);
                    model.retire(id, limits);
                }
                Step::Gather => {
                    viewer.apply(&collector.gather());
                    prop_assert_eq!(&viewer.tasks, &model.tasks);
                }
            }
        }
        let mut late = Viewer::default();
        late.apply(&collector.snapshot());
        prop_assert_eq!(&late.tasks, &model.tasks);
        prop_assert_eq!(table.losses().tasks, model.lost);
        prop_assert_eq!(table.losses().history, model.evicted);
        prop_assert!(table.size().records <= 6 * super::record::CHUNK);
    }
}

#[test]
fn gathering_shows_what_changed_and_only_that() {
    let table = table(Limits::default());
    let mut collector = Collector::of(table);
    let mut viewer = Viewer::default();
    (1..=100).for_each(|id| assert!(spawn(table, id)));
    assert_eq!(viewer.apply(&collector.gather()), 0, "nobody watches");
    collector.set_watched(true);
    assert_eq!(viewer.apply(&collector.snapshot()), 100);
    assert_eq!(viewer.apply(&collector.gather()), 0);
    poll(table, 5);
    poll(table, 5);
    poll(table, 80);
    assert_eq!(viewer.apply(&collector.gather()), 2, "each once");
    assert_eq!(viewer.tasks[&5], (2, false));
    assert_eq!(viewer.apply(&collector.gather()), 0);
    collector.set_watched(false);
    poll(table, 5);
    assert_eq!(viewer.apply(&collector.gather()), 0);
    collector.set_watched(true);
    viewer.apply(&collector.snapshot());
    assert_eq!(viewer.tasks[&5], (3, false), "right again by the snapshot");
}

/// Threads spawn, poll and end tasks while a collector gathers: in the end every
/// count that the viewer has is exact.
#[test]
fn nothing_is_lost_or_mixed_up_under_threads() {
    const THREADS: u64 = 4;
    const TASKS: u64 = 3_000;
    let table = table(Limits {
        history: usize::MAX / 2,
        history_bytes: usize::MAX / 2,
        ..Limits::default()
    });
    let polls_of = |id: u64| 1 + id % 7;
    let mut collector = Collector::of(table);
    let mut viewer = Viewer::default();
    collector.set_watched(true);
    let running = AtomicU64::new(THREADS);
    std::thread::scope(|scope| {
        for thread in 0..THREADS {
            let running = &running;
            scope.spawn(move || {
                for n in 0..TASKS {
                    let id = n * THREADS + thread + 1;
                    assert!(spawn(table, id));
                    (0..polls_of(id)).for_each(|_| poll(table, id));
                    if !id.is_multiple_of(5) {
                        retire(table, id);
                    }
                }
                running.fetch_sub(1, Release);
            });
        }
        while running.load(Acquire) > 0 {
            viewer.apply(&collector.gather());
        }
    });
    // Once for the last changes, once for what the first was too early for.
    viewer.apply(&collector.gather());
    viewer.apply(&collector.gather());
    assert_eq!(viewer.tasks.len() as u64, THREADS * TASKS);
    for (id, (polls, ended)) in viewer.tasks {
        assert_eq!((polls, ended), (polls_of(id), id % 5 != 0), "task {id}");
    }
}

/// The same with a small history: records are used again all the time, and no
/// row may show one task's numbers under another's id.
#[test]
fn recycled_records_never_show_another_tasks_numbers() {
    const THREADS: u64 = 3;
    let table = table(Limits {
        history: SHARDS,
        ..Limits::default()
    });
    let done = AtomicBool::new(false);
    let mut collector = Collector::of(table);
    collector.set_watched(true);
    std::thread::scope(|scope| {
        for thread in 0..THREADS {
            let done = &done;
            scope.spawn(move || {
                let ids = (0..).map(|n| n * THREADS + thread + 1);
                for id in ids.take_while(|_| !done.load(Acquire)) {
                    assert!(spawn(table, id));
                    (0..id % 5).for_each(|_| poll(table, id));
                    retire(table, id);
                }
            });
        }
        let mut viewer = Viewer::default();
        let mut rows = 0;
        while rows < 4_000 {
            rows += viewer.apply(&collector.gather());
            let wrong = viewer.tasks.iter().find(|(id, (polls, ended))| {
                let all = *id % 5;
                *polls > all || (*ended && *polls != all)
            });
            assert_eq!(wrong, None);
        }
        done.store(true, Release);
    });
    let size = table.size();
    assert_eq!(size.live, 0);
    assert!(size.finished <= SHARDS);
    assert!(size.records <= 4 * SHARDS * super::record::CHUNK);
}

#[test]
fn a_million_tasks_leave_the_table_at_its_bound() {
    let limits = Limits::default();
    let table = table(limits);
    let count = if cfg!(debug_assertions) {
        200_000
    } else {
        1_000_000
    };
    for id in 1..=count {
        assert!(spawn(table, id));
        poll(table, id);
        retire(table, id);
    }
    let size = table.size();
    assert_eq!(size.live, 0);
    let slack = SHARDS * 2 * super::record::CHUNK;
    assert!(size.finished <= limits.history + SHARDS);
    assert!(size.records <= limits.history + slack, "{size:?}");
    assert_eq!(table.losses().history, count - size.finished as u64);
    assert!(table.find(1).is_none() && table.find(count).is_some());
}

#[test]
fn names_count_towards_the_bytes_of_the_history() {
    let table = table(Limits {
        history_bytes: 64 << 10,
        ..Limits::default()
    });
    for id in 1..=2_000 {
        let birth = Birth {
            id,
            traced: true,
            ..Birth::default()
        };
        let text = super::Text {
            name: "n".repeat(200),
            ..super::Text::default()
        };
        table.spawn(&birth, Some(text.into()), None).unwrap();
        retire(table, id);
    }
    let finished = table.size().finished;
    assert!(finished > 0 && finished * 400 <= 64 << 10, "{finished}");
    let newest = table.describe(2_000).unwrap();
    assert_eq!(newest.name.len(), 200);
    assert_eq!(table.describe(1), None);
    assert_eq!(table.live.load(Relaxed), Limits::default().live);
}
