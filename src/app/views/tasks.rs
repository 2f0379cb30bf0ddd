//! Tasks: one by one, as a tree, or in groups with totals.

use crate::{
    app::{
        Action, Key, State, TaskLayout, ViewId,
        bindings::{Binding, Section, Where, binding},
        tables::TableId,
    },
    model::Capability,
};

use super::{Body, View};

pub(super) static VIEW: View = View {
    help: "Tasks: every task",
    needs: Some(Capability::Tasks),
    has_data: |model| !model.tasks.is_empty(),
    group,
    keys: Section::new("Tasks", KEYS),
    ..View::new("Tasks", "Tasks", Body::Table(table))
};

const KEYS: &[Binding] = &[
    binding(
        "group",
        &[Key::Char('t')],
        Action::Group,
        Where::View(ViewId::Tasks),
        (4, "group"),
        "tasks one by one, by spawn location, by name, as a tree",
    ),
    binding(
        "warned",
        &[Key::Char('w')],
        Action::Warned,
        Where::View(ViewId::Tasks),
        (5, "warned"),
        "only tasks that a finding is about, or all",
    ),
    binding(
        "finished",
        &[Key::Char('f')],
        Action::Finished,
        Where::View(ViewId::Tasks),
        (5, "finished"),
        "show or hide finished tasks",
    ),
];

fn table(state: &State) -> TableId {
    match state.task_layout {
        TaskLayout::List | TaskLayout::Tree => TableId::Tasks,
        TaskLayout::ByLocation | TaskLayout::ByName => TableId::TaskGroups,
    }
}

fn group(state: &mut State) {
    state.task_layout = state.task_layout.next();
    let parents = state.model().tasks.iter().any(|t| t.parent().is_some());
    if state.task_layout == TaskLayout::Tree && !parents {
        state.notify("no tree: the target does not say which task spawned which");
    }
}

/// Only what a finding is about, or everything; the filter shows it.
pub(in crate::app) fn show_warned(state: &mut State) {
    if table(state) == TableId::TaskGroups {
        state.task_layout = TaskLayout::List;
    }
    let only = state.table_state(TableId::Tasks).filter_text == "warn";
    let text = if only { "" } else { "warn" };
    state.set_filter(TableId::Tasks, text.to_owned());
}
