//! Counts of large rooms.
#![expect(clippy::unwrap_used, reason = "a failed test panics")]

use std::time::{Duration, Instant};

use hallway_protocol::model::PresenceState;
use hallway_protocol::{RoomId, UserId};

use super::tests::{LEASE, answer, deltas, node, online, user};
use super::*;
use crate::node::NodeId;

#[test]
fn counts_of_rooms_travel_with_the_people_and_go_with_their_node() {
    let now = Instant::now();
    let room = |name: &str| RoomId::new(name).unwrap();
    let counts = |online, away, nodes| RoomCounts { online, away, nodes };
    let mut source = Directory::new(LEASE);
    source.set_own(&user(1), online(1));
    source.set_own_room(&room("large"), counts(200, 7, 1));
    source.set_own_room(&room("other"), counts(90, 0, 1));
    let told = deltas(&mut source);
    assert_eq!(told.len(), 2, "people and rooms, one each: {told:?}");

    let (mut heard, mut asked) = (Directory::new(LEASE), Directory::new(LEASE));
    heard.set_own_room(&room("large"), counts(10, 1, 1));
    for notice in told {
        heard.hear(node(1), notice, now);
    }
    assert_eq!(heard.room_counts(&room("large")), counts(210, 8, 2));
    for part in answer(source.hear(node(2), Notice::Ask, now)) {
        asked.hear(node(1), part, now);
    }
    assert_eq!(asked.room_counts(&room("large")), counts(200, 7, 1));
    assert_eq!(asked.room_counts(&room("other")), counts(90, 0, 1));
    source.set_own_room(&room("other"), RoomCounts::default());
    for notice in deltas(&mut source) {
        asked.hear(node(1), notice, now);
    }
    assert_eq!(asked.room_counts(&room("other")), counts(0, 0, 0));
    heard.tick(now + LEASE * 2);
    assert_eq!(heard.room_counts(&room("large")), counts(10, 1, 1));
}

/// Hands everything that one says to the other, both ways, until nobody says anything more.
fn talk(one: (NodeId, &mut Directory), other: (NodeId, &mut Directory), now: Instant) {
    let (one_id, one) = one;
    let (other_id, other) = other;
    for _ in 0..2 {
        for notice in deltas(one) {
            other.hear(one_id, notice, now);
        }
        for notice in deltas(other) {
            one.hear(other_id, notice, now);
        }
    }
}

#[test]
fn a_large_room_is_counted_by_all_nodes_while_somebody_asks_and_everybody_in_it_once() {
    let now = Instant::now();
    let room = RoomId::new("large").unwrap();
    let (mut one, mut two) = (Directory::new(LEASE).of_node(node(1)), Directory::new(LEASE).of_node(node(2)));
    // Anna is at both, once looking; Ben at the second one only, and away; Cleo at the first one.
    let [anna, ben, cleo] = ["anna", "ben", "cleo"].map(|name| UserId::new(name).unwrap());
    one.set_own(&anna, Devices { devices: 1, away: 1 });
    two.set_own(&anna, online(1));
    two.set_own(&ben, Devices { devices: 2, away: 2 });
    one.set_own(&cleo, online(1));
    talk((node(1), &mut one), (node(2), &mut two), now);
    assert_eq!(one.counted_here(&anna), Some(PresenceState::Online), "by the node of the least id, as all see her");
    assert_eq!(two.counted_here(&anna), None);
    assert_eq!((one.counted_here(&ben), two.counted_here(&ben)), (None, Some(PresenceState::Away)));

    assert!(one.want_room(&room, now));
    assert!(!one.is_counted(&room));
    talk((node(1), &mut one), (node(2), &mut two), now);
    for directory in [&mut one, &mut two] {
        assert_eq!(directory.wanted_rooms().collect::<Vec<_>>(), [&room]);
        let mut counts = RoomCounts { nodes: 1, ..RoomCounts::default() };
        for user in [&anna, &ben, &cleo] {
            match directory.counted_here(user) {
                Some(PresenceState::Online) => counts.online += 1,
                Some(PresenceState::Away) => counts.away += 1,
                _ => {}
            }
        }
        directory.set_own_room(&room, counts);
        assert!(directory.is_counted_here(&room));
    }
    assert!(!one.is_counted(&room), "the other node did not say anything yet");
    talk((node(1), &mut one), (node(2), &mut two), now);
    for directory in [&one, &two] {
        assert!(directory.is_counted(&room));
        assert_eq!(directory.room_counts(&room), RoomCounts { online: 2, away: 1, nodes: 2 });
    }

    // Asked often, said seldom; not asked any more, forgotten.
    assert!(one.want_room(&room, now + Duration::from_secs(2)));
    assert_eq!(one.delta(), None);
    let later = now + Duration::from_secs(200);
    one.hear(node(2), Notice::Heartbeat { version: 3 }, later);
    one.tick(later);
    assert_eq!(one.wanted_rooms().count(), 0);
    assert!(matches!(one.delta(), Some(Notice::RoomDelta { .. })));
}

#[test]
fn a_want_that_was_lost_is_said_again_and_the_rooms_counted_at_once_are_bounded() {
    let now = Instant::now();
    let room = |number: usize| RoomId::new(&format!("r{number}")).unwrap();
    let mut directory = Directory::new(LEASE);
    directory.hear(node(1), Notice::Heartbeat { version: 0 }, now);
    for second in 0..5 {
        assert!(directory.want_room(&room(0), now + Duration::from_secs(second)));
        assert!(directory.want_room(&room(0), now + Duration::from_millis(second * 1_000 + 500)));
        assert_eq!(deltas(&mut directory), [Notice::Want { rooms: vec![room(0)] }]);
    }
    let taken = (0..ROOMS_WANTED_MAX * 2).filter(|number| directory.want_room(&room(*number), now)).count();
    assert_eq!(taken, ROOMS_WANTED_MAX);
    let rooms = (1_000..2_000).map(room).collect();
    directory.hear(node(1), Notice::Want { rooms }, now);
    assert_eq!(directory.wanted_rooms().count(), ROOMS_WANTED_MAX);
}
