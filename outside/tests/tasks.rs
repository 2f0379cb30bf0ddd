//! The live tasks of a real program, read from outside and compared with what its
//! runtimes say themselves.
#![cfg(all(target_os = "linux", not(looptop_elsewhere), target_arch = "x86_64"))]

mod process;

use std::sync::Arc;
use std::time::{Duration, Instant};

use looptop_outside::Subject;
use looptop_outside::tasks::{
    Flavor, Listing, NoTypes, RuntimeListing, Task, TaskKind, TaskState, Tasks, Types,
};
use looptop_procfs::Procfs;
use process::Target;

struct Seen {
    target: Target,
    subject: Subject,
    tasks: Tasks,
}

impl Seen {
    fn start(mode: &str, number: u64) -> Self {
        let target = Target::start(mode, number);
        let subject = Subject::find(&Procfs::default(), target.pid()).unwrap();
        let types = Arc::new(Types::load(&subject).unwrap());
        let tasks = Tasks::new(&subject, types);
        Self {
            target,
            subject,
            tasks,
        }
    }

    fn read(&mut self) -> &Listing {
        let stacks = process::stack_pointers(&self.subject);
        self.tasks.read(&stacks)
    }

    /// Looks until what is seen is as expected.
    fn until(&mut self, what: &str, mut is: impl FnMut(&Listing) -> bool) {
        let deadline = Instant::now() + Duration::from_secs(20);
        loop {
            let listing = self.read();
            if is(listing) {
                return;
            }
            assert!(
                Instant::now() <= deadline,
                "{what}: {:#?}, {} tasks, {:?}",
                listing.runtimes,
                listing.tasks.len(),
                listing.scan
            );
            std::thread::sleep(Duration::from_millis(10));
        }
    }
}

fn of(listing: &Listing, flavor: Flavor) -> Vec<&RuntimeListing> {
    let runtimes = listing.runtimes.iter();
    runtimes
        .filter(|runtime| runtime.flavor == flavor)
        .collect()
}

fn alive(listing: &Listing, flavor: Flavor) -> Vec<u64> {
    let mut alive: Vec<u64> = of(listing, flavor).iter().map(|r| r.alive()).collect();
    alive.sort_unstable();
    alive
}

/// What must hold of every listing.
fn check(listing: &Listing) {
    for (runtime, i) in listing.runtimes.iter().zip(0..) {
        let listed = listing.tasks.iter().filter(|task| task.runtime == Some(i));
        assert_eq!(listed.count() as u64, runtime.listed);
        if !runtime.torn {
            assert_eq!(runtime.alive(), runtime.listed);
        }
    }
    let mut headers: Vec<u64> = listing.tasks.iter().map(|task| task.header).collect();
    headers.sort_unstable();
    headers.dedup();
    assert_eq!(headers.len(), listing.tasks.len(), "a task is listed twice");
    let loose = listing.tasks.iter().filter(|task| task.runtime.is_none());
    let (blocking, unlisted): (Vec<&Task>, Vec<&Task>) =
        loose.partition(|task| task.kind == TaskKind::Blocking);
    assert_eq!(blocking.len() as u64, listing.blocking);
    assert_eq!(unlisted.len() as u64, listing.unlisted);
}

/// The program that is looked at, when this file runs itself.
#[test]
#[ignore = "is run by the others"]
fn target() {
    process::run();
}

#[test]
fn the_types_of_a_program_are_known() {
    let seen = Seen::start("idle", 3);
    let types = seen.tasks.types();
    let version = types
        .tokio_version()
        .expect("its sources are in a registry");
    assert!(version.to_string().starts_with("1."), "{version}");
    assert_eq!(types.modules()[0].unstable, cfg!(tokio_unstable));
    let (named, shaped): (Vec<_>, Vec<_>) = types.iter().partition(|found| found.named);
    assert!(!named.is_empty());
    assert_eq!(
        shaped,
        Vec::<&_>::new(),
        "tests have symbols for all of them"
    );
    for found in types.iter() {
        assert_eq!(types.get(found.vtable), Some(found));
        assert_eq!(types.get(found.vtable + 8), None);
        assert!(found.trailer_offset < found.size);
    }
}

