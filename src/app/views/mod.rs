//! The views: a file each, and the registry.
//!
//! To add a view, add a file with its [`View`], its `mod` and its line in `views!`:
//! the digit that opens it, the tabs, the keys, the help and `docs/keys.md` come from
//! there. A view of tables needs nothing else; one with panels of its own has a
//! [`Body`] of its own, which `ui::views` draws.

mod lab;
mod overview;
mod resources;
mod stalls;
mod tasks;
mod threads;
mod waits;
mod workers;

pub(super) use tasks::show_warned;

use crate::model::{Capability, Model};

use super::{State, bindings::Section, tables::TableId};

/// Makes of each line an id. The order is that of the digits.
macro_rules! views {
    ($($(#[$doc:meta])+ $id:ident = $file:ident,)+) => {
        /// Names a view.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub enum ViewId {
            $($(#[$doc])+ $id,)+
        }

        impl ViewId {
            /// All of them, in the order of their digits.
            pub const ALL: &'static [ViewId] = &[$(ViewId::$id,)+];

            /// What is registered.
            pub fn view(self) -> &'static View {
                match self {
                    $(ViewId::$id => &$file::VIEW,)+
                }
            }

            /// What a configuration calls the key that opens it.
            pub fn key_name(self) -> &'static str {
                match self {
                    $(ViewId::$id => concat!("view-", stringify!($file)),)+
                }
            }
        }
    };
}

views! {
    /// Everything that matters, on one screen.
    Overview = overview,
    /// All tasks.
    Tasks = tasks,
    /// What each worker does.
    Workers = workers,
    /// Polls that took too long.
    Stalls = stalls,
    /// Locks, semaphores, timers.
    Resources = resources,
    /// Threads of the process.
    Threads = threads,
    /// The demo's scenario.
    Lab = lab,
    /// Where tasks wait, and for what.
    Waits = waits,
}

impl Default for ViewId {
    fn default() -> Self {
        Self::ALL[0]
    }
}

impl ViewId {
    /// The digit that opens it.
    pub fn digit(self) -> char {
        char::from_digit(self as u32 + 1, 10).unwrap_or(' ')
    }
}

/// A view.
#[derive(Debug)]
pub struct View {
    /// Its name on screen.
    pub title: &'static str,
    /// The same where there is no room.
    pub short: &'static str,
    /// What it shows, for the help.
    pub help: &'static str,
    /// What the target must supply for it.
    pub needs: Option<Capability>,
    /// It has something to show nonetheless.
    pub has_data: fn(&Model) -> bool,
    /// Why it has no tab, and how it would get one.
    pub absent: fn(&State) -> Option<&'static str>,
    /// What fills it.
    pub body: Body,
    /// Groups its rows in the next way.
    pub group: fn(&mut State),
    /// The keys that only it has.
    pub keys: Section,
}

impl View {
    /// A view that every target has, with no keys of its own.
    const fn new(title: &'static str, short: &'static str, body: Body) -> Self {
        Self {
            title,
            short,
            help: title,
            needs: None,
            has_data: |_| true,
            absent: |_| None,
            body,
            group: |_| (),
            keys: Section::EMPTY,
        }
    }
}

/// What fills a view.
#[derive(Debug, Clone, Copy)]
pub enum Body {
    /// A table; which one may be the user's choice.
    Table(fn(&State) -> TableId),
    /// The panels of the overview.
    Overview,
    /// The scenarios of the lab.
    Lab,
}

/// The views that this target has a tab for.
pub fn shown(state: &State) -> Vec<ViewId> {
    let present = |id: &ViewId| (id.view().absent)(state).is_none();
    ViewId::ALL.iter().copied().filter(present).collect()
}

/// Why a view has nothing to show, as a sentence; `None` where it has.
pub fn unavailable(id: ViewId, model: &Model) -> Option<String> {
    let view = id.view();
    if (view.has_data)(model) || model.since.is_none() {
        return None;
    }
    model.session.missing(view.needs?).map(str::to_owned)
}

/// The table that a view shows, if it is one.
pub(super) fn table(state: &State) -> Option<TableId> {
    match state.view.view().body {
        Body::Table(table) => Some(table(state)),
        Body::Overview | Body::Lab => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_view_has_a_digit_of_its_own() {
        let digits: Vec<char> = ViewId::ALL.iter().map(|id| id.digit()).collect();
        assert!(digits.iter().all(char::is_ascii_digit), "{digits:?}");
        assert!(digits.is_sorted_by(|a, b| a < b), "{digits:?}");
    }
}
