//! Several workers or tasks queue for one lock.
//!
//! Workers wait for a lock of the standard library's kind, which shows as a
//! stall, with the lock's address. Tasks wait for one of tokio's; that shows at
//! level 1 as the last thing that each asked for, and not which lock it is, so
//! that they are grouped by where they were spawned.

use std::time::Duration;

use crate::{
    diagnose::{
        Finding, Severity,
        mistakes::{self, Mistake},
        stalls,
        words::{conjugated, count, human},
    },
    model::{Capability, LocationId, Model},
};

use super::{
    Context, Rule,
    queues::{LONG, Queue},
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
                limiter",
    evidence: "stalls in futex with the lock's address, their stacks, and the holder's where another \
               stalled thread evidently is it; at level 1, the tasks that last asked a lock and were \
               told to wait, and whether the oldest of them is ever served",
    remedy: "hold the lock for less, split it, or use an async lock where it is held across an await; \
             give every permit back",
    needs: &[Capability::Stalls, Capability::Cause],
    rank: 70,
    over_window: true,
    scans_tasks: false,
    // Whoever holds a lock has no CPU then, and the others wait for that.
    explained_by: &["too-many-workers"],
    explained_here: &[],
    not_judged: |_| None,
    check,
};

fn check(context: &Context<'_>) -> Vec<Finding> {
    let model = context.model;
    let convoys = mistakes::of(model, context.since);
    let convoys = convoys.iter().filter(|mistake| mistake.is_convoy);
    let mut findings: Vec<_> = convoys.map(|mistake| of_polls(context, mistake)).collect();
    let queues = context.memory.queues.iter();
    findings.extend(queues.filter_map(|(site, queue)| of_tasks(model, *site, queue)));
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
    let held = stalls::holder(mistake, model);
    let held = held.map_or(String::new(), |held| format!(", {}", held.text));
    let now = match now {
        0 => String::new(),
        now => format!("; {now} now"),
    };
    // Who holds it comes first: what is at the end may be cut.
    finding.title = format!(
        "{} waited up to {} for one lock{lock}{held}{now}{place}",
        count(finding.count, "poll"),
        human(finding.max),
    );
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

fn of_tasks(model: &Model, site: LocationId, queue: &Queue) -> Option<Finding> {
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
    finding.title = if stuck {
        let alone = if queue.holders == 0 {
            "; no other task spawned there is alive that could hold it"
        } else {
            ""
        };
        format!(
            "{who} for a lock or permit, up to {}, and none has got it for {}{alone}",
            human(waited),
            human(stands),
        )
    } else {
        format!("{who} for a lock or permit, up to {}", human(waited))
    };
    finding.remedy = if stuck {
        "give every lock and permit back on every path (no forget, no leak), and poll or drop \
         what holds it"
    } else {
        "hold the lock or permit only around what needs it, never across a slow call; poll or drop \
         what holds it"
    }
    .to_owned();
    Some(finding)
}
