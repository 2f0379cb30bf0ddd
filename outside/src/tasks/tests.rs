//! Tasks in memory that is sound, changes, or lies.

use std::sync::Arc;

use looptop_unwind::Memory as _;
use proptest::prelude::*;

use super::fake::Fake;
use super::vtable::RUNNING;
use super::*;

const CODE: u64 = 0x1000_0000;
pub(crate) const VTABLE: u64 = 0x1000_1040;
const BLOCKING: u64 = 0x1000_1100;
pub(crate) const STACK: u64 = 0x2000_0000;
pub(crate) const HEAP: u64 = 0x3000_0000;
const HANDLE: u64 = HEAP;
/// The words of the list within the handle.
const OWNED: u64 = HANDLE + 0x110;
const COUNT: u64 = OWNED + 24;
const ID: u64 = OWNED + 40;
const SHARDS: u64 = HEAP + 0x1000;
const CELLS: u64 = HEAP + 0x2000;
/// Offsets of the one task type.
const SCHEDULER: u64 = 0x20;
const TRAILER: u64 = 0x60;
/// The id of the runtime's list.
const LIST: u64 = 5;
/// A task that waits, with three references.
const WAITS: u64 = 3 << 6 | 8;

pub(crate) fn cell(n: u64) -> u64 {
    CELLS + n * 128
}

/// A program with one task type and an empty heap.
pub(crate) fn program() -> Fake {
    let fake = Fake::default();
    fake.map("10000000-10001000 r-xp 00000000 08:01 42 /opt/app");
    fake.map("10001000-10002000 r--p 00001000 08:01 42 /opt/app");
    fake.map("20000000-20001000 rw-p 00000000 00:00 0");
    fake.map("30000000-30010000 rw-p 00000000 00:00 0 [heap]");
    let functions: Vec<u64> = (0..7).map(|n| CODE + 16 * n).collect();
    fake.words(VTABLE, &functions);
    fake.words(VTABLE + 56, &[TRAILER, SCHEDULER, SCHEDULER + 8, 0]);
    fake.words(BLOCKING, &functions);
    fake.words(BLOCKING + 56, &[TRAILER, SCHEDULER, SCHEDULER + 16, 0]);
    fake
}

pub(crate) fn types(fake: &Fake) -> Result<Types, NoTypes> {
    Types::of(fake, &fake.mappings(), &|_| None)
}

pub(crate) fn tasks(fake: &Fake) -> Tasks<Fake> {
    Tasks::over(fake.clone(), Arc::new(types(fake).unwrap()))
}

pub(crate) fn write_cell(fake: &Fake, n: u64, state: u64, links: [u64; 2]) {
    fake.words(cell(n), &[state, 0, VTABLE, LIST, HANDLE, 1_000 + n]);
    fake.words(cell(n) + TRAILER, &links);
}

/// A runtime whose four shards hold so many tasks each, and a stack that points to it.
fn runtime(shards: [u64; 4]) -> Fake {
    let fake = program();
    let mut n = 0;
    for (shard, count) in (0..).zip(shards) {
        let last = n + count;
        let (mut ends, first) = ([0, 0, 0], n);
        while n < last {
            let previous = if n > first { cell(n - 1) } else { 0 };
            let next = if n + 1 < last { cell(n + 1) } else { 0 };
            write_cell(&fake, n, WAITS, [previous, next]);
            ends = [0, cell(first), cell(n)];
            n += 1;
        }
        fake.words(SHARDS + 24 * shard, &ends);
    }
    fake.words(HANDLE, &[2, 1]);
    fake.words(OWNED, &[SHARDS, 4, n + 50, n, 3, LIST]);
    fake.words(STACK + 0x100, &[HANDLE]);
    fake
}

const STACKS: &[(u64, u64)] = &[(1, STACK + 0x80)];

