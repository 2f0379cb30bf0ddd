//! What the rules about waiting have in common: where somebody waits, whom a finding
//! explains, and why chains were not read.

use std::collections::BTreeSet;

use crate::{
    diagnose::{
        Subject,
        waits::{
            Party, Place, function_words, location_text, party_text, place, polled_wants,
            resource_text,
        },
        words::{conjugated, count},
    },
    model::{
        Capability, Culprit, LocationId, Model, Resolved, StackFrame, Task, WantKind, brief_path,
    },
};

use super::Context;

/// Where a party waits. Ordered by line.
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Spot {
    file: String,
    line: u32,
    /// The function of the application's, in a few words.
    pub function: String,
    location: Option<LocationId>,
}

impl Spot {
    fn new(model: &Model, location: Option<LocationId>, function: String) -> Self {
        let known = model.location(location);
        Self {
            file: known.map(|l| l.file.to_owned()).unwrap_or_default(),
            line: known.map(|l| l.line).unwrap_or_default(),
            function,
            location,
        }
    }

    /// That of a place.
    pub(super) fn at(model: &Model, place: &Place) -> Self {
        Self::new(model, place.location, place.function.clone())
    }

    /// One of which no more than a function is known.
    pub(super) fn named(function: String) -> Self {
        Self {
            function,
            ..Self::default()
        }
    }

    /// `file:line`.
    pub(super) fn line(&self, model: &Model) -> Option<String> {
        model.location(self.location).map(|l| l.to_string())
    }

    /// As much of it as is known.
    pub(super) fn text(&self, model: &Model) -> String {
        location_text(model, self.location, &self.function)
    }

    /// The line with the file's own name, with its folder's where many files have that
    /// name: "audit.rs:21", "jobs/mod.rs:7"; the function where the line is not known.
    fn brief(&self) -> String {
        if self.file.is_empty() {
            return self.function.clone();
        }
        let mut parts = self.file.rsplit('/');
        let name = parts.next().unwrap_or_default();
        let folder = parts.find(|part| *part != "src");
        match (name, folder) {
            ("mod.rs" | "lib.rs" | "main.rs", Some(folder)) => {
                format!("{folder}/{name}:{}", self.line)
            }
            _ => format!("{name}:{}", self.line),
        }
    }
}

/// Who waits, in a sentence: by the name that was given to the task, otherwise by the
/// function of the application's in it that waits. "task 24 in `lock_order::to_savings`".
pub(super) fn who(model: &Model, party: Party) -> String {
    let Party::Task(id) = party else {
        return party_text(model, party);
    };
    let task = model.tasks.get(id);
    let number = task.and_then(Task::tokio_id).unwrap_or(id.0);
    match name(model, party) {
        Name::Given(name) => format!("task {number} {name}"),
        Name::Function(function) => format!("task {number} in {function}"),
        Name::Unknown => party_text(model, party),
    }
}

/// What a party is called beside its number.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Name {
    /// The application named the task.
    Given(String),
    /// The function in it that waits, with the module that it is in.
    Function(String),
    /// Nothing is known.
    Unknown,
}

pub(super) fn name(model: &Model, party: Party) -> Name {
    let task = match party {
        Party::Task(id) => model.tasks.get(id),
        Party::Thread(_) => None,
    };
    let given = task.map_or("", |task| model.text(task.name));
    if !given.is_empty() {
        return Name::Given(given.to_owned());
    }
    let function = spot(model, party).function;
    if function.is_empty() {
        return Name::Unknown;
    }
    Name::Function(brief_path(&function).to_owned())
}

/// "5 tasks GET /report", "5 tasks in `shop::report`".
pub(super) fn several(n: u64, name: &Name) -> String {
    let tasks = count(n, "task");
    match name {
        Name::Given(name) => format!("{tasks} {name}"),
        Name::Function(function) => format!("{tasks} in {function}"),
        Name::Unknown => tasks,
    }
}

/// The same by its number alone, where its function was named before.
pub(super) fn numbered(model: &Model, party: Party) -> String {
    match (party, name(model, party)) {
        (Party::Task(id), Name::Function(_)) => {
            let task = model.tasks.get(id);
            let number = task.and_then(Task::tokio_id).unwrap_or(id.0);
            format!("task {number}")
        }
        _ => who(model, party),
    }
}

/// Those at some places, each place once: "`bank::transfer` (bank.rs:21) and `bank::report`
/// (bank.rs:33)", "2 of `bank::transfer` (bank.rs:21)".
pub(super) fn parties_words(spots: &[Spot]) -> String {
    let mut counted: Vec<(&Spot, u64)> = Vec::new();
    for spot in spots {
        match counted.iter_mut().find(|(known, _)| *known == spot) {
            Some((_, count)) => *count += 1,
            None => counted.push((spot, 1)),
        }
    }
    let words = counted.iter().map(|(spot, count)| {
        let function = brief_path(&spot.function);
        let words = match (function, spot.file.is_empty()) {
            ("", true) => return crate::diagnose::words::count(*count, "task"),
            (_, true) => function.to_owned(),
            ("", false) => spot.brief(),
            (_, false) => format!("{function} ({})", spot.brief()),
        };
        match count {
            1 => words,
            n => format!("{n} of {words}"),
        }
    });
    let mut words: Vec<String> = words.collect();
    let last = words.pop().unwrap_or_default();
    if words.is_empty() {
        last
    } else {
        format!("{} and {last}", words.join(", "))
    }
}

