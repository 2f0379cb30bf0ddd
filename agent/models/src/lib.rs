//! The agent's own sources, with loom's atomics in place of the standard ones,
//! run through every order of events that the memory model allows with up to
//! three preemptions.
//!
//! They are taken in by their paths, from another package, which no published package
//! does: a feature of the agent that exchanged its atomics would be there for every
//! application, and could be switched on by one.
#![cfg(test)]

mod sync {
    pub(crate) use loom::hint;
    pub(crate) use loom::sync::atomic;
}

#[path = "../../src/task/dirty.rs"]
mod dirty;
#[path = "../../src/task/index.rs"]
mod index;
#[path = "../../src/slot/publication.rs"]
mod publication;

mod dirty_tests;
mod index_tests;
mod publication_tests;
