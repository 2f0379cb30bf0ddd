//! Real runtimes under the layer, as the process's subscriber.

use std::future::poll_fn;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Arc, Once};
use std::task::{Poll, Waker};
use std::time::{Duration, Instant};

use looptop_wire::columns::{Row, check};
use looptop_wire::intern::Interner;
use looptop_wire::proto::{TaskKind, TaskState, Tasks};
use tokio::runtime::{Builder, Runtime};
use tokio::task::{JoinHandle, LocalSet, yield_now};
use tracing::{Instrument, info_span};
use tracing_core::Dispatch;
use tracing_subscriber::Layer as _;
use tracing_subscriber::filter::filter_fn;
use tracing_subscriber::layer::{Context, SubscriberExt};

use super::own::TaskSubscriber;
use super::seen::current_task;
use super::{Nothing, layer};
use crate::clock::Ticks;
use crate::task::collect::Collector;
use crate::task::id_number;
use crate::task::local;

/// With this in the environment the tests run under the agent's own subscriber.
const OWN: &str = "LOOPTOP_TEST_OWN";

fn subscribe() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let subscriber = if std::env::var_os(OWN).is_some() {
            Dispatch::new(TaskSubscriber::new())
        } else {
            let applications = Nothing.with_filter(filter_fn(|metadata| {
                metadata.is_span() && metadata.target() == "app"
            }));
            Dispatch::new(
                tracing_subscriber::registry()
                    .with(layer())
                    .with(applications),
            )
        };
        tracing_core::dispatcher::set_global_default(subscriber).unwrap();
    });
}

/// The tests of this file once more, in a process of their own.
#[test]
fn the_agents_own_subscriber_sees_what_the_layer_sees() {
    if std::env::var_os(OWN).is_some() {
        return;
    }
    let mut tests = std::process::Command::new(std::env::current_exe().unwrap());
    // Nobody but the task has its span there, and nobody wants the application's.
    let skip = ["even_if_its_span_lives_on", "by_a_span"].map(|test| ["--skip", test]);
    tests
        .args([module_path!().split_once("::").unwrap().1])
        .args(skip.concat());
    let output = tests.env(OWN, "1").output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{text}");
    assert!(
        text.contains("polls_are_exact_and_the_drop_is_none"),
        "{text}"
    );
}

/// The innermost poll of this thread: its task, and when it began.
fn innermost() -> Option<(u64, Ticks)> {
    local::with(|local| local.innermost().map(|poll| (poll.task(), poll.started()))).flatten()
}

fn current_thread() -> Runtime {
    subscribe();
    Builder::new_current_thread().enable_all().build().unwrap()
}

fn multi_thread(workers: usize) -> Runtime {
    subscribe();
    let mut builder = Builder::new_multi_thread();
    builder.worker_threads(workers).enable_all();
    builder.build().unwrap()
}

/// A task as the wire shows it, with its strings.
#[derive(Debug)]
struct Seen {
    tasks: Tasks,
    index: usize,
    name: String,
    fields: String,
    line: u32,
}

impl Seen {
    fn row(&self) -> Row<'_> {
        Row::all(&self.tasks).nth(self.index).unwrap()
    }

    /// Polls, wakes, self-wakes.
    fn counts(&self) -> (u64, u64, u64) {
        let row = self.row();
        (
            row.polls().unwrap(),
            row.wakes().unwrap(),
            row.self_wakes().unwrap(),
        )
    }
}

