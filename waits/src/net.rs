//! Who waits for whom, by what is given: parties want things, and things have givers.
//!
//! A thousand parties that wait for what a thousand others hold are two thousand edges
//! here, and a million between the parties themselves. All that is asked of it takes as
//! long as there are edges.

use std::collections::{BTreeMap, HashMap, HashSet};

use super::{Hold, HoldRole, Need, Party, Target, Waits};

/// What can be given, however much of it is wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Thing {
    Permits(u64),
    Message(u64),
    Room(u64),
    End(Party),
}

impl Thing {
    /// What is wanted; `None` where no known party gives it.
    pub(super) fn of(target: Target) -> Option<Self> {
        match target {
            Target::Permits { resource, .. } => Some(Self::Permits(resource)),
            Target::Message { resource } => Some(Self::Message(resource)),
            Target::Room { resource } => Some(Self::Room(resource)),
            Target::End(party) => Some(Self::End(party)),
            Target::Other { .. } | Target::Outside | Target::Never => None,
        }
    }

    /// What can be given by who has this.
    fn held(hold: &Hold) -> Self {
        match hold.role {
            HoldRole::Permits(_) => Self::Permits(hold.resource),
            HoldRole::Receiver => Self::Room(hold.resource),
            HoldRole::Sender => Self::Message(hold.resource),
        }
    }
}

/// Positions of parties and things.
pub(super) type At = u32;

/// Those who wait, and what they wait for.
#[derive(Debug)]
pub(super) struct Net {
    /// Those who wait, in their order.
    parties: Vec<Party>,
    places: HashMap<Party, At>,
    things: HashMap<Thing, At>,
    /// Of each party what it wants, in the order in which it does.
    wants: Vec<Vec<At>>,
    /// Of each thing the parties that want it.
    wanters: Vec<Vec<At>>,
    /// Of each thing the waiting parties that can give it, the first holder first.
    givers: Vec<Vec<At>>,
    /// Of each party the things that it can give.
    gives: Vec<Vec<At>>,
    supplies: Vec<Supply>,
    /// Of each party what it has of things.
    shares: Vec<Vec<Share>>,
}

/// How much there is of a thing.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Supply {
    /// Permits of parties that do not go on, and of those that do.
    by_stuck: u128,
    by_others: u128,
    /// Holds of those that do not go on which are only probable.
    guesses: u64,
    /// Holds, parties that have some, and those of them that go on.
    holds: u64,
    givers: u64,
    free_givers: u64,
}

/// What one party has of a thing.
#[derive(Debug, Clone, Copy)]
struct Share {
    thing: At,
    permits: u128,
    guesses: u64,
}

/// What a want comes to, while some parties do not go on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Hope {
    /// It may be met.
    Some,
    /// It is not met as long as they do not go on; or as far as is known.
    None { is_certain: bool },
}

impl Net {
    pub(super) fn of(waits: &Waits) -> Self {
        let parties: Vec<Party> = waits.needs.keys().copied().collect();
        let places: HashMap<Party, At> = parties.iter().copied().zip(0..).collect();
        let mut net = Self {
            wants: Vec::with_capacity(parties.len()),
            gives: vec![Vec::new(); parties.len()],
            shares: vec![Vec::new(); parties.len()],
            parties,
            places,
            things: HashMap::new(),
            wanters: Vec::new(),
            givers: Vec::new(),
            supplies: Vec::new(),
        };
        for (need, party) in waits.needs.values().zip(0..) {
            let mut things = Vec::new();
            for thing in need.wants().iter().filter_map(|w| Thing::of(w.target)) {
                let number = net.thing(thing);
                // Of one party all wants come one after the other.
                let queue = &mut net.wanters[number as usize];
                if queue.last() != Some(&party) {
                    queue.push(party);
                    things.push(number);
                }
            }
            net.wants.push(things);
        }
        for holds in waits.holds.values() {
            net.add_holds(holds);
        }
        for (thing, at) in &net.things {
            if let Thing::End(party) = thing
                && let Some(place) = net.places.get(party)
            {
                net.givers[*at as usize].push(*place);
                net.gives[*place as usize].push(*at);
            }
        }
        net
    }

