//! What is done to the programs: a table, from which acts are drawn.

#![allow(
    clippy::unnecessary_wraps,
    reason = "some acts can always be done, and all have one type"
)]

mod commands;
mod limits;
mod stream;
mod targets;
mod viewers;

use std::{fmt::Write, time::Duration};

use anyhow::bail;
use fastrand::Rng;

use crate::scene::Scene;

/// One kind of act.
pub(crate) struct Act {
    /// As on the command line and in the ledger.
    pub(crate) name: &'static str,
    /// How often it is drawn, beside the others.
    weight: u32,
    /// What it does, in a line.
    about: &'static str,
    /// Does it, with chance of its own: what it draws changes no other act. Returns what
    /// it did. It waits for nothing that an attack may hold up.
    run: Do,
}

/// Does an act; says what it did, or why it could not.
type Do = fn(&mut Scene, &mut Rng) -> anyhow::Result<String>;

const fn act(name: &'static str, weight: u32, about: &'static str, run: Do) -> Act {
    Act {
        name,
        weight,
        about,
        run,
    }
}

/// All of them.
pub(crate) const ALL: &[Act] = &[
    act("switch", 8, "a lab shows another scenario", targets::switch),
    act(
        "load",
        4,
        "requests for the labs, many at once",
        targets::load,
    ),
    act(
        "freeze",
        4,
        "a target or a viewer is stopped for a while (SIGSTOP)",
        targets::freeze,
    ),
    act("victim", 4, "another lab is started", targets::victim),
    act(
        "kill-victim",
        3,
        "such a lab is ended or killed",
        targets::kill,
    ),
    act(
        "stand-in",
        2,
        "a tokio program without an agent is started, with a viewer of it",
        targets::stand_in,
    ),
    act(
        "exec",
        3,
        "that program becomes another one under its viewer",
        targets::exec,
    ),
    act(
        "few-descriptors",
        3,
        "RLIMIT_NOFILE leaves a process hardly any",
        limits::few_descriptors,
    ),
    act(
        "little-memory",
        2,
        "RLIMIT_AS leaves a victim hardly any",
        limits::little_memory,
    ),
    act(
        "spinners",
        3,
        "processes that compute take the CPUs",
        limits::spinners,
    ),
    act(
        "small-disk",
        2,
        "recordings go to a file system without room",
        limits::small_disk,
    ),
    act("cut", 4, "the viewers' connections are cut", stream::cut),
    act("delay", 2, "the stream comes late", stream::delay),
    act("halve", 2, "half of the stream is lost", stream::halve),
    act(
        "garble",
        3,
        "bytes of the stream are others",
        stream::garble,
    ),
    act("flood", 2, "the stream comes many times", stream::flood),
    act("mute", 2, "nothing of the stream comes", stream::mute),
    act(
        "slow-viewer",
        4,
        "a viewer of the agent does not read",
        stream::slow_viewer,
    ),
    act(
        "protocols",
        4,
        "every port is spoken to in other protocols",
        stream::protocols,
    ),
    act(
        "silence",
        2,
        "a thousand connections say nothing",
        stream::silence,
    ),
    act("viewer", 6, "a viewer is started", viewers::start),
    act("keys", 8, "random keys", viewers::keys),
    act(
        "mouse",
        3,
        "random clicks, wheels and movements",
        viewers::mouse,
    ),
    act("paste", 2, "random text is pasted", viewers::paste),
    act(
        "resize",
        5,
        "terminals change their size, from 1x1 to 400x120",
        viewers::resize,
    ),
    act(
        "suspend",
        3,
        "a viewer is suspended, and goes on",
        viewers::suspend,
    ),
    act("end-viewer", 3, "a viewer is asked to end", viewers::end),
    act(
        "kill-viewer",
        4,
        "a viewer is killed (SIGKILL)",
        viewers::kill,
    ),
    act("check", 2, "looptop check", commands::check),
    act("dump", 2, "looptop dump", commands::dump),
    act("record", 3, "looptop record", commands::record),
    act("export", 1, "looptop export", commands::export),
    act(
        "replay",
        2,
        "a recording of this round is shown",
        viewers::replay,
    ),
    act("run", 2, "looptop run with a lab", viewers::run),
    act(
        "kill-command",
        3,
        "such a command is killed (SIGKILL)",
        commands::kill,
    ),
];

