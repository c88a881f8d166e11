//! Nobody ever received, listed or resolved anything of a room when they were not allowed to: random walks over real sockets,
//! judged by `support/allowed`; and the judge itself, which can say no.
//!
//! Every run takes other numbers and prints them; `HALLWAY_TEST_SEED=<number>` walks that way again.

use std::collections::BTreeMap;

use hallway_protocol::event::{MemberJoined, MemberRemoved, MembershipChanged, MessageCreated, NotificationCreated};
use hallway_protocol::model::{History, Message, Role, Visibility};
use hallway_protocol::notification::{Notification, NotificationKind};
use hallway_protocol::{EventBody, MessageId, NotificationId};

use crate::allowed::judge::{Verdict, judge};
use crate::allowed::record::{Heads, Mark, Of, RoomLog, Seen, Sight};
use crate::allowed::walk::Walk;
use crate::node::TestNode;

const WALKS: usize = 3;
/// A walk draws lots: some rule may not be asked in so few.
const WALKS_MAX: usize = 12;
const STEPS: u32 = 400;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[expect(clippy::disallowed_methods, reason = "which walk to repeat is said from outside")]
async fn nobody_sees_anything_of_a_room_when_they_are_not_allowed_to() {
    let given: Option<u64> = std::env::var("HALLWAY_TEST_SEED").ok().map(|seed| seed.parse().unwrap());
    let seeds: Vec<u64> = given.map_or_else(|| (0..WALKS_MAX).map(|_| rand::random()).collect(), |seed| vec![seed]);
    let mut total = Verdict::default();
    let lacks = |total: &Verdict| RULES.into_iter().find(|rule| total.asked.get(rule).is_none_or(|times| *times == 0));
    for (walked, seed) in seeds.into_iter().enumerate() {
        if walked >= WALKS && lacks(&total).is_none() {
            break;
        }
        println!("HALLWAY_TEST_SEED={seed}");
        let node = TestNode::start(|_| {}).await;
        let verdict = Walk::run(&node, seed, STEPS).await;
        assert!(verdict.violations.is_empty(), "HALLWAY_TEST_SEED={seed}: {:#?}", verdict.violations);
        total = total.and(verdict);
        node.drain().await;
    }
    println!("{:#?}", total.asked);
    assert!(given.is_some() || lacks(&total).is_none(), "{:?}: never asked", lacks(&total));
}

/// Every rule of the judge that can be asked.
const RULES: [&str; 12] = [
    "a change of a room",
    "a message that was found",
    "a notification",
    "a notification in a list",
    "a person that was found",
    "a private room does not exist",
    "a room that was found",
    "a text of a room",
    "an answer for members",
    "an event of a room",
    "something in a list",
    "tasks are counted in the own rooms",
];

/// A private room that shows nothing of before: eve is a member from 3 to 5, `other` never is. A message stands at 4, and one
/// at 6. Bob is in from 2 on.
fn house() -> BTreeMap<String, RoomLog> {
    let user = |name: &str| name.parse().unwrap();
    let joined = |name| EventBody::MemberJoined(MemberJoined { user: user(name), role: Role::Member, by: user("bob") });
    let said = |number| {
        EventBody::MessageCreated(MessageCreated {
            message: Message {
                id: message(number),
                seq: number,
                ordinal: 1,
                sender: user("bob"),
                at_ms: 0,
                text: Mark { of: Of::Message, number }.text(),
                reply_to: None,
                mentions: Vec::new(),
                meta: None,
                version: 1,
                edited_at_ms: None,
                deleted: false,
                reactions: Vec::new(),
            },
        })
    };
    let mut log = RoomLog::new(History::SinceJoin, Visibility::Private);
    log.note(2, &joined("bob"));
    log.note(3, &joined("eve"));
    log.note(4, &said(4));
    log.note(5, &EventBody::MemberRemoved(MemberRemoved { user: user("eve"), by: user("bob") }));
    log.note(6, &said(6));
    log.note_notice(Mark { of: Of::Notice, number: 1 }, 6);
    assert!(log.is_whole());
    BTreeMap::from([("garden".to_owned(), log)])
}

fn message(number: u64) -> MessageId {
    format!("019b76da-a800-7000-8000-{number:012}").parse().unwrap()
}

/// What eve sees when the room stands at this number.
fn eve(head: u64, seen: Seen) -> Sight {
    let heads = Heads::from([("garden".to_owned(), head)]);
    Sight { person: "eve".to_owned(), how: "a test".to_owned(), heads, seen }
}

