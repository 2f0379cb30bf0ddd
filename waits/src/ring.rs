//! Circles and chains of parties that wait for each other.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet, VecDeque};

use super::net::{At, Net};
use super::{Hold, Party, Target, Waits, Want};

/// Steps of a chain that are followed: chains of as many parties are no longer read.
const MAX_CHAIN: usize = 64;
/// Parties of one group from which the shortest ring is looked for.
const MAX_TRIED: usize = 64;
/// Of a very large group from fewer: so many steps in all.
const MAX_STEPS: usize = 64_000;
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

pub(super) fn rings(waits: &Waits, net: &Net, stuck: &BTreeMap<Party, bool>) -> Vec<Ring> {
    let mut is_stuck = vec![false; net.count()];
    for at in stuck.keys().filter_map(|party| net.place(*party)) {
        is_stuck[at as usize] = true;
    }
    let mut rings: Vec<Ring> = Vec::new();
    let mut groups = groups(net, &is_stuck);
    groups.sort_unstable();
    for group in groups {
        let within: HashSet<At> = group.iter().copied().collect();
        let tries = (MAX_STEPS / group.len().max(1)).clamp(1, MAX_TRIED);
        let ways = group.iter().take(tries);
        let ways = ways.filter_map(|party| way_back(net, *party, &within));
        let Some(way) = ways.min_by_key(Vec::len) else {
            continue;
        };
        let links: Option<Vec<Link>> = way.iter().map(|step| step.link(waits, net)).collect();
        let Some(links) = links else { continue };
        let links = from_lowest(links);
        let is_certain = links.iter().all(|link| {
            let held = link.hold.as_ref();
            stuck[&link.party] && held.is_none_or(|hold| hold.is_certain)
        });
        let members: HashSet<Party> = links.iter().map(|link| link.party).collect();
        let behind = behind(net, &group, &is_stuck);
        let behind = behind.into_iter().map(|at| net.party(at));
        rings.push(Ring {
            links,
            is_certain,
            behind: behind.filter(|party| !members.contains(party)).collect(),
        });
    }
    rings
}

/// The parties of which each waits for all others of its group, directly or through others,
/// or for itself; each group in its order. This is Tarjan's algorithm, over parties and
/// things, without recursion.
fn groups(net: &Net, is_stuck: &[bool]) -> Vec<Vec<At>> {
    let parties = net.count();
    let all = parties + net.things();
    // Things come after the parties.
    let onward = |node: usize, index: usize| -> Option<usize> {
        if node < parties {
            let wants = net.wants(node as At);
            wants.get(index).map(|thing| parties + *thing as usize)
        } else {
            let givers = net.givers((node - parties) as At);
            givers.get(index).map(|party| *party as usize)
        }
    };
    let is_in = |node: usize| node >= parties || is_stuck[node];
    let mut order = vec![0_u32; all];
    let mut low = vec![0_u32; all];
    let mut is_open = vec![false; all];
    let (mut opened, mut open, mut groups) = (0, Vec::new(), Vec::new());
    for root in (0..parties).filter(|at| is_stuck[*at]) {
        if order[root] != 0 {
            continue;
        }
        let mut way: Vec<(usize, usize)> = vec![(root, 0)];
        while let Some((node, index)) = way.last_mut() {
            let at = *node;
            if *index == 0 && order[at] == 0 {
                opened += 1;
                (order[at], low[at], is_open[at]) = (opened, opened, true);
                open.push(at);
            }
            let to = onward(at, *index);
            *index += 1;
            match to {
                Some(to) if !is_in(to) => {}
                Some(to) if order[to] == 0 => way.push((to, 0)),
                Some(to) if is_open[to] => low[at] = low[at].min(order[to]),
                Some(_) => {}
                None => {
                    way.pop();
                    if let Some((above, _)) = way.last() {
                        low[*above] = low[*above].min(low[at]);
                    }
                    if low[at] == order[at] {
                        let from = open.iter().rposition(|node| *node == at).unwrap_or(0);
                        let nodes = open.split_off(from);
                        for node in &nodes {
                            is_open[*node] = false;
                        }
                        // Who waits for itself does so through a thing.
                        if nodes.len() > 1 {
                            let members = nodes.iter().filter(|node| **node < parties);
                            let mut members: Vec<At> = members.map(|node| *node as At).collect();
                            members.sort_unstable();
                            groups.push(members);
                        }
                    }
                }
            }
        }
    }
    groups
}

/// Who leads to some of a group, they themselves among them; in their order.
fn behind(net: &Net, group: &[At], is_stuck: &[bool]) -> Vec<At> {
    let mut found: BTreeSet<At> = group.iter().copied().collect();
    let mut things: HashSet<At> = HashSet::new();
    let mut queue: Vec<At> = group.to_vec();
    while let Some(party) = queue.pop() {
        for thing in net.gives(party) {
            if !things.insert(*thing) {
                continue;
            }
            let wanters = net.wanters(*thing).iter();
            for wanter in wanters.filter(|at| is_stuck[**at as usize]) {
                if found.insert(*wanter) {
                    queue.push(*wanter);
                }
            }
        }
    }
    found.into_iter().collect()
}

/// A party wants a thing that another can give.
#[derive(Debug, Clone, Copy)]
struct Step {
    party: At,
    thing: At,
    giver: At,
}

impl Step {
    fn link(self, waits: &Waits, net: &Net) -> Option<Link> {
        let (party, giver) = (net.party(self.party), net.party(self.giver));
        let mut all = waits.needs.get(&party)?.wants().into_iter();
        let want = all.find(|want| net.is_of(want.target, self.thing))?;
        let givers = waits.givers(want.target);
        let (_, hold) = givers.into_iter().find(|(by, _)| *by == giver)?;
        Some(Link {
            party,
            want: want.clone(),
            giver,
            hold: hold.cloned(),
        })
    }
}

/// The shortest way from a party of a group back to it. Over others, if there is one: of a
/// party that has some of what it wants more of, the others are of more interest.
fn way_back(net: &Net, from: At, group: &HashSet<At>) -> Option<Vec<Step>> {
    let gives: HashSet<At> = net.gives(from).iter().copied().collect();
    let mut came_by: HashMap<At, Step> = HashMap::new();
    let mut things: HashSet<At> = HashSet::new();
    let mut queue = VecDeque::from([from]);
    let mut itself = None;
    while let Some(party) = queue.pop_front() {
        for thing in net.wants(party).iter().copied() {
            if gives.contains(&thing) {
                let last = Step {
                    party,
                    thing,
                    giver: from,
                };
                if party == from {
                    itself = Some(vec![last]);
                } else {
                    return Some(whole_way(last, from, &came_by));
                }
            }
            // Who can give it was reached with the first that wants it.
            if !things.insert(thing) {
                continue;
            }
            let who = net.givers(thing).iter().copied();
            for giver in who.filter(|giver| *giver != from && group.contains(giver)) {
                came_by.entry(giver).or_insert_with(|| {
                    queue.push_back(giver);
                    Step {
                        party,
                        thing,
                        giver,
                    }
                });
            }
        }
    }
    itself
}

fn whole_way(last: Step, from: At, came_by: &HashMap<At, Step>) -> Vec<Step> {
    let mut way = vec![last];
    let mut back = last.party;
    while back != from {
        let step = came_by[&back];
        way.push(step);
        back = step.party;
    }
    way.reverse();
    way
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
