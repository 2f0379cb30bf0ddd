//! Tests that nothing can let go on, and those that only wait.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::sync::{RwLock, Semaphore, mpsc, watch};

use crate::red::{line_of, run};

/// Longer than it takes to call a test dead.
const LONG: Duration = Duration::from_secs(3);

mod c01_rwlock_recursive {
    use super::*;

    async fn count(table: &RwLock<u32>) -> u32 {
        *table.read().await // WAITS c01
    }

    #[looptop_agent::test]
    #[ignore = "fails on purpose"]
    async fn mistake() {
        let table = Arc::new(RwLock::new(1));
        let held = table.read().await;
        let writes = Arc::clone(&table);
        let writer = tokio::spawn(async move { *writes.write().await += 1 });
        tokio::task::yield_now().await;
        assert_eq!(count(&table).await, 1);
        drop(held);
        writer.await.expect("no panic");
    }

    #[looptop_agent::test]
    async fn cured() {
        let table = Arc::new(RwLock::new(1));
        let held = table.read().await;
        let writes = Arc::clone(&table);
        let writer = tokio::spawn(async move { *writes.write().await += 1 });
        tokio::task::yield_now().await;
        assert_eq!(*held, 1);
        drop(held);
        writer.await.expect("no panic");
    }
}

mod c02_abba {
    use super::*;

    type Lock = Arc<tokio::sync::Mutex<u32>>;

    async fn transfer(from: Lock, to: Lock) {
        let mut from = from.lock().await;
        tokio::time::sleep(Duration::from_millis(20)).await;
        *to.lock().await += 1; // WAITS c02
        *from -= 1;
    }

    async fn both(flip: bool) {
        let (a, b) = (Lock::new(5.into()), Lock::new(5.into()));
        let second = if flip {
            (b.clone(), a.clone())
        } else {
            (a.clone(), b.clone())
        };
        let first = tokio::spawn(transfer(a, b));
        let second = tokio::spawn(transfer(second.0, second.1));
        first.await.expect("no panic");
        second.await.expect("no panic");
    }

    #[looptop_agent::test]
    #[ignore = "fails on purpose"]
    async fn mistake() {
        both(true).await;
    }

    #[looptop_agent::test(flavor = "multi_thread", worker_threads = 2)]
    #[ignore = "fails on purpose"]
    async fn mistake_of_workers() {
        both(true).await;
    }

    #[looptop_agent::test]
    async fn cured() {
        both(false).await;
    }
}

mod c04_select_send {
    use super::*;

    #[looptop_agent::test]
    #[ignore = "fails on purpose"]
    async fn mistake() {
        let (send, mut receive) = mpsc::channel(1);
        send.send(1).await.expect("it is open");
        send.send(2).await.expect("it is open"); // WAITS c04
        assert_eq!(receive.recv().await, Some(1));
    }

    #[looptop_agent::test]
    async fn cured() {
        let (send, mut receive) = mpsc::channel(2);
        send.send(1).await.expect("it is open");
        send.send(2).await.expect("it is open");
        assert_eq!(receive.recv().await, Some(1));
    }
}

mod c19_watch_borrow {
    use super::*;

    fn publish(state: &watch::Sender<u32>, seen: &watch::Receiver<u32>) {
        let before = seen.borrow();
        state.send(*before + 1).expect("somebody looks"); // BLOCKS c19
    }

    #[looptop_agent::test]
    #[ignore = "fails on purpose"]
    async fn mistake() {
        let (state, seen) = watch::channel(0);
        publish(&state, &seen);
    }

    #[looptop_agent::test]
    async fn cured() {
        let (state, seen) = watch::channel(0);
        let before = *seen.borrow();
        state.send(before + 1).expect("somebody looks");
    }
}

mod c20_permit_forgotten {
    use super::*;

    #[looptop_agent::test]
    #[ignore = "fails on purpose"]
    async fn mistake() {
        let pool = Semaphore::new(1);
        pool.acquire().await.expect("it is open").forget();
        drop(pool.acquire().await); // WAITS c20
    }

    #[looptop_agent::test]
    async fn cured() {
        let pool = Semaphore::new(1);
        drop(pool.acquire().await);
        drop(pool.acquire().await);
    }
}

mod guard_over_await {
    use super::*;

