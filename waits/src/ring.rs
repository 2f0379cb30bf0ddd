//! Circles and chains of parties that wait for each other.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use super::{Hold, Party, Target, Waits, Want};

/// Steps of a chain that are followed: chains of as many parties are no longer read.
const MAX_CHAIN: usize = 64;
/// Parties of one group from which the shortest ring is looked for.
const MAX_TRIED: usize = 64;
/// Ways that are tried for the longest chain.
const MAX_WAYS: usize = 2_000;

/// One step: a party wants what another can give.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Link {
    /// Who waits.
    pub party: Party,
    /// What for.
    pub want: Want,
    /// Who can give it.
    pub giver: Party,
    /// What that one holds of it; `None` where its end is waited for.
    pub hold: Option<Hold>,
}

/// Parties that wait for each other in a circle.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ring {
    /// Each waits for the next, the last for the first; a ring of one waits for itself.
    /// It begins with the lowest of them.
    pub links: Vec<Link>,
    /// Nothing that is known could let them go on, and nothing unknown either.
    pub is_certain: bool,
    /// Who waits for one of these as well, directly or through others.
    pub behind: Vec<Party>,
}

impl Ring {
    /// Its members.
    pub fn members(&self) -> impl Iterator<Item = Party> {
        self.links.iter().map(|link| link.party)
    }
}

/// Of each party, whom it waits for.
type Edges = BTreeMap<Party, Vec<Link>>;

/// Who is waited for by a party, among some.
fn links(waits: &Waits, party: Party, among: impl Fn(Party) -> bool) -> Vec<Link> {
    let Some(need) = waits.needs.get(&party) else {
        return Vec::new();
    };
    let mut links: Vec<Link> = Vec::new();
    for want in need.wants() {
        for (giver, hold) in waits.givers(want.target) {
            let is_known = links
                .iter()
                .any(|link| link.giver == giver && link.want.target == want.target);
            if among(giver) && !is_known {
                links.push(Link {
                    party,
                    want: want.clone(),
                    giver,
                    hold: hold.cloned(),
                });
            }
        }
    }
    links
}

pub(super) fn rings(waits: &Waits, stuck: &BTreeMap<Party, bool>) -> Vec<Ring> {
    let edges: Edges = stuck
        .keys()
        .map(|party| {
            (
                *party,
                links(waits, *party, |giver| stuck.contains_key(&giver)),
            )
        })
        .collect();
    let mut back: BTreeMap<Party, BTreeSet<Party>> = BTreeMap::new();
    for link in edges.values().flatten() {
        back.entry(link.giver).or_default().insert(link.party);
    }
    let mut rings: Vec<Ring> = Vec::new();
    let mut done: BTreeSet<Party> = BTreeSet::new();
    for party in stuck.keys() {
        if done.contains(party) {
            continue;
        }
        let ahead = reached(*party, |at| {
            let links = edges.get(&at).into_iter().flatten();
            links.map(|link| link.giver).collect()
        });
        let behind = reached(*party, |at| {
            back.get(&at).into_iter().flatten().copied().collect()
        });
        // Those that lead to it and back again.
        let group: BTreeSet<Party> = ahead.intersection(&behind).copied().collect();
        done.extend(&group);
        let ways = group.iter().take(MAX_TRIED);
        let ways = ways.filter_map(|party| way_back(&edges, *party));
        let Some(links) = ways.min_by_key(Vec::len) else {
            continue;
        };
        let links = from_lowest(links);
        let is_certain = links.iter().all(|link| {
            let held = link.hold.as_ref();
            stuck[&link.party] && held.is_none_or(|hold| hold.is_certain)
        });
        let members: BTreeSet<Party> = links.iter().map(|link| link.party).collect();
        rings.push(Ring {
            links,
            is_certain,
            behind: behind.difference(&members).copied().collect(),
        });
    }
    rings
}

/// What is reached from a party, step by step; itself only by a way back.
fn reached(from: Party, next: impl Fn(Party) -> Vec<Party>) -> BTreeSet<Party> {
    let mut reached = BTreeSet::new();
    let mut queue = VecDeque::from([from]);
    while let Some(at) = queue.pop_front() {
        for party in next(at) {
            if reached.insert(party) {
                queue.push_back(party);
            }
        }
    }
    reached
}

/// The shortest way from a party back to it. Over others, if there is one: of a party that
/// has some of what it wants more of, the others are of more interest.
fn way_back(edges: &Edges, from: Party) -> Option<Vec<Link>> {
    let mut came_by: BTreeMap<Party, &Link> = BTreeMap::new();
    let mut queue = VecDeque::from([from]);
    let mut itself = None;
    while let Some(at) = queue.pop_front() {
        for link in edges.get(&at).into_iter().flatten() {
            if link.giver == at {
                if at == from {
                    itself = Some(vec![link.clone()]);
                }
                continue;
            }
            if link.giver == from {
                let mut way = vec![link.clone()];
                let mut back = at;
                while back != from {
                    let link = came_by[&back];
                    way.push(link.clone());
                    back = link.party;
                }
                way.reverse();
                return Some(way);
            }
            came_by.entry(link.giver).or_insert_with(|| {
                queue.push_back(link.giver);
                link
            });
        }
    }
    itself
}

fn from_lowest(mut links: Vec<Link>) -> Vec<Link> {
    let lowest = links.iter().enumerate().min_by_key(|(_, link)| link.party);
    let first = lowest.map_or(0, |(at, _)| at);
    links.rotate_left(first);
    links
}

pub(super) fn longest_chain(waits: &Waits, party: Party) -> Vec<Link> {
    let mut best = Vec::new();
    let mut way = Vec::new();
    let mut seen = BTreeSet::from([party]);
    let mut left = MAX_WAYS;
    go(waits, party, &mut way, &mut seen, &mut best, &mut left);
    best
}

fn go(
    waits: &Waits,
    party: Party,
    way: &mut Vec<Link>,
    seen: &mut BTreeSet<Party>,
    best: &mut Vec<Link>,
    left: &mut usize,
) {
    if way.len() > best.len() {
        best.clone_from(way);
    }
    if way.len() >= MAX_CHAIN {
        return;
    }
    for link in links(waits, party, |giver| giver != party) {
        if *left == 0 {
            return;
        }
        *left -= 1;
        let giver = link.giver;
        if seen.insert(giver) {
            way.push(link);
            go(waits, giver, way, seen, best, left);
            way.pop();
            seen.remove(&giver);
        }
    }
}

impl Link {
    /// The resource that it is about; `None` where a party's end is waited for.
    pub fn resource(&self) -> Option<u64> {
        match self.want.target {
            Target::End(_) => None,
            target => target.resource(),
        }
    }
}
