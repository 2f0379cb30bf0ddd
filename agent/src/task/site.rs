//! Spawn locations, and what the tasks of each add up to.
//!
//! A site is a location and a kind of task. Its totals and histograms are kept
//! apart for each thread: the owner adds without contention, and whoever reads
//! sums up. When a thread ends, its share waits for the next thread, which goes
//! on counting in it: there are no more than threads at the same time.

use std::collections::{HashMap, HashSet};
use std::num::NonZeroU16;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::{LazyLock, Mutex, OnceLock};

use looptop_wire::histogram::{BUCKETS, bucket};
use looptop_wire::proto::TaskKind;

use crate::clock::{duration_ns, now_ns};
use crate::sync::lock;

/// Sites that are distinguished; tasks of further ones have no location.
pub(crate) const MAX_SITES: usize = 4096;

/// A spawn location with a kind of task; ids are dense from 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct SiteId(NonZeroU16);

impl SiteId {
    /// 0 and what was never given out are `None`.
    pub(crate) fn from_raw(raw: u32) -> Option<Self> {
        u16::try_from(raw).ok().and_then(NonZeroU16::new).map(Self)
    }

    pub(crate) fn raw(self) -> u16 {
        self.0.get()
    }

    /// The site itself; `None` only for an id that this process never gave.
    pub(crate) fn get(self) -> Option<&'static Site> {
        SITES.get(usize::from(self.raw()))?.get()
    }
}

/// Where tasks are spawned, and of which kind.
#[derive(Debug)]
pub(crate) struct Site {
    pub(crate) file: &'static str,
    pub(crate) line: u32,
    pub(crate) column: u32,
    pub(crate) kind: TaskKind,
    /// Spawned by the agent itself.
    pub(crate) hidden: bool,
    /// When the first task was spawned here, ns.
    pub(crate) first_ns: u64,
    shares: Mutex<Shares>,
}

#[derive(Debug, Default)]
struct Shares {
    all: Vec<&'static Share>,
    /// Of threads that have ended.
    idle: Vec<&'static Share>,
}

static SITES: [OnceLock<Site>; MAX_SITES] = [const { OnceLock::new() }; MAX_SITES];
static INDEX: LazyLock<Mutex<HashMap<Key, u16>>> = LazyLock::new(Mutex::default);
static FILES: LazyLock<Mutex<HashSet<&'static str>>> = LazyLock::new(Mutex::default);

type Key = (&'static str, u32, u32, i32);

/// A task's location as it was looked up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Spot {
    /// Within the agent: the task is not shown.
    Hidden,
    Site(SiteId),
    /// More than [`MAX_SITES`].
    Unknown,
}

impl Spot {
    pub(crate) fn raw(self) -> u16 {
        match self {
            Spot::Site(id) => id.raw(),
            Spot::Hidden | Spot::Unknown => 0,
        }
    }
}

/// A file name that lives for ever. Takes a lock; `Local::file` is the cache
/// before it. More than [`MAX_SITES`] files are not distinguished.
pub(super) fn file(file: &str) -> &'static str {
    let mut files = lock(&FILES);
    if let Some(known) = files.get(file) {
        return known;
    }
    if files.len() >= MAX_SITES {
        return "";
    }
    let file: &'static str = String::from(file).leak();
    files.insert(file);
    file
}

/// Finds or makes the site. Takes a lock; `Local::spot` is the cache before it.
pub(super) fn look_up(file: &'static str, line: u32, column: u32, kind: TaskKind) -> Spot {
    let mut index = lock(&INDEX);
    let known = index.get(&(file, line, column, kind as i32)).copied();
    let id = known.or_else(|| {
        let id = index.len() + 1;
        let place = SITES.get(id)?;
        index.insert((file, line, column, kind as i32), id as u16);
        place.get_or_init(|| Site {
            file,
            line,
            column,
            kind,
            hidden: is_own(file) || is_worker(file, kind),
            first_ns: now_ns(),
            shares: Mutex::default(),
        });
        Some(id as u16)
    });
    match known_site(id) {
        Some((_, site)) if site.hidden => Spot::Hidden,
        Some((id, _)) => Spot::Site(id),
        None => Spot::Unknown,
    }
}

fn known_site(id: Option<u16>) -> Option<(SiteId, &'static Site)> {
    let id = SiteId::from_raw(id?.into())?;
    Some((id, id.get()?))
}

