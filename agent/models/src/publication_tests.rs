use loom::sync::Arc;
use loom::sync::atomic::{AtomicU32, AtomicU64};
use loom::thread;

use crate::publication::{Publication, Reading};

fn publication() -> Publication {
    Publication {
        sequence: AtomicU64::new(0),
        task: AtomicU64::new(0),
        started: AtomicU64::new(0),
        site: AtomicU32::new(0),
    }
}

fn explore(model: impl Fn() + Sync + Send + 'static) {
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = Some(3);
    builder.check(model);
}

/// All fields of poll `n` are made of `n`.
fn assert_whole(reading: Reading) {
    let Reading {
        sequence,
        task,
        started,
        site,
    } = reading;
    let of_one_poll = started == task && u64::from(site) == task;
    assert!(of_one_poll, "torn: {reading:?}");
    assert_eq!(sequence % 2 == 1, task != 0, "{reading:?}");
}

fn poll(publication: &Publication, n: u32) {
    publication.open(n.into(), n, n.into());
    publication.close();
}

/// Runs `polls` on this thread and `look` on another. Not the other way round:
/// for loom, a thread's own load hides that another thread has loaded before, so
/// that it would not try the orders in which the store comes first.
fn watch(polls: fn(&Publication), look: fn(&Publication)) {
    explore(move || {
        let shown = Arc::new(publication());
        let reader = thread::spawn({
            let shown = Arc::clone(&shown);
            move || look(&shown)
        });
        polls(&shown);
        reader.join().unwrap();
    });
}

fn two_polls(shown: &Publication) {
    poll(shown, 1);
    poll(shown, 2);
    assert_eq!(shown.read().sequence, 4, "between polls");
}

#[test]
fn a_reader_sees_the_fields_of_one_poll() {
    watch(two_polls, |shown| assert_whole(shown.read()));
}

/// A task within a `LocalSet`, say: the inner poll takes the outer one's place.
#[test]
fn a_nested_poll_is_not_mixed_with_the_outer_one() {
    let nested = |shown: &Publication| {
        shown.open(1, 1, 1);
        shown.open(2, 2, 2);
        shown.open(1, 1, 1);
        assert_eq!(shown.read().task, 1);
    };
    watch(nested, |shown| assert_whole(shown.read()));
}

/// The watchdog's question: is this still the poll that I saw before?
#[test]
fn the_same_sequence_twice_is_the_same_poll() {
    watch(two_polls, |shown| {
        let (first, second) = (shown.read(), shown.read());
        if first.sequence == second.sequence {
            assert_eq!(first, second);
        }
    });
}