#[test]
fn a_stack_leads_to_a_runtime_and_its_tasks() {
    let fake = runtime([3, 0, 1, 2]);
    let mut tasks = tasks(&fake);
    let listing = tasks.read(STACKS).clone();
    let runtime = RuntimeListing {
        key: RuntimeKey {
            module: 0,
            list: LIST,
        },
        flavor: Flavor::CurrentThread,
        counted: Some(6),
        listed: 6,
        torn: false,
        found_by: FoundBy::Stack,
        handle: Some(HANDLE),
        on_stacks_of: Vec::new(),
    };
    assert_eq!(listing.runtimes, [runtime]);
    let ids: Vec<u64> = listing.tasks.iter().map(|task| task.id).collect();
    // Side by side: what is new is read one of each shard at a time.
    assert_eq!(ids, [1_000, 1_003, 1_004, 1_001, 1_005, 1_002]);

    // States, one that ended, and one that came.
    fake.words(cell(0), &[WAITS | 4]);
    fake.words(cell(2), &[WAITS | RUNNING]);
    fake.words(cell(1) + TRAILER + 8, &[0]);
    fake.words(cell(2) + TRAILER, &[0]);
    fake.words(SHARDS + 16, &[cell(1)]);
    write_cell(&fake, 9, WAITS, [0, 0]);
    fake.words(SHARDS + 24, &[0, cell(9), cell(9)]);
    let listing = tasks.read(STACKS);
    assert!(!listing.runtimes[0].torn);
    let mut seen: Vec<_> = listing
        .tasks
        .iter()
        .map(|task| (task.id, task.state))
        .collect();
    seen.sort_unstable_by_key(|(id, _)| *id);
    let idle = TaskState::Idle;
    assert_eq!(
        seen,
        [
            (1_000, TaskState::Scheduled),
            (1_001, idle),
            (1_003, idle),
            (1_004, idle),
            (1_005, idle),
            (1_009, idle)
        ]
    );

    // Its last owner lets it go.
    fake.words(HANDLE, &[0]);
    assert_eq!(tasks.read(STACKS).runtimes, []);
}

#[test]
fn one_shard_is_no_list_of_its_own() {
    let fake = runtime([3, 0, 1, 2]);
    // An `Arc` of something else, a number that is the list's, and a shard.
    fake.words(HEAP + 0x8000, &[2, 1, 0, LIST, cell(0), cell(2), 0]);
    fake.words(STACK + 0x100, &[HEAP + 0x8000]);
    let mut seen = tasks(&fake);
    let listing = seen.read(STACKS);
    let of_all = &listing.runtimes[0];
    assert_eq!(
        (of_all.flavor, of_all.handle),
        (Flavor::CurrentThread, Some(HANDLE))
    );
    assert_eq!((listing.runtimes.len(), of_all.listed), (1, 6));
    // Where the scheduler of its tasks has no list, nobody knows what it is.
    fake.words(OWNED, &[0; 6]);
    assert_eq!(tasks(&fake).read(STACKS).runtimes, []);
}

#[test]
fn stacks_say_which_of_several_runtimes_a_thread_may_drive() {
    let fake = runtime([1, 0, 0, 0]);
    let (other, stack) = (HEAP + 0x4000, 0x4000_0000);
    fake.map("40000000-40001000 rw-p 00000000 00:00 0");
    let mut tasks = tasks(&fake);
    let mut held = || -> Vec<Vec<u64>> {
        let listing = tasks.read(&[(1, STACK + 0x80), (2, stack + 0x80)]);
        let runtimes = listing.runtimes.iter();
        runtimes
            .map(|runtime| runtime.on_stacks_of.clone())
            .collect()
    };
    assert_eq!(held(), [[]; 1], "nobody asks for that of a single one");
    fake.words(other, &[2, 1]);
    fake.words(other + 0x110, &[HEAP + 0x5000, 4, 50, 0, 3, LIST + 1]);
    fake.words(stack + 0x100, &[other, other]);
    assert_eq!(held(), [[1], [2]]);
    fake.words(stack + 0x100, &[other, HANDLE]);
    assert_eq!(held(), [vec![1, 2], vec![2]]);
    fake.words(stack + 0x100, &[0, 0]);
    assert_eq!(held(), [vec![1], vec![]]);
}

#[test]
fn a_multi_thread_runtime_of_one_worker_is_none_of_the_current_thread() {
    let fake = runtime([1, 0, 0, 0]);
    let flavor = || tasks(&fake).read(STACKS).runtimes[0].flavor;
    assert_eq!(flavor(), Flavor::CurrentThread);
    // Boxed slices of one element: metrics of a worker, two `Arc`s.
    let (metrics, remotes, arc) = (HEAP + 0x9000, HEAP + 0x9108, HEAP + 0x9200);
    fake.words(arc, &[2, 1]);
    fake.words(OWNED - 0x40, &[remotes, 1, metrics, 1]);
    assert_eq!(flavor(), Flavor::CurrentThread);
    fake.words(remotes, &[arc, arc]);
    assert_eq!(flavor(), Flavor::MultiThread);
    // With more than one worker there are more shards.
    fake.words(OWNED - 0x40, &[0; 4]);
    fake.words(OWNED, &[SHARDS, 8, 51, 1, 7, LIST]);
    assert_eq!(flavor(), Flavor::MultiThread);
}