/// Whether a blocking task is one of tokio's workers: those of a runtime that is
/// built under the layer run on its blocking pool, in one "poll" for life.
fn is_worker(file: &str, kind: TaskKind) -> bool {
    let mut parts = file.rsplit(['/', '\\']);
    kind == TaskKind::Blocking
        && parts.next() == Some("worker.rs")
        && parts.next().is_some_and(|p| p.starts_with("multi_thread"))
        && parts.next() == Some("scheduler")
}

/// Whether a source file belongs to the agent, its tests apart.
fn is_own(file: &str) -> bool {
    let prefix = file!().trim_end_matches("task/site.rs");
    let inside = file.strip_prefix(prefix);
    inside.is_some_and(|inside| !inside.contains("tests"))
}

/// Every site that is not the agent's own.
pub(super) fn all() -> impl Iterator<Item = (SiteId, &'static Site)> {
    let known = SITES.iter().skip(1).map_while(OnceLock::get);
    let numbered = (1..).filter_map(SiteId::from_raw).zip(known);
    numbered.filter(|(_, site)| !site.hidden)
}

/// One thread's part of a site's totals. Only the owner writes, so that plain
/// loads and stores do; `Relaxed`, each number is by itself.
#[derive(Debug)]
pub(crate) struct Share {
    spawned: AtomicU64,
    ended: AtomicU64,
    /// Ticks.
    busy: AtomicU64,
    longest_poll: AtomicU64,
    poll_histogram: [AtomicU64; BUCKETS],
    /// Absent until the first wait is known.
    scheduled_histogram: OnceLock<Box<[AtomicU64; BUCKETS]>>,
}

impl Default for Share {
    fn default() -> Self {
        Self {
            spawned: AtomicU64::new(0),
            ended: AtomicU64::new(0),
            busy: AtomicU64::new(0),
            longest_poll: AtomicU64::new(0),
            poll_histogram: [const { AtomicU64::new(0) }; BUCKETS],
            scheduled_histogram: OnceLock::new(),
        }
    }
}

#[inline]
pub(super) fn add(counter: &AtomicU64, n: u64) {
    counter.store(counter.load(Relaxed).wrapping_add(n), Relaxed);
}

#[inline]
pub(super) fn raise(counter: &AtomicU64, n: u64) {
    if n > counter.load(Relaxed) {
        counter.store(n, Relaxed);
    }
}

impl Share {
    pub(super) fn spawned(&self) {
        add(&self.spawned, 1);
    }

    pub(super) fn ended(&self) {
        add(&self.ended, 1);
    }

    /// Counts a finished poll of so many ticks.
    #[inline]
    pub(super) fn polled(&self, ticks: u64) {
        add(&self.busy, ticks);
        raise(&self.longest_poll, ticks);
        add(&self.poll_histogram[bucket(duration_ns(ticks))], 1);
    }

    /// Takes back what `polled` counted, perhaps on another thread: the sum
    /// over the shares is right, a single one may wrap below 0.
    pub(super) fn not_polled(&self, ticks: u64) {
        add(&self.busy, ticks.wrapping_neg());
        let bucket = bucket(duration_ns(ticks));
        add(&self.poll_histogram[bucket], 1_u64.wrapping_neg());
    }

    /// Counts a finished wait between wake and poll of so many ticks.
    #[inline]
    pub(super) fn waited(&self, ticks: u64) {
        let histogram = self
            .scheduled_histogram
            .get_or_init(|| Box::new([const { AtomicU64::new(0) }; BUCKETS]));
        add(&histogram[bucket(duration_ns(ticks))], 1);
    }

    /// Adds this share to `totals`.
    fn sum(&self, totals: &mut Totals) {
        let sum = |to: &mut u64, from: &AtomicU64| *to = to.wrapping_add(from.load(Relaxed));
        sum(&mut totals.spawned, &self.spawned);
        sum(&mut totals.ended, &self.ended);
        sum(&mut totals.busy, &self.busy);
        totals.longest_poll = totals.longest_poll.max(self.longest_poll.load(Relaxed));
    }

    fn sum_histograms(&self, poll: &mut [u64; BUCKETS], scheduled: &mut [u64; BUCKETS]) {
        let sum = |to: &mut [u64], from: &[AtomicU64]| {
            for (to, from) in to.iter_mut().zip(from) {
                *to = to.wrapping_add(from.load(Relaxed));
            }
        };
        sum(poll, &self.poll_histogram);
        if let Some(histogram) = self.scheduled_histogram.get() {
            sum(scheduled, &histogram[..]);
        }
    }
}

/// Sums over all threads; times in ticks.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Totals {
    pub(super) spawned: u64,
    pub(super) ended: u64,
    pub(super) busy: u64,
    pub(super) longest_poll: u64,
}

