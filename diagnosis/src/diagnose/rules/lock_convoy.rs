//! Several workers or tasks queue for one lock.
//!
//! Workers wait for a lock of the standard library's kind, which shows as a
//! stall, with the lock's address. Tasks wait for one of tokio's; that shows in their
//! futures, where these are read, and at level 1 as the last thing that each asked for,
//! and not which lock it is, so that they are grouped by where they were spawned.

pub(in crate::diagnose) mod of_waits;

use std::{collections::BTreeMap, time::Duration};

use crate::{
    diagnose::{
        Finding, Severity,
        mistakes::{self, Mistake},
        stalls,
        waits::{Party, polled_wants, resource_name},
        words::{conjugated, count, human},
    },
    model::{Capability, LocationId, Model, WantKind},
};

use super::{
    Context, Rule, chains,
    queues::{LONG, Queue},
    waiting::held,
};

pub(super) const RULE: Rule = Rule {
    id: "lock-convoy",
    summary: "several polls or tasks queue for one lock",
    meaning: "One holds a lock for long, and the others that want it wait one behind the other: \
              polls on a lock of the standard library, each blocking its worker meanwhile, or tasks \
              on a lock, semaphore or pool of tokio's. Where the one that holds it is found \
              blocking a worker itself, that is the finding (`blocked-worker`), and the others are \
              counted in it.",
    threshold: "two threads or more wait over 50 ms at the same time for the same thing, which the \
                stack shows to be a lock (a channel, a condition, a parked or joined thread is \
                none); or tasks of one spawn location wait for a lock or permit of tokio's: five or \
                more for over 250 ms, two or more for over 500 ms for two seconds on end while the \
                queue moves, or three or more in a queue that grows while nobody has been served \
                for 2.5 s. A batch that one task spawned together, behind a limit of its own, does \
                not count as long as it is being served; nor does a queue that does not grow, \
                of which up to two a second are served and hardly any look finds a holder: a \
                limiter. Where the futures of the tasks are read instead: five or more wait over 1 s \
                for one lock or semaphore, or two or more over 2 s, for each of which somebody waits \
                in turn (a connection that it serves, a task that joins it), which have come again, \
                or which wait for an RwLock, which is no limiter; or three or more in a queue that grows while nobody is served for 5 s and no \
                task holds any, or for 30 s otherwise; likewise in one that does not grow, for 30 s, \
                for a mutex or for permits that no task holds",
    evidence: "stalls in futex with the lock's address, their stacks, and the holder's where another \
               stalled thread evidently is it; at level 1, the tasks that last asked a lock and were \
               told to wait, and whether the oldest of them is ever served; where futures are read, \
               which lock it is, who holds it, and what those wait for themselves",
    remedy: "hold the lock for less, split it, or use an async lock where it is held across an await; \
             give every permit back",
    needs: &[Capability::Stalls, Capability::Cause],
    rank: 70,
    over_window: true,
    scans_tasks: false,
    // Whoever holds a lock has no CPU then, and the others wait for that.
    explained_by: &["too-many-workers"],
    explained_here: &["deadlock", "futurelock"],
    not_judged,
    check,
};

/// Locks of the standard library's kind show as stalls; those of tokio's where tokio says
/// it, at level 1, or the futures of the tasks were read.
fn not_judged(context: &Context<'_>) -> Option<String> {
    let model = context.model;
    let Some(why) = chains::why_not_read(context) else {
        return of_waits::unsure(context);
    };
    let reads = model.is_outside() || model.waits.read().is_some();
    let asked = model.tasks.live().any(|task| task.lock_wait().is_some());
    (reads && !asked).then(|| format!("who waits for one of tokio's locks: {why}"))
}

fn check(context: &Context<'_>) -> Vec<Finding> {
    let model = context.model;
    let convoys = mistakes::of(model, context.since);
    let convoys = convoys.iter().filter(|mistake| mistake.is_convoy);
    let mut findings: Vec<_> = convoys.map(|mistake| of_polls(context, mistake)).collect();
    let queues = context.memory.queues.iter();
    findings.extend(queues.filter_map(|(site, queue)| of_tasks(context, *site, queue)));
    findings.extend(of_waits::findings(context));
    findings
}

fn of_polls(context: &Context<'_>, mistake: &Mistake<'_>) -> Finding {
    let model = context.model;
    let shown = mistake.shown;
    let now = mistake.stalls.iter().filter(|s| s.live).count();
    let severity = stalls::severity(model, mistake, context.window()).max(Severity::Warning);
    let mut finding = stalls::finding(RULE.id, severity, model, mistake);
    let place = match shown.culprit() {
        Some(culprit) => format!(", in {}", culprit.sentence()),
        None => match stalls::location(shown, model).as_str() {
            "" => String::new(),
            location => format!(", spawned at {location}"),
        },
    };
    let lock = lock_of(mistake).map_or(String::new(), |name| format!(" ({name})"));
    let now = match now {
        0 => String::new(),
        now => format!("; {now} now"),
    };
    let polls = count(finding.count, "poll");
    let longest = human(finding.max);
    // Who holds it comes first: what is at the end may be cut.
    finding.title = match stalls::holder(mistake, model) {
        Some(held) => format!(
            "one lock{lock} {} {}: {polls} waited up to {longest} for it{now}{place}",
            if now.is_empty() { "was" } else { "is" },
            held.text
        ),
        None => format!("{polls} waited up to {longest} for one lock{lock}{now}{place}"),
    };
    finding
}

