#![expect(clippy::unwrap_used, reason = "a failed test panics")]

use std::time::{Duration, Instant};

use hallway_protocol::model::PresenceState;
use hallway_protocol::{RoomId, UserId};

use super::*;
use crate::node::NodeId;

const LEASE: Duration = Duration::from_secs(3);

fn user(number: usize) -> UserId {
    UserId::new(&format!("user-{number:06}")).unwrap()
}

fn node(number: u64) -> NodeId {
    NodeId::from_number(number)
}

fn online(devices: u16) -> Devices {
    Devices { devices, away: 0 }
}

fn deltas(directory: &mut Directory) -> Vec<Notice> {
    std::iter::from_fn(|| directory.delta()).collect()
}

fn asks(told: &[Told]) -> usize {
    told.iter().filter(|told| matches!(told, Told::Ask(_))).count()
}

fn changed(told: &[Told]) -> Vec<UserId> {
    told.iter().filter_map(|told| if let Told::Changed(user) = told { Some(user.clone()) } else { None }).collect()
}

fn answer(told: Vec<Told>) -> Vec<Notice> {
    let answers =
        told.into_iter().filter_map(|told| if let Told::Answer(_, notices) = told { Some(notices) } else { None });
    answers.last().unwrap_or_default()
}

/// A node with so many people, all told, and how it answers.
fn node_with(people: usize) -> (Directory, Vec<Notice>) {
    let mut directory = Directory::new(LEASE);
    for number in 0..people {
        directory.set_own(&user(number), online(1));
    }
    deltas(&mut directory);
    let parts = answer(directory.hear(node(99), Notice::Ask, Instant::now()));
    (directory, parts)
}

fn version(notice: &Notice) -> u64 {
    let Notice::Heartbeat { version } = notice else { panic!("{notice:?} is no heartbeat") };
    *version
}

#[test]
fn a_connect_costs_one_change_and_a_storm_is_told_in_deltas_of_bounded_size() {
    let mut directory = Directory::new(LEASE);
    directory.set_own(&user(0), online(1));
    assert_eq!(deltas(&mut directory), [Notice::Delta { version: 1, changes: vec![(user(0), online(1))] }]);
    assert_eq!(directory.delta(), None);

    for number in 0..18_000 {
        directory.set_own(&user(number), online(2));
    }
    let told = deltas(&mut directory);
    assert_eq!(told.len(), 18_000 / DELTA_CHANGES_MAX);
    let mut other = Directory::new(LEASE);
    let now = Instant::now();
    other.hear(node(1), Notice::Delta { version: 1, changes: vec![(user(0), online(1))] }, now);
    for notice in told {
        assert!(matches!(&notice, Notice::Delta { changes, .. } if changes.len() <= DELTA_CHANGES_MAX));
        assert_eq!(asks(&other.hear(node(1), notice, now)), 0);
    }
    assert!((0..18_000).all(|number| other.devices(&user(number)) == online(2)));
}

#[test]
fn who_leaves_and_comes_back_before_it_was_told_costs_nothing() {
    let mut directory = Directory::new(LEASE);
    directory.set_own(&user(0), online(1));
    deltas(&mut directory);
    directory.set_own(&user(0), Devices::default());
    directory.set_own(&user(0), online(1));
    assert_eq!(directory.delta(), None);
    assert_eq!(directory.set_own(&user(0), online(1)), []);
}