#[test]
fn a_program_without_tokio_has_no_types() {
    let subject = Subject::find(&Procfs::default(), std::process::id()).unwrap();
    drop(Types::load(&subject).unwrap());
    let mut child = std::process::Command::new("sleep")
        .arg("100")
        .spawn()
        .unwrap();
    let deadline = Instant::now() + Duration::from_secs(20);
    let subject = loop {
        // Until it has become `sleep` it is a copy of this process.
        let subject = Subject::find(&Procfs::default(), child.id()).unwrap();
        match Types::load(&subject) {
            Err(NoTypes::NotTokio) => break subject,
            other => assert!(Instant::now() < deadline, "{other:?}"),
        }
    };
    child.kill().unwrap();
    child.wait().unwrap();
    assert!(matches!(
        Types::load(&subject),
        Err(NoTypes::NoMappings(_) | NoTypes::Changed(_) | NoTypes::Unreadable)
    ));
}

#[test]
fn idle_tasks_are_listed_as_the_runtime_counts_them() {
    let mut seen = Seen::start("idle", 1_000);
    let counted = seen.target.ask("alive")[0];
    assert_eq!(counted, 1_000);
    // The first look finds the runtime without a search of the heap.
    let listing = seen.read();
    check(listing);
    let runtime = of(listing, Flavor::MultiThread)[0];
    assert_eq!((runtime.counted, runtime.listed), (Some(1_000), 1_000));
    assert!(!runtime.torn);
    assert_eq!(listing.scan.bytes, 0);
    let states = listing.tasks.iter().filter(|task| task.runtime.is_some());
    assert!(states.clone().all(|task| task.state == TaskState::Idle));
    let mut ids: Vec<u64> = states.map(|task| task.id).collect();
    ids.sort_unstable();
    ids.dedup();
    assert_eq!(ids.len(), 1_000);
    if cfg!(tokio_unstable) {
        let task = listing
            .tasks
            .iter()
            .find(|task| task.runtime.is_some())
            .unwrap();
        let place = listing.spawned_at(task).unwrap();
        assert!(place.file.ends_with("process/program.rs"), "{place:?}");
    }

    // The search does not change it, and finds the workers' jobs.
    seen.until("a search", |listing| listing.scan.complete);
    let workers = seen.target.ask("workers")[0];
    let listing = seen.read();
    check(listing);
    assert_eq!(listing.runtimes.len(), 1);
    assert_eq!((listing.unlisted, listing.blocking), (0, workers));

    for (command, left) in [
        ("drop 400", 600),
        ("spawn 77", 677),
        ("drop 677", 0),
        ("spawn 5", 5),
    ] {
        assert_eq!(seen.target.ask(command)[0], left, "{command}");
        let listing = seen.read();
        check(listing);
        assert_eq!(alive(listing, Flavor::MultiThread), [left], "{command}");
        assert!(!listing.runtimes[0].torn);
    }
}

#[test]
fn each_runtime_and_local_set_has_its_own_list() {
    let mut seen = Seen::start("several", 0);
    // 2 multi-thread, of one and of many workers; 2 current-thread; 3 LocalSets, one
    // of them driven by a runtime with tasks of its own.
    seen.until("all of them", |listing| {
        alive(listing, Flavor::MultiThread) == [11, 22]
            && alive(listing, Flavor::CurrentThread) == [0, 0, 5, 33, 44]
            && alive(listing, Flavor::LocalSet) == [6, 55, 66]
    });
    let listing = seen.read();
    check(listing);
    assert_eq!(listing.unlisted, 0);

    // One that comes later is found, and forgotten when it ends.
    for (number, with) in [(7, [0, 0, 5, 7, 33, 44]), (0, [0, 0, 0, 5, 33, 44])] {
        seen.target.ask(&format!("open {number}"));
        seen.until("a new one", |listing| {
            alive(listing, Flavor::CurrentThread) == with
        });
        seen.target.ask("close");
        seen.until("without it", |listing| {
            alive(listing, Flavor::CurrentThread) == [0, 0, 5, 33, 44]
        });
    }
}

