//! What is known of what tasks share.

use std::collections::{BTreeMap, BTreeSet, HashSet};

use super::facts::ResourceFact;
use crate::tasks::AddressSet;
use crate::waits::ResourceKind;

/// Resources that are known.
const MAX_RESOURCES: usize = 1 << 18;

impl ResourceFact {
    /// One of which nothing but its kind is known.
    pub(super) fn of(address: u64, kind: ResourceKind) -> Self {
        Self {
            address,
            kind,
            free: None,
            total: None,
            queued: None,
            senders: None,
            holders_known: None,
            name: None,
        }
    }
}

/// The resources, by address.
#[derive(Debug, Default)]
pub(super) struct Resources {
    known: BTreeMap<u64, ResourceFact>,
    changed: BTreeSet<u64>,
    void: Vec<u64>,
    /// Those that threads wait for.
    by_threads: HashSet<u64>,
}

impl Resources {
    /// Takes in what is said of one: of each fact the newest word.
    pub(super) fn learn(&mut self, fact: ResourceFact) {
        let address = fact.address;
        if self.known.len() >= MAX_RESOURCES && !self.known.contains_key(&address) {
            return;
        }
        let known = self.known.get(&address);
        let now = match known {
            None => fact,
            Some(known) => ResourceFact {
                address,
                kind: match fact.kind {
                    ResourceKind::Other => known.kind,
                    kind => kind,
                },
                free: fact.free.or(known.free),
                total: fact.total.or(known.total),
                queued: fact.queued.or(known.queued),
                senders: fact.senders.or(known.senders),
                holders_known: fact.holders_known.or(known.holders_known),
                name: fact.name.or_else(|| known.name.clone()),
            },
        };
        if known != Some(&now) {
            self.known.insert(address, now);
            self.changed.insert(address);
        }
    }

    pub(super) fn kind(&self, address: u64) -> Option<ResourceKind> {
        self.known.get(&address).map(|fact| fact.kind)
    }

    /// Threads wait for these now.
    pub(super) fn in_use_by_threads(&mut self, addresses: impl Iterator<Item = u64>) {
        self.by_threads = addresses.collect();
    }

    /// Forgets those of which nobody says anything any more: `in_use` are those of tasks.
    pub(super) fn keep(&mut self, in_use: &AddressSet) {
        let (by_threads, void) = (&self.by_threads, &mut self.void);
        self.known.retain(|address, _| {
            let stays = in_use.contains(address) || by_threads.contains(address);
            if !stays {
                void.push(*address);
            }
            stays
        });
    }

    /// What has changed, and what is void.
    pub(super) fn take(&mut self) -> (Vec<ResourceFact>, Vec<u64>) {
        let changed = std::mem::take(&mut self.changed).into_iter();
        let changed = changed.filter_map(|address| self.known.get(&address).cloned());
        let mut void = std::mem::take(&mut self.void);
        // One that is there again is not void.
        void.retain(|address| !self.known.contains_key(address));
        (changed.collect(), void)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_fact_is_the_newest_word_and_is_said_once() {
        let mut resources = Resources::default();
        let semaphore = ResourceFact {
            free: Some(0),
            ..ResourceFact::of(64, ResourceKind::Semaphore)
        };
        resources.learn(semaphore.clone());
        resources.learn(ResourceFact::of(64, ResourceKind::Other));
        assert_eq!(resources.take(), (vec![semaphore.clone()], vec![]));
        assert_eq!(resources.take(), (vec![], vec![]));
        resources.learn(semaphore);
        assert_eq!(resources.take(), (vec![], vec![]), "it is as it was");
        resources.learn(ResourceFact {
            free: Some(2),
            total: Some(5),
            ..ResourceFact::of(64, ResourceKind::Semaphore)
        });
        let (changed, _) = resources.take();
        assert_eq!((changed[0].free, changed[0].total), (Some(2), Some(5)));
    }

    #[test]
    fn what_nobody_speaks_of_is_void() {
        let mut resources = Resources::default();
        for address in [64, 128, 192] {
            resources.learn(ResourceFact::of(address, ResourceKind::Mutex));
        }
        resources.take();
        resources.in_use_by_threads([128].into_iter());
        let mut in_use = AddressSet::default();
        in_use.insert(64);
        resources.keep(&in_use);
        assert_eq!(resources.take(), (vec![], vec![192]));
        resources.keep(&AddressSet::default());
        resources.learn(ResourceFact::of(64, ResourceKind::Notify));
        let (changed, void) = resources.take();
        assert_eq!((changed.len(), void), (1, vec![]), "another is there now");
    }
}
