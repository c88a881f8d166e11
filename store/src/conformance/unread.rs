//! Random causes, readings, preferences and trims against the simplest model of notifications that could be right.

use std::collections::BTreeMap;

use hallway_protocol::event::{NotificationAcknowledged, NotificationsRead};
use hallway_protocol::notification::{Level, NotificationKind};
use hallway_protocol::{EventBody, History, NotificationId, RoomId, Seq, StreamId, UserId, Visibility};
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

use super::kit::{self, Shared, try_one, whole};
use super::notes_kit::{acknowledge, inbox, mention, notice, notify, prefer, quiet_now, read, told};
use crate::{Action, Addressed, Committed, Notice, Refusal, wants};

const STEPS: usize = 250;
const PEOPLE: usize = 4;
const LEVELS: [Option<Level>; 4] = [None, Some(Level::None), Some(Level::Mentions), Some(Level::All)];

struct Note {
    id: NotificationId,
    seq: Seq,
    key: Option<String>,
    urgent: bool,
    silent: bool,
    read: bool,
    acknowledged: bool,
}

#[derive(Default)]
struct Person {
    last_seq: Seq,
    notes: Vec<Note>,
    member: bool,
    own: Option<Level>,
    of_room: Option<Level>,
    quiet: bool,
}

impl Person {
    fn unread(&self) -> u64 {
        self.notes.iter().filter(|note| !note.read).count() as u64
    }

    fn wants(&self, in_room: bool, kind: &NotificationKind, urgent: bool, key: Option<&String>) -> bool {
        let level = if in_room { self.of_room.or(self.own) } else { self.own };
        (self.member || !in_room)
            && wants(level.unwrap_or(Level::All), kind, urgent)
            && key.is_none_or(|key| self.notes.iter().all(|note| note.key.as_ref() != Some(key)))
    }
}

struct World {
    ann: UserId,
    room: RoomId,
    ids: Vec<UserId>,
    people: BTreeMap<UserId, Person>,
}

/// Something that may notify.
struct Random {
    action: Action,
    among: Vec<UserId>,
    in_room: bool,
    kind: NotificationKind,
    urgent: bool,
    key: Option<String>,
}

impl World {
    fn some(&self, random: &mut StdRng) -> Vec<UserId> {
        self.ids.iter().filter(|_| random.random_bool(0.5)).cloned().collect()
    }

    fn cause(&self, random: &mut StdRng) -> Random {
        let among = self.some(random);
        let named: Vec<&UserId> = among.iter().collect();
        if random.random_bool(0.4) {
            let action = mention(&self.room, &named, None);
            return Random { action, among, in_room: true, kind: NotificationKind::Mention, urgent: false, key: None };
        }
        let key = random.random_bool(0.5).then(|| format!("key{}", random.random_range(0..3)));
        let notice = Notice { urgent: random.random_bool(0.3), key: key.clone(), ..notice("said") };
        let urgent = notice.urgent;
        let (to, among, kind) = match random.random_range(0..3) {
            0 => (Addressed::Users(among.clone()), among, NotificationKind::Notice),
            1 => (Addressed::Room(self.room.clone()), self.ids.clone(), NotificationKind::Announcement),
            _ => (Addressed::Everyone, self.ids.clone(), NotificationKind::Announcement),
        };
        let in_room = matches!(to, Addressed::Room(_));
        Random { action: notify(&self.ann, to, notice), among, in_room, kind, urgent, key }
    }

    /// Carries out a cause; exactly those who should be were notified.
    async fn tell(&mut self, store: &Shared, random: &mut StdRng) {
        let Random { action, among, in_room, kind, urgent, key } = self.cause(random);
        let done = kit::one(store, &self.ann, action).await;
        let mut told = told(&done.events).into_iter();
        for user in &among {
            let Some(person) = self.people.get_mut(user) else { continue };
            if !person.wants(in_room, &kind, urgent, key.as_ref()) {
                continue;
            }
            let (who, note, unread) = told.next().unwrap_or_else(|| panic!("{user} is not notified"));
            person.last_seq += 1;
            let silent = person.quiet && !urgent;
            let (id, seq) = (note.id, note.seq);
            let key = key.clone();
            person.notes.push(Note { id, seq, key, urgent, silent, read: false, acknowledged: false });
            assert_eq!((&who, seq, unread), (user, person.last_seq, person.unread()));
            assert_eq!((&note.kind, note.urgent, note.silent), (&kind, urgent, silent));
        }
        assert_eq!(told.next(), None, "nobody else");
    }

    fn any_id(&self, random: &mut StdRng) -> NotificationId {
        let whose = &self.people[&self.ids[random.random_range(0..PEOPLE)]];
        match whose.notes.len() {
            0 => NotificationId::generate(),
            count => whose.notes[random.random_range(0..count)].id,
        }
    }

    async fn read(&mut self, store: &Shared, random: &mut StdRng, user: &UserId) {
        let ids: Vec<_> = (0..random.random_range(0..4)).map(|_| self.any_id(random)).collect();
        let Some(person) = self.people.get_mut(user) else { return };
        let up_to = random.random_bool(0.3).then(|| random.random_range(0..person.last_seq + 3));
        let done = kit::one(store, user, read(user, &ids, up_to)).await;
        let up_to_seq = up_to.map(|seq| seq.min(person.last_seq));
        let before = person.unread();
        for note in &mut person.notes {
            if !note.read && (ids.contains(&note.id) || up_to_seq.is_some_and(|seq| note.seq <= seq)) {
                note.read = true;
                note.acknowledged |= note.urgent;
            }
        }
        let unread = person.unread();
        let body = EventBody::NotificationsRead(NotificationsRead { ids, up_to_seq, unread });
        Self::expect(person, &done, (before != unread).then_some(body));
    }

