//! The people of one experiment: rooms, members on every node, and a ledger of their own.
//!
//! Each experiment has its own, so that a violation is known by the fault that caused it, and an experiment can be done again
//! alone.

use std::collections::{BTreeSet, HashMap};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use hallway_protocol::{MessageId, RoomId, Seq, StreamId, UserId, Visibility};
use loadtest_client::ledger::{Ledger, Opening, Recorder};
use loadtest_client::{Client, ClientSettings, ConnectOptions, token};
use rand::rngs::StdRng;
use rand::seq::SliceRandom;
use rand::{RngExt, SeedableRng};

use super::guest::{Guest, RoomNumbers, Seen, Watcher};
use crate::run::{Failure, for_all};

/// Members of the room that is above every threshold.
const LARGE_ROOM_MEMBERS: usize = 110;
const MIDDLE_ROOM_MEMBERS: usize = 40;
/// Members of the others.
const SMALL_ROOM_MEMBERS: std::ops::RangeInclusive<usize> = 4..=8;
/// The last members of each room, who come and go.
const FLOATERS: usize = 2;
/// How long a token of an experiment lives.
const TOKEN_TTL: Duration = Duration::from_secs(4 * 3600);

/// When nobody writes to a room any more: its last message must arrive all the same.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Quiet {
    /// From the moment of the fault on.
    AtFault,
    /// From the moment of healing on.
    AtHeal,
    /// Only when the load ends.
    Never,
}

impl Quiet {
    fn of(room: usize) -> Self {
        [Self::Never, Self::AtFault, Self::AtHeal][room % 3]
    }
}

/// An acknowledgement.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Ack {
    pub(crate) seq: Seq,
    pub(crate) at: Instant,
    pub(crate) invoked: Instant,
}

pub(crate) struct Room {
    pub(crate) id: RoomId,
    pub(crate) stream: StreamId,
    /// Guests by number; the first is the same in every room, the last come and go.
    pub(crate) members: Vec<usize>,
    pub(crate) quiet: Quiet,
    present: Mutex<BTreeSet<usize>>,
    acks: Mutex<Vec<Ack>>,
}

impl Room {
    /// Members who stay.
    pub(crate) fn stayers(&self) -> &[usize] {
        &self.members[..self.members.len() - FLOATERS]
    }

    pub(crate) fn floaters(&self) -> &[usize] {
        &self.members[self.members.len() - FLOATERS..]
    }

    /// Who is a member now, as far as is known for sure.
    pub(crate) fn present(&self) -> MutexGuard<'_, BTreeSet<usize>> {
        self.present.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn acks(&self) -> MutexGuard<'_, Vec<Ack>> {
        self.acks.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn acked(&self, seq: Seq, invoked: Instant) {
        self.acks().push(Ack { seq, at: Instant::now(), invoked });
    }
}

/// What happened to the attempts of an experiment.
#[derive(Debug, Default)]
pub(crate) struct Counters {
    pub(crate) sent: AtomicU64,
    pub(crate) acked: AtomicU64,
    pub(crate) refused: AtomicU64,
    pub(crate) unknown: AtomicU64,
    /// Publishes whose outcome nobody knows in the end.
    pub(crate) given_up: AtomicU64,
    /// Members who joined, left or were kicked.
    pub(crate) churned: AtomicU64,
}

/// How large an experiment is.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Size {
    pub(crate) clients: usize,
    pub(crate) rooms: usize,
    pub(crate) rate: f64,
}

pub(crate) struct World {
    pub(crate) ledger: Arc<Ledger>,
    pub(crate) rooms: Vec<Room>,
    pub(crate) guests: Vec<Guest>,
    pub(crate) counters: Counters,
    pub(crate) in_flight: AtomicU64,
    pub(crate) quiet_at_fault: AtomicBool,
    pub(crate) quiet_at_heal: AtomicBool,
    pub(crate) stopped: AtomicBool,
    pub(crate) numbers: RoomNumbers,
    /// Clients that an injection brought, each with the room that it reads.
    extra: Mutex<Vec<(Guest, usize)>>,
    urls: Vec<String>,
    secret: Vec<u8>,
    book: Mutex<Option<Recorder>>,
}

impl World {
    /// Connects everybody and fills the rooms.
    pub(crate) async fn set_up(
        urls: Vec<String>,
        secret: Vec<u8>,
        size: Size,
        seed: u64,
    ) -> Result<Arc<Self>, Failure> {
        let mut random = StdRng::seed_from_u64(seed);
        let unique = MessageId::generate().as_uuid().simple().to_string();
        let name = format!("chaos-{}", &unique[8..24]);
        let rooms = rooms(&name, size, &mut random)?;
        let numbers: RoomNumbers =
            Arc::new(rooms.iter().enumerate().map(|(number, room)| (room.id.clone(), number)).collect());
        let ledger = Ledger::new();
        let mut world = Self {
            book: Mutex::new(Some(ledger.recorder())),
            ledger,
            rooms,
            guests: Vec::new(),
            counters: Counters::default(),
            in_flight: AtomicU64::new(0),
            quiet_at_fault: AtomicBool::new(false),
            quiet_at_heal: AtomicBool::new(false),
            stopped: AtomicBool::new(false),
            numbers,
            extra: Mutex::default(),
            urls,
            secret,
        };
        let mut connecting = Vec::new();
        for number in 0..size.clients {
            let user = UserId::new(&format!("{name}-u{number}"))?;
            connecting.push(world.guest(user, number, true)?);
        }
        world.guests = for_all(connecting, |guest| guest).await?;
        let world = Arc::new(world);
        let filling = (0..world.rooms.len()).collect();
        for_all(filling, |number| fill(Arc::clone(&world), number)).await?;
        Ok(world)
    }

