//! Stalls that are one mistake.
//!
//! A stack is one instant of a poll: a handler that computes is found in another
//! of its callees each time, its waiters stand elsewhere than the one that holds
//! their lock, and a short stall has no stack at all. Two stalls are of one
//! mistake if they share one of these:
//! - the line that blocks;
//! - the function that blocks, and the cause;
//! - where the line is not known, the function that blocks and the call in it: one writes
//!   in it, and others wait in it for the writer's lock;
//! - while computing, the place where their tasks were spawned and the outermost
//!   function of the user's on the stack;
//! - where no code of the application's is on the stack, the dependency that it calls, the
//!   place where their tasks were spawned, and the cause;
//! - the lock that they wait for, or that one of them holds;
//! - for those without a name, the place where their tasks were spawned.

use std::{
    collections::{BTreeMap, HashMap},
    time::Duration,
};

use crate::model::{Cause, Culprit, LocationId, Model, Moment, RuntimeId, Stall, Tid};

use super::{Subject, finding::cause_word, stalls};

/// Stalls that are one mistake.
#[derive(Debug, Clone)]
pub(super) struct Mistake<'a> {
    /// All of them, the waiters for a lock included.
    pub stalls: Vec<&'a Stall>,
    /// The one that shows it best; never a waiter whose holder is known.
    pub shown: &'a Stall,
    /// The cause that accounts for most of the time.
    pub cause: Cause,
    /// Stalls that waited for a lock which another stall of the mistake held.
    pub waiters: usize,
    /// Two of them or more waited for one lock at the same time, and none of the
    /// stalls holds it.
    pub is_convoy: bool,
}

/// For a lock that somebody waits for, less is what a lock is for.
pub(super) const LONG_WAIT: Duration = Duration::from_millis(50);

/// The code's own stalls since a moment, by mistake. Those in a second executor
/// are [`nested`] ones.
pub(super) fn of(model: &Model, since: Moment) -> Vec<Mistake<'_>> {
    let own = |stall: &&Stall| {
        stall.overlaps(since, model.now)
            && stalls::is_own(stall, model)
            && !stalls::is_nested_runtime(stall)
    };
    let stalls: Vec<_> = model.stalls.iter().filter(own).collect();
    group(model, &stalls)
}

/// The stalls since a moment that sit in a second executor, by mistake.
pub(super) fn nested(model: &Model, since: Moment) -> Vec<Mistake<'_>> {
    let nested =
        |stall: &&Stall| stall.overlaps(since, model.now) && stalls::is_nested_runtime(stall);
    let stalls: Vec<_> = model.stalls.iter().filter(nested).collect();
    group(model, &stalls)
}

/// What two stalls of one mistake have in common.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
enum Key<'a> {
    Line(&'a str, u32),
    Function(&'a str, i32),
    /// The function, and the call in it that it waits in, where its line is not known.
    Call(&'a str, &'a str),
    Computing(Option<LocationId>, &'a str),
    /// Nothing on the stack is the application's: the task's spawn location, the
    /// dependency's crate, and the cause.
    Dependency(Option<LocationId>, &'a str, i32),
    /// Without a name: the task's spawn location, or the runtime, and the cause.
    Nameless(Option<LocationId>, Option<RuntimeId>, i32),
}

fn keys(stall: &Stall) -> Vec<Key<'_>> {
    let cause = stall.cause.into();
    let mut keys = Vec::new();
    if let Some(culprit) = stall.culprit() {
        if culprit.line != 0 {
            keys.push(Key::Line(&culprit.file, culprit.line));
        }
        keys.push(Key::Function(&culprit.function, cause));
        if let Some(call) = stall.call().filter(|_| culprit.line == 0) {
            keys.push(Key::Call(&culprit.function, &call.name));
        }
        if culprit.foreign {
            let krate = culprit.function.split("::").next().unwrap_or_default();
            keys.push(Key::Dependency(stall.location, krate, cause));
        }
        if stall.cause == Cause::Computing {
            keys.extend(outermost(stall).map(|name| Key::Computing(stall.location, name)));
        }
    } else {
        let runtime = stall.worker.map(|worker| worker.runtime);
        keys.push(Key::Nameless(stall.location, runtime, cause));
    }
    keys
}

/// The outermost function of the user's: the handler, as a rule.
fn outermost(stall: &Stall) -> Option<&str> {
    let frames = &stall.resolved.as_ref()?.frames;
    let frame = frames.iter().rev().find(|frame| !frame.plumbing)?;
    Some(&frame.function)
}

/// Disjoint sets of stalls, by index.
struct Sets(Vec<usize>);

impl Sets {
    fn root(&mut self, mut i: usize) -> usize {
        while self.0[i] != i {
            self.0[i] = self.0[self.0[i]];
            i = self.0[i];
        }
        i
    }

    fn unite(&mut self, a: usize, b: usize) {
        let (a, b) = (self.root(a), self.root(b));
        self.0[a.max(b)] = a.min(b);
    }
}

fn group<'a>(model: &Model, all: &[&'a Stall]) -> Vec<Mistake<'a>> {
    let mut sets = Sets((0..all.len()).collect());
    let mut first: HashMap<Key<'_>, usize> = HashMap::new();
    for (i, stall) in all.iter().enumerate() {
        for key in keys(stall) {
            let other = *first.entry(key).or_insert(i);
            sets.unite(i, other);
        }
    }
    unite_locks(all, &mut sets);
    unite_with_holders(model, all, &mut sets);
    unite_nameless(model, all, &mut sets);
    let mut groups: BTreeMap<usize, Vec<&Stall>> = BTreeMap::new();
    for (i, stall) in all.iter().enumerate() {
        groups.entry(sets.root(i)).or_default().push(stall);
    }
    groups
        .into_values()
        .filter_map(|stalls| Mistake::new(model, stalls))
        .collect()
}