    fn thing(&mut self, thing: Thing) -> At {
        let next = self.wanters.len() as At;
        let at = *self.things.entry(thing).or_insert(next);
        if at == next {
            self.wanters.push(Vec::new());
            self.givers.push(Vec::new());
            self.supplies.push(Supply::default());
        }
        at
    }

    /// Adds the holds of one resource.
    fn add_holds(&mut self, holds: &[Hold]) {
        let mut known: HashSet<(Party, At)> = HashSet::new();
        let mut giving: HashSet<(Party, At)> = HashSet::new();
        for hold in holds {
            let Some(at) = self.things.get(&Thing::held(hold)).copied() else {
                continue;
            };
            let place = self.places.get(&hold.party).copied();
            let supply = &mut self.supplies[at as usize];
            let is_new = known.insert((hold.party, at));
            supply.holds += 1;
            supply.givers += u64::from(is_new);
            let permits = match hold.role {
                HoldRole::Permits(permits) => u128::from(permits),
                HoldRole::Receiver | HoldRole::Sender => 0,
            };
            let guesses = u64::from(!hold.is_certain);
            let Some(place) = place else {
                supply.by_others += permits;
                supply.free_givers += u64::from(is_new);
                continue;
            };
            supply.by_stuck += permits;
            supply.guesses += guesses;
            let share = Share {
                thing: at,
                permits,
                guesses,
            };
            let shares = &mut self.shares[place as usize];
            match shares.iter_mut().rfind(|share| share.thing == at) {
                Some(known) if !is_new => {
                    known.permits += permits;
                    known.guesses += guesses;
                }
                _ => shares.push(share),
            }
            // Who has none of the permits gives none.
            let gives = hold.role != HoldRole::Permits(0);
            if gives && giving.insert((hold.party, at)) {
                self.givers[at as usize].push(place);
                self.gives[place as usize].push(at);
            }
        }
    }

    /// The parties that nothing known lets go on, and whether that is certain.
    pub(super) fn stuck(&self, waits: &Waits) -> BTreeMap<Party, bool> {
        let mut hopes = Hopes {
            net: self,
            waits,
            supplies: self.supplies.clone(),
            is_stuck: vec![true; self.parties.len()],
        };
        let mut doubtful: Vec<At> = (0..self.parties.len() as At).collect();
        while !doubtful.is_empty() {
            let goes_on = |at: &At| hopes.of(self.need(waits, *at)) == Hope::Some;
            let free: Vec<At> = doubtful.iter().filter(|at| goes_on(at)).copied().collect();
            // Who wants something of theirs may go on, too.
            let mut next: HashSet<At> = HashSet::new();
            for party in free {
                hopes.free(party);
                let given = self.shares[party as usize].iter().map(|share| share.thing);
                let end = self.things.get(&Thing::End(self.parties[party as usize]));
                for thing in given.chain(end.copied()) {
                    next.extend(&self.wanters[thing as usize]);
                }
            }
            next.retain(|at| hopes.is_stuck[*at as usize]);
            doubtful = next.into_iter().collect();
        }
        let stuck = (0..).zip(&self.parties);
        let stuck = stuck.filter(|(at, _)| hopes.is_stuck[*at as usize]);
        let certain = |at| hopes.of(self.need(waits, at)) == Hope::None { is_certain: true };
        stuck.map(|(at, party)| (*party, certain(at))).collect()
    }

