//! Tasks or threads that wait for each other in a ring.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use crate::{
    diagnose::{
        Finding, Severity, Subject,
        waits::{
            Member, Party, Ring, asked_of, at_text, called_by, held_across, hold_of, kind,
            kind_text, resource_text,
        },
        words::count,
    },
    model::{HoldRole, Model, Moment, ResourceKind, Task, TaskId, WantKind},
};

use super::{
    Context, Rule,
    chains::{
        Spot, behind_words, explained, frames, numbered, parties_words, spot, spot_words, who,
        why_not_read,
    },
    waiting::STANDS_PROBABLY,
};

pub(super) const RULE: Rule = Rule {
    id: "deadlock",
    summary: "tasks or threads wait for each other, and none can go on",
    meaning: "Each of them holds what the next one waits for, and the last holds what the first \
              waits for: locks taken in different orders, a lock that is taken again while it is \
              held (an RwLock's second read behind a writer that waits), a permit held across a \
              call that needs another of the same semaphore, actors that send into each other's \
              full channels. They wait for ever, and so does everybody who needs one of them. \
              Nothing blocks a worker meanwhile: the service only grows quiet.",
    threshold: "a ring of tasks or threads of which each waits for what the next one holds, and \
                which has stood for 2.5 s, in which each task that has run was read again. What is \
                not known can always give: an unknown holder, a sender in a map, a timer, a \
                time-out, the network, so that a ring is what nothing known can break. Where a \
                number of permits is not known, or a holder is only probable, the ring is probable \
                too, and must have stood for 3.5 s",
    evidence: "the futures of the tasks as they are in memory: what each waits for, and the guards, \
               permits and ends of channels that live across its awaits; of threads the lock's \
               address in the call, and on the stacks of the others",
    remedy: "take locks in one order everywhere; hold none across an await that needs another; answer \
             over a oneshot channel instead of sending back into a full one",
    needs: &[],
    rank: 95,
    over_window: false,
    scans_tasks: false,
    explained_by: &[],
    explained_here: &[],
    not_judged,
    check,
};

fn check(context: &Context<'_>) -> Vec<Finding> {
    let model = context.model;
    let mut mistakes: BTreeMap<Vec<Spot>, Vec<&Ring>> = BTreeMap::new();
    let waiting = &context.memory.waiting;
    for ring in waiting.rings(model) {
        if is_never_ending(ring) || is_behind_own(context, ring) {
            continue;
        }
        let mut spots: Vec<Spot> = ring.members.iter().map(|m| spot(model, m.party)).collect();
        spots.sort();
        mistakes.entry(spots).or_default().push(ring);
    }
    mistakes
        .into_values()
        .filter_map(|rings| finding(context, &rings))
        .collect()
}

/// A ring that is not seen for so long may be nothing but two reads at different moments.
const SEEMS: Duration = Duration::from_secs(1);

/// "a (x.rs:1) and b (y.rs:2) seem to wait for each other": a ring that was not looked at
/// for long enough, or not read again yet, to be sure of it.
pub(in crate::diagnose) fn seeming(context: &Context<'_>) -> Option<String> {
    let model = context.model;
    let rings = unproven(context).filter(|(_, since)| model.now.since(*since) >= SEEMS);
    let (ring, _) = rings.max_by_key(|(ring, _)| ring.behind.len())?;
    let members = from_first_line(model, &ring.members);
    Some(match members.as_slice() {
        [alone] => {
            let at = spot_words(model, &[spot(model, alone.party)]);
            format!("{} seems to wait for itself{at}", who(model, alone.party))
        }
        members => {
            let spots: Vec<Spot> = members.iter().map(|m| spot(model, m.party)).collect();
            format!("{} seem to wait for each other", parties_words(&spots))
        }
    })
}

/// Whether there is a ring of which a few seconds more will show whether it is one.
pub(in crate::diagnose) fn is_undecided(context: &Context<'_>) -> bool {
    unproven(context).next().is_some()
}