#[test]
fn a_runtime_without_tasks_is_found_too() {
    let fake = runtime([0; 4]);
    let mut tasks = tasks(&fake);
    let listing = tasks.read(STACKS);
    assert_eq!(listing.runtimes[0].key.list, LIST);
    assert_eq!(listing.runtimes[0].counted, Some(0));
    assert!(!listing.runtimes[0].torn);
}

#[test]
fn tasks_lead_to_a_runtime_that_no_stack_knows() {
    let fake = runtime([1, 2, 0, 0]);
    fake.words(STACK + 0x100, &[0]);
    let mut seen = tasks(&fake);
    let listing = seen.read(STACKS);
    assert_eq!(listing.runtimes[0].found_by, FoundBy::Scan);
    assert_eq!((listing.tasks.len(), listing.unlisted), (3, 0));

    // A task on a stack.
    fake.words(STACK + 0x100, &[cell(2)]);
    let mut seen = tasks(&fake);
    assert_eq!(seen.read(STACKS).runtimes[0].found_by, FoundBy::TaskOnStack);

    // One in a poll, which somebody else saw.
    fake.words(STACK + 0x100, &[0]);
    fake.words(cell(1), &[WAITS | RUNNING]);
    let mut seen = tasks(&fake);
    let word = seen.running_among(&[7, cell(0), cell(1), cell(1)]).unwrap();
    assert_eq!((word.header, word.id, word.word), (cell(1), 1_001, 2));
    assert_eq!(seen.running_among(&[cell(0), cell(1) + 8, u64::MAX]), None);
    assert_eq!(seen.read(&[]).runtimes[0].found_by, FoundBy::TaskInPoll);
}

#[test]
fn other_threads_may_look_at_stacks() {
    fn is_shared<T: Send + Sync>() {}
    fn is_sent<T: Send>() {}
    is_shared::<Types>();
    is_shared::<InPoll>();
    is_sent::<Tasks>();
}

#[test]
fn what_is_in_no_list_is_kept_apart() {
    let fake = runtime([2, 0, 0, 0]);
    let write = |n: u64, vtable: u64, state: u64, owner: u64| {
        fake.words(
            cell(n),
            &[state, 0, vtable, owner, HEAP + 0x8000, 70 + n, 70 + n],
        );
    };
    write(10, BLOCKING, 1 << 6 | 4, 0);
    write(11, BLOCKING, 1 << 6 | 2 | 8, 0); // has ended, and is not joined
    write(12, VTABLE, WAITS, 77); // of an unknown list
    write(13, VTABLE, WAITS, 0); // where it was built
    write(14, VTABLE, 8, LIST); // freed
    write(15, VTABLE, WAITS, LIST); // a copy: its list does not know it
    write(16, BLOCKING, 1 << 6 | 4, 0);
    fake.words(cell(16) + 48, &[80]); // a copy of the first
    let mut tasks = tasks(&fake);
    tasks.read(STACKS);
    let listing = tasks.read(STACKS);
    assert!(listing.scan.complete);
    assert_eq!((listing.unlisted, listing.blocking), (1, 1));
    let loose: Vec<u64> = listing.tasks[2..].iter().map(|task| task.header).collect();
    assert_eq!(loose, [cell(10), cell(12)]);

    write(10, BLOCKING, 1 << 6 | RUNNING, 0);
    fake.words(cell(12), &[8]);
    let listing = tasks.read(STACKS);
    assert_eq!((listing.unlisted, listing.blocking), (0, 1));
    assert_eq!(listing.tasks[2].state, TaskState::Running);
}

