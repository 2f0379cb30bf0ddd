//! Where a task or thread waits: its await chain as a tree, what it waits for, and who
//! could end that.
//!
//! ```text
//! Await chain, idle for at least 41 s  (a: all futures)
//!   shop::Handler::run            src/server.rs:324      select!, any of 2
//!   ├ shop::Shutdown::recv        src/shutdown.rs:44
//!   │ └ waits for message of broadcast channel shutdown (empty, 1 sender)
//!   └ shop::Connection::read      src/connection.rs:72
//!     └ waits for socket 127.0.0.1:6379 <- 127.0.0.1:51234 to read
//! ```

use std::time::Duration;

use crate::{
    app::{
        State, Tone, quantity,
        waits::{
            self,
            chain::{self, Row, What},
            words,
        },
    },
    diagnose::waits::{
        Holder, LIKELY_FUTURES, LIKELY_HOLDER, Party, hold_text, location_text, party_text,
        want_text,
    },
    model::{
        AwaitsBy, Capability, Hold, HoldRole, Task, TaskState, TaskWait, ThreadWait, Tid, Want,
        WantKind,
    },
};

use super::{Line, LinkId, Page, chain::Layout, facts::Facts, wrap};

/// Holders that are listed, each a link.
const MAX_HOLDERS: usize = 10;
/// Lines that a sentence takes at most: names may be of any length.
const MAX_LINES: usize = 4;
/// What stands before everything of the section.
pub(super) const INDENT: &str = "  ";

/// Where a task waits; why that is not known, where it is idle and it is not.
pub(super) fn task(state: &State, task: &Task, page: &mut Page, facts: &mut Facts) {
    let model = state.model();
    let width = facts.width();
    let blocked = model.waits.threads().filter(|t| t.task == Some(task.id));
    for wait in blocked {
        let who = party_text(model, Party::Thread(wait.tid));
        heading(page, &format!("In its poll {who} is blocked"));
        thread_wait(state, wait, page, width);
    }
    match model.waits.task(task.id) {
        Some(wait) => chain(state, task, wait, page, width),
        None if may_wait(task) => {
            facts.not_known("await chain", &why_unknown(state));
        }
        None => {}
    }
}

/// A heading; the first line of a page needs none before it.
fn heading(page: &mut Page, title: &str) {
    let [blank, title] = Line::heading(title);
    if !page.lines.is_empty() {
        page.lines.push(blank);
    }
    page.lines.push(title);
}

fn may_wait(task: &Task) -> bool {
    let rests = matches!(task.state, TaskState::Idle | TaskState::Unknown);
    rests && task.is_live() && task.poll_started().is_none()
}

/// Why the chain of an idle task is not known.
fn why_unknown(state: &State) -> String {
    let model = state.model();
    if let Some(why) = model.session.missing(Capability::Waits) {
        return why.to_owned();
    }
    let Some(read) = model.waits.read() else {
        return "no chain was read yet".to_owned();
    };
    if !read.complete {
        return format!(
            "not read yet: {} of {} idle tasks were",
            words::whole(read.read),
            words::whole(read.idle)
        );
    }
    match model.text(read.without_reason) {
        _ if read.without == 0 => "it became idle just now".to_owned(),
        "" => "nothing is known of its future".to_owned(),
        why => why.to_owned(),
    }
}

fn chain(state: &State, task: &Task, wait: &TaskWait, page: &mut Page, width: usize) {
    let key = if state.all_frames {
        "a: fold"
    } else {
        "a: all futures"
    };
    let spell = spell(state, task, wait);
    heading(page, &format!("Await chain, {spell}  ({key})"));
    in_ring(state, Party::Task(task.id), page, width);
    let rows = chain::rows(state.model(), wait, state.all_frames);
    let layout = Layout::new(state, wait, &rows, width);
    for row in &rows {
        match &row.what {
            What::Future { node, is_own, how } => {
                let line = layout.line(state, wait, row, (*node, *is_own), how);
                page.lines.push(line);
            }
            What::Folded { count, crates } => {
                let text = format!("… {count} of {}", crates.join(", "));
                let text = match crates.as_slice() {
                    [] => format!("… {}", quantity::plural(*count as u64, "future")),
                    _ => text,
                };
                put(page, row, &text, Tone::Dim, width);
            }
            What::More(count) => {
                let text = format!("… and {count} more");
                put(page, row, &text, Tone::Dim, width);
            }
            What::Hold(at) => hold(state, &wait.holds[*at], row, page, width),
            What::Want(at) => {
                want(state, &wait.wants[*at], *at as u32, row, page, width);
            }
        }
    }
    let cut = state.model().text(wait.shape.cut);
    if !cut.is_empty() {
        let text = format!("not all of it is known: {cut}");
        page.lines
            .extend(Line::paragraph(&text, Tone::Notice, INDENT.len(), width));
    }
    let evidence = evidence(state, wait);
    page.lines
        .extend(Line::paragraph(&evidence, Tone::Dim, INDENT.len(), width));
    likely(state, &wait.wants, &wait.holds, page, width);
}