/// Whoever waits for the same lock belongs together, also one whose stack does not
/// show that it is one. Readers and writers of one lock may wait on two words of
/// it, side by side.
fn unite_locks(all: &[&Stall], sets: &mut Sets) {
    const WORD: u64 = 4;
    let waits = |s: &Stall| s.lock_address.filter(|_| s.cause == Cause::Lock);
    let known: BTreeMap<u64, usize> = all
        .iter()
        .enumerate()
        .filter(|(_, s)| stalls::is_known_lock(s))
        .filter_map(|(i, s)| Some((waits(s)?, i)))
        .collect();
    for (i, address) in all
        .iter()
        .enumerate()
        .filter_map(|(i, s)| Some((i, waits(s)?)))
    {
        let near = address.saturating_sub(WORD)..=address.saturating_add(WORD);
        for (_, other) in known.range(near) {
            sets.unite(i, *other);
        }
    }
}

/// A waiter belongs to the stall of the thread that holds its lock.
fn unite_with_holders(model: &Model, all: &[&Stall], sets: &mut Sets) {
    for (i, waiter) in all.iter().enumerate() {
        let Some(holder) = waiter.lock_holder else {
            continue;
        };
        let held = |s: &&Stall| s.tid == Some(holder) && at_once(s, waiter, model.now);
        if let Some(j) = all.iter().position(held) {
            sets.unite(i, j);
        }
    }
}

/// One without a stack (too short to be captured, or its names are still looked
/// up) counts with the named ones of its spawn location and cause. One whose
/// cause is unknown as well, with what its location does as a rule, if it is no
/// longer than that.
fn unite_nameless(model: &Model, all: &[&Stall], sets: &mut Sets) {
    type Place = (Option<LocationId>, Option<i32>);
    let mut named: HashMap<Place, Vec<usize>> = HashMap::new();
    for (i, stall) in all
        .iter()
        .enumerate()
        .filter(|(_, s)| s.culprit().is_some())
    {
        let root = sets.root(i);
        for cause in [Some(stall.cause.into()), None] {
            let roots = named.entry((stall.location, cause)).or_default();
            if !roots.contains(&root) {
                roots.push(root);
            }
        }
    }
    let longest = all.iter().map(|s| s.own_age(model.now)).max();
    for (i, stall) in all
        .iter()
        .enumerate()
        .filter(|(_, s)| s.culprit().is_none())
    {
        let short = stall.own_age(model.now) * 2 <= longest.unwrap_or_default();
        let cause = match stall.cause {
            Cause::Unknown if short => None,
            cause => Some(cause.into()),
        };
        // Without a location there is nothing but the cause to group them by, so
        // that it must be the only one.
        let roots = named.get(&(stall.location, cause));
        let only = roots.filter(|roots| stall.location.is_some() || roots.len() == 1);
        if let Some(root) = only.and_then(|roots| roots.first()) {
            sets.unite(i, *root);
        }
    }
}

/// The two overlap in time, on different threads.
fn at_once(a: &Stall, b: &Stall, now: Moment) -> bool {
    a.tid != b.tid && a.started < b.end(now) && b.started < a.end(now)
}