/// The lock as the stack of any of its waiters names it best: as a part of something
/// that is more than a lock, before the lock itself.
fn lock_of<'a>(mistake: &'a Mistake<'_>) -> Option<&'a str> {
    let of_all = mistake
        .stalls
        .iter()
        .filter_map(|stall| stalls::call(stall));
    let part = of_all.map(|call| call.name.as_str()).find_map(|name| {
        let (owner, _) = name
            .rsplit_once("::Sender::")
            .or(name.rsplit_once("::Receiver::"))?;
        Some(owner)
    });
    part.or(stalls::call(mistake.shown).map(|call| call.name.as_str()))
}

/// For tasks, which may well wait: that is what they are for.
const MANY: usize = 5;
/// Waiting for so long, two are enough.
const VERY_LONG: Duration = Duration::from_millis(500);
/// The queue has stood for so long that it is no moment's.
const LASTING: Duration = Duration::from_secs(2);
/// Nobody was served for so long that nobody is.
const STUCK: Duration = Duration::from_millis(2_500);
/// A batch whose turn has not come for so long is stuck after all.
const BATCH_STUCK: Duration = Duration::from_secs(30);
/// With so many waiting in a queue that stands still, growth is no chance.
const GROWN: usize = 3;

fn of_tasks(context: &Context<'_>, site: LocationId, queue: &Queue) -> Option<Finding> {
    let model = context.model;
    let now = model.now;
    let waited = now.since(queue.head);
    let stands = now.since(queue.served);
    let stuck = stands >= STUCK && queue.arrivals >= 2 && queue.waiting >= GROWN;
    let lasting = now.since(queue.since) >= LASTING;
    let fires = if queue.is_batch {
        stuck && stands >= BATCH_STUCK
    } else {
        let many = queue.independent >= MANY && waited >= LONG;
        let slow = queue.waiting >= 2 && waited >= VERY_LONG && lasting && queue.moves >= 2;
        // Before somebody was served it is open whether anybody is, and how often.
        let known = queue.is_held() || queue.moves > 0 || stands >= STUCK;
        (known && !queue.is_rationed() && (many || slow)) || stuck
    };
    if !fires {
        return None;
    }
    let asked = Asked::by(context, site);
    // A deadlock says it better.
    if asked.is_kept {
        return None;
    }
    let mut finding = Finding::about_site(RULE.id, Severity::Warning, model, site);
    let first = model.tasks.get(queue.first)?;
    finding.task = Some(first.id);
    finding.task_name = model.text(first.name).to_owned();
    finding.count = queue.waiting as u64;
    finding.max = waited;
    finding.total = queue.total;
    finding.first_seen = queue.head;
    let who = format!(
        "{} spawned at {} {}",
        count(finding.count, "task"),
        finding.location,
        conjugated(finding.count, "wait")
    );
    let what = asked.what(model);
    let held = asked.held(context);
    finding.title = if stuck {
        let alone = if let Some(held) = held {
            format!("; {held}")
        } else if queue.holders == 0 {
            "; no other task spawned there is alive that could hold it".to_owned()
        } else {
            String::new()
        };
        format!(
            "{who} for {what}, up to {}, and none has got it for {}{alone}",
            human(waited),
            human(stands),
        )
    } else {
        let held = held.map_or(String::new(), |held| format!("; {held}"));
        format!("{who} for {what}, up to {}{held}", human(waited))
    };
    remedy(stuck).clone_into(&mut finding.remedy);
    Some(finding)
}

fn remedy(stuck: bool) -> &'static str {
    if stuck {
        "give every lock and permit back on every path (no forget, no leak), and poll or drop \
         what holds it"
    } else {
        "hold the lock or permit only around what needs it, never across a slow call; poll or drop \
         what holds it"
    }
}

/// What the tasks of a site that asked a lock wait for, as their futures say it.
struct Asked {
    /// The lock or semaphore for which most of them wait, where that is known.
    resource: Option<u64>,
    /// Most of them wait behind a deadlock.
    is_kept: bool,
}

impl Asked {
    fn by(context: &Context<'_>, site: LocationId) -> Self {
        let model = context.model;
        let mut of_each: BTreeMap<u64, usize> = BTreeMap::new();
        let all_kept = context.memory.waiting.kept(model);
        let (mut all, mut kept) = (0, 0);
        let at_site = model.tasks.live().filter(|t| t.location == Some(site));
        for task in at_site.filter(|t| t.lock_wait().is_some()) {
            all += 1;
            let Some(wait) = model.waits.task(task.id) else {
                continue;
            };
            kept += usize::from(all_kept.contains(&Party::Task(task.id)));
            let (wants, _) = polled_wants(wait);
            let permits = wants.iter().find(|want| want.kind == WantKind::Permits);
            if let Some(resource) = permits.and_then(|want| want.resource) {
                *of_each.entry(resource).or_default() += 1;
            }
        }
        let most = of_each.into_iter().max_by_key(|(_, tasks)| *tasks);
        Self {
            resource: most.map(|(resource, _)| resource),
            is_kept: kept > 0 && kept * 2 >= all,
        }
    }

    fn what(&self, model: &Model) -> String {
        match self.resource {
            Some(resource) => resource_name(model, resource),
            None => "a lock or permit".to_owned(),
        }
    }

    fn held(&self, context: &Context<'_>) -> Option<String> {
        let waiting = &context.memory.waiting;
        held::sentence(context.model, &waiting.graph, self.resource?)
    }
}
