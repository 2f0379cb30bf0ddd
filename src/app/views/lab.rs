//! The lab: its scenarios, their twins, before and after. `app::lab` has what is known
//! of it.

use crate::app::{
    Action, Key, State, Twin,
    bindings::{Binding, Section, Where, binding},
    lab::NO_LAB,
};

use super::{Body, View};

pub(super) static VIEW: View = View {
    help: "Lab: scenarios, their twins, before and after",
    absent,
    keys: Section::new("Lab, and presenter mode", KEYS),
    ..View::new("Lab", "Lab", Body::Lab)
};

const KEYS: &[Binding] = &[
    binding(
        "lab-switch",
        &[Key::Enter],
        Action::OtherTwin,
        Where::Lab,
        (0, "switch"),
        "make the mistake of the scenario under the cursor; again: cure it",
    ),
    binding(
        "lab-broken",
        &[Key::Char('b')],
        Action::Run(Twin::Broken),
        Where::Lab,
        (0, "broken"),
        "broken: the mistake of the scenario under the cursor",
    ),
    binding(
        "lab-fixed",
        &[Key::Char('f')],
        Action::Run(Twin::Fixed),
        Where::Lab,
        (0, "fixed"),
        "fixed: the same work without the mistake",
    ),
    binding(
        "lab-off",
        &[Key::Char('o')],
        Action::Run(Twin::Off),
        Where::Lab,
        (1, "off"),
        "off: no load but the canary",
    ),
];

fn absent(state: &State) -> Option<&'static str> {
    let present = state.options.lab.is_some() || state.lab.status.is_some();
    (!present).then_some(NO_LAB)
}
