//! Pure: who watches whom, and when whose presence is pushed to whom.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::time::{Duration, Instant};

use hallway_protocol::UserId;

use crate::hub::ConnectionId;

/// Somebody whose presence changes all the time is pushed this often: at most four frames a second for each watcher.
pub(super) const PUSH_PERIOD: Duration = Duration::from_millis(250);
/// The answer to a watch and what changes meanwhile may cross on their way to the client. What changed so soon after a watch
/// began is said once more.
const SETTLE: Duration = Duration::from_secs(1);
/// That a watcher shares a room with those on the list is believed for so long; then the store is asked again, before the
/// next push.
const BELIEVED_FOR: Duration = Duration::from_secs(60);

/// Somebody who is watched.
#[derive(Debug, Default)]
struct Person {
    watchers: HashSet<ConnectionId>,
    not_before: Option<Instant>,
    due_at: Option<Instant>,
}

/// Whom a connection watches.
#[derive(Debug)]
struct List {
    people: Vec<UserId>,
    since: Instant,
    believed_until: Instant,
    /// Whose pushes wait for the store.
    held: HashSet<UserId>,
    is_asking: bool,
    /// Whose last frame the connection did not take.
    owed: BTreeSet<UserId>,
}

/// What to push now.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Due {
    pub(super) pushes: Vec<(UserId, Vec<ConnectionId>)>,
    /// Of these connections the store is to be asked first whom they may still watch.
    pub(super) doubts: Vec<(ConnectionId, Vec<UserId>)>,
}

/// What a new answer of the store came to, for one connection.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Reviewed {
    /// Pushed now: it waited for this.
    pub(super) pushes: Vec<UserId>,
    /// Not watched any more.
    pub(super) ended: Vec<UserId>,
}

/// The watch lists of a node's connections.
#[derive(Debug)]
pub(super) struct Watchers {
    people: HashMap<UserId, Person>,
    lists: HashMap<ConnectionId, List>,
    due: BTreeSet<(Instant, UserId)>,
    /// Connections that did not take a frame.
    owing: BTreeSet<ConnectionId>,
    entries: usize,
    entries_max: usize,
}

impl Watchers {
    /// Nobody watches. All lists together hold at most so many people.
    pub(super) fn new(entries_max: usize) -> Self {
        let (people, lists) = (HashMap::new(), HashMap::new());
        Self { people, lists, due: BTreeSet::new(), owing: BTreeSet::new(), entries: 0, entries_max }
    }

    /// A connection watches these from now on, and nobody else. `false`, and nothing changes, when all lists together would
    /// hold too many people.
    pub(super) fn replace(&mut self, connection: ConnectionId, people: &[UserId], now: Instant) -> bool {
        let people: Vec<UserId> = people.iter().cloned().collect::<BTreeSet<_>>().into_iter().collect();
        let before = self.lists.get(&connection).map_or(0, |list| list.people.len());
        if self.entries - before + people.len() > self.entries_max {
            return false;
        }
        self.drop(connection);
        if people.is_empty() {
            return true;
        }
        for user in &people {
            self.people.entry(user.clone()).or_default().watchers.insert(connection);
        }
        self.entries += people.len();
        let believed_until = now + BELIEVED_FOR;
        let (held, owed) = (HashSet::new(), BTreeSet::new());
        self.lists.insert(connection, List { people, since: now, believed_until, held, is_asking: false, owed });
        true
    }

    /// A connection is gone, or watches nobody any more.
    pub(super) fn drop(&mut self, connection: ConnectionId) {
        let Some(list) = self.lists.remove(&connection) else { return };
        self.owing.remove(&connection);
        self.entries -= list.people.len();
        for user in &list.people {
            self.unwatch(user, connection);
        }
    }

    fn unwatch(&mut self, user: &UserId, connection: ConnectionId) {
        let Some(person) = self.people.get_mut(user) else { return };
        person.watchers.remove(&connection);
        if person.watchers.is_empty()
            && let Some(person) = self.people.remove(user)
            && let Some(due_at) = person.due_at
        {
            self.due.remove(&(due_at, user.clone()));
        }
    }

    /// What can be seen of somebody changed.
    pub(super) fn changed(&mut self, user: &UserId, now: Instant) {
        let Some(person) = self.people.get_mut(user) else { return };
        let at = person.not_before.map_or(now, |not_before| not_before.max(now));
        schedule(&mut self.due, person, user, at);
    }