/// A `LocalSet`'s list: no count, one chain.
#[test]
fn a_local_set_is_found_through_the_context_on_a_stack() {
    let fake = runtime([3, 0, 0, 0]);
    // Strong, weak, ThreadId, a queue; first, last, closed, id.
    let shared = [3, 1, 1, 0, 0, 0, 0, cell(0), cell(2), 0, LIST];
    fake.words(HANDLE, &[0; 64]);
    fake.words(HANDLE, &shared);
    // An `Rc` of what holds the `Arc`.
    fake.words(HEAP + 0x8000, &[2, 1, HANDLE, 0]);
    fake.words(STACK + 0x100, &[HEAP + 0x8000]);
    let mut seen = tasks(&fake);
    let listing = seen.read(STACKS).clone();
    let set = &listing.runtimes[0];
    assert_eq!(
        (set.flavor, set.found_by),
        (Flavor::LocalSet, FoundBy::Stack)
    );
    assert_eq!((set.counted, set.listed, set.torn), (None, 3, false));

    // It empties, and fills again.
    fake.words(HANDLE + 56, &[0, 0]);
    assert_eq!(seen.read(STACKS).runtimes[0].alive(), 0);
    fake.words(HANDLE + 56, &[cell(0), cell(2)]);
    assert_eq!(seen.read(STACKS).runtimes[0].alive(), 3);
    // One in the middle ends, and its handle keeps it.
    fake.words(cell(1), &[1 << 6 | 2 | 8]);
    fake.words(cell(0) + TRAILER + 8, &[cell(2)]);
    fake.words(cell(2) + TRAILER, &[cell(0)]);
    let set = &seen.read(STACKS).runtimes[0];
    assert_eq!((set.listed, set.torn), (2, false));
    // A chain that ends before its end.
    fake.words(cell(0) + TRAILER + 8, &[cell(1)]);
    fake.words(cell(1), &[WAITS]);
    fake.words(cell(1) + TRAILER, &[cell(0), 0]);
    let mut seen = tasks(&fake);
    let set = &seen.read(STACKS).runtimes[0];
    assert_eq!((set.listed, set.torn), (3, true), "from its other end on");
    // One that leads to where nothing is: what is behind it is found all the same.
    fake.words(cell(0) + TRAILER + 8, &[cell(9)]);
    let mut seen = tasks(&fake);
    let listing = seen.read(STACKS);
    let headers: Vec<u64> = listing.tasks.iter().map(|task| task.header).collect();
    assert_eq!(headers, [cell(0), cell(2)]);
    assert_eq!(listing.lacks(), 0, "nobody counts them");
}

#[test]
fn what_comes_and_goes_while_it_is_read_is_missed_and_counted() {
    let fake = runtime([3, 0, 0, 0]);
    let mut seen = tasks(&fake);
    assert_eq!(seen.read(STACKS).lacks(), 0);
    // More are counted than are linked.
    fake.words(COUNT, &[5]);
    let listing = seen.read(STACKS);
    assert_eq!((listing.tasks.len(), listing.lacks()), (3, 2));
}

/// A scheduler is copied while it is built, and what is left of the copy leads to the same
/// tasks with a count that stays as it was.
#[test]
fn what_is_left_of_a_copy_is_not_taken_for_the_list() {
    const COPY: u64 = HEAP + 0x8000;
    for empty in [false, true] {
        let fake = runtime([3, 0, 1, 2]);
        fake.words(COPY, &[SHARDS, 4, 0, 0, 3, LIST]);
        fake.words(STACK + 0x88, &[COPY]);
        fake.words(STACK + 0x100, &[0]);
        let shards: Vec<[u64; 3]> = (0..4)
            .map(|shard| [0, 8, 16].map(|at| fake.read_u64(SHARDS + 24 * shard + at).unwrap()))
            .collect();
        let mut tasks = tasks(&fake);
        if empty {
            fake.words(SHARDS, &[0; 12]);
            let listing = tasks.read(STACKS);
            assert!(listing.tasks.is_empty());
            fake.words(SHARDS, shards.as_flattened());
        }
        let listing = tasks.read(STACKS);
        assert_eq!(listing.tasks.len(), 6, "empty at first: {empty}");
        let runtime = &listing.runtimes[0];
        assert_eq!(
            (runtime.counted, runtime.torn, runtime.handle),
            (Some(6), false, Some(HANDLE)),
            "empty at first: {empty}"
        );
    }
}

