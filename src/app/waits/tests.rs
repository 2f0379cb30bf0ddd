//! What is worked out of those who wait, how often, and what leads to whom.

use std::{sync::Arc, time::Duration};

use looptop_wire::{columns, proto};

use crate::{
    app::{
        Details, Effect, Event, Key, State, ViewId, WaitLayout,
        fixtures::{empty_state, key, type_text, waits_state},
    },
    diagnose::waits::Party,
    model::{Moment, SourceKind, TaskId, TaskState, Tid, fixtures},
};

use super::{
    WaitGrouping, WaitKey,
    chain::{self, What},
    words,
};

fn counts(state: &State, by: WaitGrouping) -> Vec<(usize, String)> {
    let context = state.context();
    let groups = state.waits.groups(by);
    let of = |group: &super::WaitGroup| (group.members.len(), words::group_wants(&context, group));
    groups.iter().map(of).collect()
}

#[test]
fn rings_come_first_then_the_largest() {
    let mut state = waits_state();
    type_text(&mut state, "8");
    let groups = counts(&state, WaitGrouping::Wanted);
    let (first, second) = (&groups[0], &groups[1]);
    assert_eq!(
        (first.0, first.1.as_str()),
        (2, "Mutex audit, Mutex accounts")
    );
    assert_eq!(second.0, 10);
    assert!(
        second.1.starts_with("permit of Semaphore pool"),
        "{second:?}"
    );
    let total: usize = groups.iter().map(|(count, _)| count).sum();
    assert_eq!(total, 21, "19 tasks and 2 threads: {groups:?}");
    // By their chain each is once, too.
    type_text(&mut state, "t");
    let chains = counts(&state, WaitGrouping::Chain);
    let sizes: Vec<usize> = chains.iter().map(|(count, _)| *count).take(3).collect();
    assert_eq!(sizes, [1, 1, 10], "the two of the ring first");
    assert_eq!(chains.iter().map(|(count, _)| count).sum::<usize>(), 21);
}

#[test]
fn sockets_of_one_place_are_one_group_and_say_what_they_have_in_common() {
    let mut state = waits_state();
    type_text(&mut state, "8");
    let groups = counts(&state, WaitGrouping::Wanted);
    assert!(
        groups.contains(&(3, "socket to read".to_owned())),
        "{groups:?}"
    );
    let context = state.context();
    let groups = state.waits.groups(WaitGrouping::Wanted);
    let select = groups.iter().find(|g| g.oldest == Party::Task(TaskId(16)));
    let select = words::group_wants(&context, select.unwrap());
    assert!(select.contains("broadcast channel shutdown"), "{select}");
    assert!(select.contains(" or socket 127.0.0.1:6379 <- "), "{select}");
}

#[test]
fn enter_walks_to_the_holder_and_esc_comes_back() {
    let mut state = waits_state();
    type_text(&mut state, "2/id:3\n\n");
    assert_eq!(state.details, Some(Details::Task(TaskId(3))));
    let effects = key(&mut state, Key::Enter);
    assert_eq!(state.details, Some(Details::Task(TaskId(13))));
    assert_eq!(effects, [Effect::WatchTask(Some(TaskId(13)))]);
    key(&mut state, Key::Esc);
    assert_eq!(state.details, Some(Details::Task(TaskId(3))));
    // Another of the three.
    type_text(&mut state, "jj\n");
    assert_eq!(state.details, Some(Details::Task(TaskId(15))));
    type_text(&mut state, "\u{1b}\u{1b}");
    assert_eq!((state.details, state.view), (None, ViewId::Tasks));
    // Round a ring, and all the way back.
    type_text(&mut state, "\u{1b}/name:transfer\n\n\n\n");
    assert_eq!(state.details, Some(Details::Task(TaskId(1))));
    type_text(&mut state, "\u{1b}\u{1b}");
    assert_eq!(state.details, Some(Details::Task(TaskId(1))));
    key(&mut state, Key::Esc);
    assert_eq!(state.details, None);
}

#[test]
fn a_group_opens_its_tasks_and_one_opens_its_details() {
    let mut state = waits_state();
    type_text(&mut state, "8j\n");
    assert_eq!(state.rows.len(), 10);
    key(&mut state, Key::Enter);
    assert_eq!(
        state.details,
        Some(Details::Task(TaskId(3))),
        "the oldest first"
    );
    key(&mut state, Key::Esc);
    assert_eq!((state.details, state.rows.len()), (None, 10));
    key(&mut state, Key::Esc);
    assert!(state.rows.len() > 5 && state.opened_wait.is_none());
    // Threads have details of their own, which lead to the one that holds the lock.
    type_text(&mut state, "/std\n\n\n");
    assert_eq!(state.details, Some(Details::Thread(Tid(104))));
    key(&mut state, Key::Enter);
    assert_eq!(state.details, Some(Details::Thread(Tid(106))));
    type_text(&mut state, "\u{1b}\u{1b}\u{1b}\u{1b}");
    assert_eq!(state.opened_wait, None);
    // What a group is looked at by does not outlive the process.
    type_text(&mut state, "tjj\n");
    assert!(matches!(state.opened_wait, Some(WaitKey::Chain(_))));
    assert_eq!(state.wait_layout, WaitLayout::Chains);
    let hello = proto::HelloResponse {
        session: "other".into(),
        ..fixtures::hello()
    };
    let now = state.now;
    let event = Event::Connected {
        hello: Box::new(hello),
        kind: SourceKind::Agent,
    };
    state.apply(event, now);
    assert_eq!(state.opened_wait, None);
}

