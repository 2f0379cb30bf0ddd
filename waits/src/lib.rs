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
mod ring;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};

pub use facts::{Hold, HoldRole, Need, Party, Place, Resource, ResourceKind, Target, Want};
pub use ring::{Link, Ring};

/// What is known of waiting and holding.
#[derive(Debug, Clone, Default)]
pub struct Waits {
    needs: BTreeMap<Party, Need>,
    holds: BTreeMap<u64, Vec<Hold>>,
    resources: BTreeMap<u64, Resource>,
}

/// What a want comes to, while some parties do not go on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Hope {
    /// It may be met.
    Some,
    /// It is not met as long as they do not go on; or as far as is known.
    None { is_certain: bool },
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
        let mut stuck: BTreeSet<Party> = self.needs.keys().copied().collect();
        loop {
            let goes_on = |party: &&Party| self.hope(&self.needs[*party], &stuck) == Hope::Some;
            let free: Vec<Party> = stuck.iter().filter(goes_on).copied().collect();
            if free.is_empty() {
                break;
            }
            for party in free {
                stuck.remove(&party);
            }
        }
        let certain = |party: &Party| {
            matches!(
                self.hope(&self.needs[party], &stuck),
                Hope::None { is_certain: true }
            )
        };
        stuck.iter().map(|party| (*party, certain(party))).collect()
    }

    /// The rings among those that are stuck: of each group of parties of which each waits
    /// for all others, directly or through others, the shortest ring.
    pub fn rings(&self) -> Vec<Ring> {
        ring::rings(self, &self.stuck())
    }

    /// Whom a party waits for, whom that one waits for, and so on: the longest such chain
    /// that comes to no party twice. Empty where it waits for nobody who is known.
    pub fn longest_chain(&self, party: Party) -> Vec<Link> {
        ring::longest_chain(self, party)
    }

    /// Whether a need can be met while some do not go on.
    fn hope(&self, need: &Need, stuck: &BTreeSet<Party>) -> Hope {
        match need {
            Need::One(want) => self.hope_of(want.target, stuck),
            Need::All(all) => {
                let hopes = all.iter().map(|need| self.hope(need, stuck));
                let mut found = Hope::Some;
                for hope in hopes {
                    found = match (found, hope) {
                        (Hope::None { is_certain: true }, _) => return found,
                        (_, Hope::None { .. }) => hope,
                        (found, Hope::Some) => found,
                    };
                }
                found
            }
            Need::Any(any) => {
                let mut certain = true;
                for need in any {
                    match self.hope(need, stuck) {
                        Hope::Some => return Hope::Some,
                        Hope::None { is_certain } => certain &= is_certain,
                    }
                }
                Hope::None {
                    is_certain: certain,
                }
            }
        }
    }

    fn hope_of(&self, target: Target, stuck: &BTreeSet<Party>) -> Hope {
        let hopeless = Hope::None { is_certain: true };
        match target {
            Target::Permits { resource, amount } => self.hope_of_permits(resource, amount, stuck),
            Target::Message { resource } => {
                let senders = self.givers(target);
                let known: BTreeSet<Party> = senders.iter().map(|(party, _)| *party).collect();
                let all = self.resources.get(&resource).and_then(|r| r.senders);
                let is_complete = all.is_some_and(|all| all <= senders.len() as u64);
                // Without senders the channel is closed, which wakes who receives.
                if !is_complete || known.is_empty() || !known.is_subset(stuck) {
                    Hope::Some
                } else {
                    hopeless
                }
            }
            Target::Room { .. } => {
                let receivers = self.givers(target);
                let all_stuck = receivers.iter().all(|(party, _)| stuck.contains(party));
                if receivers.is_empty() || !all_stuck {
                    Hope::Some
                } else {
                    hopeless
                }
            }
            Target::End(party) if stuck.contains(&party) => hopeless,
            // What never ends by itself may be dropped or aborted.
            Target::End(_) | Target::Other { .. } | Target::Outside | Target::Never => Hope::Some,
        }
    }

    fn hope_of_permits(&self, resource: u64, amount: u64, stuck: &BTreeSet<Party>) -> Hope {
        let known = self.resources.get(&resource);
        let free = known.and_then(|r| r.free).unwrap_or(0);
        let (mut by_stuck, mut by_others, mut certain) = (0_u64, 0_u64, true);
        for hold in self.holders(resource) {
            let HoldRole::Permits(permits) = hold.role else {
                continue;
            };
            if stuck.contains(&hold.party) {
                by_stuck = by_stuck.saturating_add(permits);
                certain &= hold.is_certain;
            } else {
                by_others = by_others.saturating_add(permits);
            }
        }
        let reachable = free.saturating_add(by_others);
        if by_stuck == 0 || reachable >= amount {
            return Hope::Some;
        }
        match known.and_then(|r| r.total) {
            // What nobody known holds may be held by somebody who goes on.
            Some(total) if total.saturating_sub(by_stuck) >= amount => Hope::Some,
            Some(_) => Hope::None {
                is_certain: certain,
            },
            None if by_others > 0 => Hope::Some,
            None => Hope::None { is_certain: false },
        }
    }
}