fn broken(sights: &[Sight]) -> Vec<String> {
    judge(&house(), sights).broken().into_iter().map(str::to_owned).collect()
}

fn own(seq: u64, body: EventBody) -> Sight {
    eve(6, Seen::Own { seq, body: Box::new(body) })
}

fn notified() -> EventBody {
    let notification = Notification {
        id: NotificationId::generate(),
        seq: 1,
        kind: NotificationKind::Mention,
        urgent: false,
        silent: false,
        room: Some("garden".parse().unwrap()),
        message: None,
        task: None,
        comment: None,
        by: None,
        at_ms: 0,
        title: None,
        text: None,
        data: None,
        acknowledge_by_ms: None,
        read: false,
        acknowledged: false,
    };
    EventBody::NotificationCreated(NotificationCreated { notification, unread: 1 })
}

fn membership(role: Option<Role>) -> EventBody {
    let room = "garden".parse().unwrap();
    EventBody::MembershipChanged(MembershipChanged { room, role, room_seq: 3, joined_seq: 3, visible_from_seq: 3 })
}

#[test]
fn the_judge_allows_what_lies_within_a_membership_and_nothing_else() {
    let room = || "garden".to_owned();
    let text = |number| Seen::Marked(Mark { of: Of::Message, number });
    let at = |seq| Seen::Event { room: room(), seq };
    let found = |number| Seen::FoundMessage { room: room(), message: message(number).to_string() };
    let person = |name: &str| Seen::FoundPerson { person: name.to_owned() };
    let counted = |tasks| Seen::Counted { tasks, in_rooms: BTreeMap::from([(room(), 2)]) };
    let refused = |code: &str| Seen::Refused { room: room(), code: code.to_owned() };
    // What, when the room stands where, and whether eve may.
    let cases = [
        ("an event of a room", 6, at(3), true),
        ("an event of a room", 6, at(5), true),
        ("an event of a room", 6, at(2), false),
        ("an event of a room", 6, at(6), false),
        ("a text of a room", 6, text(4), true),
        ("a text of a room", 6, text(6), false),
        ("a text of a room", 6, text(7), false),
        ("a text of a room", 6, Seen::Marked(Mark { of: Of::Notice, number: 1 }), false),
        ("a change of a room", 6, Seen::Wrote { room: room(), seq: 4 }, true),
        ("a change of a room", 6, Seen::Wrote { room: room(), seq: 6 }, false),
        ("an answer for members", 4, Seen::Answered { room: room() }, true),
        ("an answer for members", 5, Seen::Answered { room: room() }, false),
        ("an answer for members", 2, Seen::Answered { room: room() }, false),
        ("something in a list", 4, Seen::Listed { room: room() }, true),
        ("something in a list", 6, Seen::Listed { room: room() }, false),
        ("a private room does not exist", 6, refused("not_found"), true),
        ("a private room does not exist", 6, refused("not_a_member"), false),
        ("tasks are counted in the own rooms", 4, counted(2), true),
        ("tasks are counted in the own rooms", 6, counted(0), true),
        ("tasks are counted in the own rooms", 6, counted(2), false),
        ("a person that was found", 4, person("bob"), true),
        ("a person that was found", 6, person("eve"), true),
        ("a person that was found", 6, person("bob"), false),
        ("a room that was found", 4, Seen::FoundRoom { room: room() }, true),
        ("a room that was found", 6, Seen::FoundRoom { room: room() }, false),
        ("a message that was found", 4, found(4), true),
        ("a message that was found", 6, found(4), false),
    ];
    for (rule, head, seen, allowed) in cases {
        let expected: &[&str] = if allowed { &[] } else { &[rule] };
        assert_eq!(broken(&[eve(head, seen.clone())]), expected, "{seen:?} at {head}");
    }
}

#[test]
fn the_judge_reads_the_own_stream_in_its_order() {
    let (joined, left) = (membership(Some(Role::Member)), membership(None));
    let notification = notified();
    assert_eq!(broken(&[own(1, joined.clone()), own(2, notification.clone())]), Vec::<String>::new());
    assert_eq!(broken(&[own(2, joined.clone()), own(1, notification.clone())]), ["a notification"]);
    assert_eq!(
        broken(&[own(1, joined.clone()), own(2, left), own(3, notification.clone())]),
        ["a notification"],
        "it came after the end"
    );
    assert_eq!(broken(&[own(1, joined.clone()), own(3, notification)]), ["the own stream is whole"]);
    let unheard = Seen::ListedNotification { id: NotificationId::generate().to_string() };
    assert_eq!(broken(&[own(1, joined), eve(4, unheard)]), ["a notification in a list"]);
}
