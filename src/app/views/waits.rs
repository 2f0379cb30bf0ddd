//! Those who wait: by what they wait for, by their await chain, or one by one.

use crate::{
    app::{
        Action, Key, State, ViewId, WaitLayout,
        bindings::{Binding, Section, Where, binding},
        tables::TableId,
    },
    model::Capability,
};

use super::{Body, View};

pub(super) static VIEW: View = View {
    help: "Waits: where tasks wait, for what, and who holds it",
    needs: Some(Capability::Waits),
    has_data: |model| model.waits.read().is_some() || !model.waits.is_empty(),
    group,
    keys: Section::new("Waits", KEYS),
    ..View::new("Waits", "Waits", Body::Table(table))
};

const KEYS: &[Binding] = &[binding(
    "group",
    &[Key::Char('t')],
    Action::Group,
    Where::View(ViewId::Waits),
    (2, "group"),
    "tasks by what they wait for, by their await chain, one by one",
)];

fn table(state: &State) -> TableId {
    match (&state.opened_wait, state.wait_layout) {
        (Some(_), _) | (None, WaitLayout::List) => TableId::Waiting,
        (None, WaitLayout::Wanted) => TableId::Waits,
        (None, WaitLayout::Chains) => TableId::WaitChains,
    }
}

fn group(state: &mut State) {
    state.opened_wait = None;
    state.wait_layout = state.wait_layout.next();
}
