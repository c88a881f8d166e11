//! A connection as the hub knows it.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use hallway_protocol::codec::Codec;
use hallway_protocol::{RoomId, Seq, StreamId, UserId};

use crate::admission::Permit;
use crate::connection::Outbound;

/// Unique on this node for its whole life.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ConnectionId(pub u64);

/// A stream that this connection must be served from the log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Behind {
    pub stream: StreamId,
    /// From this number on.
    pub next: Seq,
    /// As the member that this event made; 0 in the person's own stream.
    pub joined_seq: Seq,
}

/// A membership that began while the connection's hello was under way.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Join {
    pub room: RoomId,
    pub joined_seq: Seq,
}

/// An identified connection: shared by its session, its lane and the people map.
pub struct Connection {
    pub id: ConnectionId,
    pub user: UserId,
    pub outbound: Arc<Outbound>,
    /// `None` most of the time.
    work: Mutex<Option<Box<Work>>>,
    /// What `session.list` tells; in a box, because nothing else needs it.
    about: Option<Box<About>>,
    /// When its token was issued, in seconds since 1970; 0 when the token did not say.
    token_issued_at_s: AtomicU32,
    pub codec: Codec,
    /// The minor of the protocol that it speaks; all that are beyond a byte are alike.
    minor: u8,
    closed: AtomicBool,
    /// Nobody is looking at this device, as it says.
    away: AtomicBool,
}

/// What a connection said of itself in its hello, and when.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct About {
    pub connected_at_ms: u64,
    pub client_name: Option<Box<str>>,
    pub client_version: Option<Box<str>>,
}

/// What of a stream is to be read; see [`Behind`].
#[derive(Clone, Copy)]
struct Wanted {
    next: Seq,
    joined_seq: Seq,
}

/// What a connection that is up to date does not need.
#[derive(Default)]
struct Work {
    /// Streams that the lane asks the session to read. One entry a stream.
    behind: BTreeMap<StreamId, Wanted>,
    /// `Some` while the hello is under way.
    deferred: Option<Vec<Join>>,
    /// Its place among those who are on their way to the end of their first sync.
    permit: Option<Permit>,
}

impl Connection {
    /// A connection whose hello is under way.
    #[must_use]
    pub fn new(id: ConnectionId, user: UserId, codec: Codec, outbound: Arc<Outbound>) -> Self {
        let work = Work { deferred: Some(Vec::new()), ..Work::default() };
        Self {
            id,
            user,
            codec,
            outbound,
            work: Mutex::new(Some(Box::new(work))),
            about: None,
            token_issued_at_s: AtomicU32::new(0),
            minor: 0,
            closed: AtomicBool::new(false),
            away: AtomicBool::new(false),
        }
    }

    /// With what its hello and its token say.
    #[must_use]
    pub fn introduced(mut self, about: About, minor: u16, token_issued_at_ms: Option<u64>) -> Self {
        self.about = Some(Box::new(about));
        self.minor = u8::try_from(minor).unwrap_or(u8::MAX);
        self.set_token_issued_at(token_issued_at_ms);
        self
    }

    /// What it said of itself.
    #[must_use]
    pub fn about(&self) -> About {
        self.about.as_deref().cloned().unwrap_or_default()
    }

    /// The minor of the protocol that it speaks.
    #[must_use]
    pub fn minor(&self) -> u16 {
        u16::from(self.minor)
    }

    /// It has another token now.
    pub fn set_token_issued_at(&self, at_ms: Option<u64>) {
        let seconds = at_ms.map_or(0, |at_ms| u32::try_from(at_ms / 1000).unwrap_or(u32::MAX));
        self.token_issued_at_s.store(seconds, Ordering::Relaxed);
    }

    /// Whether its token was issued after another one.
    #[must_use]
    pub fn token_is_newer_than(&self, other_issued_at_ms: Option<u64>) -> bool {
        u64::from(self.token_issued_at_s.load(Ordering::Relaxed)) > other_issued_at_ms.unwrap_or(0) / 1000
    }

