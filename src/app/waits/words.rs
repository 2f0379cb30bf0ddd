//! What those who wait are called, in cells and sentences.

use std::{collections::BTreeSet, time::Duration};

use crate::{
    app::{Context, quantity, tables},
    diagnose::waits::{
        Holder, Party, Ring, across_text, any_job, asked_text, kind, kind_text, location_text,
        party_text, polled_wants, waiting_text, want_text,
    },
    model::{
        Interest, JobState, LocationId, Model, ResourceKind, TaskId, TaskState, TaskWait, Want,
        WantKind,
    },
};

use super::{Since, WaitGroup, WaitKey, Wanted, above_all, chain, wait_of, wants_of};

/// A number in full: "1,204".
pub fn whole(n: u64) -> String {
    let digits = n.to_string();
    let mut text = String::with_capacity(digits.len() + digits.len() / 3);
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// How many of the idle tasks were read: "1,204 idle, 1,204 read", "12,000 of 100,000
/// read".
pub fn read(model: &Model) -> Option<String> {
    let read = model.waits.read()?;
    let mut parts = Vec::new();
    parts.push(if read.complete {
        format!("{} idle, {} read", whole(read.idle), whole(read.read))
    } else {
        format!("{} of {} read", whole(read.read), whole(read.idle))
    });
    if read.partial > 0 {
        parts.push(format!("{} in part", whole(read.partial)));
    }
    Some(parts.join(" · "))
}

/// For how long one has waited: "41 s", "≥41 s"; `None` where it was seen so just now.
pub fn waited(model: &Model, since: Since) -> Option<String> {
    let age = model.now.since(since.at);
    let text = quantity::duration(age);
    match (since.is_exact, age) {
        (true, _) => Some(text),
        (false, Duration::ZERO) => None,
        (false, _) => Some(format!("≥{text}")),
    }
}

/// The name of one who waits or holds, without its number.
pub(in crate::app) fn name(c: &Context<'_>, party: Party) -> String {
    match party {
        Party::Task(id) => match c.model.tasks.get(id) {
            Some(task) => tables::name_of(c, task),
            None if c.model.job(id).is_some() => format!("job {id}"),
            None => format!("task {id}"),
        },
        Party::Thread(_) => party_text(c.model, party),
    }
}

/// What one waits for, the telling things first: "permit of Semaphore pool (0 of 5)",
/// "socket 10.0.0.1:80 to read or timer, due in 3.2 s".
pub(in crate::app) fn wants(model: &Model, party: Party) -> String {
    match wait_of(model, party) {
        Some(wait) => crate::diagnose::waits::waits_text(model, wait),
        None => match wants_of(model, party) {
            [] => String::new(),
            [want, ..] => want_text(model, want),
        },
    }
}

/// The same without how many there are; `None` where it is not known.
pub(in crate::app) fn in_short(model: &Model, wait: &TaskWait) -> Option<String> {
    let (wants, all) = polled_wants(wait);
    let joint = if all { "and" } else { "or" };
    let (first, others) = wants.split_first()?;
    let first = asked_text(model, first);
    Some(match others {
        [] => first,
        [one] => format!("{first} {joint} {}", asked_text(model, one)),
        _ => format!("{first} {joint} {} others", others.len()),
    })
}

/// What those of a group wait for.
pub(in crate::app) fn group_wants(c: &Context<'_>, group: &WaitGroup) -> String {
    let model = c.model;
    if let Some(ring) = ring_of(c, group) {
        let mut wanted: Vec<String> = Vec::new();
        for member in &ring.members {
            let text = asked_text(model, &member.want);
            if !wanted.contains(&text) {
                wanted.push(text);
            }
        }
        return wanted.join(", ");
    }
    if !group.several {
        return wants(model, group.oldest);
    }
    let (wants, all) = ordered(model, group.oldest);
    let texts = wants.iter().map(|want| common(model, group, want));
    let mut texts: Vec<String> = texts.collect();
    texts.dedup();
    let joint = if all { "and" } else { "or" };
    match texts.as_slice() {
        [] => "something that is not known".to_owned(),
        [one] => one.clone(),
        [one, other] => format!("{one} {joint} {other}"),
        [one, others @ ..] => format!("{one} {joint} {} others", others.len()),
    }
}

/// The wants of one, the telling ones first, and whether it needs all.
pub(in crate::app) fn ordered(model: &Model, party: Party) -> (Vec<&Want>, bool) {
    match wait_of(model, party) {
        Some(wait) => polled_wants(wait),
        None => (wants_of(model, party).iter().collect(), false),
    }
}

/// A want as those of a group have it in common.
fn common(model: &Model, group: &WaitGroup, want: &Want) -> String {
    let shared =
        |wanted: &Wanted| *wanted == Wanted::Resource(want.kind, want.resource.unwrap_or(0));
    match &group.key {
        WaitKey::For(wanted) if wanted.iter().any(shared) => want_text(model, want),
        _ if want.job != JobState::Unknown => any_job(want.job).to_owned(),
        _ => {
            let of = want.resource.map(|id| kind(model, id));
            own(want.kind, of, want.interest)
        }
    }
}

/// What each waits for by itself: "message of a oneshot channel", "socket to read".
fn own(wanted: WantKind, of: Option<ResourceKind>, interest: Interest) -> String {
    let of_kind = of
        .filter(|kind| *kind != ResourceKind::Unknown)
        .map(kind_text);
    let what = |alone: &str, of: &str| match of_kind {
        Some(kind) => {
            // As they are spoken: "oneshot" begins like "won", "mpsc" like "em".
            let article = match kind {
                "RwLock" | "mpsc channel" => "an",
                _ => "a",
            };
            format!("{of}{article} {kind}")
        }
        None => alone.to_owned(),
    };
    match wanted {
        WantKind::Permits if of == Some(ResourceKind::Semaphore) => what("", "permit of "),
        WantKind::Permits => what("a lock or permit", ""),
        WantKind::Message => what("a message", "message of "),
        WantKind::Room => what("a place in a channel", "place in "),
        WantKind::Other => what("a notification", ""),
        WantKind::Task => "end of a task".to_owned(),
        WantKind::Timer => "timer".to_owned(),
        WantKind::Socket => match interest {
            Interest::Readable => "socket to read".to_owned(),
            Interest::Writable => "socket to write".to_owned(),
            Interest::Unknown => "socket".to_owned(),
        },
        WantKind::Never => "nothing that ever comes".to_owned(),
        WantKind::Unknown => "something that is not known".to_owned(),
    }
}

/// The ring that a group is.
pub(in crate::app) fn ring_of<'a>(c: &Context<'a>, group: &WaitGroup) -> Option<&'a Ring> {
    let WaitKey::Ring(first) = group.key else {
        return None;
    };
    let rings = c.waits.graph().rings().iter();
    let mut own = rings.filter(|ring| ring.members.iter().any(|member| member.party == first));
    own.next()
}