/// Where a party waits, as far as it is known.
pub(super) fn spot(model: &Model, party: Party) -> Spot {
    match party {
        Party::Task(id) => {
            let Some(wait) = model.waits.task(id) else {
                return Spot::default();
            };
            let (wants, _) = polled_wants(wait);
            let place = wants
                .first()
                .and_then(|want| place(model, &wait.shape, want.node as usize));
            match place {
                Some(place) => Spot::at(model, &place),
                None => Spot::named(function_words(model, &wait.shape.nodes[0])),
            }
        }
        Party::Thread(tid) => {
            let Some(thread) = model.waits.thread(tid) else {
                return Spot::default();
            };
            let function = model.text(thread.function).to_owned();
            Spot::new(model, thread.location, function)
        }
    }
}

/// " at audit.rs:21 and audit.rs:33"; each line once.
pub(super) fn spot_words(model: &Model, spots: &[Spot]) -> String {
    let mut words: Vec<String> = Vec::new();
    for spot in spots {
        let brief = spot.brief();
        if !brief.is_empty() && !words.contains(&brief) {
            words.push(brief);
        }
    }
    let has_lines = spots.iter().any(|spot| spot.line(model).is_some());
    let at = if has_lines { "at" } else { "in" };
    match words.as_slice() {
        [] => String::new(),
        [one] => format!(" {at} {one}"),
        [all @ .., last] => format!(" {at} {} and {last}", all.join(", ")),
    }
}

/// "; 3 others wait behind"; nothing where there are none.
pub(super) fn behind_words(behind: usize) -> String {
    match behind as u64 {
        0 => String::new(),
        n => format!("; {} {} behind", count(n, "other"), conjugated(n, "wait")),
    }
}

/// The places as a stack, for reports that show one.
pub(super) fn frames(model: &Model, spots: &[Spot]) -> Resolved {
    let mut frames: Vec<StackFrame> = Vec::new();
    for spot in spots {
        let frame = StackFrame {
            function: spot.function.clone(),
            file: spot.file.clone(),
            line: spot.line,
            plumbing: false,
            culprit: true,
        };
        if !frames.contains(&frame) {
            frames.push(frame);
        }
    }
    let culprit = spots.first().filter(|spot| spot.line(model).is_some());
    Resolved {
        culprit: culprit.map(|spot| Culprit {
            function: spot.function.clone(),
            file: spot.file.clone(),
            line: spot.line,
            ..Culprit::default()
        }),
        frames,
        ..Resolved::default()
    }
}

/// Whom a finding about parties explains, as others would be about them: findings about
/// the lines at which they wait, and about where they were spawned, if most of the tasks
/// that wait for a lock there are among them.
pub(super) fn explained(model: &Model, parties: &[Party]) -> Vec<Subject> {
    let parties: BTreeSet<Party> = parties.iter().copied().collect();
    let mut subjects: BTreeSet<Subject> = BTreeSet::new();
    let mut sites: BTreeSet<LocationId> = BTreeSet::new();
    for party in &parties {
        let spot = spot(model, *party);
        match spot.line(model) {
            Some(line) => drop(subjects.insert(Subject::Line(line))),
            None => drop(subjects.insert(Subject::Named(spot.function))),
        }
        // Queues of tasks of which no line is known are called by what they queue for.
        let queues_for = queues_for(model, *party).map(|id| resource_text(model, id));
        subjects.extend(queues_for.map(Subject::Named));
        if let Party::Task(id) = party {
            sites.extend(model.tasks.get(*id).and_then(|task| task.location));
        }
    }
    for site in sites {
        let at_site = model
            .tasks
            .live()
            .filter(|task| task.location == Some(site));
        let asked = at_site.filter(|task| task.lock_wait().is_some());
        let (inside, all) = asked.fold((0, 0), |(inside, all), task| {
            let is_inside = parties.contains(&Party::Task(task.id));
            (inside + usize::from(is_inside), all + 1)
        });
        if inside * 2 >= all {
            subjects.insert(Subject::Site(site));
        }
    }
    subjects.into_iter().collect()
}

/// The locks and semaphores that a task waits for.
fn queues_for(model: &Model, party: Party) -> impl Iterator<Item = u64> {
    let wait = party.task().and_then(|id| model.waits.task(id));
    let wants = wait.into_iter().flat_map(|wait| polled_wants(wait).0);
    let permits = wants.filter(|want| want.kind == WantKind::Permits);
    permits.filter_map(|want| want.resource)
}

/// Why a rule about waiting could not be judged, or not of all tasks; `None` where it
/// could, and for targets that never say.
pub(super) fn why_not_read(context: &Context<'_>) -> Option<String> {
    let model = context.model;
    let Some(read) = model.waits.read() else {
        let mut missing = model.session.all_missing();
        let reason = missing.find(|(kind, _)| *kind == Capability::Waits);
        let (_, reason) = reason.filter(|(_, reason)| !reason.is_empty())?;
        return Some(format!("what tasks wait for is not read: {reason}"));
    };
    let unread = read.idle.saturating_sub(read.read);
    // Jobs of the blocking pool, and tasks that run at the moment, have no chain.
    let nearly_all = read.read * 10 >= read.idle * 9;
    if nearly_all && (read.complete || unread == 0) {
        return None;
    }
    let known = format!(
        "what {} of {} wait for was read",
        read.read,
        count(read.idle, "idle task")
    );
    let reason = model.text(read.without_reason);
    Some(match reason {
        _ if read.without == 0 || reason.is_empty() => known,
        reason => format!("{known}: {reason}"),
    })
}