    async fn acknowledge(&mut self, store: &Shared, random: &mut StdRng, user: &UserId) {
        let id = self.any_id(random);
        let Some(person) = self.people.get_mut(user) else { return };
        let result = try_one(store, user, acknowledge(user, id)).await;
        let Some(note) = person.notes.iter_mut().find(|note| note.id == id) else {
            assert_eq!(result, Err(Refusal::NotificationNotFound));
            return;
        };
        let first = !std::mem::replace(&mut note.acknowledged, true);
        note.read = true;
        let unread = person.unread();
        let body = EventBody::NotificationAcknowledged(NotificationAcknowledged { id, unread });
        Self::expect(person, &result.unwrap(), first.then_some(body));
    }

    fn expect(person: &mut Person, done: &Committed, body: Option<EventBody>) {
        person.last_seq += u64::from(body.is_some());
        assert_eq!(done.seq, person.last_seq);
        assert!(done.events.iter().map(|event| &event.body).eq(&body), "{:?} for {body:?}", done.events);
    }

    /// Changes what somebody wants, or whether they are a member.
    async fn change(&mut self, store: &Shared, random: &mut StdRng, user: &UserId) {
        let level = LEVELS[random.random_range(0..LEVELS.len())];
        let room = self.room.clone();
        let Some(person) = self.people.get_mut(user) else { return };
        let action = match random.random_range(0..4) {
            0 if person.member => {
                // It is not said what a preference comes to that outlived a membership, so none does.
                if person.of_room.take().is_some() {
                    person.last_seq += 1;
                    kit::one(store, user, prefer(user, Some(&room), None)).await;
                }
                person.member = false;
                Action::Leave { room }
            }
            0 => {
                person.member = true;
                Action::Join { room }
            }
            1 if person.member => {
                person.of_room = level;
                prefer(user, Some(&room), level)
            }
            2 => {
                person.quiet = !person.quiet;
                Action::SetQuietHours { user: user.clone(), hours: person.quiet.then(|| quiet_now(true)) }
            }
            _ => {
                person.own = level;
                prefer(user, None, level)
            }
        };
        person.last_seq += 1;
        kit::one(store, user, action).await;
    }

    async fn trim(&mut self, store: &Shared, random: &mut StdRng, user: &UserId) {
        let Some(person) = self.people.get_mut(user) else { return };
        let keep_from = random.random_range(person.last_seq / 2..person.last_seq + 2);
        let head = store.trim(&StreamId::User(user.clone()), keep_from).await.unwrap();
        person.notes.retain(|note| note.seq >= head.first_seq);
    }

    async fn compare(&self, store: &Shared) {
        for (user, person) in &self.people {
            let page = inbox(store, user).await;
            let seen: Vec<_> = page
                .notifications
                .iter()
                .map(|one| (one.id, one.seq, one.urgent, one.silent, one.read, one.acknowledged))
                .collect();
            let modelled: Vec<_> = person
                .notes
                .iter()
                .rev()
                .take(100)
                .map(|note| (note.id, note.seq, note.urgent, note.silent, note.read, note.acknowledged))
                .collect();
            assert_eq!(seen, modelled, "{user}");
            assert_eq!(page.unread, person.unread(), "{user}");
        }
    }
}

pub async fn unread_counters_follow_a_simple_model(store: Shared) {
    let seed = std::env::var("HALLWAY_TEST_SEED").ok().and_then(|text| text.parse().ok());
    let seed = seed.unwrap_or_else(rand::random::<u64>);
    println!("seed {seed}: repeat with HALLWAY_TEST_SEED={seed}");
    let mut random = StdRng::seed_from_u64(seed);
    let (ann, room) = (kit::user("unread", "ann"), kit::room("unread", "room"));
    kit::channel(&store, &ann, &room, Visibility::Public, History::All).await;
    let ids: Vec<UserId> = (0..PEOPLE).map(|n| kit::user("unread", &format!("p{n}"))).collect();
    let mut people = BTreeMap::new();
    for user in &ids {
        kit::one(&store, user, Action::Join { room: room.clone() }).await;
        people.insert(user.clone(), Person { last_seq: 1, member: true, ..Person::default() });
    }
    let mut world = World { ann, room, ids, people };
    for _ in 0..STEPS {
        let user = world.ids[random.random_range(0..PEOPLE)].clone();
        match random.random_range(0..20) {
            0..10 => world.tell(&store, &mut random).await,
            10..14 => world.read(&store, &mut random, &user).await,
            14..16 => world.acknowledge(&store, &mut random, &user).await,
            16..19 => world.change(&store, &mut random, &user).await,
            _ => world.trim(&store, &mut random, &user).await,
        }
        world.compare(&store).await;
    }
    for (user, person) in &world.people {
        let events = whole(&store, StreamId::User(user.clone())).await;
        let head = store.connect(user).await.unwrap().user;
        assert_eq!((head.last_seq, events.len() as u64), (person.last_seq, head.last_seq + 1 - head.first_seq));
    }
}
