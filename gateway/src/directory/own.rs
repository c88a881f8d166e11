//! Pure: what changed at this node and was not told yet, and the whole as it was told.

use std::collections::BTreeMap;

use super::table::{OWN, Table, Tally};
use super::{DELTA_CHANGES_MAX, SNAPSHOT_PART_ENTRIES_MAX};

/// Changes that are to be told: name → what was told of it last.
#[derive(Debug)]
pub(super) struct Untold<K, V>(BTreeMap<K, V>);

impl<K, V> Default for Untold<K, V> {
    fn default() -> Self {
        Self(BTreeMap::new())
    }
}

impl<K: Clone + Ord + Eq + std::hash::Hash, V: Tally> Untold<K, V> {
    /// What others know changes from `before` to `after`. Who comes back to what was told last need not be told again.
    pub(super) fn note(&mut self, key: &K, before: V, after: V) {
        if before == after {
            return;
        }
        let told = *self.0.entry(key.clone()).or_insert(before);
        if told == after {
            self.0.remove(key);
        }
    }

    /// Takes the changes of one delta; none when there is nothing to tell.
    pub(super) fn take(&mut self, table: &Table<K, V>) -> Vec<(K, V)> {
        let count = self.0.len().min(DELTA_CHANGES_MAX);
        let taken = std::iter::from_fn(|| self.0.pop_first()).take(count);
        taken.map(|(key, _)| (key.clone(), table.at(&key, OWN))).collect()
    }

    /// The whole as it was told, in parts of a bounded size: at one version always the same ones, since parts of two answers
    /// may be put together.
    pub(super) fn parts(&self, table: &Table<K, V>) -> Vec<Vec<(K, V)>> {
        let untold = |key: &K| self.0.contains_key(key);
        let mut told: Vec<(K, V)> = table
            .of_node(OWN)
            .filter(|(key, _)| !untold(key))
            .map(|(key, value)| (key.clone(), value))
            .chain(self.0.iter().filter(|(_, told)| **told != V::default()).map(|(key, told)| (key.clone(), *told)))
            .collect();
        told.sort_unstable_by(|(one, _), (other, _)| one.cmp(other));
        let mut parts = Vec::with_capacity(told.len().div_ceil(SNAPSHOT_PART_ENTRIES_MAX));
        while !told.is_empty() {
            let rest = told.split_off(told.len().min(SNAPSHOT_PART_ENTRIES_MAX));
            parts.push(std::mem::replace(&mut told, rest));
        }
        parts
    }

    /// How many are to be told.
    pub(super) fn len(&self) -> usize {
        self.0.len()
    }
}
