//! The keys: where each holds and what it does. Dispatch, footer, help and
//! `docs/keys.md` come from here.
//!
//! To add a key, add an entry to a list: that of its view (`app/views/`), or in
//! `general`. Its name is what a configuration binds to other keys ([`Keymap`]); several
//! entries may share one, if they never hold at the same time. What it does is an [`Action`], which has an arm in
//! [`update`](super::update).

mod document;
mod general;
mod keymap;

pub use document::markdown;
pub(super) use general::FILTER;
pub use keymap::{InTheWay, Keymap, WrongKeys};

use std::sync::LazyLock;

use super::{Action, Connection, Key, Mode, State, ViewId, page};

/// Examples of the filter's terms, and what they mean.
pub const FILTERS: [(&str, &str); 6] = [
    ("conn !ticker", "that contain conn, and no ticker"),
    ("state:running", "whose column state contains running"),
    ("loc:file.rs", "whose location contains file.rs"),
    (
        "busy>100ms",
        "by number: > >= < <= = with ns us ms s m h, %, k, KiB",
    ),
    ("\"two words\"", "quotes keep spaces"),
    ("warn", "that a finding is about (tasks)"),
];

/// Where a binding holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Where {
    /// Wherever nothing is typed.
    Everywhere,
    /// Whatever is on screen, also while something is typed.
    Always,
    /// In a view that is a table.
    Tables,
    /// In a view, table or not.
    Views,
    /// In one view.
    View(ViewId),
    /// Where the lab's scenarios can be switched: its view and presenter mode.
    Lab,
    /// In the details of a stall, or of a task whose future has a name.
    StallDetails,
    /// In details with lines that lead to others.
    Links,
    /// While another viewer keeps the server paused.
    Paused,
    /// While a recording is played.
    Playing,
    /// While there is something to record: what is live.
    Recordable,
    /// While the screen shows the past of a live session.
    Past,
    /// Where there is a page of several processes to come back to.
    Several,
    /// While the filter is edited.
    Filter,
    /// While the command palette is open.
    Palette,
    /// While either is typed into.
    Typing,
}

/// A key, or several, for one action.
#[derive(Debug, Clone)]
pub struct Binding {
    /// What a configuration calls it.
    pub name: &'static str,
    /// Any of these.
    pub keys: &'static [Key],
    /// What it does.
    pub action: Action,
    /// Where.
    pub at: Where,
    /// One word for the footer; empty to leave it out.
    pub label: &'static str,
    /// A sentence for the help.
    pub help: &'static str,
    /// The lower, the longer it stays in a narrow footer.
    pub rank: u8,
}

/// A binding; `rank` and `label` are for the footer.
pub(super) const fn binding(
    name: &'static str,
    keys: &'static [Key],
    action: Action,
    at: Where,
    (rank, label): (u8, &'static str),
    help: &'static str,
) -> Binding {
    Binding {
        name,
        keys,
        action,
        at,
        label,
        help,
        rank,
    }
}

/// Keys that stand together in the help.
#[derive(Debug, Clone, Copy)]
pub struct Section {
    /// Its heading.
    pub title: &'static str,
    /// Its keys.
    pub bindings: &'static [Binding],
}

impl Section {
    /// No keys.
    pub const EMPTY: Self = Self::new("", &[]);

    /// Keys under a heading.
    pub const fn new(title: &'static str, bindings: &'static [Binding]) -> Self {
        Self { title, bindings }
    }
}

/// The digits of the views.
static VIEWS: LazyLock<Vec<Binding>> = LazyLock::new(|| {
    let digit = |id: &ViewId| Binding {
        name: id.key_name(),
        keys: vec![Key::Char(id.digit())].leak(),
        action: Action::Show(*id),
        at: Where::Everywhere,
        label: "",
        help: id.view().help,
        rank: 0,
    };
    ViewId::ALL.iter().map(digit).collect()
});

/// All keys, in the order of the help.
pub fn sections() -> Vec<Section> {
    let views = ViewId::ALL.iter().map(|id| id.view().keys);
    let of_views = views.filter(|section| !section.bindings.is_empty());
    let first = [
        general::ANYWHERE,
        Section::new("Views", VIEWS.as_slice()),
        general::TABLES,
    ];
    let last = [general::RECORDINGS, FILTER, general::PALETTE];
    first.into_iter().chain(of_views).chain(last).collect()
}

/// All keys. Of those that are bound several times one holds at any time.
pub fn all() -> impl Iterator<Item = &'static Binding> {
    sections().into_iter().flat_map(|section| section.bindings)
}