/// Where one waits, in the application's own code: `file:line`, or the function; empty
/// where neither is known.
pub(in crate::app) fn place(c: &Context<'_>, party: Party) -> String {
    let model = c.model;
    match party {
        Party::Task(_) => {
            let Some(wait) = wait_of(model, party) else {
                return String::new();
            };
            let (wants, _) = polled_wants(wait);
            let places: BTreeSet<Option<LocationId>> = wants
                .iter()
                .map(|want| c.waits.place(wait, want.node))
                .collect();
            let node = match (places.len(), wants.first()) {
                (1, Some(first)) => first.node,
                (_, None) => wait.shape.nodes.len().saturating_sub(1) as u32,
                _ => above_all(&wait.shape, wants.iter().map(|want| want.node)),
            };
            if let Some(location) = model.location(c.waits.place(wait, node)) {
                return location.to_string();
            }
            let place = crate::diagnose::waits::place(model, &wait.shape, node as usize);
            place.map_or(String::new(), |place| place.text(model))
        }
        Party::Thread(tid) => model.waits.thread(tid).map_or(String::new(), |thread| {
            location_text(model, thread.location, model.text(thread.function))
        }),
    }
}

/// Where those of a group wait; of a ring where each does.
pub(in crate::app) fn group_place(c: &Context<'_>, group: &WaitGroup) -> String {
    match ring_of(c, group) {
        Some(ring) => {
            let places = ring.members.iter().map(|member| place(c, member.party));
            let mut known: Vec<String> = Vec::new();
            for place in places.filter(|place| !place.is_empty()) {
                if !known.contains(&place) {
                    known.push(place);
                }
            }
            together(&known)
        }
        None => place(c, group.oldest),
    }
}