    /// Whether its token was issued before a time. One that does not say when it was issued counts as issued before.
    #[must_use]
    pub fn token_is_older_than(&self, at_ms: u64) -> bool {
        u64::from(self.token_issued_at_s.load(Ordering::Relaxed)) * 1000 < at_ms
    }

    fn work(&self) -> MutexGuard<'_, Option<Box<Work>>> {
        self.work.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Holds a place until the first sync has ended, or the connection.
    pub fn hold(&self, permit: Permit) {
        self.work().get_or_insert_default().permit = Some(permit);
    }

    /// Takes the place that it held.
    #[must_use]
    pub fn take_permit(&self) -> Option<Permit> {
        let mut slot = self.work();
        let permit = slot.as_mut().and_then(|work| work.permit.take());
        free_if_done(&mut slot);
        permit
    }

    /// The lane asks for a stream to be read from the log. Replaces an older request for it.
    pub(super) fn request(&self, behind: Behind) {
        let Behind { stream, next, joined_seq } = behind;
        self.work().get_or_insert_default().behind.insert(stream, Wanted { next, joined_seq });
        self.outbound.wake();
    }

    /// Takes at most `most` of the streams to read.
    #[must_use]
    pub fn take_behind(&self, most: usize) -> Vec<Behind> {
        let mut slot = self.work();
        let mut taken = Vec::new();
        let Some(work) = slot.as_mut() else { return taken };
        while taken.len() < most
            && let Some((stream, Wanted { next, joined_seq })) = work.behind.pop_first()
        {
            taken.push(Behind { stream, next, joined_seq });
        }
        free_if_done(&mut slot);
        taken
    }

    /// The log could not be read: the same streams are wanted again, unless the lane asked anew meanwhile.
    pub fn ask_again(&self, streams: Vec<Behind>) {
        let mut slot = self.work();
        let work = slot.get_or_insert_default();
        for Behind { stream, next, joined_seq } in streams {
            work.behind.entry(stream).or_insert(Wanted { next, joined_seq });
        }
        free_if_done(&mut slot);
    }

    /// Whether there is something to read from the log.
    #[must_use]
    pub fn has_behind(&self) -> bool {
        self.work().as_ref().is_some_and(|work| !work.behind.is_empty())
    }

    /// Keeps a join for later if the hello is still under way.
    pub(super) fn defer(&self, join: Join) -> bool {
        match self.work().as_mut().and_then(|work| work.deferred.as_mut()) {
            Some(joins) => {
                joins.push(join);
                true
            }
            None => false,
        }
    }

    /// Ends the hello: what was kept meanwhile; from now on joins go their normal way.
    #[must_use]
    pub(super) fn end_of_hello(&self) -> Vec<Join> {
        let mut slot = self.work();
        let joins = slot.as_mut().and_then(|work| work.deferred.take()).unwrap_or_default();
        free_if_done(&mut slot);
        joins
    }

    /// The device says whether somebody is looking. Returns whether it is news.
    pub(super) fn set_away(&self, away: bool) -> bool {
        self.away.swap(away, Ordering::AcqRel) != away
    }

    /// Whether the device says that nobody is looking.
    #[must_use]
    pub fn is_away(&self) -> bool {
        self.away.load(Ordering::Acquire)
    }

    /// Marks the connection as gone, so that a late attach is ignored.
    pub(super) fn mark_closed(&self) {
        self.closed.store(true, Ordering::Release);
        drop(self.take_permit());
    }

    /// Whether it is gone.
    #[must_use]
    pub fn is_closed(&self) -> bool {
        self.closed.load(Ordering::Acquire)
    }
}

fn free_if_done(slot: &mut Option<Box<Work>>) {
    if slot.as_ref().is_some_and(|work| work.behind.is_empty() && work.deferred.is_none() && work.permit.is_none()) {
        *slot = None;
    }
}