#[test]
fn a_task_in_a_poll_is_found_on_its_stack() {
    let mut seen = Seen::start("polls", 3);
    seen.until("all in polls", |listing| {
        let running = listing.tasks.iter().filter(|task| task.runtime.is_some());
        running
            .filter(|task| task.state == TaskState::Running)
            .count()
            == 3
    });
    let listing = seen.tasks.listing().clone();
    check(&listing);
    let in_poll = seen.tasks.in_poll();
    let mut found = Vec::new();
    for (_, pointer) in process::stack_pointers(&seen.subject) {
        let stack = process::stack(&seen.subject, pointer);
        let here = in_poll.all_among(&stack);
        let mut tasks = here.iter().filter(|task| task.kind == TaskKind::Async);
        found.extend(tasks.clone().copied());
        let first = in_poll.among(&stack);
        assert_eq!(first.as_ref(), tasks.next());
        if let Some(first) = first {
            assert_eq!(stack[first.word], first.header);
        }
    }
    found.sort_unstable_by_key(|task| task.id);
    found.dedup_by_key(|task| task.id);
    let mut expected: Vec<(u64, u64)> = listing
        .tasks
        .iter()
        .filter(|task| task.kind == TaskKind::Async && task.state == TaskState::Running)
        .map(|task| (task.id, task.header))
        .collect();
    expected.sort_unstable();
    let found: Vec<_> = found.iter().map(|task| (task.id, task.header)).collect();
    assert_eq!(found, expected);
    assert_eq!(in_poll.all_among(&[0, 1, u64::MAX, 0x1000, 1 << 46]), []);
}

/// The program's own counters, read from its memory: short tasks that were about to be
/// spawned, that are spawned, and that were about to end.
fn counters(seen: &Seen) -> [u64; 3] {
    let at: [u64; 3] = seen.target.first[..3].try_into().unwrap();
    let words = seen.subject.memory().gather::<8>(&at);
    std::array::from_fn(|i| words[i].map(u64::from_le_bytes).unwrap())
}

/// 20,000 short tasks a second beside 500 that stay: each count that is shown was true at
/// some moment of the look, or it is marked. `bench/` does the same for a minute.
#[test]
fn a_list_that_changes_all_the_time_is_right_or_marked() {
    let mut seen = Seen::start("churn", 500);
    let &[.., stay, newest, workers] = &seen.target.first[..] else {
        panic!("{:?}", seen.target.first);
    };
    seen.until("a list", |listing| {
        listing.scan.complete && !listing.runtimes.is_empty()
    });
    let (mut whole, mut looks) = (0, 0);
    let end = Instant::now() + Duration::from_secs(3);
    while Instant::now() < end {
        let [_, spawned, ended_before] = counters(&seen);
        seen.read();
        let [begun, _, ended] = counters(&seen);
        let least = stay + spawned.saturating_sub(ended);
        let possible = least..=stay + begun - ended_before + workers;
        let listing = seen.tasks.listing();
        check(listing);
        let runtime = of(listing, Flavor::MultiThread)[0];
        // Its own count is shown also where the list is marked.
        assert!(
            possible.contains(&runtime.alive()),
            "{possible:?}: {runtime:?}"
        );
        if !runtime.torn {
            assert!(
                possible.contains(&runtime.listed),
                "{possible:?}: {runtime:?}"
            );
            // Those that stay are in it whatever comes and goes; the one that spawns has
            // a later id.
            let listed = listing.tasks.iter().filter(|task| task.runtime.is_some());
            let staying = listed.filter(|task| task.id <= newest).count() as u64;
            assert_eq!(staying, stay - 1);
            whole += 1;
        }
        looks += 1;
    }
    assert!(whole * 2 > looks, "{whole} of {looks} whole");
}
