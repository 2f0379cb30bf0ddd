//! The program apart from its screen: what the user can do, and what that does.
//!
//! [`Event`]s from outside go to [`State::apply`], [`Action`]s of the user to
//! [`update`]; both return the [`Effect`]s that are left to the run loop.
//!
//! Invariants:
//! - No I/O and no clock: the run loop sets [`State::now`].
//! - Views are registered in [`views`], tables and their columns in [`tables`], keys
//!   in [`bindings`] and by the views that have them. Digits, tabs, dispatch, footer,
//!   help and `docs/keys.md` come from these registries.
//! - Text of the target reaches a screen or a clipboard through [`escape`](crate::escape) only.

mod action;
mod apply;
pub mod bindings;
pub mod column;
mod column_choice;
mod copy;
mod event;
pub mod filter;
pub mod front;
mod fuzzy;
mod key;
pub mod lab;
mod list;
pub mod mouse;
pub mod overview;
pub mod page;
pub mod palette;
pub mod picker;
pub mod quantity;
mod rows;
pub mod screen;
pub mod several;
mod snapshot;
mod source_place;
mod state;
pub mod tables;
mod theme;
mod tone;
pub mod travel;
mod update;
pub mod views;
pub mod waits;
mod watch;

#[cfg(test)]
pub(crate) mod fixtures;
#[cfg(test)]
pub(crate) mod lab_tests;
#[cfg(test)]
mod tests;

pub use action::{Action, Effect, Motion};
pub use column::{Context, Head};
pub use column_choice::{ColumnChoice, WrongColumns};
pub use event::{Connection, Distribution, Distributions, Earlier, Event};
pub use key::{Key, NoKey};
pub use lab::{LabState, Twin};
pub use list::{Cursor, TableState};
pub use rows::{Request, Rows, Sort};
pub use screen::Screen;
pub use snapshot::Snapshot;
pub use source_place::{SourceMap, SourcePlace, leads_below};
pub use state::{Details, Echo, Frozen, Lab, Mode, Options, Overlay, State, TaskLayout};
pub use tables::RowKey;
pub use theme::ThemeId;
pub use tone::Tone;
pub use travel::{Place, Playback, Player, Timeline, Travel};
pub use update::update;
pub use views::ViewId;
pub use waits::WaitLayout;
pub use watch::Recall;
