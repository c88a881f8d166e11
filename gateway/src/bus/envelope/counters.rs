//! Pure. A bounded memory of counters: two generations, of which the older is forgotten whole when the younger is full. What was
//! used in between is kept, so nothing is forgotten before half of the bound has been used after it.

use std::collections::HashMap;
use std::fmt;
use std::hash::Hash;

pub(super) struct Counters<K> {
    half: usize,
    young: HashMap<K, u64>,
    old: HashMap<K, u64>,
    forgotten_max: u64,
}

impl<K: Hash + Eq> Counters<K> {
    /// Remembers at most this many.
    pub(super) fn bounded(max: usize) -> Self {
        Self { half: (max / 2).max(1), young: HashMap::new(), old: HashMap::new(), forgotten_max: 0 }
    }

    /// The last counter, if it is remembered.
    pub(super) fn get(&self, key: &K) -> Option<u64> {
        self.young.get(key).or_else(|| self.old.get(key)).copied()
    }

    /// Remembers a counter in place of the last one.
    pub(super) fn set(&mut self, key: K, counter: u64) {
        self.old.remove(&key);
        if self.young.len() >= self.half && !self.young.contains_key(&key) {
            let forgotten = std::mem::replace(&mut self.old, std::mem::take(&mut self.young));
            self.forgotten_max = forgotten.into_values().fold(self.forgotten_max, u64::max);
        }
        self.young.insert(key, counter);
    }

    /// The greatest counter that was ever forgotten.
    pub(super) const fn forgotten_max(&self) -> u64 {
        self.forgotten_max
    }

    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.young.len() + self.old.len()
    }
}

/// How many, not which: there may be tens of thousands.
impl<K> fmt::Debug for Counters<K> {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "Counters({})", self.young.len() + self.old.len())
    }
}
