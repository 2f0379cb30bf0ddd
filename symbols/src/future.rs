//! The future that a task polls: its type or its name, and where its async fns are
//! written, as far as the program's file says so.
//!
//! From best to least, the first that is certain; a guess is the last resort before the
//! address:
//!
//! 1. **symbols** ([`NamedBy::Symbol`]): `raw::poll::<F, S>` has the type in its name in
//!    Rust's newer mangling (v0), which is the default since 1.97.
//! 2. **debug information** ([`NamedBy::Lines`]): line tables name the functions of a
//!    task's poll and vtable `poll<F, S>`, those into which another was inlined. (With more
//!    debug information than line tables, and the older mangling, the name in it is the
//!    symbol's and has no type; the next step has it.)
//! 3. **drops** ([`NamedBy::Drop`]): the older mangling leaves type parameters out, except
//!    of `drop_in_place<T>`; the functions of a task's vtable lead to that of its
//!    `Stage<F>`, `CoreStage<F>` or `Cell<F, S>`. Futures that drop alike have those
//!    functions merged, under one of the names: where tasks of one scheduler lead to the
//!    same one, the name is a guess.
//! 4. **bodies** ([`NamedBy::Body`]): the one async fn that the poll calls, or that was
//!    inlined into it, where debug information names that. What wraps it (a span, a timeout)
//!    is not in the name, and what it is generic over neither. Where it is not the async fn
//!    of the drop's name, that one is of a merged function, and a guess.
//! 5. **places** ([`NamedBy::Place`]): file, line and column of the async fns and blocks
//!    whose code the poll has (`places`), of which the first is the task's.
//! 6. **the address** ([`NamedBy::Address`]) of the poll function, `app+0x1234`.
//!
//! A certain name is wrong only where the compiler has merged what nothing here can see:
//! a drop function with that of a future which is dropped in another place only. Async
//! blocks of one function have the same name in the older mangling; their places differ.
//!
//! A place is that of a task's own async fn or block, also within a span, a timeout, or
//! what else only wraps it ([`name::short_future`](crate::name::short_future) looks through
//! the same). Which of several in one function is the outermost follows from how compilers
//! lay out code; that was right in all programs looked at. A build without optimization has
//! its polls too deep for places, but has lines. Places need x86-64, and Rust 1.79 or
//! newer, which has that panic. In a stripped program (`bare`) the panic is found by its
//! text, and functions by their unwind rules; the place is certain there where it is in the
//! poll function itself, else the nearest that the poll leads to, a guess.
//!
//! In memory are the symbols of tasks and of bodies (text, 64 MB at most) and what `image`
//! has; while it loads, all names of symbols: some 160 MB for a debug build of 220 MB, 6 MB
//! for a server of 5 MB. Loading reads the symbols once (1 s and 0.1 s there, without
//! optimization); a type then takes the code of a few functions, and a unit of the line
//! table. `cargo run -p looptop-symbols --example futures -- PROGRAM` measures it.

mod bare;
mod ladder;
mod names;
mod places;
mod program;
#[cfg(test)]
mod tests;
mod walk;

use std::sync::Arc;

use crate::origin;

pub use self::program::Futures;

/// What of the ladder named a future.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum NamedBy {
    /// A symbol has its type.
    Symbol,
    /// Debug information has its type.
    Lines,
    /// The function that drops it has its type.
    Drop,
    /// The function of the async fn that it polls.
    Body,
    /// Where its async fn is written.
    Place,
    /// Nothing: the address of its poll function.
    Address,
}

/// The name of a task's future.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct FutureName {
    /// The whole name, which may have thousands of characters: a type, a place, or an
    /// address, as [`FutureName::by`] says.
    pub text: Arc<str>,
    /// The same for the screen ([`name::short_future_of`]).
    pub short: Arc<str>,
    /// It is this one, and not one of several.
    pub certain: bool,
    /// What it comes from.
    pub by: NamedBy,
}

impl FutureName {
    /// One that needs no shortening.
    fn as_it_is(text: &str, by: NamedBy) -> Self {
        let text = Arc::<str>::from(text);
        Self {
            short: Arc::clone(&text),
            text,
            certain: true,
            by,
        }
    }

    /// It names a type or function, not only a place or an address.
    pub fn is_type(&self) -> bool {
        self.by < NamedBy::Place
    }
}

/// Where an async fn or block is written: its body begins there.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Place {
    /// Source file as [`Frame::file`](crate::Frame::file) has it: of user code relative to
    /// its workspace, of a dependency from its name and version on.
    pub file: Arc<str>,
    /// The same as the binary has it.
    pub source: Arc<str>,
    /// Line, from 1.
    pub line: u32,
    /// Column, from 1.
    pub column: u32,
}

impl Place {
    /// It is in the application's workspace.
    pub fn is_own(&self) -> bool {
        origin::place(&self.source) == origin::Place::Workspace
    }
}

impl std::fmt::Display for Place {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}:{}", self.file, self.line)
    }
}

/// The functions of a task's vtable, by the addresses that the file counts.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct TaskCode {
    /// All functions, in the order of the vtable: poll, schedule, and those that only
    /// look after the task.
    pub functions: Vec<u64>,
}

impl TaskCode {
    /// The first functions of tokio's vtables, from 1.21 on: poll, schedule, dealloc,
    /// `try_read_output`, `drop_join_handle_slow`, `drop_abort_handle`, shutdown.
    pub const FUNCTIONS: usize = 7;

    fn poll(&self) -> u64 {
        self.functions.first().copied().unwrap_or_default()
    }

    /// One for each scheduler.
    fn schedule(&self) -> u64 {
        self.functions.get(1).copied().unwrap_or_default()
    }

    /// All but that, which knows nothing of the future.
    fn of_future(&self) -> impl Iterator<Item = u64> {
        let schedule = self.schedule();
        self.functions
            .iter()
            .copied()
            .filter(move |function| *function != schedule)
    }

    /// What runs none of the future's code but its drop.
    fn caretakers(&self) -> &[u64] {
        self.functions.get(2..).unwrap_or_default()
    }
}

/// Data of the running program, where the file alone does not say enough.
pub struct Memory<'a> {
    /// What to add to an address of the file to get the one in memory.
    pub bias: u64,
    /// Fills the buffer from an address of the file; false where it is not mapped.
    pub read: &'a dyn Fn(u64, &mut [u8]) -> bool,
}

impl Memory<'_> {
    /// The address at an address, as the file counts.
    fn word(&self, at: u64) -> Option<u64> {
        let mut bytes = [0; 8];
        (self.read)(at, &mut bytes).then(|| u64::from_le_bytes(bytes).wrapping_sub(self.bias))
    }
}
