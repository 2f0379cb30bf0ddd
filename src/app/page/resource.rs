//! Details of a resource: what it is, its state, and who waits for it.

use crate::{
    app::{Context, Details, State, Tone, quantity, tables},
    model::{AsyncOp, Model, Resource, ResourceId},
};

use super::{Line, LinkId, Page};

/// Operations listed at most: the rest is counted.
const MAX_OPS: usize = 500;

pub(super) fn page(state: &State, id: ResourceId, width: usize) -> Page {
    let model = state.model();
    let Some(resource) = model.resources.get(id) else {
        return Page::from(vec![Line::new(
            "this resource was dropped and is no longer held",
            Tone::Dim,
        )]);
    };
    let mut page = Page::from(identity(model, resource, width));
    page.lines.extend(attributes(model, resource, width));
    operations(state, id, &mut page);
    page
}

fn identity(model: &Model, resource: &Resource, width: usize) -> Vec<Line> {
    let known = |text: &str| (!text.is_empty()).then(|| text.to_owned());
    let parent = resource.parent.map(|id| match model.resources.get(id) {
        Some(parent) => format!("{} {}", parent.number, tables::resource_name(model, id)),
        None => "no longer held".to_owned(),
    });
    let age = quantity::duration(resource.age(model.now));
    let life = match resource.dropped_at {
        None => format!("● live for {age}"),
        Some(at) => format!(
            "✓ dropped {} ago after {age}",
            quantity::duration(model.now.since(at))
        ),
    };
    let seen = if resource.internal {
        "inner part of another"
    } else {
        "public"
    };
    let made = model.location(resource.location).map(|l| l.to_string());
    let mut lines = [
        Line::known("type", known(model.text(resource.type_name)), None, width),
        Line::known("kind", known(model.text(resource.kind)), None, width),
        Line::value("state", &life, Tone::Text, width),
        Line::known("made at", made, None, width),
        Line::known("target", known(model.text(resource.target)), None, width),
        Line::value("visible", seen, Tone::Text, width),
    ]
    .concat();
    if let Some(parent) = parent {
        lines.extend(Line::value("part of", &parent, Tone::Text, width));
    }
    lines
}

/// One attribute a line; a value may hold spaces, but a name holds none.
fn attributes(model: &Model, resource: &Resource, width: usize) -> Vec<Line> {
    let text = model.text(resource.attributes);
    if text.is_empty() {
        return Vec::new();
    }
    let mut lines = Vec::from(Line::heading("Attributes"));
    lines.extend(Line::paragraph(text, Tone::Text, 2, width));
    lines
}

fn operations(state: &State, id: ResourceId, page: &mut Page) {
    let context = state.context();
    let ops = context.model.resources.ops_on(id);
    let live = ops.iter().filter(|op| op.is_live()).count();
    let title = format!(
        "Operations  {live} live · {} ended · {}: the task that waits",
        ops.len() - live,
        state.key_of("open")
    );
    page.lines.extend(Line::heading(&title));
    if ops.is_empty() {
        page.lines.push(Line::new(
            "  nothing works on it or waits for it",
            Tone::Dim,
        ));
        return;
    }
    let head = format!(
        "  {:>5} {:<22} {:<24} {:>7} {:>7} {:>7} {:>6}  ATTRIBUTES",
        "ID", "TASK", "OPERATION", "TOTAL", "BUSY", "IDLE", "POLLS"
    );
    page.lines.push(Line::new(&head, Tone::Title));
    for op in ops.iter().take(MAX_OPS) {
        if let Some(task) = op.task.filter(|id| context.model.tasks.get(*id).is_some()) {
            page.link(LinkId::Op(op.id), Details::Task(task));
        }
        page.lines.push(operation(&context, op));
    }
    if ops.len() > MAX_OPS {
        let text = format!("  and {} more", ops.len() - MAX_OPS);
        page.lines.push(Line::new(&text, Tone::Dim));
    }
}

fn operation(context: &Context<'_>, op: &AsyncOp) -> Line {
    let model = context.model;
    let now = model.now;
    let task = op.task.and_then(|id| model.tasks.get(id));
    let who = task.map_or_else(
        || quantity::UNKNOWN.to_owned(),
        |task| tables::name_of(context, task),
    );
    let tone = if op.is_live() { Tone::Text } else { Tone::Dim };
    let text = format!(
        "  {:>5} {} {} {:>7} {:>7} {:>7} {:>6}  {}",
        op.number,
        cut_at_start(&who, 22),
        cut_at_start(model.text(op.source), 24),
        quantity::duration(op.age(now)),
        quantity::duration(op.busy(now)),
        quantity::duration(op.idle(now)),
        quantity::count(op.polls),
        model.text(op.attributes),
    );
    Line::new(&text, tone)
}

/// Exactly `width` characters: the end of a long text, a short one filled up.
fn cut_at_start(text: &str, width: usize) -> String {
    let text = crate::escape::escaped(text);
    let length = text.chars().count();
    if length <= width {
        return format!("{text:<width$}");
    }
    let kept: String = text.chars().skip(length + 1 - width).collect();
    format!("…{kept}")
}
