//! Details of a thread: what it is, what it does, and what it waits for.

use crate::{
    app::{Details, State, Tone, quantity, tables},
    model::{Thread, Tid},
};

use super::{Line, LinkId, Page, facts::Facts, stall, waits};

pub(super) fn page(state: &State, tid: Tid, width: usize) -> Page {
    let model = state.model();
    let thread = model.threads.get(&tid);
    if thread.is_none() && model.waits.thread(tid).is_none() {
        let text = "this thread has ended";
        return Page::from(vec![Line::new(text, Tone::Dim)]);
    }
    let mut facts = Facts::new(width);
    if let Some(thread) = thread {
        identity(state, thread, &mut facts);
    }
    let mut page = Page::from(facts.section(""));
    waits::thread(state, tid, &mut page, width);
    let task = model.waits.thread(tid).and_then(|wait| wait.task);
    if let Some(task) = task.and_then(|id| model.tasks.get(id)) {
        page.lines.extend(Line::heading("In a poll of"));
        page.link(LinkId::Task(task.id), Details::Task(task.id));
        let name = tables::name_of(&state.context(), task);
        let number = task.tokio_id().unwrap_or(task.id.0);
        let text = format!("  task {number} {name}");
        page.lines.push(Line::new(&text, Tone::Strong));
    }
    let stalls = model.stalls.iter().filter(|s| s.tid == Some(tid));
    for (n, stall) in stalls.take(MAX_STALLS).enumerate() {
        if n == 0 {
            let title = format!("Its stalls  ({}: details)", state.key_of("open"));
            page.lines.extend(Line::heading(&title));
        }
        page.link(LinkId::Stall(stall.id), Details::Stall(stall.id));
        page.lines.extend(stall::brief(model, stall, "", "", width));
    }
    page.lines.extend(facts.unknown());
    page
}

/// Stalls that are listed.
const MAX_STALLS: usize = 20;

fn identity(state: &State, thread: &Thread, facts: &mut Facts) {
    let model = state.model();
    let named = |text: &str| (!text.is_empty()).then(|| text.to_owned());
    let worker = model.workers.values().find(|w| w.tid == Some(thread.tid));
    let role = match worker {
        Some(worker) => format!("worker {}", tables::worker_name(model, worker.id)),
        None => tables::role_word(thread.role).to_owned(),
    };
    facts.known("name", named(model.text(thread.name)), None);
    facts.known("role", named(&role), None);
    facts.known("CPU", thread.cpu_ratio().map(quantity::percent), None);
    let total = quantity::duration(thread.cpu());
    facts.value("CPU so far", &total, Tone::Text);
}
