//! What a wait, a resource and a holder are called: the same words on the screen, in
//! reports and in dumps.

use std::time::Duration;

use crate::{
    diagnose::words::{count, human, spoken},
    model::{
        Hold, HoldRole, Interest, JobState, LocationId, Model, ResourceKind, TaskId, TaskWait,
        TextId, WaitResource, Want, WantKind,
    },
};

use super::{Graph, Holder, Party, place, place::Place};

/// Why the futures of a task are only probable.
pub const LIKELY_FUTURES: &str = "without line tables what was inlined has no name, and two futures \
    may share one machine code; CARGO_PROFILE_RELEASE_DEBUG=line-tables-only helps";

/// Why a holder is only probable.
pub const LIKELY_HOLDER: &str = "a pointer to the lock is on its stack or in its future, as a \
    guard is one; the lock itself does not say who holds it";

/// What of a resource is waited for, and how many there are: "permit of Semaphore pool
/// (0 of 5)", "socket 127.0.0.1:6379 <- 127.0.0.1:51234 to read", "message of mpsc channel
/// jobs (empty, 1 sender)", "end of task 12 `app::job`", "timer, due in 3.2 s".
pub fn want_text(model: &Model, want: &Want) -> String {
    let state = |text: String| match want
        .resource
        .and_then(|id| state_text(model, want.kind, id))
    {
        Some(state) => format!("{text} ({state})"),
        None => text,
    };
    match want.kind {
        WantKind::Task => match (want.task, want.job) {
            (Some(task), JobState::Unknown) => format!("end of {}", task_text(model, task)),
            (Some(job), state) => job_text(model, job, state),
            (None, _) => "end of a task".to_owned(),
        },
        WantKind::Timer => timer_text(model, want),
        WantKind::Socket => socket_text(model, want),
        WantKind::Never => "nothing that ever comes".to_owned(),
        WantKind::Unknown => "something that is not known".to_owned(),
        _ => state(asked_text(model, want)),
    }
}

/// The same without how many there are.
pub fn asked_text(model: &Model, want: &Want) -> String {
    asked_of(model, want, None)
}

/// The same of a resource that is called so here.
pub fn asked_of(model: &Model, want: &Want, called: Option<&str>) -> String {
    let Some(id) = want.resource else {
        return match want.kind {
            WantKind::Permits => "a lock or permit".to_owned(),
            WantKind::Message => "a message".to_owned(),
            WantKind::Room => "a place in a channel".to_owned(),
            WantKind::Other => "a notification".to_owned(),
            WantKind::Task if want.job != JobState::Unknown => any_job(want.job).to_owned(),
            _ => want_text(model, want),
        };
    };
    let of = called.map_or_else(|| resource_text(model, id), str::to_owned);
    match (want.kind, kind(model, id)) {
        (WantKind::Permits, ResourceKind::Semaphore | ResourceKind::Unknown) => match want.amount {
            0 | 1 => format!("permit of {of}"),
            n => format!("{n} permits of {of}"),
        },
        (
            WantKind::Permits,
            ResourceKind::RwLock | ResourceKind::StdRwLock | ResourceKind::ParkingLotRwLock,
        ) => match want.amount {
            0 => of,
            1 => format!("{of} to read"),
            _ => format!("{of} to write"),
        },
        (WantKind::Permits, ResourceKind::OnceCell) => format!("{of} to be set"),
        (WantKind::Message, _) | (WantKind::Other, ResourceKind::Broadcast) => {
            format!("message of {of}")
        }
        (WantKind::Room, _) => format!("place in {of}"),
        (WantKind::Other, ResourceKind::Watch) => format!("change of {of}"),
        (WantKind::Other, ResourceKind::Oneshot) => format!("receiver's end of {of}"),
        (WantKind::Other, ResourceKind::Notify) => format!("notification of {of}"),
        _ => of,
    }
}

