//! Who is there: devices that come, go and look away, rooms of every size, and those who watch.

use std::time::Duration;

use hallway_protocol::model::{Presence, PresenceState};
use hallway_protocol::{ErrorCode, ServerFrame};
use serde_json::{Value, json};

use crate::node::TestNode;
use crate::seat::Seat;

/// Members of a room up to which all of them are looked at.
const SMALL_ROOM_MEMBERS: usize = 100;

/// Reads presence frames of this person until one is as wanted.
async fn until(seat: &mut Seat, user: &str, state: PresenceState, devices: u32) {
    loop {
        let Presence { state: seen, devices: count, .. } = frame(seat, user).await;
        if (seen, count) == (state, devices) {
            return;
        }
    }
}

/// The next presence frame of this person.
async fn frame(seat: &mut Seat, user: &str) -> Presence {
    let of_user = |frame: &ServerFrame| matches!(frame, ServerFrame::Presence(person) if person.user.as_str() == user);
    match seat.take(&format!("the presence of {user}"), of_user).await {
        ServerFrame::Presence(person) => person,
        _ => unreachable!(),
    }
}

/// Asks until the answer is as wanted: presence is a hint, and comes a moment later.
async fn get_until(seat: &mut Seat, arguments: Value, wanted: impl Fn(&Value) -> bool) -> Value {
    let end = tokio::time::Instant::now() + crate::node::PATIENCE;
    loop {
        let got = seat.done("presence.get", arguments.clone()).await;
        if wanted(&got) {
            return got;
        }
        assert!(tokio::time::Instant::now() < end, "presence stays at {got}");
        tokio::task::yield_now().await;
    }
}

