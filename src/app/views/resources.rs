//! Locks, semaphores and timers of the target, or who waits for them.

use crate::{
    app::{
        Action, Key, State, ViewId,
        bindings::{Binding, Section, Where, binding},
        tables::TableId,
    },
    model::Capability,
};

use super::{Body, View};

pub(super) static VIEW: View = View {
    help: "Resources: locks, semaphores, timers",
    needs: Some(Capability::Resources),
    has_data: |model| !model.resources.is_empty(),
    group: |state| state.operations = !state.operations,
    keys: Section::new("Resources", KEYS),
    ..View::new("Resources", "Res", Body::Table(table))
};

const KEYS: &[Binding] = &[
    binding(
        "group",
        &[Key::Char('t')],
        Action::Group,
        Where::View(ViewId::Resources),
        (2, "who waits"),
        "resources, or the operations on them: who waits for what",
    ),
    binding(
        "finished",
        &[Key::Char('f')],
        Action::Finished,
        Where::View(ViewId::Resources),
        (5, "dropped"),
        "show or hide what was dropped",
    ),
];

fn table(state: &State) -> TableId {
    if state.operations {
        TableId::Ops
    } else {
        TableId::Resources
    }
}