/// The rings that may yet be an accident, and since when each is known.
fn unproven<'a>(context: &'a Context<'a>) -> impl Iterator<Item = (&'a Ring, Moment)> {
    let rings = context.memory.waiting.unproven(context.model);
    rings.filter(|(ring, _)| !is_never_ending(ring) && !is_behind_own(context, ring))
}

fn not_judged(context: &Context<'_>) -> Option<String> {
    let seeming = seeming(context).map(|seeming| {
        format!("{seeming}, and what they wait for was not read again; observe for longer")
    });
    // Of a core dump there is but one moment.
    let too_short = || {
        let model = context.model;
        let is_read = model.waits.read().is_some() && !model.session.core_dump;
        is_read
            .then(|| context.too_short(STANDS_PROBABLY))
            .flatten()
    };
    seeming.or_else(|| why_not_read(context)).or_else(too_short)
}

/// A task that waits for a message which only it could send: `stuck-task` says that.
pub(super) fn is_never_ending(ring: &Ring) -> bool {
    ring.members.len() == 1 && ring.members[0].want.kind == WantKind::Message
}

/// `futurelock` says it better.
fn is_behind_own(context: &Context<'_>, ring: &Ring) -> bool {
    let mut behind = context.memory.waiting.behind_own(context.model);
    ring.members.len() == 1 && behind.any(|own| Party::Task(own.task) == ring.members[0].party)
}

/// Rings at the same lines are one mistake.
fn finding(context: &Context<'_>, rings: &[&Ring]) -> Option<Finding> {
    let model = context.model;
    // The one that keeps most, and of those the first.
    let shown = rings.iter().rev().max_by_key(|ring| ring.behind.len())?;
    let members = from_first_line(model, &shown.members);
    let spots: Vec<Spot> = members.iter().map(|m| spot(model, m.party)).collect();
    let first = spots.first()?;
    let subject = match first.line(model) {
        Some(line) => Subject::Line(line),
        None => Subject::Named(first.function.clone()),
    };
    let mut finding = Finding::new(RULE.id, Severity::Critical, subject, model.now);
    finding.location = first.line(model).unwrap_or_default();
    finding.function = (!first.function.is_empty()).then(|| first.function.clone());
    if let Party::Task(task) = members.first()?.party {
        finding.task = Some(task);
        let known = model.tasks.get(task);
        let name = known.and_then(|task| model.task_name(task));
        name.unwrap_or_default().clone_into(&mut finding.task_name);
    }
    let inside = rings.iter().flat_map(|ring| &ring.members);
    finding.tasks = inside.filter_map(|member| member.party.task()).collect();
    finding.tasks.sort_unstable();
    let behind: usize = rings.iter().map(|ring| ring.behind.len()).sum();
    let inside: usize = rings.iter().map(|ring| ring.members.len()).sum();
    finding.count = (inside + behind) as u64;
    let ages = rings.iter().flat_map(|r| &r.members);
    let ages: Vec<Duration> = ages.map(|m| age(model, m.party)).collect();
    finding.max = ages.iter().copied().max().unwrap_or_default();
    finding.total = ages.iter().sum();
    finding.first_seen = model
        .now
        .minus(finding.max)
        .max(model.since.unwrap_or_default());
    finding.stack = Some(Arc::new(frames(model, &spots)));
    let parties = rings.iter().flat_map(|ring| {
        let members = ring.members.iter().map(|member| member.party);
        members.chain(ring.behind.iter().copied())
    });
    finding.explains = explained(model, &parties.collect::<Vec<_>>());
    finding.cause_text = evidence(model, &members, &spots);
    let sure = if shown.is_certain { "" } else { "probably a " };
    let at = spot_words(model, &spots);
    let more = match rings.len() {
        1 => String::new(),
        n => format!(", in {n} rings"),
    };
    let behind = behind_words(behind);
    finding.title = match members.as_slice() {
        [alone] => format!(
            "{sure}deadlock{at}{more}: {} waits for itself: {}{behind}",
            who(model, alone.party),
            of_itself(model, alone),
        ),
        _ => format!(
            "{sure}deadlock: {} wait for each other{more}: {}{behind}",
            parties_words(&spots),
            sentence(model, &members)
        ),
    };
    remedy(model, &members).clone_into(&mut finding.remedy);
    Some(finding)
}