/// Places, of one file with its path once: "src/bank.rs:21, :33".
fn together(places: &[String]) -> String {
    let mut text = String::new();
    let mut last = None;
    for place in places {
        let file = place.rsplit_once(':').map(|(file, _)| file);
        if !text.is_empty() {
            text.push_str(", ");
        }
        match file.filter(|_| file == last) {
            Some(file) => text.push_str(&place[file.len()..]),
            None => text.push_str(place),
        }
        last = file;
    }
    text
}

/// Who could end what those of a group wait for, in a few words; `None` where nobody is
/// known.
pub(in crate::app) fn group_held_by(c: &Context<'_>, group: &WaitGroup) -> Option<HeldBy> {
    if let Some(ring) = ring_of(c, group) {
        let mut text = match ring.members.len() {
            1 => "itself".to_owned(),
            _ => "each other".to_owned(),
        };
        if !ring.behind.is_empty() {
            let behind = ring.behind.len() as u64;
            let wait = if behind == 1 { "waits" } else { "wait" };
            text = format!("{text}; {} {wait} behind", whole(behind));
        }
        return Some(HeldBy {
            role: HELD,
            text,
            is_certain: ring.is_certain,
        });
    }
    let mut held = held_by(c, group.oldest)?;
    if group.several {
        held.text = format!("each its own: {}", held.text);
    }
    Some(held)
}

impl HeldBy {
    /// With its role, where it is not that of a holder.
    pub(in crate::app) fn in_column(self) -> String {
        match self.role {
            HELD | OF_TASK => self.text,
            role => format!("{role} {}", self.text),
        }
    }
}

const HELD: &str = "held by";
const OF_TASK: &str = "which is";

/// What those who could end a wait have to do with it.
pub(in crate::app) fn role(wanted: WantKind) -> &'static str {
    match wanted {
        WantKind::Message | WantKind::Other => "sent by",
        WantKind::Room => "received by",
        WantKind::Task => OF_TASK,
        _ => HELD,
    }
}

/// Who could end a wait.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::app) struct HeldBy {
    /// "held by", "sent by": what it has to do with it.
    pub(in crate::app) role: &'static str,
    /// In a few words.
    pub(in crate::app) text: String,
    /// It is known, and not only probable.
    pub(in crate::app) is_certain: bool,
}

/// Who could end what one waits for: "3 `shop::report`, which wait for ..."; `None` where
/// nobody is known.
pub(in crate::app) fn held_by(c: &Context<'_>, party: Party) -> Option<HeldBy> {
    let (wants, _) = ordered(c.model, party);
    if let Some((want, holders)) = first_held(c, party) {
        return Some(of_holders(c, want, &holders));
    }
    let alone = wants.iter().any(|want| is_left_alone(c.model, want));
    alone.then(|| HeldBy {
        role: HELD,
        text: "nobody is left to send".to_owned(),
        is_certain: true,
    })
}

/// The first thing that one waits for and that somebody is known to hold, and who.
pub(in crate::app) fn first_held<'a>(
    c: &Context<'a>,
    party: Party,
) -> Option<(&'a Want, Vec<Holder>)> {
    let (wants, _) = ordered(c.model, party);
    let mut held = wants.into_iter().map(|want| (want, holders(c, want)));
    held.find(|(_, holders)| !holders.is_empty())
}

/// A message of a channel that has no sender left.
pub(in crate::app) fn is_left_alone(model: &Model, want: &Want) -> bool {
    let resource = want.resource.and_then(|id| model.waits.resource(id));
    want.kind == WantKind::Message && resource.is_some_and(|known| known.senders == Some(0))
}