/// A list that changes once while it is walked is walked again.
#[test]
fn a_walk_that_was_torn_is_repeated() {
    let reads = {
        let fake = runtime([3, 3, 0, 0]);
        let mut tasks = tasks(&fake);
        let before = fake.reads();
        tasks.read(STACKS);
        fake.reads() - before
    };
    for at in 0..reads {
        let fake = runtime([3, 3, 0, 0]);
        let mut tasks = tasks(&fake);
        // The second of the first three ends.
        fake.after(at, cell(0) + TRAILER + 8, cell(2));
        fake.after(at, cell(2) + TRAILER, cell(0));
        fake.after(at, cell(1) + TRAILER, 0);
        fake.after(at, cell(1) + TRAILER + 8, 0);
        fake.after(at, cell(1), 8);
        fake.after(at, COUNT, 5);
        let listing = tasks.read(STACKS);
        let runtime = &listing.runtimes[0];
        assert!(!runtime.torn, "after {at} reads");
        assert_eq!(runtime.counted, Some(runtime.listed), "after {at} reads");
        assert_eq!(tasks.read(STACKS).runtimes[0].listed, 5);
    }
}

#[test]
fn lists_that_lie_are_marked() {
    let huge = u64::MAX;
    for (what, lies) in [
        ("a circle of one", &[(cell(1) + TRAILER + 8, cell(1))][..]),
        ("a circle of all", &[(cell(2) + TRAILER + 8, cell(0))]),
        (
            "a circle without a begin",
            &[
                (cell(0) + TRAILER, cell(2)),
                (cell(2) + TRAILER + 8, cell(0)),
            ],
        ),
        (
            "two shards with one chain",
            &[(SHARDS + 32, cell(0)), (SHARDS + 40, cell(2))],
        ),
        ("no begin", &[(SHARDS + 8, 0)]),
        ("a begin that is none", &[(SHARDS + 8, SHARDS)]),
        ("no end", &[(SHARDS + 16, 0)]),
        ("another end", &[(SHARDS + 16, cell(1))]),
        ("a task that is none", &[(cell(1) + 16, CODE)]),
        ("a task of another list", &[(cell(1) + 24, 6)]),
        ("a job of the blocking pool", &[(cell(1) + 16, BLOCKING)]),
        ("a freed task", &[(cell(1), 8)]),
        ("nowhere", &[(cell(0) + TRAILER + 8, 0xdead_0000)]),
        ("out of all memory", &[(cell(0) + TRAILER + 8, huge - 127)]),
        (
            "not where tasks are",
            &[(cell(0) + TRAILER + 8, cell(1) + 8)],
        ),
        ("a count of all numbers", &[(COUNT, huge)]),
        ("a count of none", &[(COUNT, 0)]),
    ] {
        let fake = runtime([3, 0, 2, 0]);
        for (address, word) in lies {
            fake.words(*address, &[*word]);
        }
        let mut tasks = tasks(&fake);
        for _ in 0..3 {
            let listing = tasks.read(STACKS);
            let runtime = &listing.runtimes[0];
            assert!(runtime.torn, "{what}");
            assert!(runtime.listed <= 5, "{what}");
        }
    }
}

#[test]
fn a_list_that_goes_away_is_forgotten() {
    for (address, word) in [
        (ID, 6),
        (OWNED, 0xdead_0000),
        (OWNED + 8, u64::MAX),
        (HANDLE, 0x7fff_0000_1234_5678),
    ] {
        let fake = runtime([3, 0, 2, 0]);
        let mut tasks = tasks(&fake);
        assert_eq!(tasks.read(STACKS).runtimes.len(), 1);
        fake.words(address, &[word]);
        let listing = tasks.read(&[]);
        assert_eq!(listing.runtimes, [], "{address:#x}");
    }
}

#[test]
fn shards_that_lie_are_no_list() {
    for (address, word) in [
        (OWNED, 8),
        (OWNED + 8, 1 << 16),
        (OWNED + 8, 1 << 62),
        (OWNED + 8, 5),
        (OWNED + 32, 7),
    ] {
        let fake = runtime([3, 0, 2, 0]);
        fake.words(address, &[word]);
        let mut tasks = tasks(&fake);
        let listing = tasks.read(STACKS);
        assert_eq!(listing.runtimes, [], "{address:#x}: {word:#x}");
    }
}

#[test]
fn programs_without_types_say_why() {
    let without = |text: &[u8]| {
        let fake = program();
        fake.words(VTABLE, &[0; 40]);
        fake.bytes(VTABLE, text);
        types(&fake).unwrap_err().to_string()
    };
    assert!(without(b"").starts_with("no tokio was found"));
    let old = without(b"/r/tokio-1.20.4/src/runtime/task/core.rs");
    assert!(
        old.contains("built with tokio 1.20.4; tasks can be read from"),
        "{old}"
    );
    let unknown = without(b"/r/tokio-1.54.1/src/runtime/task/core.rs");
    assert!(
        unknown.ends_with(", which was built with tokio 1.54.1"),
        "{unknown}"
    );

    // The layout is younger than the lists.
    let fake = program();
    fake.bytes(VTABLE + 0x300, b"/r/tokio-1.28.0/src/lib.rs");
    assert!(matches!(types(&fake), Err(NoTypes::TooOld(_))));
    assert!(matches!(
        Types::of(&Fake::default(), &fake.mappings(), &|_| None),
        Err(NoTypes::Unreadable)
    ));
}