#[test]
fn a_change_is_told_only_when_it_can_be_seen() {
    let now = Instant::now();
    let mut directory = Directory::new(LEASE);
    assert_eq!(changed(&directory.set_own(&user(0), online(3))), [user(0)]);
    // One of three looks away: still online with three devices.
    assert_eq!(directory.set_own(&user(0), Devices { devices: 3, away: 1 }), []);
    assert_eq!(changed(&directory.set_own(&user(0), Devices { devices: 3, away: 3 })), [user(0)]);
    assert_eq!(directory.devices(&user(0)).presence(), PresenceState::Away);
    // A device at another node that is looked at: online again.
    let told = directory.hear(node(1), Notice::Delta { version: 1, changes: vec![(user(0), online(1))] }, now);
    assert_eq!(changed(&told), [user(0)]);
    assert_eq!(directory.devices(&user(0)).presence(), PresenceState::Online);
    // The same delta again: nothing.
    let told = directory.hear(node(1), Notice::Delta { version: 1, changes: vec![(user(0), online(1))] }, now);
    assert_eq!(told, []);
}

#[test]
fn a_missed_delta_is_asked_for_once_and_then_with_growing_pauses() {
    let mut now = Instant::now();
    let mut directory = Directory::new(LEASE);
    let gap = |version| Notice::Delta { version, changes: vec![(user(1), online(1))] };
    assert_eq!(asks(&directory.hear(node(1), gap(3), now)), 1);
    for version in 4..40 {
        assert_eq!(asks(&directory.hear(node(1), gap(version), now)), 0, "single flight");
    }
    let mut asked_at = vec![now];
    let end = now + Duration::from_secs(60);
    while now < end {
        now += Duration::from_millis(50);
        let mut told = directory.hear(node(1), Notice::Heartbeat { version: 40 }, now);
        told.extend(directory.tick(now));
        asked_at.extend(std::iter::repeat_n(now, asks(&told)));
    }
    let pauses: Vec<Duration> = asked_at.windows(2).map(|two| two[1] - two[0]).collect();
    assert!(pauses.iter().all(|pause| *pause >= ASK_PAUSE_MIN), "{pauses:?}");
    assert!(pauses.is_sorted() && pauses.last().unwrap() >= &ASK_PAUSE_MAX, "{pauses:?}");
}

#[test]
fn a_heartbeat_that_is_ahead_tells_that_something_was_missed() {
    let now = Instant::now();
    let mut directory = Directory::new(LEASE);
    assert_eq!(asks(&directory.hear(node(1), Notice::Heartbeat { version: 0 }, now)), 0, "an empty table is known");
    assert_eq!(asks(&directory.hear(node(1), Notice::Heartbeat { version: 1 }, now)), 1);
    assert_eq!(directory.incomplete_count(), 1);
}

#[test]
fn a_delta_that_was_overtaken_is_put_in_its_place() {
    let now = Instant::now();
    let mut directory = Directory::new(LEASE);
    let delta = |version, devices| Notice::Delta { version, changes: vec![(user(1), online(devices))] };
    directory.hear(node(1), delta(2, 2), now);
    directory.hear(node(1), delta(3, 3), now);
    assert_eq!(directory.devices(&user(1)), online(0), "not before the first one");
    directory.hear(node(1), delta(1, 1), now);
    assert_eq!(directory.devices(&user(1)), online(3));
    assert_eq!(directory.incomplete_count(), 0);
    assert_eq!(directory.peer(node(1)).unwrap().kept(), (0, 0));
}

#[test]
fn a_snapshot_is_cut_into_bounded_parts_and_taken_at_once_or_not_at_all() {
    let now = Instant::now();
    let (source, parts) = node_with(2_500);
    assert_eq!(parts.len(), 3);
    let mut directory = Directory::new(LEASE);
    directory.hear(node(1), source.heartbeat(), now);
    for part in parts.iter().rev().take(2) {
        directory.hear(node(1), part.clone(), now);
        // Twice, as a bus may do.
        directory.hear(node(1), part.clone(), now);
        assert_eq!(directory.people_count(), 0, "nobody sees half a snapshot");
    }
    let told = directory.hear(node(1), parts[0].clone(), now);
    assert_eq!(changed(&told).len(), 2_500);
    assert_eq!(directory.people_count(), 2_500);
}