/// The acts of a run.
pub(crate) struct Table(Vec<&'static Act>);

impl Table {
    /// All, or those of these names.
    ///
    /// # Errors
    ///
    /// There is no such act.
    pub(crate) fn new(only: &[String]) -> anyhow::Result<Self> {
        for name in only {
            if ALL.iter().all(|act| act.name != name) {
                bail!("there is no act `{name}`; `looptop-fire acts` lists them");
            }
        }
        let is_wanted = |act: &&Act| only.is_empty() || only.iter().any(|name| act.name == name);
        Ok(Self(ALL.iter().filter(is_wanted).collect()))
    }

    /// Draws one.
    pub(crate) fn draw(&self, rng: &mut Rng) -> &'static Act {
        let all: u32 = self.0.iter().map(|act| act.weight).sum();
        let mut at = rng.u32(..all.max(1));
        for act in &self.0 {
            if at < act.weight {
                return act;
            }
            at -= act.weight;
        }
        self.0[0]
    }

    /// That of a name, if it is one of them.
    pub(crate) fn find(&self, name: &str) -> Option<&'static Act> {
        self.0.iter().find(|act| act.name == name).copied()
    }
}

impl Act {
    /// Does it.
    pub(crate) fn run(&self, scene: &mut Scene, rng: &mut Rng) -> anyhow::Result<String> {
        (self.run)(scene, rng)
    }
}

/// The table, for people.
pub(crate) fn listing() -> String {
    let all: u32 = ALL.iter().map(|act| act.weight).sum();
    let mut text = String::new();
    for act in ALL {
        let share = f64::from(act.weight) * 100.0 / f64::from(all);
        let _ = writeln!(text, "{:16} {share:4.1} %  {}", act.name, act.about);
    }
    text
}

/// A time between two, in milliseconds.
fn between(rng: &mut Rng, least: u64, most: u64) -> Duration {
    Duration::from_millis(rng.u64(least..=most))
}

/// One of something; `None` if there is none.
fn one_of<'a, T>(rng: &mut Rng, of: &'a mut [T]) -> Option<&'a mut T> {
    let n = of.len();
    if n == 0 {
        None
    } else {
        of.get_mut(rng.usize(..n))
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn names_are_unique_and_every_act_is_drawn() {
        let names: BTreeSet<&str> = ALL.iter().map(|act| act.name).collect();
        assert_eq!(names.len(), ALL.len());
        let table = Table::new(&[]).unwrap();
        let mut rng = Rng::with_seed(1);
        let drawn: BTreeSet<&str> = (0..10_000).map(|_| table.draw(&mut rng).name).collect();
        assert_eq!(drawn, names);
    }

    #[test]
    fn the_same_seed_draws_the_same_acts() {
        let table = Table::new(&[]).unwrap();
        let draw = |seed: u64| -> Vec<&str> {
            let mut rng = Rng::with_seed(seed);
            (0..50).map(|_| table.draw(&mut rng).name).collect()
        };
        assert_eq!(draw(7), draw(7));
        assert_ne!(draw(7), draw(8));
    }

    #[test]
    fn only_acts_that_there_are_can_be_asked_for() {
        let table = Table::new(&["cut".to_owned(), "keys".to_owned()]).unwrap();
        assert!(table.find("cut").is_some() && table.find("halve").is_none());
        let error = Table::new(&["cuts".to_owned()]).err().unwrap().to_string();
        assert!(error.contains("no act `cuts`"), "{error}");
    }
}
