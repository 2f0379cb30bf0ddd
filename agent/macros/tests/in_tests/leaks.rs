//! Tasks that outlive their test.

use std::time::Duration;

use crate::red::{line_of, run};

#[rustfmt::skip]
async fn serve_for_ever() {
    loop {
        tokio::time::sleep(Duration::from_mins(1)).await; // WAITS
    }
}

#[looptop_agent::test]
#[ignore = "fails on purpose"]
async fn a_server_that_nobody_ends() {
    tokio::spawn(serve_for_ever()); // SPAWNED a_server_that_nobody_ends
    tokio::spawn(serve_for_ever());
    tokio::task::yield_now().await;
}

#[looptop_agent::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "fails on purpose"]
async fn one_on_many_workers() {
    tokio::spawn(serve_for_ever()); // SPAWNED one_on_many_workers
    tokio::task::yield_now().await;
}

#[looptop_agent::test(start_paused = true)]
#[ignore = "fails on purpose"]
async fn one_whose_timer_a_paused_clock_would_end() {
    tokio::spawn(tokio::time::sleep(Duration::from_hours(1)));
    tokio::task::yield_now().await;
}

#[tokio::test]
#[ignore = "fails on purpose"]
async fn in_an_existing_test() {
    let watch = looptop_agent::testing::watch();
    watch
        .run(async {
            tokio::spawn(serve_for_ever()); // SPAWNED in_an_existing_test
            tokio::task::yield_now().await;
        })
        .await;
}

#[looptop_agent::test]
async fn a_task_that_is_about_to_end_is_none() {
    let (send, mut receive) = tokio::sync::mpsc::channel::<()>(1);
    tokio::spawn(async move { while receive.recv().await.is_some() {} });
    tokio::task::yield_now().await;
    drop(send);
}

#[looptop_agent::test]
async fn neither_is_one_that_was_aborted() {
    let task = tokio::spawn(serve_for_ever());
    tokio::task::yield_now().await;
    task.abort();
}

#[looptop_agent::test(leak = false)]
async fn nor_one_where_it_is_switched_off() {
    tokio::spawn(serve_for_ever());
}

#[looptop_agent::test(allow = ["leaks::serve_for_ever"])]
async fn nor_one_that_is_allowed() {
    tokio::spawn(serve_for_ever());
    tokio::task::yield_now().await;
}

#[test]
fn a_leaked_task_is_named_with_its_place() {
    let place = |mark: &str| line_of(include_str!("leaks.rs"), "tests/in_tests/leaks.rs", mark);
    let waits = place("WAITS");
    for (test, count) in [
        (
            "a_server_that_nobody_ends",
            "leaked: 2 tasks are still alive",
        ),
        ("one_on_many_workers", "leaked: 1 task is still alive"),
        ("in_an_existing_test", "leaked: 1 task is still alive"),
    ] {
        // Where it was spawned, as far as tokio says so, otherwise where it waits.
        let spawned = place(&format!("SPAWNED {test}"));
        let test = format!("leaks::{test}");
        let ran = run(&test);
        ran.assert_red(&test, &[count, "in_tests::leaks::serve_for_ever"]);
        let place = if cfg!(tokio_unstable) {
            &spawned
        } else {
            &waits
        };
        ran.assert_red(&test, &[place]);
    }
    let test = "leaks::one_whose_timer_a_paused_clock_would_end";
    run(test).assert_red(test, &["leaked: 1 task", "Sleep"]);
}
