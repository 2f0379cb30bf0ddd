//! Which processes there are to watch: those that were named, the addresses of names, and
//! what runs on this machine. The last two change.

use std::{
    collections::{HashMap, HashSet},
    time::Duration,
};

use futures::future::join_all;
use tokio::{
    sync::mpsc,
    task::JoinHandle,
    time::{Instant, sleep_until},
};

use crate::source::{
    processes::{At, Lister},
    targets::{Dns, MOST, Named, Unresolved, Wanted},
};

/// The addresses of a name are asked for again so often.
const NAMES_EVERY: Duration = Duration::from_secs(30);
/// What runs on this machine is looked at again so often.
const MACHINE_EVERY: Duration = Duration::from_secs(5);

/// What the user asked for.
#[derive(Debug, Clone, Default)]
pub struct Asked {
    named: Vec<Named>,
    names: Vec<Dns>,
    machine: bool,
}

impl Asked {
    /// What was named.
    pub fn new(wanted: Vec<Wanted>) -> Self {
        let mut asked = Self::default();
        for one in wanted {
            match one {
                Wanted::One(named) => asked.named.push(named),
                Wanted::Dns(dns) => asked.names.push(dns),
            }
        }
        asked
    }

    /// What runs on this machine and can be attached to.
    pub fn machine() -> Self {
        Self {
            machine: true,
            ..Self::default()
        }
    }

    fn changes_every(&self) -> Option<Duration> {
        if self.machine {
            Some(MACHINE_EVERY)
        } else {
            (!self.names.is_empty()).then_some(NAMES_EVERY)
        }
    }

    /// What is said while there is no process to watch.
    fn nothing(&self) -> &'static str {
        if self.machine {
            "No tokio program of this user runs here that can be attached to. One that starts \
             appears here; looptop ls says of the others why not."
        } else {
            "There is no process to watch."
        }
    }
}

/// Which processes there are.
#[derive(Debug, Default, PartialEq)]
pub struct Members {
    /// Each target once, at most [`MOST`].
    pub named: Vec<Named>,
    /// What is to be said besides.
    pub remarks: Vec<String>,
}

/// Finds them.
#[derive(Debug, Default)]
pub struct Finder {
    asked: Asked,
    lister: Lister,
    /// Addresses that names had last.
    addresses: HashMap<Dns, Vec<Named>>,
}

impl Finder {
    /// Of what was asked for.
    pub fn new(asked: Asked) -> Self {
        Self {
            asked,
            ..Self::default()
        }
    }

    /// What is said while there is no process to watch.
    pub(super) fn nothing(&self) -> &'static str {
        self.asked.nothing()
    }

    /// Which there are at first. Every name must have an address. Takes 5 s at most.
    pub async fn first(&mut self) -> Result<Members, Unresolved> {
        let resolved = join_all(self.asked.names.iter().map(Dns::resolve)).await;
        for (dns, found) in self.asked.names.iter().zip(resolved) {
            self.addresses.insert(dns.clone(), found?);
        }
        Ok(self.members(Vec::new()).await)
    }

    /// Which there are now. A name that cannot be resolved keeps the addresses it had.
    async fn again(&mut self) -> Members {
        let resolved = join_all(self.asked.names.iter().map(Dns::resolve)).await;
        let mut remarks = Vec::new();
        for (dns, found) in self.asked.names.iter().zip(resolved) {
            match found {
                Ok(found) => drop(self.addresses.insert(dns.clone(), found)),
                Err(why) => remarks.push(format!("{why} Its last addresses are still watched")),
            }
        }
        self.members(remarks).await
    }

    async fn members(&mut self, mut remarks: Vec<String>) -> Members {
        let mut all = self.asked.named.clone();
        for dns in &self.asked.names {
            all.extend(self.addresses.get(dns).into_iter().flatten().cloned());
        }
        if self.asked.machine {
            let listing = self.lister.list().await;
            all.extend(listing.rows.into_iter().filter_map(|row| match row.at {
                At::Target(target) => Some(Named {
                    name: target.to_string(),
                    target,
                }),
                At::Refused(_) | At::Nowhere(_) => None,
            }));
        }
        let mut seen = HashSet::new();
        all.retain(|named| seen.insert(named.target.to_string()));
        if all.len() > MOST {
            let more = all.len() - MOST;
            let are = if more == 1 { "is" } else { "are" };
            remarks.push(format!(
                "{more} more {are} not looked at: looptop looks at {MOST} together at most"
            ));
            all.truncate(MOST);
        }
        Members {
            named: all,
            remarks,
        }
    }
}