    #[allow(clippy::await_holding_lock, reason = "this is the mistake")]
    async fn look_up(table: Arc<Mutex<u32>>) {
        let held = table.lock().expect("no panic"); // BLOCKS guard_over_await
        tokio::task::yield_now().await;
        drop(held);
    }

    #[looptop_agent::test]
    #[ignore = "fails on purpose"]
    #[allow(clippy::await_holding_lock, reason = "the mistake")]
    async fn mistake() {
        let table = Arc::new(Mutex::new(0));
        let local = tokio::task::LocalSet::new();
        let first = local.spawn_local(look_up(Arc::clone(&table)));
        let second = local.spawn_local(look_up(table));
        local.await;
        drop((first.await, second.await));
    }
}

/// What waits for something that comes.
mod green {
    use super::*;

    #[looptop_agent::test]
    async fn a_timer() {
        tokio::time::sleep(LONG).await;
    }

    #[looptop_agent::test]
    async fn a_job_of_the_blocking_pool() {
        let job = tokio::task::spawn_blocking(|| std::thread::sleep(LONG));
        job.await.expect("no panic");
    }

    #[looptop_agent::test]
    async fn a_thread() {
        let (send, receive) = tokio::sync::oneshot::channel();
        std::thread::spawn(move || {
            std::thread::sleep(LONG);
            send.send(()).expect("somebody waits");
        });
        receive.await.expect("it comes");
    }

    #[looptop_agent::test(flavor = "multi_thread", worker_threads = 2)]
    async fn a_thread_that_waits_for_a_process() {
        let (send, receive) = tokio::sync::oneshot::channel();
        std::thread::spawn(move || {
            let mut sleep = std::process::Command::new("sleep");
            drop(sleep.arg(LONG.as_secs().to_string()).status());
            send.send(()).expect("somebody waits");
        });
        receive.await.expect("it comes");
    }

    #[looptop_agent::test]
    async fn a_socket() {
        use tokio::io::AsyncReadExt as _;
        let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
        let address = listener.local_addr().expect("it is bound");
        let peer = std::thread::spawn(move || {
            let (socket, _) = listener.accept().expect("somebody comes");
            std::thread::sleep(LONG);
            drop(socket);
        });
        let mut socket = tokio::net::TcpStream::connect(address)
            .await
            .expect("it listens");
        assert_eq!(socket.read(&mut [0]).await.expect("its end"), 0);
        peer.join().expect("no panic");
    }

    #[looptop_agent::test(start_paused = true)]
    async fn a_paused_clock() {
        let began = tokio::time::Instant::now();
        tokio::time::sleep(Duration::from_hours(1)).await;
        assert!(began.elapsed() >= Duration::from_hours(1));
    }
}

#[test]
fn each_deadlock_turns_its_test_red_and_says_where_it_waits() {
    let mut wrong = Vec::new();
    for (test, mark, words) in [
        (
            "c01_rwlock_recursive::mistake",
            "WAITS c01",
            "c01_rwlock_recursive::count",
        ),
        ("c02_abba::mistake", "WAITS c02", "c02_abba::transfer"),
        (
            "c02_abba::mistake_of_workers",
            "WAITS c02",
            "c02_abba::transfer",
        ),
        (
            "c04_select_send::mistake",
            "WAITS c04",
            "c04_select_send::mistake",
        ),
        (
            "c19_watch_borrow::mistake",
            "BLOCKS c19",
            "c19_watch_borrow::publish",
        ),
        (
            "c20_permit_forgotten::mistake",
            "WAITS c20",
            "c20_permit_forgotten::mistake",
        ),
        (
            "guard_over_await::mistake",
            "BLOCKS guard_over_await",
            "guard_over_await::look_up",
        ),
    ] {
        let test = format!("deadlocks::{test}");
        let ran = run(&test);
        let place = line_of(
            include_str!("deadlocks.rs"),
            "tests/in_tests/deadlocks.rs",
            mark,
        );
        let words = ["deadlock: nothing has run for", words, place.as_str()];
        let missing: Vec<_> = words.iter().filter(|w| !ran.said.contains(**w)).collect();
        if !ran.failed || !missing.is_empty() {
            wrong.push(format!("{test}: {missing:?} in\n{}", ran.said));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n\n"));
}
