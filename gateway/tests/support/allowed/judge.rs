//! Whether everybody saw only what they were allowed to. Pure.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

use hallway_protocol::{EventBody, Seq};

use super::record::{Heads, Mark, Of, RoomLog, Seen, Sight};

/// What a walk came to.
#[derive(Debug, Default)]
pub(crate) struct Verdict {
    pub(crate) violations: Vec<String>,
    /// How often each rule was asked: one that never was proves nothing.
    pub(crate) asked: BTreeMap<&'static str, u64>,
}

impl Verdict {
    /// The same with what another walk came to.
    pub(crate) fn and(mut self, other: Self) -> Self {
        self.violations.extend(other.violations);
        for (rule, times) in other.asked {
            *self.asked.entry(rule).or_default() += times;
        }
        self
    }

    /// The rules that were broken.
    pub(crate) fn broken(&self) -> BTreeSet<&str> {
        self.violations.iter().filter_map(|violation| Some(violation.split_once(':')?.0)).collect()
    }
}

/// Judges what everybody saw against the rooms' logs.
pub(crate) fn judge(rooms: &BTreeMap<String, RoomLog>, sights: &[Sight]) -> Verdict {
    let mut verdict = Verdict::default();
    for sight in sights {
        let Some((rule, allowed)) = look(rooms, sight) else { continue };
        *verdict.asked.entry(rule).or_default() += 1;
        if !allowed {
            let Sight { person, how, seen, heads } = sight;
            verdict.violations.push(format!("{rule}: {person}, {how}: {seen:?} (the rooms stood at {heads:?})"));
        }
    }
    for person in sights.iter().map(|sight| sight.person.as_str()).collect::<BTreeSet<_>>() {
        replay(person, sights, &mut verdict);
    }
    verdict
}

/// Which rule a sight falls under, and whether it keeps it.
fn look(rooms: &BTreeMap<String, RoomLog>, sight: &Sight) -> Option<(&'static str, bool)> {
    let Sight { person, heads, seen, .. } = sight;
    let member = |room: &String| member(rooms, heads, room, person);
    Some(match seen {
        Seen::Event { room, seq } => ("an event of a room", {
            rooms.get(room).is_some_and(|log| log.may_see(person, *seq, !log.shows_everything))
        }),
        Seen::Marked(mark) => ("a text of a room", may_read(rooms, person, *mark)),
        Seen::Wrote { room, seq } => {
            ("a change of a room", rooms.get(room).is_some_and(|log| log.may_see(person, *seq, true)))
        }
        Seen::Answered { room } => ("an answer for members", member(room)),
        Seen::Listed { room } => ("something in a list", member(room)),
        Seen::Refused { room, code } => {
            let log = rooms.get(room)?;
            if member(room) || log.is_public(*heads.get(room)?) {
                return None;
            }
            ("a private room does not exist", code == "not_found")
        }
        Seen::Counted { tasks, in_rooms } => {
            let own = in_rooms.iter().filter(|(room, _)| member(room)).map(|(_, tasks)| tasks).sum::<u64>();
            ("tasks are counted in the own rooms", own == *tasks)
        }
        Seen::FoundPerson { person: found } => {
            let together = |room: &String| member(room) && self::member(rooms, heads, room, found);
            ("a person that was found", found == person || rooms.keys().any(together))
        }
        Seen::FoundRoom { room } => {
            let public = rooms.get(room).zip(heads.get(room)).is_some_and(|(log, head)| log.is_public(*head));
            ("a room that was found", public || member(room))
        }
        Seen::FoundMessage { room, message } => {
            ("a message that was found", may_find(rooms, heads, room, person, message))
        }
        Seen::Own { .. } | Seen::ListedNotification { .. } => return None,
    })
}

fn member(rooms: &BTreeMap<String, RoomLog>, heads: &Heads, room: &str, person: &str) -> bool {
    rooms.get(room).zip(heads.get(room)).is_some_and(|(log, head)| log.membership(person, *head).is_some())
}

/// Whether what carries this mark may have come to the person, by whatever way.
fn may_read(rooms: &BTreeMap<String, RoomLog>, person: &str, mark: Mark) -> bool {
    // A mark that is in no log was never committed: nobody may see it.
    rooms.values().any(|log| {
        log.marked(mark).is_some_and(|seq| {
            let from_joining = match mark.of {
                Of::Message => !log.shows_everything,
                Of::Task => false,
                Of::Notice => true,
            };
            log.may_see(person, seq, from_joining)
        })
    })
}

fn may_find(rooms: &BTreeMap<String, RoomLog>, heads: &Heads, room: &str, person: &str, message: &str) -> bool {
    let Some((log, head)) = rooms.get(room).zip(heads.get(room)) else { return false };
    let Some(membership) = log.membership(person, *head) else { return false };
    log.message(message).is_some_and(|seq| log.shows_everything || seq >= membership.from)
}

/// The own stream says what one was a member of, and what one was notified of, in the order in which both were written.
fn replay(person: &str, sights: &[Sight], verdict: &mut Verdict) {
    let mut own: BTreeMap<Seq, &EventBody> = BTreeMap::new();
    let mut listed = HashSet::new();
    for sight in sights.iter().filter(|sight| sight.person == person) {
        match &sight.seen {
            Seen::Own { seq, body } => {
                own.insert(*seq, body);
            }
            Seen::ListedNotification { id } => {
                listed.insert(id.as_str());
            }
            _ => {}
        }
    }
    if own.keys().zip(1..).any(|(seq, expected)| *seq != expected) {
        verdict.violations.push(format!("the own stream is whole: {person}: {:?}", own.keys().collect::<Vec<_>>()));
    }
    let (mut rooms, mut notified) = (HashMap::new(), HashSet::new());
    for (seq, body) in own {
        match body {
            EventBody::MembershipChanged(changed) => {
                rooms.insert(changed.room.clone(), changed.role.is_some());
            }
            EventBody::NotificationCreated(created) => {
                let notification = &created.notification;
                notified.insert(notification.id.to_string());
                let Some(room) = &notification.room else { continue };
                *verdict.asked.entry("a notification").or_default() += 1;
                if !rooms.get(room).copied().unwrap_or(false) {
                    verdict.violations.push(format!("a notification: {person}, number {seq}: {notification:?}"));
                }
            }
            _ => {}
        }
    }
    for id in listed {
        *verdict.asked.entry("a notification in a list").or_default() += 1;
        if !notified.contains(id) {
            verdict.violations.push(format!("a notification in a list: {person} was never told of {id}"));
        }
    }
}
