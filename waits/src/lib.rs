//! Who waits for whom, and who waits for ever.
//!
//! [`Waits`] takes facts in a neutral form, however they were found: by the types of
//! futures, by running their polls on a copy, by the stacks of threads. It does no I/O,
//! knows no clock, and its answers depend on the facts alone, in any order.
//!
//! - A [`Party`] is a task or a thread. What it needs to go on is a [`Need`]: one thing, all
//!   of some, or any of some.
//! - A [`Want`] is of a [`Resource`], of another party (its end), or of the outside: time
//!   and the network, which can always come.
//! - A [`Hold`] is what a party has of a resource: permits that others wait for, or the
//!   other end of a channel.
//!
//! A party is **stuck** if nothing that the facts show can let it go on: the largest set of
//! waiting parties of which each needs something that only others of the set can give.
//! What is not known can always give: a want is met if its resource may have a holder or a
//! sender that was not found. So unknown facts hide a deadlock, and never make one. A
//! [`Ring`] is a circle within that set. Where a resource's number of permits is not known
//! (tokio's `Semaphore` keeps none), and those that are known are all held by the set, the
//! ring is not certain.
//!
//! That queues are fair is not looked at: a reader behind a writer that waits is given
//! nothing, but what was given to that writer already is a hold of it, which comes to the
//! same in all cases in which both wait for each other.
#![forbid(unsafe_code)]
#![warn(missing_docs)]

mod facts;
mod net;
mod ring;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;

pub use facts::{Hold, HoldRole, Need, Party, Place, Resource, ResourceKind, Target, Want};
pub use ring::{Link, Ring};

use self::net::Net;

/// With so many tasks or fewer all of them are looked at each second, as those who read and
/// those who judge agree.
pub const FEW_TASKS: usize = 5_000;

/// So many tasks are listed about once a second, and read as fast as few are. Of more it is
/// seen later that one has run.
pub const LISTED_OFTEN: usize = 20_000;

/// What is known of waiting and holding.
#[derive(Debug, Clone, Default)]
pub struct Waits {
    needs: BTreeMap<Party, Need>,
    holds: BTreeMap<u64, Vec<Hold>>,
    resources: BTreeMap<u64, Resource>,
}

impl Waits {
    /// Nothing is known.
    pub fn new() -> Self {
        Self::default()
    }

    /// A party waits; a second time it needs both.
    pub fn wait(&mut self, party: Party, need: Need) {
        let known = self.needs.remove(&party);
        let need = match known {
            Some(Need::All(mut all)) => {
                all.push(need);
                Need::All(all)
            }
            Some(one) => Need::All(vec![one, need]),
            None => need,
        };
        self.needs.insert(party, need);
    }

    /// A party holds something.
    pub fn hold(&mut self, hold: Hold) {
        let holds = self.holds.entry(hold.resource).or_default();
        if !holds.contains(&hold) {
            holds.push(hold);
        }
    }

    /// What is known of a resource; of two that are called the same each fact once.
    pub fn resource(&mut self, resource: Resource) {
        let known = self.resources.entry(resource.address);
        let known = known.or_insert_with(|| resource.clone());
        known.free = known.free.or(resource.free);
        known.total = known.total.or(resource.total);
        known.senders = known.senders.or(resource.senders);
        known.name = known.name.take().or(resource.name);
        if known.kind == ResourceKind::Other {
            known.kind = resource.kind;
        }
    }

    /// Those who wait.
    pub fn waiting(&self) -> impl Iterator<Item = (Party, &Need)> {
        self.needs.iter().map(|(party, need)| (*party, need))
    }

    /// The resources.
    pub fn resources(&self) -> impl Iterator<Item = &Resource> {
        self.resources.values()
    }

    /// What is known of one.
    pub fn resource_at(&self, address: u64) -> Option<&Resource> {
        self.resources.get(&address)
    }

    /// Who holds something of a resource.
    pub fn holders(&self, resource: u64) -> &[Hold] {
        self.holds.get(&resource).map_or(&[], Vec::as_slice)
    }

    /// Who waits for a resource.
    pub fn waiters(&self, resource: u64) -> impl Iterator<Item = (Party, &Want)> {
        let of = move |target: Target| target.resource() == Some(resource);
        self.needs.iter().flat_map(move |(party, need)| {
            let wants = need.wants().into_iter();
            let wants = wants.filter(move |want| of(want.target));
            wants.map(|want| (*party, want))
        })
    }

    /// Those who wait for a party: for its end, or for what it holds.
    pub fn blocked_by(&self, party: Party) -> Vec<Party> {
        let blocked = self.needs.iter().filter(|(other, need)| {
            **other != party
                && need
                    .wants()
                    .iter()
                    .any(|want| self.givers(want.target).iter().any(|(by, _)| *by == party))
        });
        blocked.map(|(party, _)| *party).collect()
    }

    /// Those who can give what is wanted, with what they hold of it.
    pub fn givers(&self, target: Target) -> Vec<(Party, Option<&Hold>)> {
        let holds = |resource: u64, is: fn(HoldRole) -> bool| {
            let holds = self.holders(resource).iter();
            let holds = holds.filter(move |hold| is(hold.role));
            holds.map(|hold| (hold.party, Some(hold))).collect()
        };
        match target {
            Target::Permits { resource, .. } => {
                holds(resource, |role| matches!(role, HoldRole::Permits(1..)))
            }
            Target::Message { resource } => holds(resource, |role| role == HoldRole::Sender),
            Target::Room { resource } => holds(resource, |role| role == HoldRole::Receiver),
            Target::End(party) => vec![(party, None)],
            Target::Other { .. } | Target::Outside | Target::Never => Vec::new(),
        }
    }

    /// The parties that nothing known lets go on, and whether that is certain. Those that
    /// wait for a ring without being in it are among them.
    pub fn stuck(&self) -> BTreeMap<Party, bool> {
        Net::of(self).stuck(self)
    }

    /// The rings among those that are stuck: of each group of parties of which each waits
    /// for all others, directly or through others, the shortest ring.
    pub fn rings(&self) -> Vec<Ring> {
        let net = Net::of(self);
        ring::rings(self, &net, &net.stuck(self))
    }

    /// Whom a party waits for, whom that one waits for, and so on: the longest such chain
    /// that comes to no party twice. Empty where it waits for nobody who is known.
    pub fn longest_chain(&self, party: Party) -> Vec<Link> {
        ring::longest_chain(self, party)
    }
}