/// What "probably" means, where it stands before a holder.
fn likely(state: &State, wants: &[Want], holds: &[Hold], page: &mut Page, width: usize) {
    let context = state.context();
    let is_likely = |hold: &Hold| !hold.certain;
    let holders = wants.iter().flat_map(|want| words::holders(&context, want));
    let mut of_wants = holders.filter_map(|holder| holder.hold);
    if of_wants.any(|hold| is_likely(&hold)) || holds.iter().any(is_likely) {
        let text = format!("probably: {LIKELY_HOLDER}");
        page.lines
            .extend(Line::paragraph(&text, Tone::Dim, INDENT.len(), width));
    }
}

/// "idle for 41 s", "idle for at least 41 s", "woken, and not polled yet".
fn spell(state: &State, task: &Task, wait: &TaskWait) -> String {
    let model = state.model();
    if wait.scheduled {
        return "woken, and not polled since".to_owned();
    }
    if let Some(idle) = task.resting_for(model.now) {
        return format!("idle for {}", quantity::duration(idle));
    }
    match crate::diagnose::waits::waited(model, wait) {
        Some(least) => format!("idle for at least {}", quantity::duration(least)),
        None => "idle".to_owned(),
    }
}

/// How it was had, and when.
fn evidence(state: &State, wait: &TaskWait) -> String {
    let model = state.model();
    let how = match wait.shape.by {
        AwaitsBy::Types => "read in memory, by the types of the debug information",
        AwaitsBy::Interpreter => "by the task's poll, interpreted on a copy of its memory",
        AwaitsBy::Unknown => "read in memory",
    };
    let ago = match model.now.since(wait.read_at) {
        Duration::ZERO => "just now".to_owned(),
        ago => format!("{} ago", quantity::duration(ago)),
    };
    if wait.certain {
        format!("{how}, {ago}")
    } else {
        format!("{how}, {ago}; only probably so: {LIKELY_FUTURES}")
    }
}

/// Says that one is in a ring, or waits behind one.
fn in_ring(state: &State, party: Party, page: &mut Page, width: usize) {
    let graph = state.waits.graph();
    let Some(ring) = graph.ring_of(party) else {
        return;
    };
    let others = ring.members.iter().map(|member| member.party);
    let others: Vec<String> = others
        .filter(|other| *other != party)
        .map(|other| party_text(state.model(), other))
        .collect();
    let is_member = ring.members.iter().any(|member| member.party == party);
    let word = if ring.is_certain { "" } else { "probably " };
    let text = match (is_member, others.is_empty()) {
        (true, true) => format!("⟲ {word}DEADLOCK: it waits for itself"),
        (true, false) => format!("⟲ {word}DEADLOCK with {}", others.join(", ")),
        (false, _) => format!("⟲ {word}waits behind a DEADLOCK of {}", others.join(", ")),
    };
    page.lines
        .extend(Line::paragraph(&text, Tone::Critical, INDENT.len(), width));
}

/// A row of text below the lines of the tree, on as many lines as it needs.
fn put(page: &mut Page, row: &Row, text: &str, tone: Tone, width: usize) {
    lines(page, (&row.rails, &row.below), text, tone, width);
}

fn lines(page: &mut Page, (first, below): (&str, &str), text: &str, tone: Tone, width: usize) {
    let used = INDENT.len() + first.chars().count().max(below.chars().count());
    let parts = wrap(text, width.saturating_sub(used + 1));
    for (n, part) in parts.iter().take(MAX_LINES).enumerate() {
        let rails = if n == 0 { first } else { below };
        let is_cut = n + 1 == MAX_LINES && parts.len() > MAX_LINES;
        let line = Line::new(&format!("{INDENT}{rails}"), Tone::Border);
        let line = line.and(part, tone);
        page.lines
            .push(if is_cut { line.and("…", tone) } else { line });
    }
}

fn hold(state: &State, hold: &Hold, row: &Row, page: &mut Page, width: usize) {
    let model = state.model();
    let mut text = format!("holds {}", hold_text(model, hold));
    if !hold.certain {
        text.insert_str(0, "probably ");
    }
    let name = model.text(hold.name);
    if !name.is_empty() {
        text = format!("{text} in `{name}`");
    }
    let waiters = state.waits.graph().waiters(hold.resource).len() as u64;
    // To have the end of a channel is no fault.
    let tone = match hold.role {
        HoldRole::Permits if waiters > 0 => Tone::Notice,
        _ => Tone::Dim,
    };
    match waiters {
        0 => {}
        1 => text.push_str(", for which 1 waits"),
        n => text = format!("{text}, for which {} wait", words::whole(n)),
    }
    put(page, row, &text, tone, width);
}

