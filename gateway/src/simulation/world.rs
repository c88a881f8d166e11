//! The clock, what is to happen when, chance, and everything that there is.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use hallway_protocol::{EventBody, History, RoomId, StreamId, UserId};
use loadtest_client::ledger::{Expected, Invariant, Ledger, Recorder};
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

use super::client::Client;
use super::node::Node;
use super::profile::Profile;
use super::store::{Action, Done, Store, Transaction, Write};
use crate::telemetry::metrics::Metrics;

/// A run takes a few thousand.
const STEPS_MAX: u64 = 200_000;

/// Something that happens at its time.
type Happening = Box<dyn FnOnce(&mut World)>;

/// A broken promise, as soon as it is seen.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Broken {
    pub(super) invariant: Invariant,
    pub(super) what: String,
}

pub(super) struct World {
    base: Instant,
    pub(super) now_us: u64,
    /// By time, and of one time in the order in which they were asked for.
    agenda: BTreeMap<(u64, u64), Happening>,
    asked: u64,
    steps: u64,
    random: StdRng,
    pub(super) profile: Profile,
    pub(super) store: Store,
    /// The store does not answer before this time.
    pub(super) store_out_until_us: u64,
    pub(super) nodes: Vec<Node>,
    pub(super) clients: Vec<Client>,
    pub(super) rooms: Vec<RoomId>,
    pub(super) ledger: Arc<Ledger>,
    /// What the store itself knows of memberships.
    pub(super) recorder: Option<Recorder>,
    pub(super) metrics: Arc<Metrics>,
    /// When a client last took an event.
    pub(super) taken_us: u64,
    /// Nothing goes wrong any more.
    pub(super) is_healed: bool,
    pub(super) broken: Option<Broken>,
    pub(super) trace: Option<Vec<String>>,
}

impl World {
    pub(super) fn new(seed: u64, metrics: Arc<Metrics>) -> Self {
        let profile = Profile::of(seed);
        let ledger = Ledger::new();
        let mut world = Self {
            base: Instant::now(),
            now_us: 0,
            agenda: BTreeMap::new(),
            asked: 0,
            steps: 0,
            random: StdRng::seed_from_u64(seed ^ 0x5eed),
            store: Store::new(super::epoch()),
            store_out_until_us: 0,
            nodes: (0..profile.nodes).map(|_| Node::default()).collect(),
            clients: Vec::new(),
            rooms: Vec::new(),
            recorder: Some(ledger.recorder()),
            ledger,
            metrics,
            taken_us: 0,
            is_healed: false,
            broken: None,
            trace: None,
            profile,
        };
        world.found();
        world
    }

    /// Rooms and people, before anything goes wrong. The first person is in every room, for ever.
    fn found(&mut self) {
        let users: Vec<UserId> =
            (0..self.profile.users).map(|number| UserId::new(&format!("user-{number}")).expect("a name")).collect();
        for number in 0..self.profile.rooms {
            let room = RoomId::new(&format!("room-{number}")).expect("a name");
            let history = if number % 2 == 0 { History::All } else { History::SinceJoin };
            self.store.create_room(&room, history);
            if history == History::All {
                self.ledger.history_is_for_all(StreamId::Room(room.clone()));
            }
            for (index, user) in users.iter().enumerate() {
                if index == 0 || self.chance(0.6) {
                    let nonce = u64::MAX - (number * users.len() + index) as u64;
                    let action = Action::Add(user.clone());
                    let transaction = self.store.begin();
                    self.commit(transaction, &[Write { actor: users[0].clone(), nonce, room: room.clone(), action }]);
                }
            }
            self.rooms.push(room);
        }
        for (number, user) in users.into_iter().enumerate() {
            let limit = (self.profile.people.limited && number == 1).then_some(5);
            self.clients.push(Client::new(&self.ledger, number, user, limit));
        }
    }

    /// The time as the cores see it.
    pub(super) fn now(&self) -> Instant {
        self.base + Duration::from_micros(self.now_us)
    }