/// Finds them again and again, beside the screen.
#[derive(Debug)]
pub(super) struct Changes {
    found: mpsc::Receiver<Members>,
    task: Option<JoinHandle<()>>,
}

impl Changes {
    /// Begins; nothing ever comes where nothing can change.
    pub(super) fn begin(mut finder: Finder, runtime: &tokio::runtime::Handle) -> Self {
        let (sender, found) = mpsc::channel(1);
        let every = finder.asked.changes_every();
        let task = every.map(|every| {
            runtime.spawn(async move {
                loop {
                    sleep_until(Instant::now() + every).await;
                    if sender.send(finder.again().await).await.is_err() {
                        return;
                    }
                }
            })
        });
        Self { found, task }
    }

    /// Which there are now, when that was looked at again. Safe to cancel.
    pub(super) async fn next(&mut self) -> Members {
        match self.found.recv().await {
            Some(members) => members,
            None => std::future::pending().await,
        }
    }
}

impl Drop for Changes {
    fn drop(&mut self) {
        if let Some(task) = &self.task {
            task.abort();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::source::targets::wanted;

    fn asked(texts: &[&str]) -> Asked {
        let texts: Vec<String> = texts.iter().map(|text| (*text).to_owned()).collect();
        Asked::new(wanted(&texts).unwrap())
    }

    #[tokio::test]
    async fn an_address_of_a_name_that_was_named_as_well_is_there_once() {
        let mut finder = Finder::new(asked(&["127.0.0.1:7000", "dns:127.0.0.1:7000", "7001"]));
        let members = finder.first().await.unwrap();
        let names: Vec<&str> = members.named.iter().map(|n| n.name.as_str()).collect();
        assert_eq!(names, ["127.0.0.1:7000", "7001"]);
        assert_eq!(finder.again().await, members);
    }

    #[tokio::test]
    async fn a_name_that_is_unknown_at_first_is_said_and_later_keeps_its_addresses() {
        let unknown = asked(&["dns:no-such-name.invalid"]);
        let mut finder = Finder::new(unknown.clone());
        finder.first().await.unwrap_err();
        let was = Named {
            name: "10.0.0.1:6669".into(),
            target: "10.0.0.1:6669".parse().unwrap(),
        };
        finder
            .addresses
            .insert(unknown.names[0].clone(), vec![was.clone()]);
        let members = finder.again().await;
        assert_eq!(members.named, [was]);
        assert!(
            members.remarks[0].ends_with("Its last addresses are still watched"),
            "{members:?}"
        );
    }

    #[tokio::test]
    async fn no_more_are_looked_at_than_can_be() {
        let mut finder = Finder::new(asked(&["7000", "dns:shop:7001"]));
        let many = (1..=MOST).map(|n| Named {
            name: n.to_string(),
            target: format!("10.0.{}.{}:7001", n / 250, n % 250 + 1)
                .parse()
                .unwrap(),
        });
        let dns = finder.asked.names[0].clone();
        finder.addresses.insert(dns, many.collect());
        let members = finder.members(Vec::new()).await;
        assert_eq!(members.named.len(), MOST);
        let said = "1 more is not looked at: looptop looks at 256 together at most";
        assert_eq!(members.remarks, [said]);
    }
}
