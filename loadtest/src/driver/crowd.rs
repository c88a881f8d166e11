//! Who is where: groups of users who share their rooms, divided into jobs for workers.

use std::net::SocketAddr;

use super::adapter::Who;
use super::job::{Job, Room, Seat, Server};

/// Who talks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Senders {
    /// A connection of its own in each group, that is there for nothing else.
    Publisher,
    /// Every member, in turn.
    Members,
    /// The first member of each group.
    First,
}

/// Groups of `members` users; the users of a group are together in `rooms` rooms of their own.
#[derive(Debug, Clone)]
pub(crate) struct Crowd {
    /// Begins the name of every user and room.
    pub(crate) name: String,
    pub(crate) groups: u32,
    pub(crate) members: u32,
    pub(crate) rooms: u32,
    pub(crate) senders: Senders,
    /// Of each group, the last so many can be muted.
    pub(crate) mutable: u32,
}

/// What all jobs of a run have in common.
#[derive(Debug, Clone)]
pub(crate) struct Common {
    pub(crate) server: Server,
    pub(crate) target: SocketAddr,
    pub(crate) further_targets: Vec<SocketAddr>,
    pub(crate) host: String,
    pub(crate) source_addresses: u32,
    pub(crate) connect_rate: f64,
    pub(crate) payload_bytes: usize,
    pub(crate) echoes: bool,
}

impl Crowd {
    /// The users of a group, the publisher last.
    pub(crate) fn users(&self, group: u32) -> Vec<String> {
        let members = (0..self.members).map(|member| format!("{}-g{group}u{member}", self.name));
        let publisher = (self.senders == Senders::Publisher).then(|| format!("{}-g{group}p", self.name));
        members.chain(publisher).collect()
    }

    /// The rooms of a group.
    pub(crate) fn room_names(&self, group: u32) -> Vec<String> {
        (0..self.rooms).map(|room| format!("{}-g{group}r{room}", self.name)).collect()
    }

    /// All connections.
    pub(crate) fn seats(&self) -> usize {
        self.groups as usize * (self.members as usize + usize::from(self.senders == Senders::Publisher))
    }

    fn talkers_per_room(&self) -> u32 {
        if self.senders == Senders::Members { self.members } else { 1 }
    }

    /// Jobs for `workers` workers, whole groups each. `token` signs for a user where the server checks one.
    pub(crate) fn jobs(&self, common: &Common, workers: u32, token: &dyn Fn(&str) -> Option<String>) -> Vec<Job> {
        let workers = workers.clamp(1, self.groups.max(1));
        let bound = |worker: u32| u32::try_from(u64::from(self.groups) * u64::from(worker) / u64::from(workers));
        let job = |worker: u32| {
            let (from, to) = (bound(worker).unwrap_or(0), bound(worker + 1).unwrap_or(self.groups));
            let mut job = Job {
                server: common.server.clone(),
                target: common.target,
                further_targets: common.further_targets.clone(),
                host: common.host.clone(),
                source_addresses: common.source_addresses,
                connect_rate: common.connect_rate * f64::from(to - from) / f64::from(self.groups),
                payload_bytes: common.payload_bytes,
                echoes: common.echoes,
                first_publisher: from * self.rooms * self.talkers_per_room(),
                talkers_per_room: self.talkers_per_room(),
                rooms: Vec::new(),
                seats: Vec::new(),
            };
            for group in from..to {
                self.seat(group, &mut job, token);
            }
            job
        };
        (0..workers).map(job).collect()
    }

    fn seat(&self, group: u32, job: &mut Job, token: &dyn Fn(&str) -> Option<String>) {
        let (first_seat, first_room) = (job.seats.len() as u32, job.rooms.len() as u32);
        let names = self.room_names(group);
        let users = self.users(group);
        for (number, user) in (0_u32..).zip(users) {
            let token = token(&user);
            job.seats.push(Seat {
                who: Who { user, rooms: names.clone(), token },
                rooms: (first_room..first_room + self.rooms).collect(),
                listens: number < self.members,
                mutable: (self.members - self.mutable..self.members).contains(&number),
            });
        }
        let talkers: Vec<u32> = match self.senders {
            Senders::Publisher => vec![first_seat + self.members],
            Senders::Members => (first_seat..first_seat + self.members).collect(),
            Senders::First => vec![first_seat],
        };
        job.rooms.extend(names.into_iter().map(|name| Room { name, talkers: talkers.clone() }));
    }
}