    /// A client that begins at a node and, if it `roams`, comes back at any.
    pub(crate) fn guest(
        &self,
        user: UserId,
        node: usize,
        roams: bool,
    ) -> Result<impl Future<Output = Result<Guest, Failure>> + Send + 'static, Failure> {
        let mut settings = ClientSettings::new(self.options(&user, node)?);
        if roams {
            settings.elsewhere.clone_from(&self.urls);
        }
        settings.backoff_max = Duration::from_millis(500);
        settings.request_timeout = Duration::from_secs(5);
        let mut recorder = self.ledger.recorder();
        let session = recorder.open(&user, Opening::default());
        let seen = Arc::<Mutex<Seen>>::default();
        let watcher = Watcher { recorder, session, rooms: Arc::clone(&self.numbers), seen: Arc::clone(&seen) };
        Ok(async move {
            let client = Client::connect(settings, watcher).await?;
            Ok(Guest { user, client, session, seen })
        })
    }

    pub(crate) fn options(&self, user: &UserId, node: usize) -> Result<ConnectOptions, Failure> {
        let token = token::mint(&self.secret, user.as_str(), TOKEN_TTL)?;
        let mut options = ConnectOptions::new(&*self.urls[node % self.urls.len()], token);
        options.client_name = "chaos".to_owned();
        options.timeout = Duration::from_secs(3);
        Ok(options)
    }

    pub(crate) fn nodes(&self) -> usize {
        self.urls.len()
    }

    /// Writes a line that belongs to no session.
    pub(crate) fn record<T>(&self, write: impl FnOnce(&mut Recorder) -> T) -> Option<T> {
        self.book.lock().unwrap_or_else(PoisonError::into_inner).as_mut().map(write)
    }

    /// Nothing is written down any more.
    pub(crate) fn close_book(&self) {
        drop(self.book.lock().unwrap_or_else(PoisonError::into_inner).take());
    }

    pub(crate) fn extra(&self) -> MutexGuard<'_, Vec<(Guest, usize)>> {
        self.extra.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether a room may be written to now.
    pub(crate) fn is_talking(&self, room: usize) -> bool {
        match self.rooms[room].quiet {
            Quiet::Never => true,
            Quiet::AtFault => !self.quiet_at_fault.load(Ordering::Relaxed),
            Quiet::AtHeal => !self.quiet_at_heal.load(Ordering::Relaxed),
        }
    }

    pub(crate) fn stopped(&self) -> bool {
        self.stopped.load(Ordering::Relaxed)
    }

    /// Connections beyond everybody's first.
    pub(crate) fn reconnects(&self) -> u64 {
        self.guests.iter().map(|guest| guest.seen().connections.saturating_sub(1)).sum()
    }
}

fn rooms(name: &str, size: Size, random: &mut StdRng) -> Result<Vec<Room>, Failure> {
    let mut everybody: Vec<usize> = (0..size.clients).collect();
    let mut rooms = Vec::new();
    // The first guest made every room and stays: he kicks, and reads everything in the end.
    let mut others = everybody.split_off(1);
    for number in 0..size.rooms {
        let members = match number {
            0 => LARGE_ROOM_MEMBERS,
            1 => MIDDLE_ROOM_MEMBERS,
            _ => random.random_range(SMALL_ROOM_MEMBERS),
        };
        others.shuffle(random);
        let id = RoomId::new(&format!("{name}-r{number}"))?;
        rooms.push(Room {
            stream: StreamId::Room(id.clone()),
            id,
            members: everybody.iter().chain(&others).copied().take(members).collect(),
            // The large room is quiet from another moment on in each experiment.
            quiet: Quiet::of(if number == 0 { random.random_range(0..3) } else { number }),
            present: Mutex::default(),
            acks: Mutex::default(),
        });
    }
    Ok(rooms)
}

async fn fill(world: Arc<World>, number: usize) -> Result<(), Failure> {
    let room = &world.rooms[number];
    world.ledger.history_is_for_all(room.stream.clone());
    for (place, member) in room.members.iter().enumerate() {
        let guest = &world.guests[*member];
        let invoked = Instant::now();
        let done = match place {
            0 => guest.client.create_room(&room.id, Visibility::Public).await?,
            _ => guest.client.join(&room.id).await?,
        };
        world.record(|book| book.joined(&room.stream, &guest.user, done.seq));
        room.acked(done.seq, invoked);
        room.present().insert(*member);
    }
    Ok(())
}

/// Seqs of rooms by what was acknowledged last.
pub(crate) fn heads(world: &World) -> HashMap<usize, Ack> {
    let head = |(number, room): (usize, &Room)| Some((number, room.acks().iter().copied().max_by_key(|ack| ack.seq)?));
    world.rooms.iter().enumerate().filter_map(head).collect()
}
