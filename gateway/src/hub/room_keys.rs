//! Short names for rooms, node-wide: a person's memberships hold a key of four bytes instead of an id of their own.

use std::collections::HashMap;

use hallway_protocol::RoomId;

/// Stands for a room as long as someone holds it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct RoomKey(u32);

/// The rooms that someone holds. A room is forgotten with its last holder, and its key may then mean another.
#[derive(Debug, Default)]
pub(super) struct RoomKeys {
    key_of: HashMap<RoomId, RoomKey>,
    slots: Vec<Option<Slot>>,
    free: Vec<u32>,
}

#[derive(Debug)]
struct Slot {
    room: RoomId,
    holders: u32,
}

impl RoomKeys {
    /// The key of a room that someone holds.
    pub(super) fn get(&self, room: &RoomId) -> Option<RoomKey> {
        self.key_of.get(room).copied()
    }

    /// The key of a room, with one holder more.
    pub(super) fn hold(&mut self, room: &RoomId) -> RoomKey {
        if let Some(key) = self.key_of.get(room).copied() {
            if let Some(slot) = self.slots[key.0 as usize].as_mut() {
                slot.holders += 1;
            }
            return key;
        }
        let slot = Some(Slot { room: room.clone(), holders: 1 });
        let key = match self.free.pop() {
            Some(index) => {
                self.slots[index as usize] = slot;
                RoomKey(index)
            }
            None => {
                self.slots.push(slot);
                RoomKey(u32::try_from(self.slots.len() - 1).unwrap_or(u32::MAX))
            }
        };
        self.key_of.insert(room.clone(), key);
        key
    }

    /// One holder less.
    pub(super) fn release(&mut self, key: RoomKey) {
        let Some(slot) = self.slots[key.0 as usize].as_mut() else { return };
        slot.holders -= 1;
        if slot.holders == 0 {
            self.key_of.remove(&slot.room);
            self.slots[key.0 as usize] = None;
            self.free.push(key.0);
        }
    }

    /// How many rooms are held.
    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.key_of.len()
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a failed test panics")]
    use proptest::prelude::*;

    use super::*;

    proptest! {
        /// A key means its room for as long as anyone holds it, two rooms never share one, and nothing is kept for nobody.
        #[test]
        fn a_key_means_its_room_for_as_long_as_anyone_holds_it(steps in prop::collection::vec((0..6_usize, prop::bool::ANY), 0..100)) {
            let rooms: Vec<RoomId> = (0..6).map(|number| RoomId::new(&format!("r{number}")).unwrap()).collect();
            let mut keys = RoomKeys::default();
            let mut held: Vec<Vec<RoomKey>> = vec![Vec::new(); rooms.len()];
            for (room, hold) in steps {
                if hold {
                    held[room].push(keys.hold(&rooms[room]));
                } else if let Some(key) = held[room].pop() {
                    keys.release(key);
                }
                for (room, holders) in rooms.iter().zip(&held) {
                    prop_assert_eq!(keys.get(room), holders.first().copied());
                    prop_assert!(holders.iter().all(|key| Some(*key) == keys.get(room)));
                }
                let mut present: Vec<RoomKey> = held.iter().filter_map(|holders| holders.first().copied()).collect();
                prop_assert_eq!(keys.len(), present.len());
                present.sort();
                present.dedup();
                prop_assert_eq!(keys.len(), present.len());
            }
        }
    }
}