/// A resource by its kind and name: "Semaphore pool"; by where it was made, "Mutex made at
/// src/app.rs:7", or by its address where more is not known.
pub fn resource_text(model: &Model, id: u64) -> String {
    let resource = model.waits.resource(id);
    let kind = kind_text(kind(model, id));
    if let Some(name) = resource.and_then(|r| named(model, r)) {
        return format!("{kind} {name}");
    }
    match resource.and_then(|r| model.location(r.location)) {
        Some(made) => format!("{kind} made at {made}"),
        None => format!("{kind} {id:#x}"),
    }
}

fn named<'a>(model: &'a Model, resource: &WaitResource) -> Option<&'a str> {
    Some(model.text(resource.name)).filter(|name| !name.is_empty())
}

/// A resource that nobody has named, by a variable in which some holder has it: "Mutex in
/// `checking`"; by its name where it has one.
pub fn called_by(model: &Model, id: u64, variable: Option<TextId>) -> String {
    let is_named = model
        .waits
        .resource(id)
        .is_some_and(|r| named(model, r).is_some());
    match model.text(variable) {
        variable if !is_named && !variable.is_empty() => {
            format!("{} in `{variable}`", kind_text(kind(model, id)))
        }
        _ => resource_text(model, id),
    }
}

/// What a resource is called in a sentence where its name is all that is wanted: "`pool`
/// (src/pool.rs:31)".
pub fn resource_name(model: &Model, id: u64) -> String {
    let resource = model.waits.resource(id);
    let made = resource.and_then(|r| model.location(r.location));
    match (resource.and_then(|r| named(model, r)), made) {
        (Some(name), Some(made)) => format!("{} {name} ({made})", kind_text(kind(model, id))),
        _ => resource_text(model, id),
    }
}

/// What is known of a resource's kind.
pub fn kind(model: &Model, id: u64) -> ResourceKind {
    let resource = model.waits.resource(id);
    resource.map_or(ResourceKind::Unknown, |r| r.kind)
}

/// A kind of resource in a word or two.
pub fn kind_text(kind: ResourceKind) -> &'static str {
    match kind {
        ResourceKind::Mutex => "Mutex",
        ResourceKind::RwLock => "RwLock",
        ResourceKind::Semaphore => "Semaphore",
        ResourceKind::OnceCell => "OnceCell",
        ResourceKind::Notify => "Notify",
        ResourceKind::Oneshot => "oneshot channel",
        ResourceKind::Mpsc => "mpsc channel",
        ResourceKind::Watch => "watch channel",
        ResourceKind::Broadcast => "broadcast channel",
        ResourceKind::Barrier => "Barrier",
        ResourceKind::StdMutex => "std Mutex",
        ResourceKind::StdRwLock => "std RwLock",
        ResourceKind::ParkingLotMutex => "parking_lot Mutex",
        ResourceKind::ParkingLotRwLock => "parking_lot RwLock",
        ResourceKind::Unknown => "resource",
    }
}

/// How many there are: "0 of 5", "0 free", "empty, 1 sender", "full, 2 places".
fn state_text(model: &Model, want: WantKind, id: u64) -> Option<String> {
    let resource = model.waits.resource(id)?;
    let senders = resource.senders.map(|n| match n {
        0 => "no sender".to_owned(),
        n => count(n, "sender"),
    });
    match want {
        WantKind::Permits if resource.kind == ResourceKind::Semaphore => {
            match (resource.free, resource.total) {
                (Some(free), Some(total)) => Some(format!("{free} of {total}")),
                (Some(free), None) => Some(format!("{free} free")),
                _ => None,
            }
        }
        WantKind::Message => {
            let queued = resource.queued.map(|n| match n {
                0 => "empty".to_owned(),
                n => format!("{n} queued"),
            });
            joined([queued, senders])
        }
        WantKind::Other if resource.kind == ResourceKind::Barrier => {
            let (arrived, of) = resource.queued.zip(resource.total)?;
            Some(format!("{arrived} of {of} have arrived"))
        }
        WantKind::Room => match resource.total {
            Some(places) => Some(format!("full, {}", count(places, "place"))),
            None => Some("full".to_owned()),
        },
        WantKind::Other if resource.kind != ResourceKind::Oneshot => joined([senders]),
        _ => None,
    }
}

