use std::time::Duration;

use super::*;
use crate::model::{Model, Moment, TaskId, Tid, fixtures};

fn task(model: &Model, id: u64) -> &crate::model::TaskWait {
    model.waits.task(TaskId(id)).expect("a task of the fixture")
}

fn first_place(model: &Model, id: u64) -> String {
    let wait = task(model, id);
    let node = wait.wants[0].node as usize;
    place(model, &wait.shape, node)
        .expect("a place")
        .text(model)
}

#[test]
fn what_each_task_waits_for_in_words() {
    let model = fixtures::waits();
    for (id, what, at) in [
        (1, "Mutex audit", "src/bank.rs:21"),
        (2, "Mutex accounts", "src/bank.rs:33"),
        (3, "permit of Semaphore pool (0 free)", "src/pool.rs:31"),
        (
            13,
            "socket 10.0.0.1:13 -> 10.0.0.9:5432 to read",
            "src/report.rs:77",
        ),
        (
            16,
            "message of broadcast channel shutdown (empty, 1 sender) or socket 127.0.0.1:6379 <- \
             127.0.0.1:51234 to read",
            "src/shutdown.rs:44",
        ),
        (17, "timer, due in 3.2 s", "src/db.rs:367"),
        (
            18,
            "message of oneshot channel reply (1 sender)",
            "src/ask.rs:14",
        ),
        (19, "end of task 17 shop::purge", "src/ask.rs:40"),
    ] {
        assert_eq!(waits_text(&model, task(&model, id)), what);
        assert_eq!(first_place(&model, id), at, "{what}");
    }
}

#[test]
fn a_place_joins_what_is_done_there() {
    for (place, expected) in [
        ("", "it waits"),
        ("src/report.rs:77", "it waits at src/report.rs:77"),
        ("in bore::main", "it waits in bore::main"),
        ("inner/in.rs:7", "it waits at inner/in.rs:7"),
    ] {
        assert_eq!(format!("it waits{}", at_text(place)), expected);
    }
}

#[test]
fn holders_say_what_they_wait_for_themselves() {
    let model = fixtures::waits();
    let graph = Graph::of(&model);
    assert!(graph.is_of(&model));
    let held = |id: u64| holders_text(&model, &graph, None, &task(&model, id).wants[0]);
    for (id, expected) in [
        (
            3,
            Some(
                "held by task 13 shop::report, which waits for socket 10.0.0.1:13 -> 10.0.0.9:5432 \
                 to read (src/report.rs:77) for 11 s, and 2 others",
            ),
        ),
        (
            18,
            Some(
                "to be sent by task 19 shop::answer, which waits for end of task 17 shop::purge \
                 (src/ask.rs:40) for 30 s",
            ),
        ),
        (
            19,
            Some(
                "which waits for timer, due in 3.2 s \
                 (src/db.rs:367) for 800 ms",
            ),
        ),
        (17, None),
    ] {
        assert_eq!(held(id).as_deref(), expected);
    }
    let thread = model.waits.thread(Tid(104)).expect("a thread");
    let want = thread.want.as_ref().expect("a want");
    let held = holders_text(&model, &graph, None, want).expect("a holder");
    assert_eq!(held, "held by thread 106");
    let waits = waiting_text(&model, Party::Thread(Tid(105))).expect("it waits");
    assert_eq!(
        waits,
        "waits for std Mutex 0x6000 (src/cache.rs:9) for 400 ms"
    );
}

#[test]
fn the_graph_has_rings_and_who_waits() {
    let model = fixtures::waits();
    let graph = Graph::of(&model);
    let rings: Vec<(Vec<Party>, bool)> = graph
        .rings()
        .iter()
        .map(|ring| {
            let members = ring.members.iter().map(|member| member.party);
            (members.collect(), ring.is_certain)
        })
        .collect();
    let both = [1, 2].map(|id| Party::Task(TaskId(id)));
    assert_eq!(rings, [(both.to_vec(), true)]);
    let ring = &graph.rings()[0];
    let held: Vec<String> = (0..2)
        .filter_map(|at| Some(hold_text(&model, &ring.hold_of(at)?)))
        .collect();
    assert_eq!(held, ["Mutex accounts", "Mutex audit"]);
    let pool = task(&model, 3).wants[0].resource.expect("a semaphore");
    assert_eq!(graph.waiters(pool).len(), 10);
    assert_eq!(graph.holders(pool).len(), 3);
    assert_eq!(graph.joiners(TaskId(17)), [Party::Task(TaskId(19))]);
    assert!(graph.ring_of(Party::Task(TaskId(3))).is_none());
}

#[test]
fn one_reading_says_nothing_of_how_long() {
    let model = fixtures::waits();
    assert_eq!(
        waited(&model, task(&model, 1)),
        Some(Duration::from_secs(12))
    );
    let mut once = task(&model, 1).clone();
    once.since = once.read_at;
    assert_eq!(waited(&model, &once), None);
}

#[test]
fn who_was_to_be_woken_since_it_was_read_may_wait_anew() {
    let model = fixtures::waits();
    let wait = task(&model, 1);
    let after = |moment: Moment, ms: i64| Moment(moment.0.saturating_add_signed(ms * 1_000_000));
    // Milliseconds: when it is due after it was read, and whether the time says something.
    for (due, is_known) in [
        (-100, true),
        (-99, false),
        (0, false),
        (5, false),
        (6, true),
    ] {
        let mut wait = wait.clone();
        wait.read_at = after(model.now, -5);
        wait.wants[0].due = Some(after(wait.read_at, due));
        assert_eq!(waited(&model, &wait).is_some(), is_known, "{due}");
    }
}
