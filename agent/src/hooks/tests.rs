//! Real runtimes under the hooks.

use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, Instant};

use looptop_wire::columns::{Record, Row, check};
use looptop_wire::intern::Interner;
use looptop_wire::proto::{TaskKind, TaskState};
use tokio::runtime::{Builder, Runtime};
use tokio::task::yield_now;

use super::{Hooks, instrument};
use crate::task::collect::Collector;
use crate::task::{id_number, local};

/// Other tests of this process may have a tracing subscriber; here none is seen.
fn unsubscribed<T>(f: impl FnOnce() -> T) -> T {
    let none = tracing_core::Dispatch::new(tracing_core::subscriber::NoSubscriber::default());
    tracing_core::dispatcher::with_default(&none, f)
}

fn current_thread() -> Runtime {
    instrument(Builder::new_current_thread().enable_all())
        .build()
        .unwrap()
}

fn seen(id: tokio::task::Id) -> Option<Record> {
    let id = id_number(id);
    let gathered = Collector::default().snapshot();
    let changes = gathered.encode(&mut Interner::default());
    changes.tasks.iter().find_map(|tasks| {
        check(tasks).unwrap();
        let row = Row::all(tasks).find(|row| row.id() == id)?;
        Some(row.record())
    })
}

fn completed(id: tokio::task::Id) -> Record {
    let deadline = Instant::now() + Duration::from_secs(10);
    loop {
        match seen(id) {
            Some(task) if task.state == TaskState::Completed => return task,
            last => assert!(Instant::now() < deadline, "not completed: {last:?}"),
        }
        std::thread::yield_now();
    }
}

#[test]
fn polls_are_exact_and_unknown_columns_are_empty() {
    unsubscribed(|| {
        let runtime = current_thread();
        let task = runtime.spawn(async {
            for _ in 0..100 {
                yield_now().await;
            }
        });
        let id = task.id();
        runtime.block_on(task).unwrap();
        let task = completed(id);
        assert_eq!((task.polls, task.kind), (Some(101), TaskKind::Task));
        assert_eq!(
            (task.wakes, task.name, task.scheduled_ns),
            (None, None, None)
        );
        assert!(task.ended_at_ns.unwrap().is_some());
    });
}

#[test]
fn parents_panics_and_aborts() {
    unsubscribed(|| {
        let runtime = current_thread();
        let task = runtime.spawn(async {
            let child = tokio::spawn(async { panic!("as the test wants it") });
            let pending = tokio::spawn(std::future::pending::<()>());
            let never_polled = tokio::spawn(async {});
            let ids = [child.id(), pending.id(), never_polled.id()];
            never_polled.abort();
            yield_now().await;
            pending.abort();
            assert!(child.await.is_err() && pending.await.is_err());
            assert!(never_polled.await.is_err());
            ids
        });
        let parent = task.id();
        let ids = runtime.block_on(task).unwrap();
        let children = ids.map(completed);
        assert_eq!(children.map(|task| task.polls), [1, 2, 1].map(Some));
        for task in children {
            assert_eq!(task.parent, Some(id_number(parent)));
        }
    });
}

#[test]
fn the_slot_shows_the_task_while_it_is_polled() {
    unsubscribed(|| {
        let runtime = current_thread();
        let task = runtime.spawn(async {
            let own = id_number(tokio::task::id());
            let mut shown = Vec::new();
            crate::slot::for_each(|view| shown.push(view));
            let tid = crate::slot::current_tid();
            let view = shown.into_iter().find(|view| view.tid == tid).unwrap();
            (own, view)
        });
        let (own, view) = runtime.block_on(task).unwrap();
        assert_eq!(view.task, own);
        assert!(view.polling());
        let site = view.site.unwrap().get().unwrap();
        assert!(site.file.ends_with("tests.rs"));
        assert!(local::with(|local| local.innermost().is_none()).unwrap());
    });
}

#[test]
fn the_applications_own_hooks_are_called_too() {
    unsubscribed(|| {
        let calls: [Arc<AtomicU64>; 5] = Default::default();
        let count = |n: usize| {
            let calls = Arc::clone(&calls[n]);
            move || {
                calls.fetch_add(1, Relaxed);
            }
        };
        let with_task = |n| {
            let count = count(n);
            move |_: &tokio::runtime::TaskMeta<'_>| count()
        };
        let mut builder = Builder::new_multi_thread();
        let runtime = Hooks::new()
            .on_thread_start(count(0))
            .on_task_spawn(with_task(1))
            .on_before_task_poll(with_task(2))
            .on_after_task_poll(with_task(3))
            .on_task_terminate(with_task(4))
            .instrument(builder.worker_threads(1))
            .build()
            .unwrap();
        let task = runtime.spawn(yield_now());
        let id = task.id();
        runtime.block_on(task).unwrap();
        assert_eq!(completed(id).polls, Some(2));
        drop(runtime);
        let [start, spawn, before, after, terminate] = calls.map(|calls| calls.load(Relaxed));
        assert_eq!([start, spawn, before, after], [1, 1, 2, 2]);
        // Once more for the worker, which is a blocking task to tokio.
        assert_eq!(terminate, 2);
    });
}

#[cfg(feature = "schedule-latency")]
#[test]
fn waits_are_shown_where_tokio_measures_them() {
    unsubscribed(|| {
        let mut builder = Builder::new_current_thread();
        let runtime = Hooks::new()
            .track_schedule_latency()
            .instrument(&mut builder)
            .build()
            .unwrap();
        let waiting = runtime.block_on(async {
            let first = tokio::spawn(async { std::thread::sleep(Duration::from_millis(20)) });
            let second = tokio::spawn(async {});
            let id = second.id();
            first.await.unwrap();
            second.await.unwrap();
            id
        });
        let waited = completed(waiting).scheduled_ns;
        assert!(waited.is_some_and(|ns| ns >= 20_000_000), "{waited:?}");
    });
}

/// The layer sees the tasks as well: each is counted once, with its wakes.
#[cfg(feature = "tracing")]
#[test]
fn a_traced_task_is_left_to_the_layer() {
    use tracing_subscriber::layer::SubscriberExt;

    let subscriber = tracing_subscriber::registry().with(crate::layer());
    let dispatch = tracing_core::Dispatch::new(subscriber);
    tracing_core::dispatcher::with_default(&dispatch, || {
        let runtime = current_thread();
        let task = runtime.spawn(async {
            yield_now().await;
            yield_now().await;
        });
        let id = task.id();
        runtime.block_on(task).unwrap();
        let task = completed(id);
        assert_eq!(task.polls, Some(3));
        assert!(task.wakes.is_some());
    });
}
