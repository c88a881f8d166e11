//! What a node knows of memberships, compared with a plain account of what it was told.
#![expect(clippy::unwrap_used, reason = "a failed test panics")]

use std::collections::HashMap;
use std::io::{self, IoSlice};

use hallway_protocol::codec::Codec;
use hallway_protocol::model::{RoomInfo, RoomKind};
use hallway_protocol::{History, Visibility};
use proptest::prelude::*;

use super::*;
use crate::connection::{Budget, Outbound, Wire};
use crate::telemetry::metrics::Metrics;

struct NoSocket;

impl Wire for NoSocket {
    fn try_write_vectored(&self, _: &[IoSlice<'_>]) -> io::Result<usize> {
        Err(io::ErrorKind::WouldBlock.into())
    }
}

fn user() -> UserId {
    UserId::new("ada").unwrap()
}

fn room(number: usize) -> RoomId {
    RoomId::new(&format!("r{number}")).unwrap()
}

fn connection(number: u64) -> Arc<Connection> {
    let (metrics, _) = Metrics::new().unwrap();
    let outbound = Outbound::new(Arc::new(NoSocket), 1 << 16, Arc::new(Budget::new(u64::MAX, metrics)));
    Arc::new(Connection::new(ConnectionId(number), user(), Codec::Json, Arc::new(outbound)))
}

fn mine(number: usize, role: Role) -> MyRoom {
    let info = RoomInfo {
        room: room(number),
        kind: RoomKind::Channel,
        visibility: Visibility::Public,
        history: History::All,
        name: None,
        archived: false,
        created_at_ms: 0,
    };
    let (joined_seq, visible_from_seq, first_seq) = (1, 1, 1);
    MyRoom { info, role, joined_seq, visible_from_seq, first_seq, last_seq: 1, unread: 0, read_seq: 0 }
}

fn changed(number: usize, role: Option<Role>) -> MembershipChanged {
    MembershipChanged { room: room(number), role, joined_seq: 1, room_seq: 1, visible_from_seq: 1 }
}

const ROOMS: usize = 5;

/// What is told: the change of this number in the history, or a snapshot as of it. In any order, any number of times.
#[derive(Debug, Clone)]
enum Told {
    Change(usize),
    Snapshot(usize),
}

fn told() -> impl Strategy<Value = Told> {
    prop_oneof![3 => (0..40_usize).prop_map(Told::Change), 1 => (0..=40_usize).prop_map(Told::Snapshot)]
}

proptest! {
    /// In whatever order changes and snapshots come: the newest of what was told of a room holds, and a snapshot tells of every
    /// room. However far apart in the user's stream they are, as long as none comes later than that by half of what is counted.
    #[test]
    fn of_two_tellings_the_newer_holds(
        history in prop::collection::vec((0..ROOMS, prop::option::of(prop::bool::ANY)), 40),
        told in prop::collection::vec(told(), 0..60),
        apart in prop_oneof![Just(1), 1..800_u64],
    ) {
        let role = |admin: bool| if admin { Role::Admin } else { Role::Member };
        let people = People::default();
        prop_assert!(people.enter(&connection(1), 9));
        // Of each room: the newest version told, and what it says.
        let mut expected: HashMap<usize, (usize, Option<Role>)> = HashMap::new();
        for told in told {
            match told {
                Told::Change(index) => {
                    let (number, change) = history[index];
                    people.learn_change(&user(), &changed(number, change.map(role)), apart * (index + 1) as Seq);
                    let known = expected.entry(number).or_default();
                    if known.0 < index + 1 { *known = (index + 1, change.map(role)); }
                }
                Told::Snapshot(version) => {
                    let mut state: HashMap<usize, Role> = HashMap::new();
                    for (number, change) in &history[..version] {
                        match change.map(role) {
                            Some(role) => state.insert(*number, role),
                            None => state.remove(number),
                        };
                    }
                    let rooms: Vec<MyRoom> = state.iter().map(|(number, role)| mine(*number, *role)).collect();
                    people.learn_rooms(&user(), &rooms, &[], apart * version as Seq);
                    for number in 0..ROOMS {
                        let known = expected.entry(number).or_default();
                        if known.0 <= version { *known = (version, state.get(&number).copied()); }
                    }
                }
            }
            for number in 0..ROOMS {
                let known = people.membership(&user(), &room(number)).map(|membership| membership.role);
                prop_assert_eq!(known, expected.get(&number).and_then(|(_, role)| *role));
            }
        }
        people.leave(&user(), ConnectionId(1));
        prop_assert_eq!(people.keys.read().unwrap().len(), 0, "nobody is left, so no room is held");
    }

    /// Somebody who is connected for so long that their stream has gone on by more than is counted: changes in the order of the
    /// stream, and snapshots that are as late as the last of them.
    #[test]
    fn changes_far_apart_hold_in_the_order_of_the_stream(
        steps in prop::collection::vec((0..ROOMS, prop::option::of(prop::bool::ANY), 1..200_000_u64, prop::bool::weighted(0.1)), 1..60),
    ) {
        let role = |admin: bool| if admin { Role::Admin } else { Role::Member };
        let people = People::default();
        prop_assert!(people.enter(&connection(1), 9));
        let mut state: HashMap<usize, Role> = HashMap::new();
        let mut version = 0;
        for (number, change, distance, snapshot_before) in steps {
            if snapshot_before {
                let rooms: Vec<MyRoom> = state.iter().map(|(number, role)| mine(*number, *role)).collect();
                people.learn_rooms(&user(), &rooms, &[], version);
            }
            version += distance;
            people.learn_change(&user(), &changed(number, change.map(role)), version);
            match change.map(role) {
                Some(role) => state.insert(number, role),
                None => state.remove(&number),
            };
            for number in 0..ROOMS {
                let known = people.membership(&user(), &room(number)).map(|membership| membership.role);
                prop_assert_eq!(known, state.get(&number).copied());
            }
        }
    }
}

#[test]
fn a_removal_that_was_heard_before_an_older_snapshot_holds() {
    let people = People::default();
    assert!(people.enter(&connection(1), 9));
    people.learn_change(&user(), &changed(0, None), 6);
    people.learn_rooms(&user(), &[mine(0, Role::Member), mine(1, Role::Member)], &[], 5);
    assert_eq!(people.membership(&user(), &room(0)), None);
    assert!(people.membership(&user(), &room(1)).is_some());
}

#[test]
fn what_was_known_of_another_life_of_the_store_stands_in_nobodys_way() {
    let people = People::default();
    assert!(people.enter(&connection(1), 9));
    people.learn_rooms(&user(), &[mine(0, Role::Member), mine(1, Role::Member)], &[], 90);
    people.forget_rooms();
    assert_eq!(people.membership(&user(), &room(0)), None);
    assert_eq!(people.keys.read().unwrap().len(), 0);
    people.learn_rooms(&user(), &[mine(1, Role::Member)], &[], 5);
    assert_eq!(people.membership(&user(), &room(0)), None);
    assert!(people.membership(&user(), &room(1)).is_some());
}

#[test]
fn a_membership_is_eight_bytes_and_removals_do_not_pile_up() {
    assert_eq!(size_of::<Known>(), 8);
    let people = People::default();
    assert!(people.enter(&connection(1), 9));
    for number in 0..1000 {
        people.learn_change(&user(), &changed(number, Some(Role::Member)), 2 * number as Seq + 1);
        people.learn_change(&user(), &changed(number, None), 2 * number as Seq + 2);
    }
    assert!(people.map.get(&user()).unwrap().rooms.known.len() <= REMOVALS_MAX);
    assert!(people.keys.read().unwrap().len() <= REMOVALS_MAX);
}

#[test]
fn devices_and_members_are_those_who_are_connected_and_no_more() {
    let people = People::default();
    let (phone, laptop) = (connection(1), connection(2));
    assert!(people.enter(&phone, 9) && people.enter(&laptop, 9));
    people.learn_rooms(&user(), &[mine(1, Role::Guest), mine(3, Role::Owner)], &[], 4);
    assert_eq!(people.devices(&user()), (2, 0));
    assert!(phone.set_away(true) && !phone.set_away(true), "the second time it is no news");
    assert_eq!(people.devices(&user()), (2, 1));
    let rooms = [room(3), room(2), room(1)];
    let here = || {
        let mut found: Vec<usize> = people.members_here(&rooms).into_iter().map(|(index, _)| index).collect();
        found.sort_unstable();
        found
    };
    assert_eq!(here(), [0, 2]);
    people.learn_change(&user(), &changed(3, None), 5);
    assert_eq!(here(), [2], "who was removed is no member");
    people.leave(&user(), phone.id);
    assert_eq!(people.devices(&user()), (1, 0));
    people.leave(&user(), laptop.id);
    assert_eq!(people.devices(&user()), (0, 0));
    assert!(here().is_empty());
}

#[test]
fn a_mute_is_known_until_it_ends_and_what_was_heard_since_holds() {
    let people = People::default();
    assert!(people.enter(&connection(1), 1));
    let is_muted = || people.membership(&user(), &room(0)).unwrap().mute;
    people.learn_rooms(&user(), &[mine(0, Role::Member)], &[room(0)], 5);
    assert!(is_muted().is_some(), "a snapshot tells of it");
    people.learn_change(&user(), &changed(0, Some(Role::Admin)), 6);
    assert!(is_muted().is_some(), "another role does not end it");
    let first = is_muted().unwrap();
    people.learn_mute(&user(), &room(0), true);
    people.forget_mute(&user(), &room(0), first);
    let second = is_muted().expect("muted anew while the store was asked about the first time");
    people.forget_mute(&user(), &room(0), second);
    assert_eq!(is_muted(), None);
    people.learn_mute(&user(), &room(0), true);
    people.learn_change(&user(), &changed(0, None), 8);
    people.learn_change(&user(), &changed(0, Some(Role::Member)), 9);
    assert_eq!(is_muted(), None, "a new membership is told of its mute after it began");
    people.learn_mute(&user(), &room(0), true);
    assert!(is_muted().is_some());
    people.learn_mute(&user(), &room(1), true);
    assert_eq!(people.membership(&user(), &room(1)), None, "a mute makes nobody a member");
}