fn offline(user: &str) -> Value {
    json!({"user": user, "state": "offline", "devices": 0})
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_person_is_online_while_any_device_is_away_when_all_are_and_offline_with_none() {
    let node = TestNode::start(|_| {}).await;
    let mut ada = node.connect("ada").await;
    ada.create("lobby", "public").await;
    let mut phone = node.connect("ben").await;
    phone.join("lobby").await;
    let watched = ada.done("presence.watch", json!({"users": ["ben"]})).await;
    assert_eq!(watched["people"][0]["user"], "ben");
    let mut laptop = node.connect("ben").await;
    until(&mut ada, "ben", PresenceState::Online, 2).await;
    phone.done("presence.set", json!({"away": true})).await;
    laptop.done("presence.set", json!({"away": true})).await;
    until(&mut ada, "ben", PresenceState::Away, 2).await;
    laptop.done("presence.set", json!({"away": false})).await;
    until(&mut ada, "ben", PresenceState::Online, 2).await;
    drop(laptop);
    // The one that is left says that nobody is looking.
    until(&mut ada, "ben", PresenceState::Away, 1).await;
    drop(phone);
    until(&mut ada, "ben", PresenceState::Offline, 0).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_shares_no_room_is_seen_as_somebody_who_does_not_exist() {
    let node = TestNode::start(|_| {}).await;
    let mut ada = node.connect("ada").await;
    ada.create("garden", "private").await;
    let mut eve = node.connect("eve").await;
    let before =
        json!({"people": [offline("nobody"), offline("ada"), {"user": "eve", "state": "online", "devices": 1}]});
    let users = json!({"users": ["nobody", "ada", "eve"]});
    let end = tokio::time::Instant::now() + crate::node::PATIENCE;
    // Who has just come may not be in the directory yet: only eve herself is ever seen.
    while eve.done("presence.watch", users.clone()).await != before {
        assert!(tokio::time::Instant::now() < end);
    }
    let second = node.connect("ada").await;
    ada.done("presence.set", json!({"away": true})).await;
    // What changes about eve herself comes later than what changed about ada.
    eve.done("presence.set", json!({"away": true})).await;
    until(&mut eve, "eve", PresenceState::Away, 1).await;
    let told = |frame: &ServerFrame| matches!(frame, ServerFrame::Presence(person) if person.user.as_str() == "ada");
    assert!(!eve.unread.iter().any(told), "eve hears of ada");
    // A private room that is not hers, and one that does not exist: the same answer.
    assert_eq!(eve.refused("presence.get", json!({"room": "garden"})).await, ErrorCode::NotFound);
    assert_eq!(eve.refused("presence.get", json!({"room": "nowhere"})).await, ErrorCode::NotFound);
    drop(second);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_watch_replaces_the_one_before() {
    let node = TestNode::start(|_| {}).await;
    let mut ada = node.connect("ada").await;
    ada.create("lobby", "public").await;
    let (mut ben, mut cleo) = (node.connect("ben").await, node.connect("cleo").await);
    ben.join("lobby").await;
    cleo.join("lobby").await;
    ada.done("presence.watch", json!({"users": ["ben"]})).await;
    node.metric_until("hallway_presence_watched", "", |watched| watched == 1.0).await;
    ada.done("presence.watch", json!({"users": ["cleo", "ada"]})).await;
    ada.unread.clear();
    ben.done("presence.set", json!({"away": true})).await;
    cleo.done("presence.set", json!({"away": true})).await;
    until(&mut ada, "cleo", PresenceState::Away, 1).await;
    let of_ben = |frame: &ServerFrame| matches!(frame, ServerFrame::Presence(person) if person.user.as_str() == "ben");
    assert!(!ada.unread.iter().any(of_ben));
    node.metric_until("hallway_presence_watched", "", |watched| watched == 2.0).await;
    // The list goes with its connection.
    drop(ada);
    node.metric_until("hallway_presence_watched", "", |watched| watched == 0.0).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_small_room_is_answered_with_its_members_in_pages_and_exact_counts() {
    let node = TestNode::start(|_| {}).await;
    let mut ada = node.connect("ada").await;
    ada.create("lobby", "private").await;
    for user in ["ben", "cleo", "dora"] {
        ada.done("room.invite", json!({"room": "lobby", "user": user, "role": "member"})).await;
    }
    let mut ben = node.connect("ben").await;
    ben.done("presence.set", json!({"away": true})).await;
    let expected = json!({
        "online": 1, "away": 1, "counts_complete": true, "next": null,
        "members": [
            {"user": "ada", "state": "online", "devices": 1}, {"user": "ben", "state": "away", "devices": 1},
            offline("cleo"), offline("dora"),
        ],
    });
    get_until(&mut ada, json!({"room": "lobby"}), |got| *got == expected).await;
    // The counts are of the whole room, whatever the page.
    let first = ada.done("presence.get", json!({"room": "lobby", "limit": 3})).await;
    assert_eq!((&first["online"], &first["away"], &first["counts_complete"]), (&json!(1), &json!(1), &json!(true)));
    assert_eq!(first["members"].as_array().unwrap()[..], expected["members"].as_array().unwrap()[..3]);
    let rest = ada.done("presence.get", json!({"room": "lobby", "limit": 3, "cursor": first["next"]})).await;
    assert_eq!(
        (&rest["online"], &rest["members"], &rest["next"]),
        (&json!(1), &json!([offline("dora")]), &Value::Null)
    );
    assert_eq!(ada.refused("presence.get", json!({"room": "lobby", "cursor": "?"})).await, ErrorCode::InvalidArgument);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_large_room_is_answered_with_counts_of_all_and_pages() {
    let node = TestNode::start(|_| {}).await;
    let mut ada = node.connect("ada").await;
    ada.create("hall", "public").await;
    for number in 0..SMALL_ROOM_MEMBERS {
        let user = format!("guest{number:03}");
        ada.send("room.invite", json!({"room": "hall", "user": user, "role": "guest"})).await;
    }
    ada.ping().await;
    let mut guests = Vec::new();
    for number in [7, 8, 9] {
        guests.push(node.connect(&format!("guest{number:03}")).await);
    }
    let _stranger = node.connect("stranger").await;
    guests[0].done("presence.set", json!({"away": true})).await;
    let counts = |got: &Value| (got["online"] == 3, got["away"] == 1, got["counts_complete"] == true);
    let got = get_until(&mut ada, json!({"room": "hall", "limit": 10}), |got| counts(got) == (true, true, true)).await;
    assert_eq!(got["members"][8], json!({"user": "guest007", "state": "away", "devices": 1}));
    assert!(got["next"].is_string());
    // Who goes is counted out.
    guests.pop();
    get_until(&mut ada, json!({"room": "hall"}), |got| got["online"] == 2 && got["away"] == 1).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_connection_watches_a_bounded_number_of_people() {
    let node = TestNode::start(|config| config.limits.presence_watch_max_users = 3).await;
    let mut ada = node.connect("ada").await;
    let users = |count: usize| json!({"users": (0..count).map(|number| format!("u{number}")).collect::<Vec<_>>()});
    assert_eq!(ada.refused("presence.watch", users(4)).await, ErrorCode::LimitReached);
    ada.done("presence.watch", users(3)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_lists_of_all_connections_together_are_bounded() {
    let node = TestNode::start(|config| config.limits.presence_watched_max = 2).await;
    let (mut ada, mut ben) = (node.connect("ada").await, node.connect("ben").await);
    ada.create("lobby", "public").await;
    ben.join("lobby").await;
    ada.done("presence.watch", json!({"users": ["ada", "ben"]})).await;
    assert_eq!(ben.refused("presence.watch", json!({"users": ["ada"]})).await, ErrorCode::LimitReached);
    ada.done("presence.watch", json!({"users": []})).await;
    ben.done("presence.watch", json!({"users": ["ada"]})).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_flapping_device_costs_its_watchers_a_bounded_number_of_frames() {
    let node = TestNode::start(|_| {}).await;
    let (mut ada, mut ben) = (node.connect("ada").await, node.connect("ben").await);
    ada.create("lobby", "public").await;
    ben.join("lobby").await;
    ada.done("presence.watch", json!({"users": ["ben"]})).await;
    let begun = tokio::time::Instant::now();
    for turn in 0..400 {
        ben.done("presence.set", json!({"away": turn % 2 == 0})).await;
    }
    // What was said last is what holds.
    ben.done("presence.set", json!({"away": true})).await;
    let (mut count, mut last) = (0, None);
    // Until nothing more comes for longer than anything is held back.
    while let Ok(person) = tokio::time::timeout(Duration::from_millis(1500), frame(&mut ada, "ben")).await {
        (count, last) = (count + 1, Some(person.state));
    }
    assert_eq!(last, Some(PresenceState::Away));
    let seconds = begun.elapsed().as_secs_f64();
    assert!(f64::from(count) <= 4.0 * seconds + 2.0, "{count} frames in {seconds} seconds");
}