    /// Something is to happen after a while.
    pub(super) fn after(&mut self, delay_us: u64, happening: impl FnOnce(&mut World) + 'static) {
        self.asked += 1;
        self.agenda.insert((self.now_us + delay_us, self.asked), Box::new(happening));
    }

    /// Lets everything happen up to a time, or until a promise is broken.
    pub(super) fn run_until(&mut self, until_us: u64) {
        while self.broken.is_none()
            && let Some(entry) = self.agenda.first_entry()
            && entry.key().0 <= until_us
        {
            let ((at_us, _), happening) = entry.remove_entry();
            self.now_us = at_us;
            self.steps += 1;
            if self.steps > STEPS_MAX {
                self.break_promise(Invariant::I7, format!("{STEPS_MAX} steps were taken: something spins"));
            }
            happening(self);
        }
        self.now_us = self.now_us.max(until_us);
    }

    pub(super) fn chance(&mut self, share: f64) -> bool {
        share > 0.0 && self.random.random_bool(share)
    }

    /// Whether something goes wrong now.
    pub(super) fn fails(&mut self, share: f64) -> bool {
        !self.is_healed && self.chance(share)
    }

    /// A number below `most`.
    pub(super) fn below(&mut self, most: u64) -> u64 {
        if most == 0 { 0 } else { self.random.random_range(0..most) }
    }

    pub(super) fn one_of(&mut self, count: usize) -> usize {
        self.random.random_range(0..count)
    }

    /// So many random bits.
    pub(super) fn bits(&mut self) -> u128 {
        self.random.random()
    }

    /// What one way to or from the store takes.
    pub(super) fn store_delay_us(&mut self) -> u64 {
        1 + self.below(self.profile.store.delay_us)
    }

    /// Reads the store: at some moment on the way it is looked at, later the answer is here. `None`: it failed.
    pub(super) fn read_store<T: 'static>(
        &mut self,
        read: impl FnOnce(&Store) -> T + 'static,
        then: impl FnOnce(&mut World, Option<T>) + 'static,
    ) {
        let (there_us, back_us) = (self.store_delay_us(), self.store_delay_us());
        self.after(there_us, move |world| {
            let is_out = world.now_us < world.store_out_until_us;
            let share = world.profile.store.read_fails;
            let answer = (!is_out && !world.fails(share)).then(|| read(&world.store));
            world.after(back_us, move |world| then(world, answer));
        });
    }

    /// A transaction takes effect.
    pub(super) fn commit(&mut self, transaction: Transaction, writes: &[Write]) -> Vec<Option<Done>> {
        let done = self.store.commit(transaction, writes);
        for event in done.iter().flatten().flat_map(|done| &done.events) {
            let Some(recorder) = &mut self.recorder else { continue };
            match &event.body {
                EventBody::MemberJoined(joined) => recorder.joined(&event.stream, &joined.user, event.seq),
                EventBody::MemberRemoved(removed) => recorder.removed(&event.stream, &removed.user, event.seq),
                _ => {}
            }
        }
        done
    }

    /// The retention drops the older half of a room.
    pub(super) fn trim(&mut self, room: &RoomId) {
        let stream = StreamId::Room(room.clone());
        let head = self.store.head(&stream);
        let keep_from_seq = (head.first_seq + head.last_seq) / 2 + 1;
        let first_seq = self.store.trim(&stream, keep_from_seq);
        self.say(|| format!("{stream} is trimmed to {first_seq}"));
        self.ledger.expect(Expected::Trimmed { stream, first_seq });
    }

    /// A promise is broken; the first one counts.
    pub(super) fn break_promise(&mut self, invariant: Invariant, what: String) {
        self.say(|| format!("BROKEN {invariant:?}: {what}"));
        self.broken.get_or_insert(Broken { invariant, what });
    }

    /// Notes what happens, if anybody wants to know.
    pub(super) fn say(&mut self, what: impl FnOnce() -> String) {
        if let Some(trace) = &mut self.trace {
            trace.push(format!("{:>10.3} ms  {}", self.now_us as f64 / 1000.0, what()));
        }
    }
}