/// Words that matter, and words that lead somewhere.
fn lie() -> impl Strategy<Value = (u64, u64)> {
    let address = prop_oneof![
        (0..12_u64).prop_map(|n| SHARDS + 8 * n),
        (0..10_u64).prop_map(|n| OWNED + 8 * n - 16),
        (0..8_u64, 0..14_u64).prop_map(|(n, word)| cell(n) + 8 * word),
        (0..12_u64).prop_map(|n| VTABLE + 8 * n),
        (0..3_u64).prop_map(|n| HANDLE + 8 * n),
        (0..9_u64).prop_map(|n| STACK + 0x100 + 8 * n),
    ];
    let word = prop_oneof![
        (0..8_u64).prop_map(cell),
        0..10_u64,
        any::<u64>(),
        Just(u64::MAX),
        Just(u64::MAX - 127),
        Just(1 << 16),
        Just(VTABLE),
        Just(BLOCKING),
        Just(SHARDS),
        Just(HANDLE),
        Just(OWNED),
        Just(WAITS | RUNNING),
        Just(TRAILER + 128),
        Just((1 << 26) - 8),
    ];
    (address, word)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn whatever_memory_holds_a_look_ends_and_says_what_is_torn(
        before in prop::collection::vec(lie(), 0..4),
        after in prop::collection::vec((0..60_usize, lie()), 0..6),
    ) {
        let fake = runtime([3, 0, 4, 1]);
        for (address, word) in before {
            fake.words(address, &[word]);
        }
        let Ok(types) = types(&fake) else {
            return Ok(());
        };
        let mut tasks = Tasks::over(fake.clone(), Arc::new(types));
        for (reads, (address, word)) in after {
            fake.after(reads, address, word);
        }
        for _ in 0..3 {
            let before = fake.reads();
            let listing = tasks.read(STACKS);
            for (runtime, i) in listing.runtimes.iter().zip(0..) {
                let listed = listing.tasks.iter().filter(|task| task.runtime == Some(i));
                prop_assert_eq!(listed.count() as u64, runtime.listed);
                if !runtime.torn && let Some(counted) = runtime.counted {
                    prop_assert_eq!(counted, runtime.listed);
                }
            }
            prop_assert!(listing.tasks.len() < 20);
            prop_assert!(fake.reads() - before < 20_000);
            tasks.in_poll().all_among(&[cell(0), cell(1), HANDLE]);
        }
    }
}

#[test]
fn what_looks_like_shards_everywhere_is_read_for_so_long() {
    let fake = program();
    // A boxed slice of 65,536 shards in each four words, and no shards there.
    fake.map("40000000-40200000 rw-p 00000000 00:00 0");
    fake.bytes(0x4000_0000, &vec![0xff; 0x20_0000]);
    for at in (HEAP..HEAP + 0x2000).step_by(32) {
        fake.words(at, &[0x4000_0000, 65_536, 0, 65_535]);
    }
    let pointers: Vec<u64> = (0..64).map(|n| HEAP + 32 * n).collect();
    fake.words(STACK + 0x100, &pointers);
    let mut tasks = tasks(&fake);
    let before = fake.read_bytes();
    assert_eq!(tasks.read(STACKS).runtimes, []);
    let read = fake.read_bytes() - before;
    assert!(read < 64 << 20, "{read} bytes");
}

#[test]
fn a_mapping_without_end_is_searched_as_far_as_there_is_something() {
    let fake = program();
    let mut mappings = fake.mappings();
    let line = b"50000000-fffffffffffff000 r--p 00002000 08:01 42 /opt/app";
    mappings.insert(2, looptop_procfs::Mapping::parse(line).unwrap());
    let before = fake.reads();
    let types = Types::of(&fake, &mappings, &|_| None).unwrap();
    assert_eq!(types.iter().count(), 2);
    let reads = fake.reads() - before;
    assert!(reads < 100, "{reads} reads");
}