/// The bindings of a key that hold now: one at the most.
pub(super) fn meanings(state: &State, key: Key) -> Vec<&'static Binding> {
    let keymap = &state.options.keys;
    all()
        .filter(|b| keymap.of(b).contains(&key) && holds(b.at, state))
        .collect()
}

/// The binding of a key now.
pub(super) fn bound(state: &State, key: Key) -> Option<&'static Binding> {
    meanings(state, key).first().copied()
}

/// What a key does now.
pub fn dispatch(state: &State, key: Key) -> Option<Action> {
    match (bound(state, key), key) {
        (Some(binding), _) => Some(binding.action.clone()),
        (None, Key::Char(c)) if state.takes_text() => Some(Action::Type(c.to_string())),
        _ => None,
    }
}

/// The bindings that hold now and have a label, the most useful first.
pub fn footer(state: &State) -> Vec<&'static Binding> {
    let mut shown: Vec<&Binding> = all()
        .filter(|b| !b.label.is_empty() && holds(b.at, state))
        .collect();
    shown.sort_by_key(|b| b.rank);
    shown
}

/// The bindings that hold in what lies below the command palette.
pub(super) fn below_palette(state: &State) -> impl Iterator<Item = &'static Binding> {
    let mode = state.below_palette();
    let own = |binding: &&Binding| binding.action != Action::Palette;
    all()
        .filter(own)
        .filter(move |b| holds_in(b.at, mode, state))
}

pub(super) fn holds(at: Where, state: &State) -> bool {
    holds_in(at, state.mode(), state)
}

fn holds_in(at: Where, mode: Mode, state: &State) -> bool {
    let typing = matches!(mode, Mode::Filter | Mode::Palette);
    match at {
        Where::Always => true,
        Where::Everywhere => !typing,
        Where::Filter => mode == Mode::Filter,
        Where::Palette => mode == Mode::Palette,
        Where::Typing => typing,
        Where::Lab => !typing && state.lab_has_keys(),
        Where::StallDetails => mode == Mode::Details && state.has_more_details(),
        Where::Links => mode == Mode::Details && has_links(state),
        Where::Paused => !typing && is_paused(state),
        Where::Playing => !typing && state.player.is_some(),
        Where::Recordable => !typing && state.player.is_none() && state.behind().is_none(),
        Where::Past => !typing && state.behind().is_some(),
        Where::Several => !typing && state.options.several,
        // The lab has its own meaning of these.
        Where::Views => mode == Mode::View && state.view != ViewId::Lab,
        Where::View(view) => mode == Mode::View && state.view == view,
        Where::Tables => mode == Mode::View && state.table().is_some(),
    }
}

fn has_links(state: &State) -> bool {
    page::page(state).is_some_and(|page| !page.links.is_empty())
}

fn is_paused(state: &State) -> bool {
    matches!(state.connection, Connection::Paused { .. })
}

/// The keys of a binding, as a person reads them; empty without any.
pub fn names(keymap: &Keymap, binding: &'static Binding) -> String {
    let keys = keymap.of(binding).iter();
    let names: Vec<String> = keys.map(ToString::to_string).collect();
    names.join(" ")
}

/// The first key of the action of this name; the action's name where it has none, for
/// sentences that say what to press.
pub fn key_of(keymap: &Keymap, name: &'static str) -> String {
    let binding = all().find(|binding| binding.name == name);
    let key = binding.and_then(|binding| keymap.of(binding).first());
    key.map_or_else(|| format!("({name})"), ToString::to_string)
}
