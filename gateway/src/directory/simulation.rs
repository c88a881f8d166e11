//! Several directories, a bus that delays, repeats, reorders and loses, and nodes that die and come: once the faults are over,
//! all of them agree with the truth.

#![expect(clippy::unwrap_used, reason = "a failed test panics")]

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::time::{Duration, Instant};

use hallway_protocol::model::PresenceState;
use hallway_protocol::{RoomId, UserId};
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

use super::*;
use crate::node::NodeId;

const LEASE: Duration = Duration::from_secs(3);
const STEP: Duration = Duration::from_millis(50);
const HEARTBEAT_STEPS: u64 = 10;
const USERS: usize = 40;
const SEEDS: u64 = 24;

struct Node {
    id: NodeId,
    directory: Directory,
    /// Who is really here.
    own: HashMap<UserId, Devices>,
    rooms: HashMap<RoomId, RoomCounts>,
    /// What somebody who acts on `Told::Changed` would show.
    shown: HashMap<UserId, (PresenceState, u16)>,
    known: BTreeSet<NodeId>,
}

struct World {
    random: StdRng,
    now: Instant,
    steps: u64,
    nodes: Vec<Node>,
    /// `(due, from, to, notice)`.
    bus: Vec<(Instant, NodeId, NodeId, Notice)>,
    born: u64,
    users: Vec<UserId>,
    faulty: bool,
    published: usize,
}

fn user(number: usize) -> UserId {
    UserId::new(&format!("u{number}")).unwrap()
}

fn room(number: usize) -> RoomId {
    RoomId::new(&format!("r{number}")).unwrap()
}

impl World {
    fn new(seed: u64) -> Self {
        let random = StdRng::seed_from_u64(seed);
        let mut world = Self {
            random,
            now: Instant::now(),
            steps: 0,
            nodes: Vec::new(),
            bus: Vec::new(),
            born: 0,
            users: (0..USERS).map(user).collect(),
            faulty: true,
            published: 0,
        };
        (0..3).for_each(|_| world.start());
        world
    }

    fn start(&mut self) {
        self.born += 1;
        let id = NodeId::from_number(self.born);
        let directory = Directory::new(LEASE).of_node(id);
        let (own, rooms, shown, known) = (HashMap::new(), HashMap::new(), HashMap::new(), BTreeSet::new());
        self.nodes.push(Node { id, directory, own, rooms, shown, known });
    }

    fn publish(&mut self, from: NodeId, to: Option<NodeId>, notice: &Notice) {
        self.published += 1;
        let targets: Vec<NodeId> =
            self.nodes.iter().map(|node| node.id).filter(|id| to.is_none_or(|to| to == *id)).collect();
        for target in targets {
            let copies = if !self.faulty {
                1
            } else {
                match self.random.random_range(0..10) {
                    0..3 => 0,
                    3 => 2,
                    _ => 1,
                }
            };
            for _ in 0..copies {
                let delay_ms = if self.faulty { self.random.random_range(0..2_000) } else { 10 };
                self.bus.push((self.now + Duration::from_millis(delay_ms), from, target, notice.clone()));
            }
        }
    }

    fn take(&mut self, index: usize, told: Vec<Told>) {
        let id = self.nodes[index].id;
        for told in told {
            let node = &mut self.nodes[index];
            match told {
                Told::Joined(other) => assert!(node.known.insert(other), "{other} joined twice"),
                Told::Left(other) => assert!(node.known.remove(&other), "{other} left and was not there"),
                Told::Changed(user) => {
                    let devices = node.directory.devices(&user);
                    node.shown.insert(user, (devices.presence(), devices.devices));
                }
                Told::Ask(other) => self.publish(id, Some(other), &Notice::Ask),
                Told::Answer(other, notices) => {
                    notices.iter().for_each(|notice| self.publish(id, Some(other), notice));
                }
            }
        }
    }

    /// One of many things that happen to people and nodes.
    fn happen(&mut self) {
        if self.nodes.is_empty() || self.random.random_ratio(1, 60) && self.nodes.len() < 5 {
            return self.start();
        }
        let index = self.random.random_range(0..self.nodes.len());
        if self.random.random_ratio(1, 80) {
            let id = self.nodes[index].id;
            if self.random.random() {
                self.publish(id, None, &Notice::Farewell);
            }
            self.nodes.remove(index);
            return;
        }
        let user = user(self.random.random_range(0..USERS));
        let devices: u16 = self.random.random_range(0..4);
        let devices = Devices { devices, away: self.random.random_range(0..=devices) };
        let room = room(self.random.random_range(0..5));
        let (online, away) = (self.random.random_range(0..3), self.random.random_range(0..3));
        let counts = RoomCounts { online, away, nodes: 1 };
        let node = &mut self.nodes[index];
        node.own.insert(user.clone(), devices);
        node.rooms.insert(room.clone(), counts);
        node.directory.set_own_room(&room, counts);
        let told = node.directory.set_own(&user, devices);
        self.take(index, told);
    }

