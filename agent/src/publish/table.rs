//! Records by key, with those that changed since they were last sent.

use std::collections::{BTreeMap, BTreeSet};

/// The current records of one kind.
#[derive(Debug)]
pub(crate) struct Table<K, V> {
    current: BTreeMap<K, V>,
    changed: BTreeSet<K>,
    /// Records that have left, to be sent once more.
    left: Vec<V>,
}

impl<K, V> Default for Table<K, V> {
    fn default() -> Self {
        Self {
            current: BTreeMap::new(),
            changed: BTreeSet::new(),
            left: Vec::new(),
        }
    }
}

impl<K: Ord + Clone, V: PartialEq + Clone> Table<K, V> {
    /// Sets a record; an equal one is no change.
    pub(crate) fn set(&mut self, key: K, record: V) {
        if self.current.get(&key) != Some(&record) {
            self.changed.insert(key.clone());
            self.current.insert(key, record);
        }
    }

    /// Removes a record; `last` is sent in its place, once.
    pub(crate) fn remove(&mut self, key: &K, last: V) {
        self.changed.remove(key);
        if self.current.remove(key).is_some() {
            self.left.push(last);
        }
    }

    /// What changed since the last call.
    pub(crate) fn take_changes(&mut self) -> Vec<V> {
        let changed = std::mem::take(&mut self.changed);
        let mut records = std::mem::take(&mut self.left);
        records.extend(changed.iter().filter_map(|k| self.current.get(k).cloned()));
        records
    }

    /// Everything.
    pub(crate) fn all(&self) -> Vec<V> {
        self.current.values().cloned().collect()
    }

    /// Keys and records.
    #[cfg_attr(not(feature = "waits"), allow(dead_code))]
    pub(crate) fn iter(&self) -> impl Iterator<Item = (&K, &V)> {
        self.current.iter()
    }

    pub(crate) fn len(&self) -> usize {
        self.current.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_changes_are_taken_and_only_once() {
        let mut table = Table::default();
        table.set(1, "a");
        table.set(2, "b");
        assert_eq!(table.take_changes(), ["a", "b"]);
        table.set(1, "a");
        table.set(2, "c");
        assert_eq!(table.take_changes(), ["c"]);
        table.remove(&2, "gone");
        table.remove(&3, "never there");
        assert_eq!(table.take_changes(), ["gone"]);
        assert!(table.take_changes().is_empty());
        assert_eq!((table.all(), table.len()), (vec!["a"], 1));
    }
}
