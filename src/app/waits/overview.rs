//! Where tasks wait, in one line of the overview.
//!
//! Always the same line where somebody reads it, so that one who comes at night finds it:
//! those who wait for each other; many who wait for what others of the program have; and
//! where all is as ever, what most of them wait for.

use crate::{
    app::{State, Tone, quantity},
    diagnose::waits::asked_text,
    model::WantKind,
};

use super::{
    WaitGroup, WaitGrouping, WaitKey, Wanted,
    words::{group_held_by, group_place, group_wants, name, ordered, ring_of, whole},
};

/// There is something to say of where tasks wait.
pub fn is_known(state: &State) -> bool {
    let read = state.model().waits.read();
    read.is_some_and(|read| telling(&state.waits.groups(WaitGrouping::Wanted), read.read).is_some())
}

/// Where tasks wait, as the one sentence that a reader needs, and how grave it is; `None`
/// where nobody reads that.
pub fn sentence(state: &State) -> Option<(String, Tone)> {
    let c = state.context();
    let model = c.model;
    let read = model.waits.read()?;
    let groups = c.waits.groups(WaitGrouping::Wanted);
    let group = telling(&groups, read.read)?;
    let count = group.members.len() as u64;
    if let Some(ring) = ring_of(&c, group) {
        let text = match ring.members.as_slice() {
            [one] => format!("{} waits for itself", name(&c, one.party)),
            [one, other] => format!(
                "{} and {} wait for each other",
                name(&c, one.party),
                name(&c, other.party)
            ),
            [one, others @ ..] => format!(
                "{} and {} others wait for each other",
                name(&c, one.party),
                others.len()
            ),
            [] => return None,
        };
        let place = in_brackets(&group_place(&c, group));
        return Some((format!("⟲ {text}{place}"), Tone::Critical));
    }
    // Of those that waited when they were read, some may be idle no longer.
    let (all, what) = if read.complete {
        (read.idle, "idle tasks")
    } else {
        (read.read, "tasks read")
    };
    let of = if group.tasks != count {
        quantity::plural(count, "thread")
    } else if count <= all {
        format!("{} of {} {what}", whole(count), whole(all))
    } else {
        quantity::plural(count, "task")
    };
    let verb = if count == 1 { "waits" } else { "wait" };
    let wanted = if group.several {
        group_wants(&c, group)
    } else {
        let (wants, _) = ordered(model, group.oldest);
        match wants.as_slice() {
            [want] => asked_text(model, want),
            _ => group_wants(&c, group),
        }
    };
    let place = in_brackets(&group_place(&c, group));
    let held = group_held_by(&c, group).filter(|_| is_held_up(group));
    let held = held.map_or(String::new(), |held| {
        let sure = if held.is_certain { "" } else { "probably " };
        format!("; {sure}{} {}", held.role, held.text)
    });
    let tone = if is_held_up(group) {
        Tone::Notice
    } else {
        Tone::Text
    };
    Some((format!("{of} {verb} for {wanted}{place}{held}"), tone))
}

/// " (pool.rs:88)": the file's name says enough.
fn in_brackets(place: &str) -> String {
    let parts = place.split(", ").map(|part| match part.rfind(['/', '\\']) {
        Some(at) => &part[at + 1..],
        None => part,
    });
    let text: Vec<&str> = parts.collect();
    match text.join(", ") {
        text if text.is_empty() => text,
        text => format!(" ({text})"),
    }
}

/// They wait for what others of the program have, rather than for work to do.
fn is_held_up(group: &WaitGroup) -> bool {
    let WaitKey::For(wanted) = &group.key else {
        return false;
    };
    let by = |wanted: &Wanted| match wanted {
        Wanted::Resource(kind, _) | Wanted::Own { kind, .. } => {
            matches!(kind, WantKind::Permits | WantKind::Room)
        }
    };
    wanted.iter().any(by)
}

/// From this share of those that were read on a wait is worth the line.
const MANY: u64 = 20;

/// What they wait for is known.
fn is_told(group: &WaitGroup) -> bool {
    let WaitKey::For(wanted) = &group.key else {
        return true;
    };
    let is_told = |wanted: &Wanted| match wanted {
        Wanted::Resource(..) => true,
        Wanted::Own { kind, .. } => *kind != WantKind::Unknown,
    };
    wanted.iter().any(is_told)
}

/// The group that says most: a ring; many who are held up; the largest of which it is
/// known for what they wait.
fn telling(groups: &[WaitGroup], read: u64) -> Option<&WaitGroup> {
    let first = groups.first()?;
    if matches!(first.key, WaitKey::Ring(_)) {
        return Some(first);
    }
    // The largest come first.
    let many = |group: &&WaitGroup| {
        let count = group.members.len() as u64;
        count > 1 && count.saturating_mul(MANY) >= read
    };
    let mut large = groups.iter().take_while(many);
    let held_up = large.find(|group| is_held_up(group));
    held_up.or_else(|| groups.iter().find(|group| is_told(group)))
}
