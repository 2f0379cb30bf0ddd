//! Where every task waits, once, without a screen: text for people, JSON, and stacks for
//! a flame graph of waiting.
//!
//! All formats show the same [`Dump`], which is made of the model; `docs/dump.schema.json`
//! describes the JSON.
//!
//! - `entries`: what a dump is made of,
//! - `group`: tasks that wait alike,
//! - `rest`: rings, threads, and tasks of which no chain is known,
//! - `text`, `folded`: the formats for people and for flame graphs,
//! - `tree`: futures as the text draws them.

mod entries;
mod folded;
mod group;
mod rest;
mod text;
mod tree;

#[cfg(test)]
mod tests;

pub use entries::{
    Dump, Frame, Group, HolderEntry, Node, Poll, Read, Ring, RingMember, Stand, Task, TaskCounts,
    ThreadEntry, Wait, Who, Without,
};

use std::fmt;

use crate::{
    diagnose::{
        replaced,
        waits::{Graph, Rings},
    },
    model::Model,
};

/// Version of the JSON; it grows when a reader of the older one would misread.
pub const SCHEMA: u32 = 1;

/// How a dump is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Format {
    /// For people: tasks that wait alike together, most of them first.
    Text,
    /// One JSON object, described by docs/dump.schema.json.
    Json,
    /// A stack a line, for a flame graph of waiting: the futures, what is waited for, tasks.
    Folded,
}

impl fmt::Display for Format {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Format::Text => "text",
            Format::Json => "json",
            Format::Folded => "folded",
        })
    }
}

impl Dump {
    /// What `model` knows now of the target that the user called `target`; `rings` are
    /// those of it that stay.
    pub fn new(target: &str, model: &Model, rings: &Rings) -> Self {
        let graph = Graph::of(model);
        let session = &model.session;
        Self {
            schema: SCHEMA,
            target: target.to_owned(),
            name: session.name.clone(),
            pid: session.pid,
            tokio: Some(session.tokio_version.clone()).filter(|version| !version.is_empty()),
            core_dump: session.core_dump,
            written: rest::written(model),
            replaced: replaced(model),
            workers: model.workers.len() as u64,
            tasks: rest::counts(model),
            read: model.waits.read().map(|read| rest::read(model, read)),
            no_chains: rest::no_chains(model),
            not_read: rest::not_read(model, rings.open(model)),
            rings: rest::rings(model, &rings.standing(model)),
            groups: group::groups(model, &graph),
            threads: rest::threads(model, &graph),
            standing: rest::standing(model),
            polls: rest::polls(model),
            without: rest::without(model),
        }
    }

    /// Some task's chain, or some thread's wait, is known; or there is none that waits.
    pub fn is_observed(&self) -> bool {
        let nothing = self.groups.is_empty() && self.threads.is_empty();
        let tasks = self.tasks;
        // Those that are in a poll wait for nothing, and of others it is never read.
        let others = [tasks.scheduled, tasks.block_on, tasks.blocking];
        let others = others.into_iter().fold(tasks.running, u64::saturating_add);
        let unseen = tasks.live.unwrap_or_default() > others;
        !(nothing && (unseen || tasks.idle > 0 || self.read.is_none()))
    }

    /// The dump in a format.
    pub fn render(&self, format: Format) -> String {
        match format {
            Format::Text => text::render(self),
            Format::Json => {
                let mut json = serde_json::to_string_pretty(self).unwrap_or_default();
                json.push('\n');
                json
            }
            Format::Folded => folded::render(self),
        }
    }
}