impl Site {
    /// A share for the calling thread.
    pub(super) fn take_share(&self) -> &'static Share {
        let mut shares = lock(&self.shares);
        if let Some(share) = shares.idle.pop() {
            return share;
        }
        let share: &'static Share = Box::leak(Box::default());
        shares.all.push(share);
        share
    }

    /// The thread that took the share ends.
    pub(super) fn give_back(&self, share: &'static Share) {
        lock(&self.shares).idle.push(share);
    }

    /// What all tasks of the site add up to now.
    pub(super) fn totals(&self) -> Totals {
        let mut totals = Totals::default();
        for share in &lock(&self.shares).all {
            share.sum(&mut totals);
        }
        totals
    }

    /// Entries that are not 0 of both histograms, polls and waits. The first
    /// also holds the number of polls.
    pub(super) fn histograms(&self) -> [Vec<(u32, u64)>; 2] {
        let (mut poll, mut scheduled) = ([0; BUCKETS], [0; BUCKETS]);
        for share in &lock(&self.shares).all {
            share.sum_histograms(&mut poll, &mut scheduled);
        }
        // A count that is being taken back may be below 0 for an instant.
        let used = |(_, n): &(u32, u64)| *n != 0 && (*n as i64) > 0;
        [poll, scheduled].map(|counts| (0..).zip(counts).filter(used).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_location_is_one_site_for_each_kind() {
        let task = look_up("site-test.rs", 1, 2, TaskKind::Task);
        assert_eq!(look_up("site-test.rs", 1, 2, TaskKind::Task), task);
        assert_ne!(look_up("site-test.rs", 1, 2, TaskKind::Local), task);
        let Spot::Site(id) = task else {
            panic!("{task:?}")
        };
        assert_eq!(id.get().unwrap().file, "site-test.rs");
    }

    #[test]
    fn a_site_knows_when_it_was_first_used() {
        let before = now_ns();
        let Spot::Site(id) = look_up("site-test.rs", 5, 1, TaskKind::Task) else {
            panic!("no site")
        };
        let first_ns = id.get().unwrap().first_ns;
        assert!((before..=now_ns()).contains(&first_ns));
        look_up("site-test.rs", 5, 1, TaskKind::Task);
        assert_eq!(id.get().unwrap().first_ns, first_ns, "not when used again");
    }

    #[test]
    fn the_agents_own_files_are_hidden_and_its_tests_are_not() {
        assert!(is_own(file!()));
        assert!(is_own(&file!().replace("task/site.rs", "lag.rs")));
        assert!(!is_own(&file!().replace("site.rs", "tests.rs")));
        assert!(!is_own("src/main.rs"));
        assert_eq!(look_up(file!(), 1, 1, TaskKind::Task), Spot::Hidden);
    }

    #[test]
    fn tokios_workers_are_no_tasks() {
        let worker = "/x/tokio-1.54.1/src/runtime/scheduler/multi_thread/worker.rs";
        for (file, kind, hidden) in [
            (worker, TaskKind::Blocking, true),
            (&worker.replace('/', "\\"), TaskKind::Blocking, true),
            (worker, TaskKind::Task, false),
            ("src/worker.rs", TaskKind::Blocking, false),
            ("worker.rs", TaskKind::Blocking, false),
        ] {
            assert_eq!(is_worker(file, kind), hidden, "{file} {kind:?}");
        }
    }

    #[test]
    fn shares_add_up_also_when_taken_back_elsewhere_and_after_their_thread() {
        let Spot::Site(id) = look_up("site-test.rs", 9, 9, TaskKind::Task) else {
            panic!("no site")
        };
        let site = id.get().unwrap();
        let (a, b) = (site.take_share(), site.take_share());
        a.spawned();
        a.polled(1_000);
        a.polled(3_000);
        a.waited(50);
        b.not_polled(1_000);
        b.ended();
        let expected = Totals {
            spawned: 1,
            ended: 1,
            busy: 3_000,
            longest_poll: 3_000,
        };
        let histograms = [vec![(bucket(duration_ns(3_000)) as u32, 1)], {
            vec![(bucket(duration_ns(50)) as u32, 1)]
        }];
        assert_eq!(site.totals(), expected);
        assert_eq!(site.histograms(), histograms);
        site.give_back(a);
        site.give_back(b);
        assert!(std::ptr::eq(site.take_share(), b), "used again");
        assert_eq!(site.totals(), expected);
        assert_eq!(site.histograms(), histograms);
    }
}