fn joined<const N: usize>(parts: [Option<String>; N]) -> Option<String> {
    let parts: Vec<String> = parts.into_iter().flatten().collect();
    (!parts.is_empty()).then(|| parts.join(", "))
}

fn timer_text(model: &Model, want: &Want) -> String {
    let Some(due) = want.due else {
        return "timer".to_owned();
    };
    if due <= model.now {
        return "timer, due".to_owned();
    }
    format!("timer, due in {}", time_left(due.since(model.now)))
}

/// "3.2 s", "5.0 min", "23.9 h".
fn time_left(left: Duration) -> String {
    let seconds = left.as_secs_f64();
    if seconds >= 86_400.0 * 3.0 {
        format!("{:.0} days", seconds / 86_400.0)
    } else if seconds >= 3_600.0 * 2.0 {
        format!("{:.1} h", seconds / 3_600.0)
    } else if (1.0..300.0).contains(&seconds) {
        format!("{seconds:.1} s")
    } else {
        human(left)
    }
}

fn socket_text(model: &Model, want: &Want) -> String {
    let object = model.text(want.object);
    let what = match (object, want.descriptor) {
        ("", Some(descriptor)) => format!("descriptor {descriptor}"),
        ("", None) => "a socket".to_owned(),
        // It says itself what it is: "pipe:[4711]", "listener on 0.0.0.0:80".
        (object, _) if object.starts_with(|c: char| c.is_ascii_lowercase()) => object.to_owned(),
        (object, _) => format!("socket {object}"),
    };
    let interest = match want.interest {
        Interest::Readable => " to read",
        Interest::Writable => " to write",
        Interest::Unknown => "",
    };
    what + interest
}

/// A job of the blocking pool whose end is waited for: "job 31 of the blocking pool (it has
/// not begun)", "job 15 of the blocking pool (it runs in `shop::export`)".
fn job_text(model: &Model, id: TaskId, state: JobState) -> String {
    let job = format!("job {id} of the blocking pool");
    if state == JobState::Queued {
        return format!("{job} (it has not begun)");
    }
    let function = model.runs_job(id).map(|thread| model.text(thread.function));
    match function.filter(|function| !function.is_empty()) {
        Some(function) => format!("{job} (it runs in {function})"),
        None => format!("{job} (it runs)"),
    }
}

/// What such jobs have in common.
pub fn any_job(state: JobState) -> &'static str {
    match state {
        JobState::Queued => "a job of the blocking pool that has not begun",
        JobState::Running | JobState::Unknown => "a job of the blocking pool",
    }
}

/// "task 12 `app::job`"; "job 12 of the blocking pool".
pub fn task_text(model: &Model, id: TaskId) -> String {
    let Some(task) = model.tasks.get(id) else {
        return match model.job(id) {
            Some(_) => format!("job {id} of the blocking pool"),
            None => format!("task {id}"),
        };
    };
    let number = task.tokio_id().unwrap_or(id.0);
    match model.task_name(task) {
        Some(name) => format!("task {number} {name}"),
        None => format!("task {number}"),
    }
}

/// "task 12 `app::job`", "worker 1", "thread 4711".
pub fn party_text(model: &Model, party: Party) -> String {
    match party {
        Party::Task(task) => task_text(model, task),
        Party::Thread(tid) => {
            let text = crate::diagnose::stalls::thread_name(tid, model);
            text.trim_end_matches(',').to_owned()
        }
    }
}

/// What is held: "Mutex registry", "2 permits of Semaphore pool", "receiver of mpsc channel
/// jobs".
pub fn hold_text(model: &Model, hold: &Hold) -> String {
    hold_of(model, hold, None)
}

/// The same of a resource that is called so here.
pub fn hold_of(model: &Model, hold: &Hold, called: Option<&str>) -> String {
    let called = called.map(str::to_owned);
    let of = called.unwrap_or_else(|| resource_text(model, hold.resource));
    match hold.role {
        HoldRole::Receiver => format!("receiver of {of}"),
        HoldRole::Sender => format!("sender of {of}"),
        HoldRole::Permits | HoldRole::Unknown => match kind(model, hold.resource) {
            ResourceKind::Semaphore | ResourceKind::Unknown => match hold.amount {
                0 | 1 => format!("permit of {of}"),
                n => format!("{n} permits of {of}"),
            },
            _ => of,
        },
    }
}

