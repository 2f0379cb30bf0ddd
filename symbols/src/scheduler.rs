//! tokio's scheduler as a stack shows it: whose thread it is, where in tokio it stands,
//! and whether it has gone on.
//!
//! [`Landmarks`] are the functions that count, from the symbols of a program; [`place`]
//! says where a stack stands that has some of them; [`Ticks`] are the scheduler's own
//! counters, which tell one long poll from many short ones.

mod landmarks;
mod place;
mod ticks;

pub use landmarks::{Landmark, Landmarks, Unknown, read};
pub use place::{Kind, Place, Wait, place, place_by_polls, poll};
pub use ticks::{Read, Snapshot, Ticks};
