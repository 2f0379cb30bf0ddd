//! What stands below the groups of those who wait: all of the one under the cursor, in
//! sentences that need no column.
//!
//! ```text
//! ─ 10 tasks ─────────────────────────────────────────────────────────────────────
//!   wait for     permit of Semaphore pool (0 free)
//!   at           src/pool.rs:31
//!   held by      3 shop::report, which wait for socket 10.0.0.1:13 -> ...
//!   chain        shop::handle > pool::get
//! ```

use crate::{
    app::{Context, RowKey, State, Tone, page::Line, quantity},
    diagnose::waits::{Party, Ring, asked_text, held_across, hold_text, party_text},
};

use super::{WaitGroup, WaitGrouping, wait_of, words};

/// A title, and lines that fit in so many columns.
pub(in crate::app) fn below(state: &State, width: usize) -> (String, Vec<Line>) {
    let (by, key) = match state.row_under_cursor() {
        Some(RowKey::Waits(key)) => (WaitGrouping::Wanted, key),
        Some(RowKey::WaitChains(key)) => (WaitGrouping::Chain, key),
        _ => return not_read_alone(state, width),
    };
    let groups = state.waits.groups(by);
    let Some(group) = groups.iter().find(|group| group.key == *key) else {
        return not_read_alone(state, width);
    };
    let context = state.context();
    let (title, mut lines) = match words::ring_of(&context, group) {
        Some(ring) => (deadlock(ring), of_ring(&context, ring, width)),
        None => (title(group), of_group(&context, group, width)),
    };
    lines.extend(not_read(state, width));
    (title, lines)
}

fn title(group: &WaitGroup) -> String {
    let count = group.members.len() as u64;
    match (group.tasks, count - group.tasks.min(count)) {
        (0, threads) => quantity::plural(threads, "thread"),
        (tasks, 0) => quantity::plural(tasks, "task"),
        (tasks, threads) => format!(
            "{} and {}",
            quantity::plural(tasks, "task"),
            quantity::plural(threads, "thread")
        ),
    }
}

fn deadlock(ring: &Ring) -> String {
    let sure = if ring.is_certain { "" } else { "probably " };
    match ring.members.len() {
        1 => format!("⟲ {sure}DEADLOCK: it waits for itself"),
        2 => format!("⟲ {sure}DEADLOCK: two wait for each other"),
        n => format!("⟲ {sure}DEADLOCK: {n} wait for each other, in this order"),
    }
}

/// Each of a ring: who, where, what it has and what it wants.
fn of_ring(c: &Context<'_>, ring: &Ring, width: usize) -> Vec<Line> {
    let model = c.model;
    let mut lines = Vec::new();
    for (at, member) in ring.members.iter().enumerate() {
        let who = party_text(model, member.party);
        let place = words::place(c, member.party);
        let line = Line::new(&format!("  {who}"), Tone::Strong);
        lines.push(line.and(&format!("  {place}"), Tone::Text));
        let wants = asked_text(model, &member.want);
        let text = match ring.hold_of(at) {
            Some(hold) => {
                let across = held_across(model, member.party, &hold);
                let across = across.map_or(String::new(), |place| {
                    format!(" (across {})", place.text(model))
                });
                format!(
                    "holds {}{across}, waits for {wants}",
                    hold_text(model, &hold)
                )
            }
            None => format!("waits for {wants}"),
        };
        lines.extend(Line::paragraph(&text, Tone::Text, 4, width));
    }
    if !ring.behind.is_empty() {
        let behind = ring.behind.len() as u64;
        let wait = if behind == 1 { "waits" } else { "wait" };
        let text = format!("{} {wait} behind them", words::whole(behind));
        lines.extend(Line::paragraph(&text, Tone::Notice, 2, width));
    }
    lines
}

fn of_group(c: &Context<'_>, group: &WaitGroup, width: usize) -> Vec<Line> {
    let model = c.model;
    let mut lines = Vec::new();
    let mut add = |name: &str, value: &str, tone| {
        if !value.is_empty() {
            lines.extend(Line::value(name, value, tone, width));
        }
    };
    add("wait for", &words::group_wants(c, group), Tone::Strong);
    add("at", &words::group_place(c, group), Tone::Text);
    let shape = wait_of(model, group.oldest).map(|wait| &wait.shape);
    let cut = model.text(shape.and_then(|shape| shape.cut));
    add("not whole", cut, Tone::Notice);
    let one = words::first_held(c, group.oldest).filter(|_| !group.several);
    match one
        .as_ref()
        .map(|(want, holders)| (want, holders.as_slice()))
    {
        // Of one alone there is more to say.
        Some((want, [holder])) => {
            let text = words::holder(model, holder);
            add(words::role(want.kind), &text, Tone::Strong);
        }
        _ => {
            if let Some(held) = words::group_held_by(c, group) {
                let sure = if held.is_certain { "" } else { "probably " };
                add(held.role, &format!("{sure}{}", held.text), Tone::Strong);
            }
        }
    }
    let mut name = words::name(c, group.oldest);
    if group.mixed {
        name.push_str(" and others");
    }
    if matches!(group.oldest, Party::Task(_)) {
        add("future", &name, Tone::Text);
        add("chain", &words::own_chain(c, group.oldest), Tone::Text);
    } else {
        add("in", &words::own_chain(c, group.oldest), Tone::Text);
    }
    lines
}

fn not_read_alone(state: &State, width: usize) -> (String, Vec<Line>) {
    let lines = not_read(state, width);
    let title = if lines.is_empty() {
        ""
    } else {
        "Not all was read"
    };
    (title.to_owned(), lines)
}

/// What could not be looked at: who holds something is perhaps among it.
fn not_read(state: &State, width: usize) -> Vec<Line> {
    let model = state.model();
    let read = model.waits.read();
    let mut lines = Vec::new();
    for text in read.iter().flat_map(|read| &read.not_read) {
        let text = format!("not looked at: {}", model.text(Some(*text)));
        lines.extend(Line::paragraph(&text, Tone::Dim, 2, width));
    }
    lines
}