/// The application's await across which a task holds something; `None` where that is where
/// it waits, or is not known.
pub fn held_across(model: &Model, party: Party, hold: &Hold) -> Option<Place> {
    let Party::Task(task) = party else {
        return None;
    };
    let wait = model.waits.task(task)?;
    let across = place::place(model, &wait.shape, hold.node as usize)?;
    let (wants, _) = polled_wants(wait);
    let first = wants.first()?;
    let at = place::place(model, &wait.shape, first.node as usize);
    let is_line = across.location.is_some();
    (is_line && at.is_none_or(|at| at.location != across.location)).then_some(across)
}

/// A line, or as much of it as is known: "src/report.rs:77", "in `app::report`".
pub fn location_text(model: &Model, location: Option<LocationId>, function: &str) -> String {
    match (model.location(location), function) {
        (Some(location), _) => location.to_string(),
        (None, "") => String::new(),
        (None, function) => format!("in {function}"),
    }
}

/// Such a place behind what is done there: " at src/report.rs:77", " in `app::report`";
/// nothing where none is known.
pub fn at_text(place: &str) -> String {
    match place {
        "" => String::new(),
        function if function.starts_with("in ") => format!(" {function}"),
        line => format!(" at {line}"),
    }
}

impl Place {
    /// "src/report.rs:77", or the function where the binary has no lines.
    pub fn text(&self, model: &Model) -> String {
        location_text(model, self.location, &self.function)
    }
}

/// What a task waits for, all of it that it polls, the telling things first: "permit of
/// Semaphore pool (0 of 5)", "notification of Notify bell or timer, due in 3.2 s".
pub fn waits_text(model: &Model, task: &TaskWait) -> String {
    let (wants, all) = polled_wants(task);
    match wants.as_slice() {
        [] => "something that is not known".to_owned(),
        [want] => want_text(model, want),
        [first, second] => {
            let joint = if all { "and" } else { "or" };
            format!(
                "{} {joint} {}",
                want_text(model, first),
                want_text(model, second)
            )
        }
        [first, rest @ ..] => {
            let joint = if all { "and" } else { "or" };
            format!("{} {joint} {} others", want_text(model, first), rest.len())
        }
    }
}

/// The wants of a task that it polls, the telling ones first, each thing once; and whether
/// it needs all of them.
pub fn polled_wants(task: &TaskWait) -> (Vec<&Want>, bool) {
    let shape = &*task.shape;
    let polled = |want: &&Want| place::is_polled(shape, want.node as usize);
    let mut wants: Vec<&Want> = Vec::new();
    for want in task.wants.iter().filter(polled) {
        let same = |other: &&Want| {
            let about = |w: &Want| (w.kind, w.resource, w.task, w.descriptor, w.due);
            about(other) == about(want)
        };
        if !wants.iter().any(same) {
            wants.push(want);
        }
    }
    wants.sort_by_key(|want| telling(want.kind));
    let selects = shape.nodes.iter().any(|node| {
        matches!(
            node.kind,
            crate::model::AwaitKind::Select | crate::model::AwaitKind::Combinator
        )
    });
    (wants, !selects)
}

/// What says most comes first.
fn telling(kind: WantKind) -> u8 {
    match kind {
        WantKind::Permits | WantKind::Room => 0,
        WantKind::Task => 1,
        WantKind::Message => 2,
        WantKind::Socket => 3,
        WantKind::Other => 4,
        WantKind::Timer => 5,
        WantKind::Never => 6,
        WantKind::Unknown => 7,
    }
}

/// A timer that is due wakes its task within so long, unless something is wrong.
const TIMER_IS_LATE: Duration = Duration::from_millis(100);