    /// So much changed that nobody says what.
    pub(super) fn changed_all(&mut self, now: Instant) {
        let watched: Vec<UserId> = self.people.keys().cloned().collect();
        watched.iter().for_each(|user| self.changed(user, now));
    }

    /// When [`Watchers::take_due`] has something, if ever.
    pub(super) fn next_due(&self) -> Option<Instant> {
        self.due.first().map(|(at, _)| *at)
    }

    /// Takes what is due.
    pub(super) fn take_due(&mut self, now: Instant) -> Due {
        let mut due = Due::default();
        while let Some((at, user)) = self.due.pop_first() {
            if at > now {
                self.due.insert((at, user));
                break;
            }
            let Some(person) = self.people.get_mut(&user) else { continue };
            person.due_at = None;
            person.not_before = Some(now + PUSH_PERIOD);
            let mut believed = Vec::new();
            let mut settles_at = None;
            for connection in &person.watchers {
                let Some(list) = self.lists.get_mut(connection) else { continue };
                if list.since + SETTLE > now {
                    settles_at = settles_at.max(Some(list.since + SETTLE));
                }
                if now < list.believed_until {
                    believed.push(*connection);
                    continue;
                }
                list.held.insert(user.clone());
                if !list.is_asking {
                    list.is_asking = true;
                    due.doubts.push((*connection, list.people.clone()));
                }
            }
            if let Some(at) = settles_at {
                schedule(&mut self.due, person, &user, at.max(now + PUSH_PERIOD));
            }
            if !believed.is_empty() {
                due.pushes.push((user, believed));
            }
        }
        due
    }

    /// The store said whom of `asked` a connection may still watch. `None`: it did not answer, and is asked with the next push.
    pub(super) fn reviewed(
        &mut self,
        connection: ConnectionId,
        asked: &[UserId],
        allowed: Option<&[UserId]>,
        now: Instant,
    ) -> Reviewed {
        let mut reviewed = Reviewed::default();
        let Some(list) = self.lists.get_mut(&connection) else { return reviewed };
        list.is_asking = false;
        let held = std::mem::take(&mut list.held);
        let Some(allowed) = allowed else {
            for user in &held {
                if let Some(person) = self.people.get_mut(user) {
                    schedule(&mut self.due, person, user, now + SETTLE);
                }
            }
            return reviewed;
        };
        list.believed_until = now + BELIEVED_FOR;
        let allowed: HashSet<&UserId> = allowed.iter().collect();
        // The list may be another one than was asked about.
        let asked: HashSet<&UserId> = asked.iter().collect();
        let is_over = |user: &UserId| asked.contains(user) && !allowed.contains(user);
        reviewed.ended = list.people.extract_if(.., |user| is_over(user)).collect();
        list.owed.retain(|user| !is_over(user));
        self.entries -= reviewed.ended.len();
        let is_empty = list.people.is_empty();
        for user in &reviewed.ended {
            self.unwatch(user, connection);
        }
        if is_empty {
            self.drop(connection);
        }
        reviewed.pushes = held.into_iter().filter(|user| !is_over(user)).collect();
        reviewed
    }

    /// A connection did not take a frame about somebody.
    pub(super) fn owe(&mut self, connection: ConnectionId, user: &UserId) {
        let Some(list) = self.lists.get_mut(&connection) else { return };
        if list.people.binary_search(user).is_ok() {
            list.owed.insert(user.clone());
            self.owing.insert(connection);
        }
    }

    /// About whom those connections that read again are still to be told.
    pub(super) fn take_owed(&mut self, reads: impl Fn(&ConnectionId) -> bool) -> Vec<(ConnectionId, Vec<UserId>)> {
        let ready: Vec<ConnectionId> = self.owing.extract_if(.., |connection| reads(connection)).collect();
        let owed = |connection| {
            let list = self.lists.get_mut(&connection)?;
            Some((connection, std::mem::take(&mut list.owed).into_iter().collect()))
        };
        ready.into_iter().filter_map(owed).collect()
    }

    /// People on all lists together.
    pub(super) fn entries(&self) -> usize {
        self.entries
    }
}

fn schedule(due: &mut BTreeSet<(Instant, UserId)>, person: &mut Person, user: &UserId, at: Instant) {
    match person.due_at {
        Some(earlier) if earlier <= at => return,
        Some(later) => {
            due.remove(&(later, user.clone()));
        }
        None => {}
    }
    person.due_at = Some(at);
    due.insert((at, user.clone()));
}

#[cfg(test)]
#[path = "watchers_tests.rs"]
mod tests;
