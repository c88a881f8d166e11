#![expect(clippy::unwrap_used, reason = "a failed test panics")]

use proptest::prelude::*;

use super::*;

fn user(number: usize) -> UserId {
    UserId::new(&format!("u{number}")).unwrap()
}

fn at(start: Instant, milliseconds: u64) -> Instant {
    start + Duration::from_millis(milliseconds)
}

const PHONE: ConnectionId = ConnectionId(1);
const LAPTOP: ConnectionId = ConnectionId(2);

/// Long after a watch began.
const SETTLED_MS: u64 = 10_000;

#[test]
fn a_flapping_person_costs_a_watcher_four_frames_a_second_and_the_last_word_is_said() {
    let start = Instant::now();
    let mut watchers = Watchers::new(10);
    assert!(watchers.replace(PHONE, &[user(1)], start));
    let mut pushed = Vec::new();
    for millisecond in (SETTLED_MS..SETTLED_MS + 2_000).step_by(5) {
        let now = at(start, millisecond);
        watchers.changed(&user(1), now);
        if !watchers.take_due(now).pushes.is_empty() {
            pushed.push(now);
        }
    }
    assert_eq!(pushed[0], at(start, SETTLED_MS), "the first change is not delayed");
    assert!(pushed.len() <= 8, "{} frames in two seconds", pushed.len());
    let last = watchers.next_due().unwrap();
    assert!(last > at(start, SETTLED_MS + 1_995), "what changed last is still to be said");
    assert_eq!(watchers.take_due(last).pushes, [(user(1), vec![PHONE])]);
    assert_eq!(watchers.next_due(), None);
}

#[test]
fn a_watch_replaces_the_one_before_and_ends_with_its_connection() {
    let start = Instant::now();
    let mut watchers = Watchers::new(10);
    watchers.replace(PHONE, &[user(1), user(2), user(2)], start);
    watchers.replace(LAPTOP, &[user(2)], start);
    assert_eq!(watchers.entries(), 3, "who is named twice is watched once");
    watchers.replace(PHONE, &[user(3)], start);
    let now = at(start, SETTLED_MS);
    for number in 1..=3 {
        watchers.changed(&user(number), now);
    }
    assert_eq!(watchers.take_due(now).pushes, [(user(2), vec![LAPTOP]), (user(3), vec![PHONE])]);
    watchers.changed(&user(2), now);
    watchers.drop(LAPTOP);
    watchers.drop(LAPTOP);
    watchers.replace(PHONE, &[], now);
    assert_eq!((watchers.entries(), watchers.next_due()), (0, None), "nothing is kept of nobody");
    assert!(watchers.people.is_empty() && watchers.lists.is_empty());
}

#[test]
fn all_lists_together_are_bounded() {
    let now = Instant::now();
    let mut watchers = Watchers::new(3);
    assert!(watchers.replace(PHONE, &[user(1), user(2)], now));
    assert!(!watchers.replace(LAPTOP, &[user(1), user(2)], now));
    assert!(watchers.replace(LAPTOP, &[user(1)], now));
    assert!(!watchers.replace(PHONE, &[user(1), user(2), user(3)], now));
    watchers.changed(&user(2), now);
    assert_eq!(watchers.take_due(now).pushes.len(), 1, "a list that did not fit left the old one as it was");
    assert!(watchers.replace(PHONE, &[user(4), user(5)], now), "what is replaced does not count");
}

#[test]
fn what_changes_while_the_answer_is_on_its_way_is_said_again() {
    let start = Instant::now();
    let mut watchers = Watchers::new(10);
    watchers.replace(PHONE, &[user(1)], start);
    watchers.changed(&user(1), at(start, 3));
    assert_eq!(watchers.take_due(at(start, 3)).pushes.len(), 1);
    let again = watchers.next_due().unwrap();
    assert_eq!(again, start + SETTLE);
    assert_eq!(watchers.take_due(again).pushes.len(), 1);
    assert_eq!(watchers.next_due(), None);
}