#[test]
fn plumbing_is_folded_and_what_is_waited_for_stands_where_it_is() {
    let model = fixtures::waits();
    let told = |id: u64, whole: bool| -> Vec<String> {
        let wait = model.waits.task(TaskId(id)).unwrap();
        let rows = chain::rows(&model, wait, whole);
        rows.iter()
            .map(|row| {
                let what = match &row.what {
                    What::Future { node, how, .. } => {
                        let name = chain::future_name(&model, &wait.shape.nodes[*node]);
                        format!("{name} {how}")
                    }
                    What::Folded { count, crates } => format!("{count} of {}", crates.join(", ")),
                    What::Hold(at) => format!("hold {at}"),
                    What::Want(at) => format!("want {at}"),
                    What::More(count) => format!("{count} more"),
                };
                format!("{}{}", row.rails, what.trim_end())
            })
            .collect()
    };
    assert_eq!(
        told(1, false),
        ["bank::transfer", "├ hold 0", "└ 2 of tokio", "  └ want 0"]
    );
    assert_eq!(
        told(1, true),
        [
            "bank::transfer",
            "├ hold 0",
            "└ tokio::sync::mutex::Mutex::lock",
            "  └ tokio::sync::batch_semaphore::Acquire",
            "    └ want 0",
        ]
    );
    assert_eq!(
        told(16, false),
        [
            "shop::Handler::run select!, any of 2",
            "├ shop::Shutdown::recv",
            "│ └ want 0",
            "└ shop::Connection::read",
            "  └ want 1",
        ]
    );
    assert_eq!(
        told(3, false),
        ["shop::handle", "└ shop::pool::get", "  └ want 0"]
    );
}

#[test]
fn branches_stand_beside_each_other_in_the_line_of_a_chain() {
    let model = fixtures::waits();
    let line = |id: u64| chain::own_text(&model, model.waits.task(TaskId(id)).unwrap());
    assert_eq!(
        line(16),
        "Handler::run > (Shutdown::recv | Connection::read)"
    );
    assert_eq!(line(3), "shop::handle > pool::get");
    assert_eq!(line(1), "bank::transfer");
}

#[test]
fn each_member_of_a_ring_is_marked() {
    let state = waits_state();
    let marked = |id: u64| {
        let finding = state.finding_of_task(TaskId(id));
        finding.map(|finding| finding.rule)
    };
    assert_eq!(marked(1), Some("deadlock"));
    assert_eq!(marked(2), Some("deadlock"));
    assert_ne!(marked(18), Some("deadlock"));
}

/// A service with so many tasks that wait for permits of a hundred pools.
fn crowd(n: u64) -> State {
    let mut state = empty_state();
    let now = state.now;
    let event = Event::Connected {
        hello: Box::new(fixtures::hello()),
        kind: SourceKind::Agent,
    };
    state.apply(event, now);
    let mut tasks = proto::Tasks::default();
    for id in 1..=n {
        let record = columns::Record {
            id,
            state: TaskState::Idle,
            ..columns::Record::default()
        };
        columns::push(&mut tasks, &record);
    }
    let frame = proto::Frame {
        tasks: Some(tasks),
        await_shapes: vec![proto::AwaitShape {
            id: 1,
            nodes: vec![proto::AwaitNode {
                kind: crate::model::AwaitKind::AsyncFn.into(),
                ..proto::AwaitNode::default()
            }],
            ..proto::AwaitShape::default()
        }],
        task_waits: (1..=n).map(|id| wait(id, 1 + id % 100)).collect(),
        waits_read: Some(proto::WaitsRead {
            idle: n,
            read: n,
            complete: true,
            ..proto::WaitsRead::default()
        }),
        snapshot_complete: true,
        ..fixtures::frame(Moment(5_000_000_000))
    };
    state.apply(Event::Frame(Arc::new(frame)), now);
    state
}