/// What is waited for, and below it who could end that, each a link.
fn want(state: &State, want: &Want, at: u32, row: &Row, page: &mut Page, width: usize) {
    let text = format!("waits for {}", want_text(state.model(), want));
    put(page, row, &text, Tone::Notice, width);
    holders(state, want, at, &row.below, page, width);
}

fn holders(state: &State, want: &Want, at: u32, below: &str, page: &mut Page, width: usize) {
    let model = state.model();
    let holders = words::holders(&state.context(), want);
    let below = format!("{below}  ");
    let say = |page: &mut Page, text: &str, tone| {
        lines(page, (&below, &below), text, tone, width);
    };
    let verb = words::role(want.kind);
    match holders.as_slice() {
        [] if words::is_left_alone(model, want) => {
            say(page, "nobody is left to send", Tone::Warning);
        }
        [] if want.kind == WantKind::Permits => {
            say(page, "who holds it is not known", Tone::Dim);
        }
        [] => {}
        [holder] => {
            let lead = format!("{verb} ");
            link(state, holder, at, (&below, &lead), page, width);
        }
        several => {
            let count = words::whole(several.len() as u64);
            say(page, &format!("{verb} {count}:"), Tone::Text);
            for holder in several.iter().take(MAX_HOLDERS) {
                link(state, holder, at, (&below, LISTED), page, width);
            }
            if several.len() > MAX_HOLDERS {
                let text = format!("· and {} more", several.len() - MAX_HOLDERS);
                say(page, &text, Tone::Dim);
            }
        }
    }
}

/// One who could end a wait, and what that one does; leads to its details.
fn link(
    state: &State,
    holder: &Holder,
    at: u32,
    (below, lead): (&str, &str),
    page: &mut Page,
    width: usize,
) {
    let model = state.model();
    let text = format!("{lead}{}", words::holder(model, holder));
    if let Some(to) = waits::details_of(model, holder.party) {
        page.link(LinkId::Holder(at, holder.party), to);
    }
    if lead == LISTED {
        // One line each: Enter shows the rest.
        let line = Line::new(&format!("{INDENT}{below}"), Tone::Border);
        return page.lines.push(line.and(&text, Tone::Strong));
    }
    let hanging = format!("{below}    ");
    lines(page, (below, &hanging), &text, Tone::Strong, width);
}

/// What stands before one of several.
const LISTED: &str = "· ";

/// What a thread waits for, and holds, where that is known.
pub(super) fn thread(state: &State, tid: Tid, page: &mut Page, width: usize) {
    let Some(wait) = state.model().waits.thread(tid) else {
        return;
    };
    let title = match wait.want {
        Some(_) => match state.model().now.since(wait.since) {
            Duration::ZERO => "Waits".to_owned(),
            least => format!("Waits, for at least {}", quantity::duration(least)),
        },
        None if wait.holds.is_empty() => "Stands in".to_owned(),
        None => "Holds".to_owned(),
    };
    heading(page, &title);
    in_ring(state, Party::Thread(tid), page, width);
    thread_wait(state, wait, page, width);
}

fn thread_wait(state: &State, wait: &ThreadWait, page: &mut Page, width: usize) {
    let model = state.model();
    let function = model.text(wait.function);
    let at = location_text(model, wait.location, function);
    let mut place = function.to_owned();
    if wait.location.is_some() && !at.is_empty() {
        place = if function.is_empty() {
            at
        } else {
            format!("{function}  {at}")
        };
    }
    let mut rows = Vec::new();
    let has_place = !place.is_empty();
    if has_place {
        lines(page, ("", ""), &place, Tone::Strong, width);
    }
    rows.extend((0..wait.holds.len()).map(What::Hold));
    rows.extend(wait.want.map(|_| What::Want(0)));
    let count = rows.len();
    for (n, what) in rows.into_iter().enumerate() {
        let (rails, below) = match (has_place, n + 1 == count) {
            (false, _) => ("", ""),
            (true, true) => ("└ ", "  "),
            (true, false) => ("├ ", "│ "),
        };
        let row = Row {
            rails: rails.to_owned(),
            below: below.to_owned(),
            what,
        };
        match (&row.what, &wait.want) {
            (What::Hold(at), _) => hold(state, &wait.holds[*at], &row, page, width),
            (_, Some(wanted)) => want(state, wanted, 0, &row, page, width),
            _ => {}
        }
    }
    likely(state, wait.want.as_slice(), &wait.holds, page, width);
}
