//! Stalls of another process, by reading, by the kernel's sampler and by stops.
#![cfg(all(target_os = "linux", not(looptop_elsewhere), target_arch = "x86_64"))]

mod watched;

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use looptop_outside::tasks::Types;
use looptop_outside::{Changed, Evidence, Life, Role, Scope, Stall, Watch, WatchOptions};
use looptop_procfs::cause::Cause;
use looptop_symbols::scheduler::Unknown;
use watched::{LONG, Target};

#[test]
#[ignore = "is the process that is watched"]
fn the_target() {
    watched::run();
}

/// Looks, of 10 ms each, after which a stall over 10 ms is reported: 100 ms beyond the
/// threshold.
const KNOWN_WITHIN: u32 = 11;

struct Watched {
    target: Target,
    watch: Watch,
    /// The newest report of each, and at which look it was first had.
    stalls: BTreeMap<u64, (Stall, u32)>,
    looks: u32,
}

impl Watched {
    fn new(flavour: &str, options: WatchOptions) -> Self {
        let target = Target::start(flavour);
        let mut watch = Watch::new(&target.subject(), options).unwrap();
        let nameless = (!options.use_symbols).then_some(Unknown::Stripped);
        assert_eq!(watch.unknown(), nameless);
        watch.learn_types(&Types::load(&target.subject()).unwrap());
        assert_eq!(watch.sees_tasks_only(), nameless);
        assert_eq!(watch.unknown(), None);
        let mut watched = Self {
            target,
            watch,
            stalls: BTreeMap::new(),
            looks: 0,
        };
        // Its thread parks now and then, by which its counters are learned.
        let teach = !options.may_sample && options.may_stop;
        for _ in 0..if teach { 20 } else { 1 } {
            watched.target.order("teach");
            watched.looks_for(Duration::from_millis(70));
        }
        watched
    }

    fn looks_for(&mut self, time: Duration) {
        let end = Instant::now() + time;
        self.looks_until(|_| Instant::now() >= end);
    }

    fn looks_until(&mut self, mut over: impl FnMut(&Self) -> bool) {
        let deadline = Instant::now() + Duration::from_mins(1);
        while !over(self) {
            let now = Instant::now();
            assert!(now < deadline, "it never came: {:?}", self.watch.costs());
            let rest = self.watch.look(now, &|_| None).expect("it lives");
            self.looks += 1;
            for stall in self.watch.take_stalls() {
                let known = self.stalls.get(&stall.id);
                let first = known.map_or(self.looks, |(_, first)| *first);
                self.stalls.insert(stall.id, (stall, first));
            }
            std::thread::sleep(rest.saturating_sub(now.elapsed()));
        }
    }

    /// The one stall that an order leads to, and after how many looks it was reported.
    fn stall_of(&mut self, order: &str) -> (Stall, u32) {
        self.stalls.clear();
        self.target.order(order);
        self.target.wait_for("begins");
        self.looks = 0;
        self.looks_until(|w| {
            w.stalls
                .values()
                .any(|(s, _)| s.life == Life::Ended && s.duration > LONG / 2)
        });
        self.target.wait_for("done");
        let long = self.stalls.values().find(|(s, _)| s.duration > LONG / 2);
        long.unwrap().clone()
    }

    /// Whether a stack of the stall has the function on it.
    fn shows(&mut self, stall: &Stall, function: &str) -> bool {
        let address = self.target.address(function);
        let modules = self.watch.modules();
        stall.samples.iter().any(|sample| {
            sample.frames.iter().any(|(module, svma)| {
                let Some(index) = module else { return false };
                let memory = svma + modules[index.0 as usize].base;
                (address..address + 600).contains(&memory)
            })
        })
    }
}

fn options(may_sample: bool, may_stop: bool) -> WatchOptions {
    WatchOptions {
        may_sample,
        may_stop,
        ..WatchOptions::default()
    }
}

/// As of a program without symbols.
fn bare() -> WatchOptions {
    WatchOptions {
        use_symbols: false,
        ..options(true, false)
    }
}

/// Whether this kernel lets this user sample.
fn can_sample(watched: &Watched) -> bool {
    watched.watch.costs().no_sampler.is_none()
}