#[test]
fn deltas_that_come_during_a_snapshot_are_applied_after_it_and_old_parts_are_ignored() {
    let now = Instant::now();
    let (mut source, old_parts) = node_with(1_500);
    source.set_own(&user(3), Devices::default());
    source.set_own(&user(2_000), online(1));
    let lost = deltas(&mut source);
    assert_eq!(lost.len(), 1);
    let new_parts = answer(source.hear(node(97), Notice::Ask, now));
    source.set_own(&user(4), Devices::default());
    let later = deltas(&mut source);

    let mut directory = Directory::new(LEASE);
    directory.hear(node(1), new_parts[0].clone(), now);
    directory.hear(node(1), later[0].clone(), now);
    directory.hear(node(1), old_parts[0].clone(), now);
    directory.hear(node(1), old_parts[1].clone(), now);
    assert_eq!(directory.people_count(), 0);
    directory.hear(node(1), new_parts[1].clone(), now);
    assert_eq!(directory.devices(&user(3)), online(0));
    assert_eq!(directory.devices(&user(4)), online(0), "told while the snapshot was under way");
    assert_eq!(directory.devices(&user(2_000)), online(1));
    assert_eq!(directory.people_count(), 1_499);
    assert_eq!(directory.incomplete_count(), 0);
    // Late parts of an older snapshot change nothing.
    for part in old_parts {
        assert_eq!(changed(&directory.hear(node(1), part, now)), []);
    }
    assert_eq!(directory.devices(&user(3)), online(0));
}

#[test]
fn a_snapshot_of_one_version_is_always_cut_alike_whatever_was_not_told_yet() {
    let (mut source, before) = node_with(2_500);
    source.set_own(&user(0), Devices::default());
    source.set_own(&user(9_000), online(1));
    source.set_own(&user(7), online(4));
    let after = answer(source.hear(node(97), Notice::Ask, Instant::now()));
    assert_eq!(before, after);
    // A node that repeats its question gets one answer.
    let now = Instant::now() + ANSWER_PAUSE * 2;
    assert!(!answer(source.hear(node(98), Notice::Ask, now)).is_empty());
    assert_eq!(source.hear(node(98), Notice::Ask, now), []);
}

#[test]
fn a_node_that_is_silent_for_a_lease_is_gone_with_its_people_unless_they_are_elsewhere() {
    let start = Instant::now();
    let mut directory = Directory::new(LEASE);
    let both = vec![(user(1), online(1)), (user(2), online(1))];
    directory.hear(node(1), Notice::Delta { version: 1, changes: both }, start);
    directory.hear(node(2), Notice::Delta { version: 1, changes: vec![(user(2), online(1))] }, start);
    assert_eq!(directory.nodes_of(&user(2)).collect::<Vec<_>>(), [node(1), node(2)]);

    directory.hear(node(2), Notice::Heartbeat { version: 1 }, start + LEASE);
    assert_eq!(directory.tick(start + LEASE), [], "a lease is kept to its end");
    let told = directory.tick(start + LEASE + Duration::from_millis(1));
    assert_eq!(told[0], Told::Left(node(1)));
    assert_eq!(changed(&told).len(), 2);
    assert_eq!(directory.devices(&user(1)).presence(), PresenceState::Offline);
    assert_eq!(directory.devices(&user(2)), online(1));
    assert_eq!(directory.nodes_of(&user(2)).collect::<Vec<_>>(), [node(2)]);
    assert_eq!(directory.nodes().collect::<Vec<_>>(), [node(2)]);

    // It was only silent: what it held is asked for anew.
    let told = directory.hear(node(1), Notice::Heartbeat { version: 1 }, start + LEASE * 2);
    assert!(told.contains(&Told::Joined(node(1))) && told.contains(&Told::Ask(node(1))));
}