/// The members as the ring goes, beginning with that of the first line, so that one mistake
/// is told the same at each look.
fn from_first_line(model: &Model, members: &[Member]) -> Vec<Member> {
    let first = (0..members.len()).min_by_key(|at| spot(model, members[*at].party));
    let mut members = members.to_vec();
    members.rotate_left(first.unwrap_or_default());
    members
}

fn age(model: &Model, party: Party) -> Duration {
    let since: Option<Moment> = match party {
        Party::Task(id) => model.waits.task(id).map(|wait| model.waits_since(wait).0),
        Party::Thread(tid) => model.waits.thread(tid).map(|thread| thread.since),
    };
    since.map_or(Duration::ZERO, |since| model.now.since(since))
}

/// What a resource is called in this ring: where nobody has named it, by the variable in
/// which its holder has it.
fn called(model: &Model, members: &[Member], id: u64) -> String {
    let variable = |id: u64| {
        let mut holds = members.iter().filter_map(|member| member.held_by_next);
        holds.find(|hold| hold.resource == id)?.name
    };
    let called = called_by(model, id, variable(id));
    let mut others = members.iter().filter_map(|member| member.want.resource);
    let alike = |other: u64| other != id && called_by(model, other, variable(other)) == called;
    if !others.any(alike) {
        return called;
    }
    // Two of the same name: by whose it is.
    let before = members.iter().position(|m| m.want.resource == Some(id));
    let owner = before.map(|at| members[(at + 1) % members.len()].party);
    match owner {
        Some(Party::Task(task)) => format!(
            "{} of task {}",
            kind_text(kind(model, id)),
            number(model, task)
        ),
        _ => resource_text(model, id),
    }
}

fn number(model: &Model, task: TaskId) -> u64 {
    let known = model.tasks.get(task).and_then(Task::tokio_id);
    known.unwrap_or(task.0)
}

fn asked(model: &Model, members: &[Member], member: &Member) -> String {
    let called = member.want.resource.map(|id| called(model, members, id));
    asked_of(model, &member.want, called.as_deref())
}

/// What a member holds that the one before it wants; nothing where its end is waited for.
fn held(model: &Model, members: &[Member], at: usize) -> Option<String> {
    let before = (at + members.len() - 1) % members.len();
    let hold = members[before].held_by_next?;
    let called = called(model, members, hold.resource);
    Some(hold_of(model, &hold, Some(&called)))
}

/// "task 1 holds Mutex accounts and waits for Mutex audit; task 2 holds Mutex audit and
/// waits for Mutex accounts".
fn sentence(model: &Model, members: &[Member]) -> String {
    let told = members.iter().enumerate().take(told(members));
    let parts = told.map(|(at, member)| {
        let who = numbered(model, member.party);
        let wanted = asked(model, members, member);
        match held(model, members, at) {
            Some(held) => format!("{who} holds {held} and waits for {wanted}"),
            None => format!("{who} waits for {wanted}"),
        }
    });
    let parts: Vec<String> = parts.chain(others(members)).collect();
    parts.join("; ")
}

/// How many members of a ring are named one by one: all, but of very large rings.
fn told(members: &[Member]) -> usize {
    /// A ring of more is one of a program's own making, in which all do the same.
    const MOST: usize = 8;
    match members.len() {
        all @ 0..=MOST => all,
        _ => MOST / 2,
    }
}

/// Those that are not named.
fn others(members: &[Member]) -> Option<String> {
    match members.len() - told(members) {
        0 => None,
        others => Some(format!("and so on, {others} others")),
    }
}

/// The same with the lines.
fn evidence(model: &Model, members: &[Member], spots: &[Spot]) -> String {
    let parts = members
        .iter()
        .zip(spots)
        .enumerate()
        .take(told(members))
        .map(|(at, (member, spot))| {
            let who = who(model, member.party);
            let wanted = asked(model, members, member);
            let place = at_text(&spot.text(model));
            match held(model, members, at) {
                Some(held) => {
                    let across = across(model, members, at);
                    format!("{who} holds {held}{across} and waits for {wanted}{place}")
                }
                None => format!("{who} waits for {wanted}{place}"),
            }
        });
    let parts: Vec<String> = parts.chain(others(members)).collect();
    parts.join("; ")
}