#[test]
fn blocked_polls_are_read() {
    for flavour in ["multi", "single", "local"] {
        let mut watched = Watched::new(flavour, options(false, false));
        for (order, cause) in [
            ("sleeps", Cause::Sleeping),
            ("locks", Cause::Lock),
            ("reads", Cause::SystemCall),
        ] {
            let (stall, looks) = watched.stall_of(order);
            assert_eq!(stall.cause, cause, "{flavour} {order}: {stall:?}");
            assert_eq!(stall.scope, Scope::OnePoll, "{order}");
            assert!(watched.shows(&stall, order), "{flavour} {order}: {stall:?}");
            let read = |s: &looptop_outside::StackSample| s.evidence == Evidence::Read;
            assert!(stall.samples.iter().all(read));
            assert!(looks <= KNOWN_WITHIN, "{looks} looks");
        }
        let costs = watched.watch.costs();
        assert_eq!(
            (costs.stopped, costs.sampled, costs.polls_watched),
            (0, 0, 0)
        );
    }
}

#[test]
fn computing_polls_are_sampled() {
    for flavour in ["multi", "single", "local"] {
        let mut watched = Watched::new(flavour, options(true, false));
        let (stall, looks) = watched.stall_of("computes");
        if !can_sample(&watched) {
            return;
        }
        assert_eq!(stall.cause, Cause::Computing, "{flavour}: {stall:?}");
        assert_eq!(stall.scope, Scope::OnePoll);
        assert!(watched.shows(&stall, "computes"), "{flavour}: {stall:?}");
        let sampled = |s: &looptop_outside::StackSample| s.evidence == Evidence::Sampled;
        assert!(stall.samples.iter().all(sampled));
        assert!(looks <= KNOWN_WITHIN, "{looks} looks");
        assert_eq!(watched.watch.costs().stopped, 0);
    }
}

#[test]
fn a_poll_of_many_calls_is_one() {
    for flavour in ["multi", "single"] {
        let mut watched = Watched::new(flavour, options(true, false));
        let (stall, _) = watched.stall_of("chats");
        if !can_sample(&watched) {
            return;
        }
        assert_eq!(stall.cause, Cause::Sleeping, "{flavour}: {stall:?}");
        assert!(watched.shows(&stall, "chats"));
    }
}

#[test]
fn computing_polls_are_stopped_where_there_is_no_sampler() {
    for flavour in ["multi", "single"] {
        let mut watched = Watched::new(flavour, options(false, true));
        let (stall, _) = watched.stall_of("computes");
        assert_eq!(stall.cause, Cause::Computing, "{flavour}: {stall:?}");
        assert!(watched.shows(&stall, "computes"), "{flavour}: {stall:?}");
        assert_eq!(stall.samples[0].evidence, Evidence::Stopped);
        let costs = watched.watch.costs();
        assert!((1..=12).contains(&costs.stopped), "{costs:?}");
        assert_eq!(costs.stopped_in_call, 0);
        eprintln!("held {:?} max {:?}", costs.held_p50, costs.held_max);
    }
}

#[test]
fn a_busy_program_of_short_polls_has_no_stall() {
    for (may_sample, may_stop, use_symbols) in [
        (true, false, true),
        (false, true, true),
        (true, false, false),
    ] {
        for flavour in ["multi", "single", "local"] {
            for tasks in [1, 3] {
                let options = WatchOptions {
                    use_symbols,
                    ..options(may_sample, may_stop)
                };
                let began = Instant::now();
                let mut watched = Watched::new(flavour, options);
                watched.target.order(&format!("yield {tasks}"));
                watched.target.wait_for("yielding");
                watched.stalls.clear();
                watched.looks_for(Duration::from_millis(700));
                watched.target.order("quiet");
                let found = &watched.stalls;
                // Its thread may have lost its CPU in the middle of a poll: the poll takes
                // long then, and not by itself.
                let own = |s: &Stall| s.duration.saturating_sub(s.run_queue.unwrap_or_default());
                let grave = found.values().filter(|(s, _)| {
                    s.cause != Cause::StarvedByHost && own(s) >= options.threshold
                });
                assert_eq!(grave.count(), 0, "{flavour} {tasks}: {found:?}");
                let costs = watched.watch.costs();
                let most = 2 + began.elapsed().as_secs();
                assert!(costs.stopped <= most, "{flavour}: {costs:?}");
            }
        }
    }
}

#[test]
fn what_may_block_is_no_stall() {
    let mut watched = Watched::new("multi", options(true, true));
    for order in ["place sleeps", "pool sleeps"] {
        watched.stalls.clear();
        watched.target.order(order);
        watched.looks_for(LONG + Duration::from_millis(200));
        watched.target.wait_for("done");
        assert!(watched.stalls.is_empty(), "{order}: {:?}", watched.stalls);
    }
}