    fn step(&mut self) {
        self.now += STEP;
        self.steps += 1;
        let now = self.now;
        let (due, waiting) = std::mem::take(&mut self.bus).into_iter().partition(|(at, ..)| *at <= now);
        self.bus = waiting;
        let due: Vec<(Instant, NodeId, NodeId, Notice)> = due;
        for (_, from, to, notice) in due {
            if let Some(index) = self.nodes.iter().position(|node| node.id == to) {
                let told = self.nodes[index].directory.hear(from, notice, now);
                self.take(index, told);
            }
        }
        for index in 0..self.nodes.len() {
            let told = self.nodes[index].directory.tick(now);
            self.take(index, told);
            let id = self.nodes[index].id;
            while let Some(delta) = self.nodes[index].directory.delta() {
                self.publish(id, None, &delta);
            }
            if self.steps % HEARTBEAT_STEPS == id.number() % HEARTBEAT_STEPS {
                let heartbeat = self.nodes[index].directory.heartbeat();
                self.publish(id, None, &heartbeat);
            }
        }
        self.check_always();
    }

    /// What holds at every moment, whatever the bus does.
    fn check_always(&self) {
        for node in &self.nodes {
            assert_eq!(
                node.directory.nodes().collect::<BTreeSet<_>>(),
                node.known,
                "joined and left tell who is there"
            );
            for user in &self.users {
                assert!(node.directory.nodes_of(user).all(|other| node.known.contains(&other)), "a node that left");
                let devices = node.directory.devices(user);
                let shown = node.shown.get(user).copied().unwrap_or((PresenceState::Offline, 0));
                assert_eq!(shown, (devices.presence(), devices.devices), "a change of {user:?} was not told");
            }
        }
    }

    fn check_agreement(&self) {
        let all: BTreeMap<NodeId, &Node> = self.nodes.iter().map(|node| (node.id, node)).collect();
        for node in &self.nodes {
            let others: Vec<NodeId> = all.keys().copied().filter(|id| *id != node.id).collect();
            assert_eq!(node.directory.nodes().collect::<Vec<_>>(), others);
            assert_eq!(node.directory.incomplete_count(), 0);
            for number in 0..USERS {
                let user = user(number);
                let mut sum = Devices::default();
                let mut there = Vec::new();
                for (id, other) in &all {
                    let devices = other.own.get(&user).copied().unwrap_or_default();
                    sum = Devices { devices: sum.devices + devices.devices, away: sum.away + devices.away };
                    if devices.devices > 0 && *id != node.id {
                        there.push(*id);
                    }
                }
                assert_eq!(node.directory.devices(&user), sum, "{user:?} at {}", node.id);
                let mut nodes: Vec<NodeId> = node.directory.nodes_of(&user).collect();
                nodes.sort();
                assert_eq!(nodes, there, "{user:?} at {}", node.id);
            }
            for number in 0..5 {
                let room = room(number);
                let mut sum = RoomCounts::default();
                for counts in self.nodes.iter().filter_map(|other| other.rooms.get(&room)) {
                    let (online, away) = (sum.online + counts.online, sum.away + counts.away);
                    sum = RoomCounts { online, away, nodes: sum.nodes + 1 };
                }
                assert_eq!(node.directory.room_counts(&room), sum, "{room:?} at {}", node.id);
            }
        }
    }
}

fn run(seed: u64) {
    let mut world = World::new(seed);
    let steps = world.random.random_range(50..400);
    for _ in 0..steps {
        if world.random.random_ratio(2, 3) {
            world.happen();
        }
        world.step();
    }
    world.faulty = false;
    // What is still under way is two seconds late at most; then a lease for the dead, and the longest pause for those who ask.
    let healing = Duration::from_secs(2) + LEASE + ASK_PAUSE_MAX + Duration::from_secs(1);
    for _ in 0..healing.as_millis() / STEP.as_millis() {
        world.step();
    }
    world.check_agreement();
    // In peace a change costs one notice, and everybody hears it.
    if let Some(index) = (!world.nodes.is_empty()).then_some(0) {
        world.steps = 0;
        let (id, before) = (world.nodes[index].id, world.published);
        let told = world.nodes[index].directory.set_own(&user(0), Devices { devices: 9, away: 0 });
        world.nodes[index].own.insert(user(0), Devices { devices: 9, away: 0 });
        world.take(index, told);
        while let Some(delta) = world.nodes[index].directory.delta() {
            world.publish(id, None, &delta);
        }
        assert_eq!(world.published - before, 1);
        (0..2).for_each(|_| world.step());
        world.check_agreement();
    }
}

#[test]
fn after_the_faults_every_directory_agrees_with_the_truth() {
    for seed in 0..SEEDS {
        let ran = std::panic::catch_unwind(|| run(seed));
        assert!(ran.is_ok(), "seed {seed} failed: run(seed) in {} replays it", file!());
    }
}