/// For how long a task has waited so, at least; `None` where it was read once only and
/// nobody knows when it was polled, which says nothing of it, or where a timer was to wake it
/// since it was read: it may wait anew.
pub fn waited(model: &Model, wait: &TaskWait) -> Option<Duration> {
    let (since, is_exact) = model.waits_since(wait);
    let mut due = wait.wants.iter().filter_map(|want| want.due);
    let is_past = due.any(|due| due <= model.now && wait.read_at.since(due) < TIMER_IS_LATE);
    (is_exact || (since < wait.read_at && !is_past)).then(|| model.now.since(since))
}

/// What a party waits for itself, for a sentence: "waits for socket 10.0.0.7:443 to read
/// (src/report.rs:77) for 11 s"; `None` where that is not known.
pub fn waiting_text(model: &Model, party: Party) -> Option<String> {
    match party {
        Party::Task(id) => {
            let wait = model.waits.task(id)?;
            let (wants, _) = polled_wants(wait);
            let first = wants.first()?;
            let place = place::place(model, &wait.shape, first.node as usize);
            let place = place.map_or(String::new(), |place| bracketed(&place.text(model)));
            let since = waited(model, wait);
            let since = since.map_or(String::new(), |for_| format!(" for {}", spoken(for_)));
            Some(format!(
                "waits for {}{place}{since}",
                waits_text(model, wait)
            ))
        }
        Party::Thread(tid) => {
            let thread = model.waits.thread(tid)?;
            let want = thread.want.as_ref()?;
            let at = location_text(model, thread.location, model.text(thread.function));
            let since = model.now.since(thread.since);
            let since = (!since.is_zero()).then(|| format!(" for {}", spoken(since)));
            Some(format!(
                "waits for {}{}{}",
                want_text(model, want),
                bracketed(&at),
                since.unwrap_or_default()
            ))
        }
    }
}

fn bracketed(text: &str) -> String {
    if text.is_empty() {
        String::new()
    } else {
        format!(" ({text})")
    }
}

/// " (across src/rw.rs:31)": the await across which a holder has it, where that is not the one
/// at which it waits; empty where it is, or is not known.
pub fn across_text(model: &Model, holder: &Holder) -> String {
    let hold = holder.hold.filter(|hold| hold.role == HoldRole::Permits);
    let across = hold.and_then(|hold| held_across(model, holder.party, &hold));
    across.map_or(String::new(), |place| {
        format!(" (across {})", place.text(model))
    })
}

/// Who can give what is wanted, and what the first of them waits for itself: "held by task
/// 12 `app::report`, which waits for socket 10.0.0.7:443 to read (src/report.rs:77) for
/// 11 s"; "held by itself" where that is the `waiter`. `None` where nobody is known.
pub fn holders_text(
    model: &Model,
    graph: &Graph,
    waiter: Option<Party>,
    want: &Want,
) -> Option<String> {
    let holders = graph.holders_of(want);
    let first = holders.first()?;
    if want.kind == WantKind::Task {
        // Who that is was said with what is waited for.
        return waiting_text(model, first.party).map(|text| format!("which {text}"));
    }
    let verb = match want.kind {
        WantKind::Message => "to be sent by",
        WantKind::Room => "received by",
        _ => "held by",
    };
    let sure = match first.hold {
        Some(hold) if !hold.certain => "probably ",
        _ => "",
    };
    if Some(first.party) == waiter && want.kind == WantKind::Permits {
        let others = match holders.len() - 1 {
            0 => String::new(),
            n => format!(" and {}", count(n as u64, "other")),
        };
        return Some(format!("{sure}{verb} itself{others}"));
    }
    let which = waiting_text(model, first.party);
    let which = which.map_or(String::new(), |text| format!(", which {text}"));
    let others = match holders.len() - 1 {
        0 => String::new(),
        n if which.is_empty() => format!(" and {}", count(n as u64, "other")),
        n => format!(", and {}", count(n as u64, "other")),
    };
    let who = party_text(model, first.party);
    let across = across_text(model, first);
    Some(format!("{sure}{verb} {who}{across}{which}{others}"))
}