#[test]
fn a_farewell_is_final_also_when_older_words_come_after_it() {
    let now = Instant::now();
    let mut directory = Directory::new(LEASE);
    let delta = Notice::Delta { version: 1, changes: vec![(user(1), online(1))] };
    directory.hear(node(1), delta.clone(), now);
    assert_eq!(directory.hear(node(1), Notice::Farewell, now), [Told::Left(node(1)), Told::Changed(user(1))]);
    assert_eq!(directory.hear(node(1), delta, now), []);
    assert_eq!(directory.hear(node(1), Notice::Heartbeat { version: 1 }, now + LEASE), []);
    assert_eq!(directory.nodes().count(), 0);
    assert_eq!(directory.hear(node(2), Notice::Farewell, now), [], "a node that nobody knew");
}

#[test]
fn a_newcomer_learns_at_once_who_is_there_and_a_node_does_not_listen_to_itself() {
    let now = Instant::now();
    let (source, _) = node_with(3);
    let mut source = source.of_node(node(5));
    let told = source.hear(node(1), Notice::Heartbeat { version: 0 }, now);
    assert_eq!(told, [Told::Joined(node(1)), Told::Answer(node(1), vec![source.heartbeat()])]);
    assert!(version(&source.heartbeat()) > 0);
    assert_eq!(source.hear(node(5), Notice::Heartbeat { version: 9 }, now), []);
}

#[test]
fn a_flood_of_unknown_nodes_and_of_what_cannot_be_used_yet_is_bounded() {
    let now = Instant::now();
    let mut directory = Directory::new(LEASE);
    for number in 0..10_000 {
        directory.hear(node(number), Notice::Heartbeat { version: 0 }, now);
        directory.hear(node(20_000 + number), Notice::Farewell, now);
    }
    assert_eq!(directory.nodes().count(), NODES_MAX);
    assert_eq!(directory.refused_count(), 10_000 - NODES_MAX as u64);
    // Places of nodes that are gone are used again.
    directory.tick(now + LEASE * 2);
    assert_eq!(directory.nodes().count(), 0);
    directory.hear(node(77_777), Notice::Heartbeat { version: 0 }, now + LEASE * 2);
    assert_eq!(directory.nodes().count(), 1);

    let many: Vec<(UserId, Devices)> = (0..1_000).map(|number| (user(number), online(1))).collect();
    for version in 2..200 {
        directory.hear(node(77_777), Notice::Delta { version, changes: many.clone() }, now);
    }
    let (kept, changes) = directory.peer(node(77_777)).unwrap().kept();
    assert!(kept <= KEPT_DELTAS_MAX && changes <= KEPT_CHANGES_MAX, "{kept} deltas with {changes} changes");
    for (part, parts) in [(0, 0), (5, 5), (0, u32::MAX)] {
        directory.hear(node(77_777), Notice::Snapshot { version: 9, part, parts, people: many.clone() }, now);
    }
    assert_eq!(directory.people_count(), 0);
}

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

#[test]
fn a_person_costs_a_bounded_number_of_bytes() {
    let now = Instant::now();
    const PEOPLE: usize = 100_000;
    for (name, second) in [("at one node", 0), ("half of them at two nodes", PEOPLE / 2)] {
        let mut directory = Directory::new(LEASE);
        for (number, count) in [(1, PEOPLE), (2, second)] {
            let changes: Vec<(UserId, Devices)> = (0..count).map(|number| (user(number), online(1))).collect();
            for (version, changes) in (1..).zip(changes.chunks(DELTA_CHANGES_MAX)) {
                directory.hear(node(number), Notice::Delta { version, changes: changes.to_vec() }, now);
            }
        }
        assert_eq!(directory.people_count(), PEOPLE);
        // The name is one allocation: two counters and the text.
        let name_bytes = 16 + user(0).as_str().len();
        let bytes = directory.table_bytes() / PEOPLE + name_bytes;
        println!("{PEOPLE} people, {name}: {bytes} bytes each with a name of {} letters", user(0).as_str().len());
        assert!(bytes < 128, "{bytes} bytes a person");
    }
}