    fn need<'a>(&self, waits: &'a Waits, at: At) -> &'a Need {
        &waits.needs[&self.parties[at as usize]]
    }

    /// The position of one that waits.
    pub(super) fn place(&self, party: Party) -> Option<At> {
        self.places.get(&party).copied()
    }

    pub(super) fn party(&self, at: At) -> Party {
        self.parties[at as usize]
    }

    pub(super) fn count(&self) -> usize {
        self.parties.len()
    }

    pub(super) fn things(&self) -> usize {
        self.wanters.len()
    }

    pub(super) fn wants(&self, party: At) -> &[At] {
        &self.wants[party as usize]
    }

    pub(super) fn givers(&self, thing: At) -> &[At] {
        &self.givers[thing as usize]
    }

    pub(super) fn wanters(&self, thing: At) -> &[At] {
        &self.wanters[thing as usize]
    }

    pub(super) fn gives(&self, party: At) -> &[At] {
        &self.gives[party as usize]
    }

    /// Whether a target is of a thing.
    pub(super) fn is_of(&self, target: Target, thing: At) -> bool {
        Thing::of(target).and_then(|of| self.things.get(&of)) == Some(&thing)
    }
}

/// What needs come to, while some parties do not go on.
struct Hopes<'a> {
    net: &'a Net,
    waits: &'a Waits,
    supplies: Vec<Supply>,
    is_stuck: Vec<bool>,
}

impl Hopes<'_> {
    /// A party goes on.
    fn free(&mut self, party: At) {
        self.is_stuck[party as usize] = false;
        for share in &self.net.shares[party as usize] {
            let supply = &mut self.supplies[share.thing as usize];
            supply.by_stuck -= share.permits;
            supply.by_others += share.permits;
            supply.guesses -= share.guesses;
            supply.free_givers += 1;
        }
    }

    fn of(&self, need: &Need) -> Hope {
        match need {
            Need::One(want) => self.of_target(want.target),
            Need::All(all) => {
                let hopes = all.iter().map(|need| self.of(need));
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
                    match self.of(need) {
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

    fn supply(&self, target: Target) -> Supply {
        let thing = Thing::of(target).and_then(|thing| self.net.things.get(&thing));
        thing.map_or_else(Supply::default, |at| self.supplies[*at as usize])
    }

    fn of_target(&self, target: Target) -> Hope {
        let hopeless = Hope::None { is_certain: true };
        let supply = self.supply(target);
        let all_stuck = supply.givers > 0 && supply.free_givers == 0;
        match target {
            Target::Permits { resource, amount } => self.of_permits(supply, resource, amount),
            Target::Message { resource } => {
                let senders = self.waits.resources.get(&resource).and_then(|r| r.senders);
                let is_complete = senders.is_some_and(|all| all <= supply.holds);
                // Without senders the channel is closed, which wakes who receives.
                if is_complete && all_stuck {
                    hopeless
                } else {
                    Hope::Some
                }
            }
            Target::Room { .. } if all_stuck => hopeless,
            Target::End(party) => match self.net.place(party) {
                Some(place) if self.is_stuck[place as usize] => hopeless,
                _ => Hope::Some,
            },
            // What never ends by itself may be dropped or aborted.
            Target::Room { .. } | Target::Other { .. } | Target::Outside | Target::Never => {
                Hope::Some
            }
        }
    }

    fn of_permits(&self, supply: Supply, resource: u64, amount: u64) -> Hope {
        let known = self.waits.resources.get(&resource);
        let free = known.and_then(|r| r.free).unwrap_or(0);
        let amount = u128::from(amount);
        let reachable = u128::from(free) + supply.by_others;
        if supply.by_stuck == 0 || reachable >= amount {
            return Hope::Some;
        }
        match known.and_then(|r| r.total) {
            // What nobody known holds may be held by somebody who goes on.
            Some(total) if u128::from(total).saturating_sub(supply.by_stuck) >= amount => {
                Hope::Some
            }
            Some(_) => Hope::None {
                is_certain: supply.guesses == 0,
            },
            None if supply.by_others > 0 => Hope::Some,
            None => Hope::None { is_certain: false },
        }
    }
}
