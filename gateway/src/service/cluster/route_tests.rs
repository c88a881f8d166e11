//! What routes promise.
#![expect(clippy::unwrap_used, reason = "a failed test panics")]

use hallway_protocol::event::{MemberJoined, MemberRemoved, RoomArchived};
use hallway_protocol::{Event, Role};
use proptest::prelude::*;

use super::*;
use crate::directory::{Devices, Notice};

const LARGE_FROM: u32 = 10;

fn room(number: usize) -> RoomId {
    RoomId::new(&format!("r{number}")).unwrap()
}

fn user(number: u32) -> UserId {
    UserId::new(&format!("u{number}")).unwrap()
}

fn node(number: u64) -> NodeId {
    NodeId::from_number(number)
}

fn event(stream: StreamId) -> LiveEvent {
    let body = EventBody::RoomArchived(RoomArchived { by: user(0) });
    LiveEvent::new(Event { stream, seq: 1, at_ms: 0, body })
}

fn joined(room: &RoomId, who: u32) -> LiveEvent {
    let body = EventBody::MemberJoined(MemberJoined { user: user(who), role: Role::Member, by: user(who) });
    LiveEvent::new(Event { stream: StreamId::Room(room.clone()), seq: 1, at_ms: 0, body })
}

fn audience(room: &RoomId, people: std::ops::Range<u32>, listed_max: u32) -> Audience {
    let count = u32::try_from(people.len()).unwrap();
    let is_listed = count <= listed_max;
    let people = if is_listed { people.map(user).collect() } else { Vec::new() };
    Audience { room: room.clone(), last_seq: 1, members: count.min(listed_max + 1), people }
}

/// People 0, 3, 6 … are at node 1, people 1, 4, 7 … at node 2, the others nowhere.
fn directory(people: u32) -> Directory {
    let mut directory = Directory::new(Duration::from_secs(5));
    for number in [1, 2] {
        let here = (0..people).filter(|who| u64::from(who % 3) + 1 == number);
        let changes = here.map(|who| (user(who), Devices { devices: 1, away: 0 })).collect();
        directory.hear(node(number), Notice::Delta { version: 1, changes }, Instant::now());
    }
    directory
}

/// The channels of a room's event.
fn ways(routes: &mut Routes, room: &RoomId, directory: &Directory, now: Instant) -> Vec<Channel> {
    let event = event(StreamId::Room(room.clone()));
    routes.plan(&[Outgoing::Event(&event)], directory, now).into_iter().map(|(channel, _)| channel).collect()
}

fn load(routes: &mut Routes, people: std::ops::Range<u32>, now: Instant) {
    let listed_max = routes.listed_max();
    for room in routes.take_wanted(usize::MAX) {
        routes.loaded(audience(&room, people.clone(), listed_max), now);
    }
}

#[test]
fn a_cold_room_goes_to_all_and_a_known_one_to_the_nodes_of_its_members() {
    let (now, directory) = (Instant::now(), directory(9));
    let mut routes = Routes::new(LARGE_FROM, 1000);
    assert_eq!(ways(&mut routes, &room(1), &directory, now), [Channel::All]);
    load(&mut routes, 0..1, now);
    assert_eq!(ways(&mut routes, &room(1), &directory, now), [Channel::Node(node(1))]);
    let join = joined(&room(1), 4);
    let next = event(StreamId::Room(room(1)));
    let plan = routes.plan(&[Outgoing::Event(&join), Outgoing::Event(&next)], &directory, now);
    let both = vec![0, 1];
    let expected = [(Channel::Node(node(1)), both.clone()), (Channel::Node(node(2)), both)];
    assert_eq!(plan, expected, "who joins in this batch is reached in this batch");
    assert!(routes.take_wanted(10).is_empty());
    routes.changed(&room(1));
    routes.changed(&room(2));
    assert_eq!(routes.take_wanted(10), [room(1)], "a room that nobody writes to is not read");
}

#[test]
fn streams_of_people_go_to_their_nodes_and_the_systems_to_all() {
    let (now, directory) = (Instant::now(), directory(9));
    let mut routes = Routes::new(LARGE_FROM, 1000);
    let events = [event(StreamId::User(user(1))), event(StreamId::User(user(2))), event(StreamId::System)];
    let batch: Vec<Outgoing<'_>> = events.iter().map(Outgoing::Event).collect();
    let plan = routes.plan(&batch, &directory, now);
    assert_eq!(plan, [(Channel::All, vec![2]), (Channel::Node(node(2)), vec![0])]);
    assert!(!routes.wants());
}

#[test]
fn a_room_that_turns_large_or_small_goes_both_ways_for_a_while() {
    let (start, directory) = (Instant::now(), directory(30));
    let mut routes = Routes::new(LARGE_FROM, 1000);
    let channel = Channel::Room(room(1));
    ways(&mut routes, &room(1), &directory, start);
    load(&mut routes, 0..9, start);
    let direct = vec![Channel::Node(node(1)), Channel::Node(node(2))];
    assert_eq!(ways(&mut routes, &room(1), &directory, start), direct);

    let join = joined(&room(1), 9);
    let plan = routes.plan(&[Outgoing::Event(&join)], &directory, start);
    let both: Vec<Channel> = direct.iter().cloned().chain([channel.clone()]).collect();
    assert_eq!(plan.into_iter().map(|(channel, _)| channel).collect::<Vec<_>>(), both);
    assert_eq!(ways(&mut routes, &room(1), &directory, start + BOTH_WAYS), both);
    let later = start + BOTH_WAYS + Duration::from_millis(1);
    assert_eq!(ways(&mut routes, &room(1), &directory, later), std::slice::from_ref(&channel));

    routes.changed(&room(1));
    load(&mut routes, 0..9, later);
    assert_eq!(ways(&mut routes, &room(1), &directory, later), both);
    assert_eq!(ways(&mut routes, &room(1), &directory, later + BOTH_WAYS * 2), direct);

    // Far beyond the list at once: everybody, besides the channel.
    routes.changed(&room(1));
    load(&mut routes, 0..30, later);
    assert_eq!(ways(&mut routes, &room(1), &directory, later), [Channel::All, channel]);
}