impl<'a> Mistake<'a> {
    fn new(model: &Model, stalls: Vec<&'a Stall>) -> Option<Self> {
        let now = model.now;
        let (locks, others): (Vec<_>, Vec<_>) = stalls
            .iter()
            .copied()
            .partition(|s| s.cause == Cause::Lock && stalls::is_known_lock(s));
        // While one works, the other waits for the lock that it works under.
        let works = |s: &&Stall| match s.cause {
            Cause::Unknown => false,
            // Without a name it may wait for the same lock.
            Cause::Lock => stalls::call(s).is_some(),
            _ => true,
        };
        let busy = others.iter().copied().filter(works);
        let holders: Vec<&Stall> = busy
            .filter(|s| locks.iter().any(|w| at_once(s, w, now)))
            .collect();
        let waiters = locks
            .iter()
            .filter(|w| holders.iter().any(|s| at_once(s, w, now)))
            .count();
        let judged = if holders.is_empty() { &stalls } else { &others };
        let cause = cause_of(judged, now);
        let shown = most_telling(judged, cause, now)?;
        Some(Self {
            is_convoy: holders.is_empty() && cause == Cause::Lock && is_convoy(&locks, now),
            shown,
            cause,
            waiters,
            stalls,
        })
    }

    /// Whom the mistake is about: the line, the function where its line is not
    /// known, or where the task was spawned.
    pub(super) fn subject(&self, model: &Model) -> Subject {
        let shown = self.shown;
        let own = |culprit: &&Culprit| !culprit.foreign || shown.location.is_none();
        if let Some(culprit) = shown.culprit().filter(own) {
            return match culprit.line {
                0 => Subject::Function(culprit.function.clone(), cause_word(self.cause)),
                _ => Subject::Line(culprit.location().unwrap_or_default()),
            };
        }
        let location = shown
            .location
            .filter(|l| model.location(Some(*l)).is_some());
        match (location, shown.worker, shown.tid) {
            (Some(location), ..) => Subject::Site(location),
            (_, Some(worker), _) => Subject::Runtime(worker.runtime),
            (_, _, Some(tid)) => Subject::Thread(tid),
            _ => Subject::Process,
        }
    }
}

/// The cause that accounts for most of the time, of those that are known.
fn cause_of(stalls: &[&Stall], now: Moment) -> Cause {
    let mut times: BTreeMap<i32, Duration> = BTreeMap::new();
    for stall in stalls.iter().filter(|s| s.cause != Cause::Unknown) {
        *times.entry(stall.cause.into()).or_default() += stall.own_age(now);
    }
    let most = times.into_iter().max_by_key(|(_, time)| *time);
    most.and_then(|(cause, _)| cause.try_into().ok())
        .unwrap_or(Cause::Unknown)
}

/// Of the stalls with that cause, and of those the ones of the function, and there of
/// the line, in which most of the time went, those whose call is known, the live ones,
/// the oldest; otherwise the longest.
fn most_telling<'a>(stalls: &[&'a Stall], cause: Cause, now: Moment) -> Option<&'a Stall> {
    let of_cause = || stalls.iter().copied().filter(|s| s.cause == cause);
    let mut functions: BTreeMap<&str, Duration> = BTreeMap::new();
    let mut lines: BTreeMap<(&str, u32), Duration> = BTreeMap::new();
    for (stall, culprit) in of_cause().filter_map(|s| Some((s, s.culprit()?))) {
        let (function, age) = (culprit.function.as_str(), stall.own_age(now));
        *functions.entry(function).or_default() += age;
        *lines.entry((function, culprit.line)).or_default() += age;
    }
    let most = lines
        .into_iter()
        .max_by_key(|((function, _), time)| (functions.get(function).copied(), *time));
    let is_of_most = |s: &Stall| {
        let place = s.culprit().map(|c| (c.function.as_str(), c.line));
        place == most.map(|(place, _)| place)
    };
    of_cause()
        .filter(|s| is_of_most(s))
        .max_by_key(|s| (stalls::call(s).is_some(), s.live, s.own_age(now)))
}

/// Two threads wait at the same time, each for long.
fn is_convoy(locks: &[&Stall], now: Moment) -> bool {
    let mut long: Vec<&Stall> = locks
        .iter()
        .copied()
        .filter(|s| s.own_age(now) >= LONG_WAIT)
        .collect();
    long.sort_by_key(|s| s.started);
    // A thread has one stall at a time, so that whoever begins before the latest
    // end of those before is in time with one of them.
    let mut latest: Option<(Moment, Option<Tid>)> = None;
    for stall in long {
        let end = stall.end(now);
        match latest {
            Some((until, tid)) if stall.started < until && stall.tid != tid => return true,
            Some((until, _)) if until >= end => {}
            _ => latest = Some((end, stall.tid)),
        }
    }
    false
}