/// " (across src/rw.rs:31)": the await across which a member has what the one before wants,
/// where that is not the one at which it waits.
fn across(model: &Model, members: &[Member], at: usize) -> String {
    let before = (at + members.len() - 1) % members.len();
    let hold = members[before].held_by_next;
    let place = hold.and_then(|hold| held_across(model, members[at].party, &hold));
    place.map_or(String::new(), |place| {
        format!(" (across {})", place.text(model))
    })
}

fn of_itself(model: &Model, alone: &Member) -> String {
    let members = std::slice::from_ref(alone);
    let wanted = asked(model, members, alone);
    let own = held(model, members, 0).unwrap_or_default();
    match alone.held_by_next {
        Some(_) if is_more_than_there_are(alone) => format!(
            "it asked for {} at once, was given {} of them, and no other task has any to give back",
            count(alone.want.amount, "permit"),
            alone.want.given
        ),
        Some(hold) if hold.role == HoldRole::Permits => {
            let of_many = alone.want.resource.map(|id| kind(model, id));
            if of_many == Some(ResourceKind::Semaphore) {
                format!("it holds {own} and needs another")
            } else {
                format!("it holds {own} and waits for {wanted}")
            }
        }
        Some(_) => format!("it has the {own} and waits for {wanted}"),
        None => format!("it waits for {wanted}"),
    }
}

/// All that it has of a semaphore is what it was given of this very request.
fn is_more_than_there_are(alone: &Member) -> bool {
    let given = alone.want.given;
    let held = alone.held_by_next;
    let is_that =
        held.is_some_and(|hold| Some(hold.resource) == alone.want.resource && hold.amount == given);
    alone.want.kind == WantKind::Permits && given > 0 && is_that
}

/// What to do, by what they wait for.
fn remedy(model: &Model, members: &[Member]) -> &'static str {
    let kinds: Vec<(WantKind, ResourceKind)> = members
        .iter()
        .map(|m| {
            let of = m
                .want
                .resource
                .map_or(ResourceKind::Unknown, |id| kind(model, id));
            (m.want.kind, of)
        })
        .collect();
    let resources: std::collections::BTreeSet<Option<u64>> =
        members.iter().map(|member| member.want.resource).collect();
    let all = |of: ResourceKind| kinds.iter().all(|(_, kind)| *kind == of);
    // Who wants all of it wants to write.
    let upgrades = |alone: &Member| alone.want.amount > 1;
    if all(ResourceKind::Semaphore) && members.len() == 1 && is_more_than_there_are(&members[0]) {
        "acquire_many never gets more permits than there are: ask for fewer at once, or make the \
         semaphore larger"
    } else if all(ResourceKind::RwLock) && members.len() == 1 && upgrades(&members[0]) {
        "a read guard keeps writers out, its own task too: it lives to the end of the match or if let \
         that reads; copy what is needed, drop it, then write"
    } else if all(ResourceKind::Semaphore) && resources.len() == 1 {
        "hold no permit across a call that needs another of the same semaphore: take all that is \
         needed at once, or give it back before the call"
    } else if all(ResourceKind::RwLock) && resources.len() == 1 {
        "an RwLock gives a reader nothing while a writer waits: pass the first guard on instead of \
         reading again, or let go of it before"
    } else if kinds.iter().any(|(kind, _)| *kind == WantKind::Room) {
        "send no answer into a channel whose receiver may wait for room in yours: answer over a \
         oneshot channel, use try_send, or receive while sending"
    } else if kinds.iter().all(|(kind, _)| *kind == WantKind::Permits) && resources.len() > 1 {
        "take the locks in the same order everywhere, or hold none across the await of another"
    } else if resources.len() == 1 && members.len() == 1 {
        "it is locked already: pass the guard on, or drop it before"
    } else {
        "let none of them wait for another while it has what that one needs: drop guards before the \
         await, and put a time-out around it"
    }
}