#[test]
fn polls_are_seen_without_symbols() {
    for (flavour, role) in [
        ("multi", Role::Worker),
        ("single", Role::CurrentThread),
        ("local", Role::CurrentThread),
    ] {
        let mut watched = Watched::new(flavour, bare());
        let mut orders = vec![("sleeps", Cause::Sleeping), ("locks", Cause::Lock)];
        if can_sample(&watched) {
            orders.push(("computes", Cause::Computing));
        }
        for (order, cause) in orders {
            let (stall, _) = watched.stall_of(order);
            assert_eq!(stall.cause, cause, "{flavour} {order}: {stall:?}");
            assert_eq!(stall.scope, Scope::OnePoll, "{flavour} {order}");
            assert!(watched.shows(&stall, order), "{flavour} {order}: {stall:?}");
            let threads = watched.watch.threads();
            let found = threads.iter().find(|thread| thread.tid == stall.tid);
            assert_eq!(found.map(|thread| thread.role), Some(role), "{flavour}");
        }
    }
}

#[test]
fn what_may_block_is_no_stall_without_symbols_either() {
    let mut watched = Watched::new("multi", bare());
    // The same thread, the same function: only what calls it is another.
    watched.stall_of("sleeps");
    for order in ["place sleeps", "pool sleeps", "teach"] {
        watched.stalls.clear();
        watched.target.order(order);
        watched.looks_for(LONG + Duration::from_millis(200));
        let of_long = watched
            .stalls
            .values()
            .filter(|(s, _)| s.duration > LONG / 2);
        assert_eq!(of_long.count(), 0, "{order}: {:?}", watched.stalls);
    }
    watched.stall_of("sleeps");
}

#[test]
fn threads_have_their_roles_and_clocks() {
    let mut watched = Watched::new("multi", options(true, true));
    watched.target.order("sleeps");
    watched.target.wait_for("begins");
    watched.looks_for(Duration::from_millis(100));
    let threads = watched.watch.threads();
    let of = |role| threads.iter().filter(|t| t.role == role).count();
    assert_eq!(of(Role::Worker), 2, "{threads:?}");
    assert_eq!(of(Role::BlockOn), 1, "{threads:?}");
    let polling: Vec<_> = threads
        .iter()
        .filter(|t| t.in_poll_since.is_some())
        .collect();
    assert_eq!(polling.len(), 1);
    assert!(polling[0].call.is_some() && !polling[0].parked);
    assert!(polling[0].voluntary_switches > 0);
    let parked = threads.iter().filter(|t| t.parked).count();
    assert_eq!(parked, 2, "{threads:?}");
    let pointers = watched.watch.stack_pointers();
    assert!(pointers.len() >= 3, "{pointers:?}");
}

#[test]
fn a_process_that_ends_is_said_to_have_ended() {
    let mut watched = Watched::new("multi", options(true, true));
    watched.target.order("sleeps");
    watched.target.wait_for("begins");
    watched.looks_until(|w| !w.stalls.is_empty());
    watched.target.kill();
    let deadline = Instant::now() + Duration::from_secs(10);
    while watched.watch.look(Instant::now(), &|_| None).is_ok() {
        assert!(Instant::now() < deadline);
        std::thread::sleep(Duration::from_millis(5));
    }
    assert!(watched.watch.threads().is_empty());
}

#[test]
fn a_process_that_runs_another_program_is_another() {
    let mut watched = Watched::new("multi", options(true, true));
    watched.target.order("exec");
    let deadline = Instant::now() + Duration::from_secs(30);
    let changed = loop {
        assert!(Instant::now() < deadline);
        if let Err(changed) = watched.watch.look(Instant::now(), &|_| None) {
            break changed;
        }
        std::thread::sleep(Duration::from_millis(5));
    };
    assert_eq!(changed, Changed::OtherProgram);
}

#[test]
fn threads_come_and_go() {
    let mut watched = Watched::new("multi", options(true, true));
    watched.target.order("threads 300");
    watched.looks_for(Duration::from_millis(500));
    watched.target.wait_for("threads came");
    // Those that are left are the runtime's, and what was known of the others is gone.
    watched.looks_until(|w| w.looks % 20 == 0 && w.target.threads() < 12);
    watched.looks_for(Duration::from_millis(300));
    assert!(watched.watch.threads().len() < 12);
    assert!(watched.stalls.is_empty(), "{:?}", watched.stalls);
}
