//! How many people of a room are there.
//!
//! Of a room whose members are few all are looked at. A larger one is counted by the nodes: each counts those who are its
//! share (`Directory::counted_here`), for a while after somebody asked, at most once a second.

use std::time::Instant;

use hallway_protocol::model::{Presence as Person, PresenceState};
use hallway_protocol::{ErrorBody, RoomId};

use super::super::reads::failed;
use super::{Counts, Presence};
use crate::directory::RoomCounts;

/// People looked up while the directory is locked.
const LOOKED_UP_AT_ONCE: usize = 1_024;

impl RoomCounts {
    fn add(&mut self, state: PresenceState) {
        match state {
            PresenceState::Online => self.online += 1,
            PresenceState::Away => self.away += 1,
            PresenceState::Offline => {}
        }
    }
}

impl Presence {
    /// All members are known: these.
    pub(super) fn count(&self, members: &[Person]) -> Counts {
        let is_complete = self.in_directory(|directory| directory.incomplete_count() == 0);
        let mut counts = Counts { is_complete, ..Counts::default() };
        members.iter().for_each(|member| counts.add(member.state));
        counts
    }

    /// The counts of a whole room.
    pub(super) async fn counts(&self, room: &RoomId) -> Result<Counts, ErrorBody> {
        let batch = self.inner.store.audiences(vec![room.clone()], self.inner.few_members_max).await;
        let audience = batch.map_err(failed)?.audiences.pop();
        if let Some(audience) = audience.filter(|audience| audience.members as usize == audience.people.len()) {
            return Ok(self.count(&self.people(&audience.people)));
        }
        if !self.in_directory(|directory| directory.is_counted_here(room)) {
            // The first who asks waits for nobody else's second.
            self.count_here(std::slice::from_ref(room));
        }
        let (counts, is_complete) = self.in_directory(|directory| {
            let is_wanted = directory.want_room(room, Instant::now());
            (directory.room_counts(room), is_wanted && directory.is_counted(room))
        });
        let (online, away) = (u64::from(counts.online), u64::from(counts.away));
        Ok(Counts { online, away, is_complete })
    }

    /// Counts this node's share of the rooms that are wanted: of all, or of those that are new.
    pub(super) fn count_wanted(&self, all: bool) {
        let rooms: Vec<RoomId> = self.in_directory(|directory| {
            directory.wanted_rooms().filter(|room| all || !directory.is_counted_here(room)).cloned().collect()
        });
        if !rooms.is_empty() {
            self.count_here(&rooms);
        }
    }

    fn count_here(&self, rooms: &[RoomId]) {
        let members = self.inner.hub.members_here(rooms);
        let mut all = vec![RoomCounts { nodes: 1, ..RoomCounts::default() }; rooms.len()];
        for part in members.chunks(LOOKED_UP_AT_ONCE) {
            self.in_directory(|directory| {
                for (index, user) in part {
                    if let Some(state) = directory.counted_here(user) {
                        all[*index].add(state);
                    }
                }
            });
        }
        self.in_directory(|directory| {
            for (room, counts) in rooms.iter().zip(all) {
                directory.set_own_room(room, counts);
            }
        });
    }
}
