//! Polls that took too long: by culprit line, or one by one.

use crate::app::{
    Action, Key, State, ViewId,
    bindings::{Binding, Section, Where, binding},
    tables::{self, TableId},
};

use super::{Body, View};

pub(super) static VIEW: View = View {
    help: "Stalls: live ones first",
    group,
    keys: Section::new("Stalls", KEYS),
    ..View::new("Stalls", "Stalls", Body::Table(table))
};

const KEYS: &[Binding] = &[
    binding(
        "all-frames",
        &[Key::Char('a')],
        Action::AllFrames,
        Where::StallDetails,
        (1, "all frames"),
        "all frames of a stack, all futures of an await chain and the whole name of a future, or only what matters",
    ),
    binding(
        "group",
        &[Key::Char('t')],
        Action::Group,
        Where::View(ViewId::Stalls),
        (2, "group"),
        "stalls by culprit line, or one by one",
    ),
];

fn table(state: &State) -> TableId {
    if state.grouped {
        TableId::StallGroups
    } else {
        TableId::Stalls
    }
}

fn group(state: &mut State) {
    if state.grouped {
        state.grouped = false;
    } else {
        tables::close_group(state);
    }
}
