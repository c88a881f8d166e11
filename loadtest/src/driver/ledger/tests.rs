#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use super::super::crowd::{Common, Crowd, Senders};
use super::super::hallway::Kind;
use super::super::job::Server;
use super::*;

/// Two rooms with three listeners each, and a publisher in each: seats 0 to 3 and 4 to 7.
fn ledger() -> Ledger {
    let kind = Kind { path: "/".to_owned(), postcard: false, durable: false };
    let common = Common {
        server: Server::Hallway(kind),
        target: "127.0.0.1:1".parse().unwrap(),
        further_targets: Vec::new(),
        host: "h".to_owned(),
        source_addresses: 1,
        connect_rate: 0.0,
        payload_bytes: 128,
        echoes: false,
    };
    let crowd =
        Crowd { name: "t".to_owned(), groups: 2, members: 3, rooms: 1, senders: Senders::Publisher, mutable: 0 };
    let mut ledger = Ledger::new(&crowd.jobs(&common, 1, &|_| None)[0]);
    for seat in 0..8 {
        ledger.open(seat);
    }
    ledger
}

fn publish(ledger: &mut Ledger, count: u32) -> Vec<Stamp> {
    (0..count)
        .map(|_| {
            let (stamp, awaited) = ledger.publish(0, 5);
            assert_eq!(awaited, 3);
            stamp
        })
        .collect()
}

#[test]
fn everything_once_and_in_order_is_clean() {
    let mut ledger = ledger();
    let stamps = publish(&mut ledger, 4);
    for seat in 0..3 {
        for stamp in &stamps {
            assert!(ledger.receive(seat, Some(*stamp)).unwrap().awaited);
        }
    }
    assert_eq!(ledger.owed(), 0);
    ledger.settle();
    assert!(ledger.verdict().is_clean());
    assert_eq!((ledger.verdict().published, ledger.verdict().received), (4, 12));
}

#[test]
fn a_lost_body_is_lost_whether_others_followed_or_not() {
    let mut ledger = ledger();
    let stamps = publish(&mut ledger, 3);
    for seat in 0..3 {
        ledger.receive(seat, Some(stamps[0])).unwrap();
        // The second never comes to the first two; the third never comes to the last.
        let rest = if seat < 2 { &stamps[2..] } else { &stamps[1..2] };
        rest.iter().for_each(|stamp| assert!(ledger.receive(seat, Some(*stamp)).is_some()));
    }
    assert_eq!(ledger.owed(), 3);
    ledger.settle();
    assert_eq!(ledger.verdict(), Verdict { lost: 3, ..ledger.verdict() });
    ledger.settle();
    assert_eq!(ledger.verdict().lost, 3, "a loss is told once");
}

#[test]
fn a_swap_is_one_reordering_and_no_loss() {
    let mut ledger = ledger();
    let stamps = publish(&mut ledger, 2);
    for seat in 0..3 {
        let order = if seat == 1 { [1, 0] } else { [0, 1] };
        order.iter().for_each(|place| assert!(ledger.receive(seat, Some(stamps[*place])).is_some()));
    }
    ledger.settle();
    let verdict = ledger.verdict();
    assert_eq!((verdict.reordered, verdict.lost, verdict.repeated), (1, 0, 0));
}

#[test]
fn repeats_phantoms_and_strangers_are_told_apart() {
    let mut ledger = ledger();
    let stamp = publish(&mut ledger, 1)[0];
    assert!(ledger.receive(0, Some(stamp)).is_some());
    assert!(ledger.receive(0, Some(stamp)).is_none());
    assert!(ledger.receive(1, None).is_none());
    assert!(ledger.receive(1, Some(Stamp { sequence: 9, ..stamp })).is_none());
    // The publisher's own, which nobody should send back.
    assert!(ledger.receive(3, Some(stamp)).is_none());
    // The other room, and nobody's.
    assert!(ledger.receive(4, Some(stamp)).is_none());
    assert!(ledger.receive(1, Some(Stamp { publisher: 77, ..stamp })).is_none());
    let verdict = ledger.verdict();
    assert_eq!((verdict.repeated, verdict.phantom, verdict.foreign), (1, 3, 2));
}

#[test]
fn nothing_is_owed_to_who_has_left() {
    let mut ledger = ledger();
    let stamps = publish(&mut ledger, 2);
    ledger.receive(2, Some(stamps[0])).unwrap();
    assert_eq!(ledger.close(2), vec![(0, 1..2)]);
    for seat in 0..2 {
        stamps.iter().for_each(|stamp| assert!(ledger.receive(seat, Some(*stamp)).is_some()));
    }
    assert_eq!(ledger.owed(), 0);
    assert_eq!(ledger.publish(0, 5).1, 2);
    ledger.settle();
    assert_eq!(ledger.verdict().lost, 2);
}