#[test]
fn who_joins_while_the_list_is_read_is_in_it() {
    let (now, directory) = (Instant::now(), directory(9));
    let mut routes = Routes::new(LARGE_FROM, 1000);
    ways(&mut routes, &room(1), &directory, now);
    let rooms = routes.take_wanted(10);
    routes.note(&joined(&room(1), 1), now);
    let listed_max = routes.listed_max();
    routes.loaded(audience(&rooms[0], 0..1, listed_max), now);
    assert_eq!(ways(&mut routes, &room(1), &directory, now), [Channel::Node(node(1)), Channel::Node(node(2))]);
}

#[test]
fn who_is_removed_is_told_though_the_list_has_them_no_more() {
    let (now, directory) = (Instant::now(), directory(9));
    let mut routes = Routes::new(LARGE_FROM, 1000);
    ways(&mut routes, &room(1), &directory, now);
    load(&mut routes, 0..1, now);
    let removed = |who: u32| {
        let body = EventBody::MemberRemoved(MemberRemoved { user: user(who), by: user(0) });
        LiveEvent::new(Event { stream: StreamId::Room(room(1)), seq: 1, at_ms: 0, body })
    };
    let (here, there) = (removed(3), removed(1));
    let plan = routes.plan(&[Outgoing::Event(&here), Outgoing::Event(&there)], &directory, now);
    assert_eq!(plan, [(Channel::Node(node(1)), vec![0, 1]), (Channel::Node(node(2)), vec![1])]);
}

#[test]
fn who_comes_to_a_node_is_reached_there() {
    let now = Instant::now();
    let mut directory = directory(1);
    let mut routes = Routes::new(LARGE_FROM, 1000);
    ways(&mut routes, &room(1), &directory, now);
    load(&mut routes, 0..3, now);
    assert_eq!(ways(&mut routes, &room(1), &directory, now), [Channel::Node(node(1))]);
    let changes = vec![(user(2), Devices { devices: 1, away: 0 })];
    directory.hear(node(2), Notice::Delta { version: 2, changes }, now);
    routes.directory_changed();
    assert_eq!(ways(&mut routes, &room(1), &directory, now), [Channel::Node(node(1)), Channel::Node(node(2))]);
}

#[test]
fn lists_of_members_are_bounded_in_people() {
    let (now, directory) = (Instant::now(), directory(30));
    let mut routes = Routes::new(LARGE_FROM, 100);
    for number in 0..500 {
        ways(&mut routes, &room(number), &directory, now);
        load(&mut routes, 0..9, now);
        assert!(routes.weight() <= 100, "{} after {number}", routes.weight());
        assert_ne!(ways(&mut routes, &room(number), &directory, now), [Channel::All], "the newest is kept");
        if number > 0 {
            assert_ne!(ways(&mut routes, &room(number - 1), &directory, now), [Channel::All], "and what is used");
        }
    }
    assert_eq!(ways(&mut routes, &room(0), &directory, now), [Channel::All], "what was not used for long is cold");
}

proptest! {
    /// Whatever is known, whatever changes: a room's event reaches every node that has one of its members, through its inbox,
    /// through all, or through the channel of a room that was large for longer than a change takes; and each target gets it once.
    #[test]
    fn every_node_with_a_member_is_a_target(
        steps in prop::collection::vec((0..3_usize, 0..4_u8, 0..30_u32, 0..4_u64), 1..80),
    ) {
        let start = Instant::now();
        let directory = directory(30);
        let mut routes = Routes::new(LARGE_FROM, 200);
        let mut members: Vec<u32> = vec![1; 3];
        let mut now = start;
        for (number, what, count, seconds) in steps {
            now += Duration::from_secs(seconds);
            match what {
                0 => {
                    let who = members[number];
                    if who < 30 {
                        members[number] += 1;
                        let join = joined(&room(number), who);
                        routes.plan(&[Outgoing::Event(&join)], &directory, now);
                    }
                }
                1 => {
                    members[number] = count.max(1);
                    routes.changed(&room(number));
                    let listed_max = routes.listed_max();
                    for wanted in routes.take_wanted(10) {
                        let index = (0..3).find(|index| room(*index) == wanted).unwrap();
                        routes.loaded(audience(&wanted, 0..members[index], listed_max), now);
                    }
                }
                2 => {
                    let rooms = routes.take_wanted(10);
                    routes.not_loaded(rooms);
                }
                _ => {}
            }
            let event = event(StreamId::Room(room(number)));
            let plan = routes.plan(&[Outgoing::Event(&event)], &directory, now);
            let channels: BTreeSet<Channel> = plan.iter().map(|(channel, _)| channel.clone()).collect();
            prop_assert_eq!(channels.len(), plan.len());
            prop_assert!(plan.iter().all(|(_, places)| *places == [0]));
            let is_known = !routes.wanted.contains(&room(number));
            let everywhere = channels.contains(&Channel::All) || channels.contains(&Channel::Room(room(number)));
            if is_known && !everywhere {
                for who in 0..members[number] {
                    for at in directory.nodes_of(&user(who)) {
                        prop_assert!(channels.contains(&Channel::Node(at)), "{} misses {}", room(number), user(who));
                    }
                }
            }
            if channels == BTreeSet::from([Channel::Room(room(number))]) {
                prop_assert!(members[number] >= LARGE_FROM);
            }
        }
    }
}