fn seen_where(wanted: impl Fn(&Row<'_>) -> bool) -> Option<Seen> {
    let mut interner = Interner::default();
    let changes = Collector::default().snapshot().encode(&mut interner);
    let (strings, locations) = (interner.take_strings(), interner.take_locations());
    changes.tasks.into_iter().find_map(|tasks| {
        check(&tasks).unwrap();
        let index = Row::all(&tasks).position(|row| wanted(&row))?;
        let row = Row::all(&tasks).nth(index)?;
        let text = |id: Option<u32>| {
            let known = strings.iter().find(|s| Some(s.id) == id);
            known.map_or_else(String::new, |s| s.text.clone())
        };
        let (name, fields) = (text(row.name()), text(row.fields()));
        let line = locations.iter().find(|l| Some(l.id) == row.location());
        Some(Seen {
            name,
            fields,
            line: line.map_or(0, |l| l.line),
            index,
            tasks,
        })
    })
}

fn seen(id: tokio::task::Id) -> Option<Seen> {
    let id = id_number(id);
    seen_where(|row| row.id() == id)
}

/// Waits until the task is in the state.
fn in_state(id: tokio::task::Id, state: TaskState) -> Seen {
    let deadline = Instant::now() + Duration::from_secs(10);
    loop {
        match seen(id) {
            Some(seen) if seen.row().state() == state => return seen,
            last => assert!(Instant::now() < deadline, "{state:?} not reached: {last:?}"),
        }
        std::thread::yield_now();
    }
}

fn completed(id: tokio::task::Id) -> Seen {
    in_state(id, TaskState::Completed)
}

/// Runs a task to its end on a runtime of each flavor and shows it.
fn run_on_each<F>(script: impl Fn() -> F) -> [Seen; 2]
where
    F: Future<Output = ()> + Send + 'static,
{
    [current_thread(), multi_thread(2)].map(|runtime| {
        let task = runtime.spawn(script());
        let id = task.id();
        runtime.block_on(task).unwrap();
        completed(id)
    })
}

#[test]
fn an_id_is_the_number_that_tokio_prints() {
    let runtime = current_thread();
    let task = runtime.spawn(async { current_task() });
    let printed = task.id().to_string();
    let number = runtime.block_on(task).unwrap().unwrap();
    assert_eq!(number.to_string(), printed);
}

#[test]
fn polls_are_exact_and_the_drop_is_none() {
    let scripts = run_on_each(|| async {});
    for seen in &scripts {
        assert_eq!(seen.counts(), (1, 0, 0), "{seen:?}");
    }
    let scripts = run_on_each(|| async {
        for _ in 0..100 {
            yield_now().await;
        }
    });
    for seen in &scripts {
        let (polls, wakes, _) = seen.counts();
        assert_eq!((polls, wakes), (101, 100), "{seen:?}");
    }
}

/// Wakes by the task itself within its poll are certain; that `yield_now` is
/// one too is inferred from time, which a loaded machine can hide.
#[test]
fn a_wake_from_within_the_own_poll_is_a_self_wake() {
    let spin = || async {
        let mut left = 50;
        poll_fn(|context| {
            if left == 0 {
                return Poll::Ready(());
            }
            left -= 1;
            context.waker().wake_by_ref();
            Poll::Pending
        })
        .await;
    };
    for seen in &run_on_each(spin) {
        assert_eq!(seen.counts(), (51, 50, 50), "{seen:?}");
        assert_eq!(seen.row().waker_clones(), Some(0));
    }
}

#[test]
fn most_yields_are_recognised_as_self_wakes() {
    let runtime = current_thread();
    let task = runtime.spawn(async {
        for _ in 0..20_000 {
            yield_now().await;
        }
    });
    let id = task.id();
    runtime.block_on(task).unwrap();
    let (polls, wakes, self_wakes) = completed(id).counts();
    assert_eq!((polls, wakes), (20_001, 20_000));
    assert!(self_wakes > 10_000, "{self_wakes}");
}

#[test]
fn a_wake_by_another_task_is_no_self_wake() {
    let runtime = current_thread();
    let (waiting, waker) = runtime.block_on(async {
        let (to, from) = tokio::sync::oneshot::channel::<()>();
        let waiting = tokio::spawn(from);
        let waiting_id = waiting.id();
        yield_now().await;
        let waker = tokio::spawn(async move { drop(to) });
        let waker_id = waker.id();
        let _ = waiting.await;
        waker.await.unwrap();
        (waiting_id, waker_id)
    });
    assert_eq!(completed(waiting).counts(), (2, 1, 0));
    assert_eq!(completed(waker).counts(), (1, 0, 0));
}

#[test]
fn a_driver_that_comes_late_is_no_self_wake() {
    let runtime = current_thread();
    let task = runtime.spawn(async { tokio::time::sleep(Duration::from_millis(5)).await });
    let id = task.id();
    runtime.block_on(task).unwrap();
    let seen = completed(id);
    assert_eq!(seen.counts(), (2, 1, 0));
    assert!(seen.row().busy_ns().unwrap() < 5_000_000_000);
    let lived = seen.row().ended_at_ns().unwrap().unwrap() - seen.row().spawned_at_ns().unwrap();
    assert!(lived >= 5_000_000, "{lived}");
}

#[test]
fn wakers_balance() {
    let runtime = current_thread();
    let task = runtime.spawn(async {
        let mut held: Option<Waker> = None;
        poll_fn(|context| match held.take() {
            None => {
                held = Some(context.waker().clone());
                drop(context.waker().clone());
                let waker = context.waker().clone();
                waker.wake();
                Poll::Pending
            }
            Some(_) => Poll::Ready(()),
        })
        .await;
    });
    let id = task.id();
    runtime.block_on(task).unwrap();
    let seen = completed(id);
    let row = seen.row();
    assert_eq!((row.waker_clones(), row.waker_drops()), (Some(3), Some(3)));
    assert_eq!(seen.counts(), (2, 1, 1));
}

#[test]
fn kinds_names_locations_and_parents() {
    let runtime = current_thread();
    let line = line!() + 2;
    let parent = runtime.block_on(async move {
        let child = tokio::spawn(async {
            let own = tokio::task::id();
            let blocking = tokio::task::spawn_blocking(|| 7);
            let named = tokio::task::Builder::new().name("the grandchild");
            let named = named.spawn(async {}).unwrap();
            (own, blocking.id(), named.id(), blocking.await, named.await)
        });
        let (own, blocking, named, ..) = child.await.unwrap();
        let (blocking, named) = (completed(blocking), completed(named));
        let own = completed(own);
        assert_eq!((own.line, own.row().kind()), (line, TaskKind::Task));
        assert_eq!(blocking.row().kind(), TaskKind::Blocking);
        assert_eq!(blocking.counts(), (1, 0, 0));
        assert!(blocking.fields.starts_with("fn="), "{}", blocking.fields);
        assert_eq!(named.name, "the grandchild");
        for grandchild in [&blocking, &named] {
            assert_eq!(grandchild.row().parent(), Some(own.row().id()));
        }
        assert!(named.row().size_bytes().is_some());
        own.row().parent()
    });
    let root = seen_where(|row| Some(row.id()) == parent).unwrap();
    assert_eq!(root.row().kind(), TaskKind::BlockOn);
    assert_eq!(root.row().state(), TaskState::Completed);
    assert_eq!(root.row().wakes(), None, "tokio does not report them");
}

#[test]
fn tasks_of_a_local_set_are_seen_inside_the_poll_of_its_runner() {
    let runtime = current_thread();
    let ids = LocalSet::new().block_on(&runtime, async {
        let outer = tokio::task::spawn_local(async {
            yield_now().await;
            let inner = tokio::task::spawn_local(yield_now());
            let id = inner.id();
            inner.await.unwrap();
            id
        });
        (outer.id(), outer.await.unwrap())
    });
    let (outer, inner) = (completed(ids.0), completed(ids.1));
    for seen in [&outer, &inner] {
        assert_eq!(seen.row().kind(), TaskKind::Local);
    }
    assert_eq!(inner.row().parent(), Some(outer.row().id()));
    assert_eq!(outer.row().polls(), Some(3));
    assert_eq!(inner.row().polls(), Some(2));
}

#[test]
fn a_block_on_within_a_poll_is_shown_and_the_outer_poll_comes_back() {
    let runtime = multi_thread(1);
    let handle = runtime.handle().clone();
    let task = runtime.spawn(async move {
        let own = tokio::task::id();
        let outer = innermost();
        let (inner, spawned) = tokio::task::block_in_place(|| {
            handle.block_on(async {
                let inner = innermost();
                let spawned = tokio::spawn(yield_now());
                let id = spawned.id();
                spawned.await.unwrap();
                (inner, id)
            })
        });
        let again = innermost();
        (own, outer, inner, again, spawned)
    });
    let (own, outer, inner, again, spawned) = runtime.block_on(task).unwrap();
    let (outer, inner, again) = (outer.unwrap(), inner.unwrap(), again.unwrap());
    assert_eq!(outer.0, id_number(own));
    assert_ne!(inner.0, outer.0);
    assert_eq!(again, outer);
    assert_eq!(completed(own).counts().0, 1);
    assert_eq!(completed(spawned).row().parent(), Some(inner.0));
    assert_eq!(completed(spawned).counts().0, 2);
}

#[test]
fn a_task_that_panics_or_is_aborted_has_ended() {
    let runtime = current_thread();
    let pending = runtime.spawn(std::future::pending::<()>());
    let never_polled = runtime.spawn(async {});
    let ids = (pending.id(), never_polled.id());
    never_polled.abort();
    let panicking: JoinHandle<()> = runtime.spawn(async { panic!("as the test wants it") });
    let panicking_id = panicking.id();
    runtime.block_on(async {
        yield_now().await;
        assert_eq!(seen(ids.0).unwrap().row().state(), TaskState::Idle);
        pending.abort();
        assert!(pending.await.unwrap_err().is_cancelled());
        assert!(never_polled.await.unwrap_err().is_cancelled());
        assert!(panicking.await.unwrap_err().is_panic());
    });
    assert_eq!(completed(ids.0).counts(), (1, 0, 0));
    assert_eq!(completed(ids.1).counts(), (0, 0, 0));
    assert_eq!(completed(panicking_id).counts(), (1, 0, 0));
}

#[test]
fn a_runtime_that_is_dropped_ends_its_tasks() {
    let runtime = multi_thread(1);
    let ids: Vec<_> = (0..10)
        .map(|_| runtime.spawn(std::future::pending::<()>()).id())
        .collect();
    for id in &ids {
        in_state(*id, TaskState::Idle);
    }
    drop(runtime);
    for id in ids {
        assert_eq!(completed(id).counts(), (1, 0, 0));
    }
}

#[test]
fn states_follow_the_task() {
    let runtime = multi_thread(1);
    let (to, from) = tokio::sync::oneshot::channel::<()>();
    let (release, held) = std::sync::mpsc::channel::<()>();
    let waiting = runtime.spawn(async move {
        let _ = from.await;
        held.recv().unwrap();
    });
    let id = waiting.id();
    let idle = in_state(id, TaskState::Idle);
    assert_eq!(idle.row().poll_started_at_ns(), Some(None));
    drop(to);
    let running = in_state(id, TaskState::Running);
    assert!(running.row().poll_started_at_ns().unwrap().is_some());
    assert!(running.row().tid().is_some());
    // Behind the running task on the only worker.
    let queued = runtime.spawn(async {});
    assert_eq!(in_state(queued.id(), TaskState::Scheduled).counts().0, 0);
    release.send(()).unwrap();
    let done = completed(id);
    assert_eq!(done.counts(), (2, 1, 0));
    assert!(completed(queued.id()).row().scheduled_ns().unwrap() > 0);
}

/// The counts of tasks that wake each other across workers.
#[test]
fn counts_are_exact_under_contention() {
    const TASKS: u64 = 40;
    const TURNS: u64 = 200;
    let runtime = multi_thread(4);
    let tasks: Vec<_> = (0..TASKS)
        .map(|_| {
            runtime.spawn(async {
                let mut polls = 0_u64;
                let mut left = TURNS;
                poll_fn(|context| {
                    polls += 1;
                    if left == 0 {
                        return Poll::Ready(());
                    }
                    left -= 1;
                    context.waker().wake_by_ref();
                    Poll::Pending
                })
                .await;
                polls
            })
        })
        .collect();
    for task in tasks {
        let id = task.id();
        let polls = runtime.block_on(task).unwrap();
        assert_eq!(polls, TURNS + 1);
        assert_eq!(completed(id).counts(), (polls, TURNS, TURNS));
    }
}

#[test]
#[allow(clippy::async_yields_async, reason = "its handle outlives the task")]
fn a_task_ends_even_if_its_span_lives_on_and_is_entered_elsewhere() {
    use tracing::Instrument;

    let runtime = current_thread();
    let (to, from) = tokio::sync::oneshot::channel::<()>();
    let outer = runtime.spawn(async move {
        let waiting = async move {
            yield_now().await;
            let _ = from.await;
        };
        tokio::spawn(waiting.in_current_span())
    });
    let id = outer.id();
    let inner = runtime.block_on(outer).unwrap();
    let inner_id = inner.id();
    runtime.block_on(yield_now());
    assert_eq!(
        completed(id).counts(),
        (1, 0, 0),
        "while the inner task lives"
    );
    assert_eq!(in_state(inner_id, TaskState::Idle).counts().0, 2);
    drop(to);
    runtime.block_on(inner).unwrap();
    assert_eq!(completed(id).counts(), (1, 0, 0));
    assert_eq!(completed(inner_id).counts().0, 3);
}

/// A subscriber that is set on one thread only sees the spans of the tasks that
/// this thread spawns, and not what wakes them on other threads.
#[test]
fn polls_are_exact_where_wakes_are_not_seen() {
    let runtime = multi_thread(2);
    let subscriber = tracing_subscriber::registry().with(layer());
    let tasks: Vec<_> = tracing_core::dispatcher::with_default(&Dispatch::new(subscriber), || {
        let script = |turns| async move {
            for _ in 0..turns {
                yield_now().await;
            }
        };
        (0..8).map(|turns| runtime.spawn(script(turns))).collect()
    });
    for (turns, task) in (0..8).zip(tasks) {
        let id = task.id();
        runtime.block_on(task).unwrap();
        let polls = completed(id).row().polls();
        assert_eq!(polls, Some(turns + 1), "{turns} yields");
    }
}

#[test]
fn a_layer_without_wakers_leaves_wakes_unknown() {
    let subscriber = tracing_subscriber::registry().with(layer().without_wakers());
    tracing_core::dispatcher::with_default(&Dispatch::new(subscriber), || {
        let runtime = current_thread();
        let task = runtime.spawn(async {
            yield_now().await;
        });
        let id = task.id();
        runtime.block_on(task).unwrap();
        let seen = completed(id);
        assert_eq!(seen.row().polls(), Some(2));
        assert_eq!(seen.row().wakes(), None);
        assert_eq!(seen.row().scheduled_ns(), None);
        assert_eq!(seen.row().kind(), TaskKind::Task);
    });
}

/// The layer does not enable what the application logs, nor keep it from a
/// layer that wants it.
#[test]
fn other_callsites_are_left_alone() {
    struct Count(Arc<AtomicU64>);

    impl<S: tracing_core::Subscriber> tracing_subscriber::Layer<S> for Count {
        fn on_event(&self, _: &tracing_core::Event<'_>, _: Context<'_, S>) {
            self.0.fetch_add(1, Relaxed);
        }
    }

    let alone = tracing_subscriber::registry().with(layer());
    tracing_core::dispatcher::with_default(&Dispatch::new(alone), || {
        assert!(!tracing::event_enabled!(target: "app", tracing::Level::ERROR));
        let waker = tracing::event_enabled!(target: "tokio::task::waker", tracing::Level::TRACE);
        assert!(waker);
    });
    let events = Arc::new(AtomicU64::new(0));
    let count = Count(Arc::clone(&events));
    let both = tracing_subscriber::registry().with(layer()).with(count);
    tracing_core::dispatcher::with_default(&Dispatch::new(both), || {
        tracing::event!(target: "app", tracing::Level::ERROR, "seen by the other layer");
    });
    assert_eq!(events.load(Relaxed), 1);
}

#[test]
fn a_task_that_waits_for_a_lock_says_since_when() {
    let runtime = current_thread();
    let waits = |id| seen(id).and_then(|seen| seen.row().lock_wait_since_ns().flatten());
    runtime.block_on(async {
        let semaphore = Arc::new(tokio::sync::Semaphore::new(1));
        let held = semaphore.acquire().await.unwrap();
        let contender = Arc::clone(&semaphore);
        let asking = tokio::spawn(async move {
            let permit = contender.acquire().await.unwrap();
            std::future::pending::<()>().await;
            drop(permit);
        });
        let (full, mut empty) = tokio::sync::mpsc::channel(1);
        let sending = tokio::spawn(async move {
            full.send(1).await.unwrap();
            full.send(2).await.unwrap();
        });
        yield_now().await;
        assert!(waits(asking.id()).is_some(), "it waits for the permit");
        assert_eq!(waits(sending.id()), None, "a full channel is no lock");
        drop(held);
        yield_now().await;
        yield_now().await;
        assert_eq!(waits(asking.id()), None, "it has the permit");
        asking.abort();
        assert_eq!((empty.recv().await, empty.recv().await), (Some(1), Some(2)));
        sending.await.unwrap();
    });
}

/// Runs a task to its end and shows its name.
fn name_of<F>(task: F) -> String
where
    F: Future<Output = ()> + Send + 'static,
{
    let runtime = current_thread();
    let task = runtime.spawn(task);
    let id = task.id();
    runtime.block_on(task).unwrap();
    completed(id).name
}

#[test]
fn a_task_is_named_by_a_span_that_wraps_it() {
    subscribe();
    let address = std::net::SocketAddr::from(([127, 0, 0, 1], 5));
    let wrapped = yield_now().instrument(info_span!(target: "app", "connection", addr = %address));
    assert_eq!(name_of(wrapped), "connection addr=127.0.0.1:5");
    // Made within the task, as by `#[instrument]` on its function.
    let inside = async {
        let span = info_span!(target: "app", "job", id = 7, kind = "hash");
        yield_now().instrument(span).await;
    };
    assert_eq!(name_of(inside), "job id=7 kind=hash");
    // Its last poll was woken from within: the drop of the future looks like a poll.
    let woken = async {
        let mut first = true;
        let twice = poll_fn(move |context| {
            context.waker().wake_by_ref();
            if std::mem::take(&mut first) {
                Poll::Pending
            } else {
                Poll::Ready(())
            }
        });
        twice
            .instrument(info_span!(target: "app", "woken", id = 1))
            .await;
    };
    assert_eq!(name_of(woken), "woken id=1");
    let nested = yield_now()
        .instrument(info_span!(target: "app", "inner"))
        .instrument(info_span!(target: "app", "outer"));
    assert_eq!(name_of(nested), "outer");
    let hostile = yield_now().instrument(info_span!(target: "app", "x", uri = "a\u{1b}[2J\n"));
    assert_eq!(name_of(hostile), "x uri=a\\u{1b}[2J\\n");
    let long = yield_now().instrument(info_span!(target: "app", "x", uri = "é".repeat(500)));
    assert!(name_of(long).len() <= 128);
}

#[test]
fn what_is_not_named_by_a_span() {
    let unwanted = yield_now().instrument(info_span!(target: "other", "connection"));
    assert_eq!(name_of(unwanted), "");
    // What it does later is not what it is.
    let later = async {
        yield_now().await;
        yield_now()
            .instrument(info_span!(target: "app", "request"))
            .await;
    };
    assert_eq!(name_of(later), "");
    let runtime = current_thread();
    let span = info_span!(target: "app", "connection");
    let spawned = tokio::task::Builder::new()
        .name("explicit")
        .spawn_on(yield_now().instrument(span), runtime.handle());
    let spawned = spawned.unwrap();
    let id = spawned.id();
    runtime.block_on(spawned).unwrap();
    assert_eq!(completed(id).name, "explicit");
}

/// A connection that lives on does not keep the name of its first request.
#[test]
fn a_name_by_a_span_lasts_as_long_as_the_span() {
    let runtime = current_thread();
    let (served, mut request) = tokio::sync::mpsc::channel::<()>(1);
    let connection = runtime.spawn(async move {
        let first = info_span!(target: "app", "request", uri = "/first");
        yield_now().instrument(first).await;
        while request.recv().await.is_some() {
            let next = info_span!(target: "app", "request", uri = "/next");
            yield_now().instrument(next).await;
        }
    });
    let id = connection.id();
    runtime.block_on(async {
        assert_eq!(seen(id).unwrap().name, "");
        // Its first poll.
        yield_now().await;
        assert_eq!(seen(id).unwrap().name, "request uri=/first");
        while seen(id).unwrap().row().state() != TaskState::Idle {
            yield_now().await;
        }
        assert_eq!(seen(id).unwrap().name, "");
        served.send(()).await.unwrap();
        drop(served);
        connection.await.unwrap();
    });
    assert_eq!(completed(id).name, "");
}

/// One span for all tasks of a kind.
#[test]
fn many_tasks_are_named_by_a_span_that_they_share() {
    let runtime = current_thread();
    let span = info_span!(target: "app", "worker", pool = "io");
    let one = |_| runtime.spawn(yield_now().instrument(span.clone()));
    let tasks: Vec<JoinHandle<()>> = (0..3).map(one).collect();
    for task in tasks {
        let id = task.id();
        runtime.block_on(task).unwrap();
        assert_eq!(completed(id).name, "worker pool=io");
    }
}