#[test]
fn who_shares_no_room_any_more_is_not_told_of() {
    let start = Instant::now();
    let mut watchers = Watchers::new(10);
    watchers.replace(PHONE, &[user(1), user(2)], start);
    watchers.replace(LAPTOP, &[user(2)], at(start, 50_000));
    let now = start + BELIEVED_FOR;
    watchers.changed(&user(1), now);
    watchers.changed(&user(2), now);
    let due = watchers.take_due(now);
    assert_eq!(due.pushes, [(user(2), vec![LAPTOP])], "whom the store vouched for lately");
    assert_eq!(due.doubts, [(PHONE, vec![user(1), user(2)])], "asked once");
    // The store does not answer: nothing is pushed, and it is asked again.
    assert_eq!(watchers.reviewed(PHONE, &due.doubts[0].1, None, now), Reviewed::default());
    let later = watchers.next_due().unwrap();
    let due = watchers.take_due(later);
    assert_eq!(due.doubts.len(), 1);
    let reviewed = watchers.reviewed(PHONE, &due.doubts[0].1, Some(&[user(1)]), later);
    assert_eq!(reviewed, Reviewed { pushes: vec![user(1)], ended: vec![user(2)] });
    watchers.changed(&user(2), at(later, 1_000));
    assert_eq!(watchers.take_due(at(later, 1_000)).pushes, [(user(2), vec![LAPTOP])]);
    assert_eq!(watchers.entries(), 2);
    // A list that was replaced meanwhile keeps what was not asked about.
    watchers.replace(PHONE, &[user(7)], later);
    let reviewed = watchers.reviewed(PHONE, &[user(1)], Some(&[]), later);
    assert_eq!((reviewed, watchers.entries()), (Reviewed::default(), 2));
}

#[test]
fn what_a_full_connection_did_not_take_is_said_when_it_reads_again() {
    let start = Instant::now();
    let mut watchers = Watchers::new(10);
    watchers.replace(PHONE, &[user(1), user(2), user(3)], start);
    watchers.replace(LAPTOP, &[user(1)], start);
    for number in [1, 3, 1, 9] {
        watchers.owe(PHONE, &user(number));
    }
    watchers.owe(LAPTOP, &user(1));
    assert_eq!(watchers.take_owed(|connection| *connection == LAPTOP), [(LAPTOP, vec![user(1)])]);
    watchers.reviewed(PHONE, &[user(3)], Some(&[]), start);
    assert_eq!(watchers.take_owed(|_| true), [(PHONE, vec![user(1)])], "once each, and nobody who is not watched");
    assert_eq!(watchers.take_owed(|_| true), []);
    watchers.owe(LAPTOP, &user(1));
    watchers.drop(LAPTOP);
    assert_eq!(watchers.take_owed(|_| true), []);
}

proptest! {
    /// Whatever happens: frames come only for what is watched, never two within the period, the last change is followed by a
    /// push, and the books agree.
    #[test]
    fn pushes_are_paced_and_the_last_change_is_pushed(
        steps in prop::collection::vec((0..4_u8, 0..3_u64, 0..4_usize, 0..400_u64), 1..120),
    ) {
        let start = Instant::now();
        let mut now = start;
        let mut watchers = Watchers::new(100);
        let mut lists: HashMap<ConnectionId, HashSet<UserId>> = HashMap::new();
        // Of people who have been watched without a break since.
        let mut last_push: HashMap<UserId, Instant> = HashMap::new();
        let mut unsaid: HashSet<(ConnectionId, UserId)> = HashSet::new();
        for (step, connection, person, pause) in steps.into_iter().chain([(9, 0, 0, 2_000), (9, 0, 0, 2_000)]) {
            now += Duration::from_millis(pause);
            let connection = ConnectionId(connection);
            if step < 2 {
                lists.remove(&connection);
                last_push.retain(|person, _| lists.values().any(|people| people.contains(person)));
            }
            match step {
                0 => {
                    let people: Vec<UserId> = (0..=person).map(user).collect();
                    watchers.replace(connection, &people, now);
                    unsaid.retain(|(watcher, _)| *watcher != connection);
                    lists.insert(connection, people.into_iter().collect());
                }
                1 => {
                    watchers.drop(connection);
                    unsaid.retain(|(watcher, _)| *watcher != connection);
                }
                2 | 3 => {
                    watchers.changed(&user(person), now);
                    let watching = lists.iter().filter(|(_, people)| people.contains(&user(person)));
                    unsaid.extend(watching.map(|(watcher, _)| (*watcher, user(person))));
                }
                _ => {}
            }
            for (person, connections) in watchers.take_due(now).pushes {
                if let Some(last) = last_push.insert(person.clone(), now) {
                    prop_assert!(now - last >= PUSH_PERIOD);
                }
                for connection in connections {
                    prop_assert!(lists.get(&connection).is_some_and(|people| people.contains(&person)));
                    unsaid.remove(&(connection, person.clone()));
                }
            }
            let entries: usize = lists.values().map(HashSet::len).sum();
            prop_assert_eq!(watchers.entries(), entries);
            prop_assert_eq!(watchers.lists.len(), lists.len());
            let watched: HashSet<&UserId> = lists.values().flatten().collect();
            prop_assert_eq!(watchers.people.len(), watched.len());
        }
        prop_assert!(unsaid.is_empty(), "{:?}", unsaid);
    }
}
