//! Where a client stands in each stream, and what each frame does to that. Pure.

use std::collections::HashMap;

use foldhash::fast::RandomState;
use hallway_protocol::frame::Reset;
use hallway_protocol::{Epoch, EventBody, Position, RoomId, Seq, StreamId, UserId};

/// What an event is to a client that stands where it stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// The next one.
    Next,
    /// Seen before: to be dropped.
    Repeat,
    /// Something before it is missing: the position was `after`.
    Gap { after: Seq },
    /// Nothing was said about this stream before: neither a position nor a reset. A fault of the node unless `seq` is 1.
    Unannounced,
}

/// A client's positions.
#[derive(Debug, Clone, Default)]
pub struct Positions {
    streams: HashMap<StreamId, (Epoch, Seq), RandomState>,
    epoch: Option<Epoch>,
    user: Option<UserId>,
    /// Where the present memberships began.
    joined: HashMap<RoomId, Seq>,
}

impl Positions {
    /// Starts from what an earlier session had.
    #[must_use]
    pub fn new(positions: Vec<Position>) -> Self {
        let streams = positions.into_iter().map(|position| (position.stream, (position.epoch, position.seq))).collect();
        Self { streams, ..Self::default() }
    }

    /// A connection begins: rooms that are no longer ours are forgotten, for nothing more comes from them.
    pub fn welcome(&mut self, welcome: &hallway_protocol::command::Welcome) {
        self.epoch = Some(welcome.epoch.clone());
        self.user = Some(welcome.user.clone());
        self.joined = welcome.rooms.iter().map(|room| (room.info.room.clone(), room.joined_seq)).collect();
        self.streams.retain(|stream, _| stream.room().is_none_or(|room| self.joined.contains_key(room)));
    }

    /// An event came.
    pub fn event(&mut self, stream: &StreamId, seq: Seq) -> Step {
        if let Some((_, last)) = self.streams.get_mut(stream) {
            let before = *last;
            if seq <= before {
                return Step::Repeat;
            }
            *last = seq;
            return if seq == before + 1 { Step::Next } else { Step::Gap { after: before } };
        }
        if let Some(epoch) = &self.epoch {
            self.streams.insert(stream.clone(), (epoch.clone(), seq));
        }
        Step::Unannounced
    }

    /// An event was handed on: the own removal ends the stream, unless it is the end of an earlier membership, of which one
    /// reads in a room whose past is open to its members.
    pub fn delivered(&mut self, stream: &StreamId, seq: Seq, body: &EventBody) {
        match body {
            EventBody::MemberRemoved(removed) if Some(&removed.user) == self.user.as_ref() => {
                let joined = stream.room().and_then(|room| self.joined.get(room));
                if joined.is_none_or(|joined| *joined < seq) {
                    self.streams.remove(stream);
                }
            }
            // One reads of earlier memberships after a hello that named the present one: the latest holds.
            EventBody::MembershipChanged(changed) if changed.role.is_some() => {
                let joined = self.joined.entry(changed.room.clone()).or_default();
                *joined = changed.joined_seq.max(*joined);
            }
            _ => {}
        }
    }

    /// A `reset` came; says where the client stood before.
    pub fn reset(&mut self, reset: &Reset) -> Option<Position> {
        if self.epoch.as_ref() != Some(&reset.epoch) {
            self.epoch = Some(reset.epoch.clone());
        }
        let before = self.streams.insert(reset.stream.clone(), (reset.epoch.clone(), reset.seq));
        before.map(|(epoch, seq)| Position { stream: reset.stream.clone(), epoch, seq })
    }

    /// A `sync_end` came: positions move to these. One that would move by more than events did is a hole: those
    /// streams are returned with where the client stood.
    pub fn synced(&mut self, positions: &[Position]) -> Vec<(StreamId, Seq)> {
        let mut holes = Vec::new();
        for position in positions {
            match self.streams.get_mut(&position.stream) {
                Some((epoch, seq)) if *epoch == position.epoch => {
                    if position.seq > *seq {
                        holes.push((position.stream.clone(), *seq));
                        *seq = position.seq;
                    }
                }
                _ => {
                    holes.push((position.stream.clone(), 0));
                    self.streams.insert(position.stream.clone(), (position.epoch.clone(), position.seq));
                }
            }
        }
        holes
    }

    /// Where the client stands in a stream.
    #[must_use]
    pub fn get(&self, stream: &StreamId) -> Option<Seq> {
        self.streams.get(stream).map(|(_, seq)| *seq)
    }

    /// The epoch that the node speaks of.
    #[must_use]
    pub fn epoch(&self) -> Option<&Epoch> {
        self.epoch.as_ref()
    }

    /// All of them, to resume with.
    #[must_use]
    pub fn to_vec(&self) -> Vec<Position> {
        let as_position = |(stream, (epoch, seq)): (&StreamId, &(Epoch, Seq))| Position {
            stream: stream.clone(),
            epoch: epoch.clone(),
            seq: *seq,
        };
        self.streams.iter().map(as_position).collect()
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests {
    use hallway_protocol::event::{MemberRemoved, MembershipChanged};
    use hallway_protocol::{Role, RoomId};

    use super::*;

    /// Whoever comes back late reads of memberships that ended before the present one began, in both streams.
    #[test]
    fn the_end_of_an_earlier_membership_that_is_read_of_late_does_not_end_the_stream() {
        let (room, ben) = (RoomId::new("open").unwrap(), UserId::new("ben").unwrap());
        let (own, stream) = (StreamId::User(ben.clone()), StreamId::Room(room.clone()));
        let epoch = Epoch::new("e").unwrap();
        let mut positions = Positions::new(vec![Position { stream: stream.clone(), epoch, seq: 70 }]);
        positions.user = Some(ben.clone());
        let joined = |joined_seq: Seq| {
            let role = Some(Role::Member);
            let changed =
                MembershipChanged { room: room.clone(), role, room_seq: joined_seq, joined_seq, visible_from_seq: 1 };
            EventBody::MembershipChanged(changed)
        };
        // As the hello said, and what the own stream says afterwards.
        positions.delivered(&own, 9, &joined(80));
        positions.delivered(&own, 5, &joined(63));
        let removed = EventBody::MemberRemoved(MemberRemoved { user: ben.clone(), by: ben });
        positions.delivered(&stream, 72, &removed);
        assert_eq!(positions.get(&stream), Some(70), "it goes on");
        positions.delivered(&stream, 90, &removed);
        assert_eq!(positions.get(&stream), None, "this was the end of the present one");
    }
}
