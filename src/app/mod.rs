//! The program apart from its screen: what the user can do, and what that does.
//!
//! [`Event`]s from outside go to [`State::apply`], [`Action`]s of the user to
//! [`update`]; both return the [`Effect`]s that are left to the run loop.
//!
//! Invariants:
//! - No I/O and no clock: the run loop sets [`State::now`].
//! - Keys are bound in one table, [`bindings`]; dispatch, footer, help and docs
//!   come from it. Views are registered in [`view`], columns in [`tables`].
//! - Text of the target reaches a screen or a clipboard through [`escape`](crate::escape) only.

mod action;
mod apply;
pub mod bindings;
pub mod column;
mod column_choice;
mod copy;
mod event;
pub mod filter;
mod key;
pub mod lab;
pub mod mouse;
pub mod overview;
pub mod page;
pub mod quantity;
mod rows;
pub mod screen;
mod snapshot;
mod state;
pub mod tables;
mod tone;
pub mod travel;
mod update;
pub mod view;
mod watch;

#[cfg(test)]
pub(crate) mod lab_tests;
#[cfg(test)]
pub(crate) mod tests;

pub use action::{Action, Effect, Motion};
pub use column::{Context, Head};
pub use column_choice::{ColumnChoice, WrongColumns};
pub use event::{Connection, Distribution, Distributions, Earlier, Event};
pub use key::Key;
pub use lab::{LabState, Twin};
pub use rows::{RowKey, Rows, Sort};
pub use screen::Screen;
pub use snapshot::Snapshot;
pub use state::{
    Cursor, Details, Echo, Frozen, Lab, Mode, Options, Overlay, State, TableState, TaskLayout,
};
pub use tone::Tone;
pub use travel::{Place, Playback, Player, Timeline, Travel};
pub use update::update;
pub use view::ViewId;
pub use watch::Recall;