fn of_holders(c: &Context<'_>, want: &Want, holders: &[Holder]) -> HeldBy {
    let first = holders[0];
    let names: BTreeSet<String> = holders.iter().map(|h| name(c, h.party)).collect();
    let count = holders.len() as u64;
    let who = match (count, names.len()) {
        (1, _) => name(c, first.party),
        (_, 1) => format!("{} {}", whole(count), name(c, first.party)),
        _ => {
            let others = quantity::plural(count - 1, "other");
            format!("{} and {others}", name(c, first.party))
        }
    };
    let which = match (does(c.model, first.party), count, names.len()) {
        (None, ..) => String::new(),
        (Some(text), 1, _) => format!(", which {text}"),
        // Of others than the first nothing is said.
        (Some(text), _, 1) => match text.strip_prefix("waits ") {
            Some(rest) => format!(", which wait {rest}"),
            None => format!(", one of which {text}"),
        },
        (Some(text), ..) => format!(", the first of which {text}"),
    };
    HeldBy {
        role: role(want.kind),
        text: format!("{who}{which}"),
        is_certain: first.hold.is_none_or(|hold| hold.certain),
    }
}

/// One who could end a wait, and what that one does: "probably task 13 `shop::report`, which
/// waits for ...".
pub(in crate::app) fn holder(model: &Model, holder: &Holder) -> String {
    let sure = match holder.hold {
        Some(hold) if !hold.certain => "probably ",
        _ => "",
    };
    let kept = if holder.is_kept {
        ", in a future that is kept and not polled"
    } else {
        ""
    };
    let does = match does(model, holder.party) {
        Some(does) => format!(", which {does}"),
        None => String::new(),
    };
    let across = across_text(model, holder);
    let who = party_text(model, holder.party);
    format!("{sure}{who}{across}{kept}{does}")
}

/// Those who could end a wait, each once, the certain ones first.
pub(in crate::app) fn holders(c: &Context<'_>, want: &Want) -> Vec<Holder> {
    let mut holders: Vec<Holder> = Vec::new();
    let mut known = BTreeSet::new();
    for holder in c.waits.graph().holders_of(want) {
        if known.insert(holder.party) {
            holders.push(holder);
        }
    }
    holders
}

/// What a holder does: "waits for ... (src/report.rs:77) for 11.0 s", "is in a poll".
pub(in crate::app) fn does(model: &Model, party: Party) -> Option<String> {
    if let Some(text) = waiting_text(model, party) {
        return Some(text);
    }
    let id = match party {
        Party::Task(id) => id,
        Party::Thread(tid) => {
            let thread = model.waits.thread(tid)?;
            let function = model.text(thread.function);
            let line = model.location(thread.location);
            return match (function, line) {
                ("", None) => None,
                ("", Some(line)) => Some(format!("is at {line}")),
                (function, None) => Some(format!("is in {function}")),
                (function, Some(line)) => Some(format!("is in {function} ({line})")),
            };
        }
    };
    let Some(task) = model.tasks.get(id) else {
        return Some(job_does(model, id));
    };
    let word = match task.state {
        TaskState::Running => "is in a poll",
        TaskState::Scheduled => "waits for a worker",
        TaskState::Completed => "has ended",
        TaskState::Idle | TaskState::Unknown => return None,
    };
    Some(match task.poll_age(model.now) {
        Some(age) if task.state == TaskState::Running => {
            format!("{word} for {}", quantity::duration(age))
        }
        _ => word.to_owned(),
    })
}

/// What one does that is in no list: a job of the blocking pool is in none.
fn job_does(model: &Model, id: TaskId) -> String {
    match model.job(id) {
        Some(JobState::Queued) => "has not begun".to_owned(),
        Some(_) => {
            let function = model.runs_job(id).map(|thread| model.text(thread.function));
            let function = function.filter(|function| !function.is_empty());
            function.map_or("runs".to_owned(), |function| format!("runs in {function}"))
        }
        None => "has ended".to_owned(),
    }
}

/// The futures of the application's own that one is in: "`Handler::run` > `Connection::read`"; see
/// [`chain::own_text`].
pub(in crate::app) fn own_chain(c: &Context<'_>, party: Party) -> String {
    let model = c.model;
    match party {
        Party::Task(_) => {
            let Some(wait) = wait_of(model, party) else {
                return String::new();
            };
            match chain::own_text(model, wait) {
                // No future has a name, but the task may: where its async fn is written.
                text if text.is_empty() => name(c, party),
                text => text,
            }
        }
        Party::Thread(tid) => {
            let thread = model.waits.thread(tid);
            model
                .text(thread.and_then(|thread| thread.function))
                .to_owned()
        }
    }
}
