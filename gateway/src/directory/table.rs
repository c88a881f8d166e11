//! Pure: for each person (or room) the nodes where they are, in one table.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::hash::Hash;

use hallway_protocol::UserId;
use hallway_protocol::model::PresenceState;

use super::{Devices, RoomCounts};

/// Stands for a node in the table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct NodeIndex(pub u16);

/// This node itself.
pub(super) const OWN: NodeIndex = NodeIndex(0);

/// What is known of somebody at one node, and how it adds up.
pub(super) trait Tally: Copy + Eq + Default {
    /// What of a sum can be seen by people.
    type Seen: Eq;
    fn plus(self, other: Self) -> Self;
    fn seen(self) -> Self::Seen;
    /// Without contradictions; nothing is [`Default`].
    fn sane(self) -> Self;
}

impl Tally for Devices {
    type Seen = (PresenceState, u16);
    fn plus(self, other: Self) -> Self {
        Self { devices: self.devices.saturating_add(other.devices), away: self.away.saturating_add(other.away) }
    }
    fn seen(self) -> Self::Seen {
        (self.presence(), self.devices)
    }
    fn sane(self) -> Self {
        Self { devices: self.devices, away: self.away.min(self.devices) }
    }
}

impl Tally for RoomCounts {
    type Seen = Self;
    fn plus(self, other: Self) -> Self {
        Self {
            online: self.online.saturating_add(other.online),
            away: self.away.saturating_add(other.away),
            nodes: self.nodes.saturating_add(other.nodes),
        }
    }
    fn seen(self) -> Self {
        self
    }
    fn sane(self) -> Self {
        self
    }
}

#[derive(Debug, Clone, Copy)]
struct Place<V> {
    node: NodeIndex,
    value: V,
}

/// Most people are at one node; the table is made for them. 16 bytes for a person.
#[derive(Debug)]
enum Places<V> {
    One(Place<V>),
    More(Box<[Place<V>]>),
}

impl<V: Tally> Places<V> {
    fn all(&self) -> &[Place<V>] {
        match self {
            Self::One(place) => std::slice::from_ref(place),
            Self::More(places) => places,
        }
    }

    fn from_places(places: Vec<Place<V>>) -> Option<Self> {
        match places.as_slice() {
            [] => None,
            [place] => Some(Self::One(*place)),
            _ => Some(Self::More(places.into_boxed_slice())),
        }
    }

    fn sum(&self) -> V {
        self.all().iter().fold(V::default(), |sum, place| sum.plus(place.value))
    }

    fn at(&self, node: NodeIndex) -> V {
        self.all().iter().find(|place| place.node == node).map(|place| place.value).unwrap_or_default()
    }

    /// With another value at a node; `None` when nothing is left.
    fn with(&self, node: NodeIndex, value: V) -> Option<Self> {
        let mut places: Vec<Place<V>> = self.all().iter().filter(|place| place.node != node).copied().collect();
        if value != V::default() {
            places.push(Place { node, value });
        }
        Self::from_places(places)
    }
}

/// `name → where, and what there`. Nobody stands in it with nothing.
#[derive(Debug)]
pub(super) struct Table<K, V> {
    places: HashMap<K, Places<V>>,
}

impl<K, V> Default for Table<K, V> {
    fn default() -> Self {
        Self { places: HashMap::new() }
    }
}

impl<K: Clone + Eq + Hash, V: Tally> Table<K, V> {
    /// What is there at a node.
    pub(super) fn at(&self, key: &K, node: NodeIndex) -> V {
        self.places.get(key).map(|places| places.at(node)).unwrap_or_default()
    }

    /// What is there at all nodes together.
    pub(super) fn sum(&self, key: &K) -> V {
        self.places.get(key).map(Places::sum).unwrap_or_default()
    }

    /// The nodes where somebody is.
    pub(super) fn nodes(&self, key: &K) -> impl Iterator<Item = NodeIndex> {
        self.places.get(key).into_iter().flat_map(|places| places.all().iter().map(|place| place.node))
    }

    /// Everything that is at one node.
    pub(super) fn of_node(&self, node: NodeIndex) -> impl Iterator<Item = (&K, V)> {
        self.places.iter().map(move |(key, places)| (key, places.at(node))).filter(|(_, value)| *value != V::default())
    }

    /// This is there at that node now. Returns whether what can be seen changed.
    pub(super) fn set(&mut self, key: &K, node: NodeIndex, value: V) -> bool {
        let value = value.sane();
        match self.places.entry(key.clone()) {
            Entry::Vacant(vacant) => {
                let is_there = value != V::default();
                if is_there {
                    vacant.insert(Places::One(Place { node, value }));
                }
                is_there
            }
            Entry::Occupied(mut occupied) => {
                let before = occupied.get().sum().seen();
                match occupied.get().with(node, value) {
                    Some(places) => *occupied.get_mut() = places,
                    None => {
                        occupied.remove();
                        return true;
                    }
                }
                occupied.get().sum().seen() != before
            }
        }
    }

    /// Exactly these are at that node now. Returns those of whom something else is seen than before.
    pub(super) fn replace(&mut self, node: NodeIndex, mut present: HashMap<K, V>) -> Vec<K> {
        let mut changed = Vec::new();
        self.places.retain(|key, places| {
            let new = present.remove(key).unwrap_or_default().sane();
            if places.at(node) == new {
                return true;
            }
            let before = places.sum().seen();
            let Some(after) = places.with(node, new) else {
                changed.push(key.clone());
                return false;
            };
            *places = after;
            if places.sum().seen() != before {
                changed.push(key.clone());
            }
            true
        });
        for (key, value) in present {
            if self.set(&key, node, value) {
                changed.push(key);
            }
        }
        changed
    }

    /// How many stand in it.
    pub(super) fn len(&self) -> usize {
        self.places.len()
    }

    /// The bytes that the table takes by itself, without the names: one allocation and those of people at several nodes.
    #[cfg(test)]
    pub(super) fn bytes(&self) -> usize {
        let entry = size_of::<(K, Places<V>)>() + 1;
        let more = |places: &Places<V>| match places {
            Places::One(_) => 0,
            Places::More(places) => size_of_val::<[Place<V>]>(places),
        };
        self.places.capacity() * 8 / 7 * entry + self.places.values().map(more).sum::<usize>()
    }
}

const _: () = assert!(size_of::<(UserId, Places<Devices>)>() == 32, "a person in the table takes 32 bytes");