fn wait(task: u64, resource: u64) -> proto::TaskWait {
    proto::TaskWait {
        task,
        shape: 1,
        wants: vec![proto::Want {
            kind: crate::model::WantKind::Permits.into(),
            resource,
            amount: 1,
            ..proto::Want::default()
        }],
        since_ns: 1_000_000_000,
        read_at_ns: 4_000_000_000,
        ..proto::TaskWait::default()
    }
}

#[test]
fn a_hundred_thousand_are_looked_at_when_they_change_and_not_for_a_frame() {
    const N: u64 = 100_000;
    let mut state = crowd(N);
    // The overview's line, then the view: worked out once for both.
    state.prepare();
    type_text(&mut state, "8");
    let once = state.waits.looks();
    // One look each for the groups; who waits for whom the diagnosis has worked out.
    assert_eq!(once, N);
    assert_eq!(state.rows.len(), 100);
    let frames = |state: &mut State, change: bool| {
        for _ in 0..30 {
            let at = state.model().now.plus(Duration::from_millis(100));
            let mut frame = fixtures::frame(at);
            if change {
                frame.task_waits = vec![wait(7, 3)];
            }
            state.now += Duration::from_millis(10);
            let now = state.now;
            state.apply(Event::Frame(Arc::new(frame)), now);
            state.prepare();
        }
    };
    frames(&mut state, false);
    assert_eq!(state.waits.looks(), once, "nothing has changed");
    frames(&mut state, true);
    assert_eq!(
        state.waits.looks(),
        once,
        "not more often than can be afforded"
    );
    state.now += Duration::from_secs(2);
    state.prepare();
    assert_eq!(state.waits.looks(), 2 * once);
    // A look at one of them looks at no other.
    type_text(&mut state, "\n\n");
    assert!(state.watched().is_some());
    state.prepare();
    assert_eq!(state.waits.looks(), 2 * once);
}

#[test]
fn numbers_are_written_in_full() {
    for (n, text) in [
        (0, "0"),
        (999, "999"),
        (1_204, "1,204"),
        (12_000, "12,000"),
        (1_000_000, "1,000,000"),
    ] {
        assert_eq!(words::whole(n), text);
    }
}

#[test]
fn the_overview_says_what_a_reader_needs() {
    /// What is left of the service without these tasks, and with so many read.
    fn without(gone: &[u64]) -> State {
        let mut state = waits_state();
        let frame = proto::Frame {
            forgotten_tasks: gone.to_vec(),
            ..fixtures::frame(state.model().now.plus(Duration::from_millis(200)))
        };
        let now = state.now;
        state.apply(Event::Frame(Arc::new(frame)), now);
        state.prepare();
        state
    }
    let ring = [1, 2];
    let pool: Vec<u64> = (1..=12).collect();
    let all: Vec<u64> = (1..=19).collect();
    for (gone, expected) in [
        (
            &[][..],
            "⟲ bank::transfer and bank::report wait for each other (bank.rs:21, :33)",
        ),
        (
            &ring,
            "10 of 20 idle tasks wait for permit of Semaphore pool (pool.rs:31); held by 3 \
             shop::report, which wait for socket 10.0.0.1:13 -> 10.0.0.9:5432 to read \
             (src/report.rs:77) for 11 s",
        ),
        (
            &pool,
            "2 threads wait for std Mutex 0x6000 (cache.rs:9); held by thread 106, which is in \
             shop::cache::get (src/cache.rs:21)",
        ),
    ] {
        let state = without(gone);
        let told = super::overview::sentence(&state).map(|(sentence, _)| sentence);
        assert_eq!(told.as_deref(), Some(expected));
        assert!(super::overview::is_known(&state));
    }
    // Two threads of many tasks are no news, but better than none.
    let state = without(&all);
    assert!(super::overview::sentence(&state).is_some());
    // Nobody reads it.
    let state = crate::app::fixtures::starving_state();
    assert!(!super::overview::is_known(&state));
}

#[test]
fn a_stall_that_waits_for_a_lock_leads_to_who_holds_it() {
    let mut state = waits_state();
    let at = state.model().now.plus(Duration::from_millis(200));
    let frame = proto::Frame {
        stalls: vec![proto::Stall {
            id: 5,
            state: proto::StallState::Live.into(),
            tid: Some(104),
            cause: proto::Cause::Lock.into(),
            started_at_ns: at.0 - 600_000_000,
            duration_ns: 600_000_000,
            ..proto::Stall::default()
        }],
        ..fixtures::frame(at)
    };
    let now = state.now;
    state.apply(Event::Frame(Arc::new(frame)), now);
    // The thread that waits is in a stall: that comes first.
    type_text(&mut state, "8tt/104\n\n");
    assert!(state.shows_stall_details(), "{:?}", state.details);
    key(&mut state, Key::Enter);
    assert_eq!(state.details, Some(Details::Thread(Tid(106))));
    key(&mut state, Key::Esc);
    assert!(state.shows_stall_details());
}
