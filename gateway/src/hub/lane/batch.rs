//! Pure: some frames of one stream in a row, joined into few pieces of memory once for all who get them.

use std::collections::VecDeque;
use std::sync::Arc;

use bytes::Bytes;
use hallway_protocol::codec::Codec;
use hallway_protocol::{NotificationId, Seq, UserId};

use crate::connection::Encoded;
use crate::hub::{Connection, ConnectionId, LiveEvent};

/// Frames in a batch.
const BATCH_MAX_FRAMES: usize = 256;
/// Frames are joined up to this size: what a slow reader's backlog keeps alive is not much more than what it waits for.
const RUN_MAX_BYTES: usize = 16 * 1024;
/// A frame of this size is not copied.
const COPY_MAX_BYTES: usize = 4 * 1024;

/// One frame for everyone in a stream.
pub(super) struct Item {
    content: Content,
    /// The number that was last in the stream when this came.
    after: Seq,
    except: Option<ConnectionId>,
}

enum Content {
    Event(Arc<LiveEvent>),
    Ephemeral(Arc<Encoded>),
}

impl Item {
    pub(super) fn event(event: Arc<LiveEvent>) -> Self {
        Self { after: event.seq() - 1, content: Content::Event(event), except: None }
    }

    pub(super) fn ephemeral(frame: Arc<Encoded>, after: Seq, except: Option<ConnectionId>) -> Self {
        Self { content: Content::Ephemeral(frame), after, except }
    }

    /// The stored event, if it is one.
    pub(super) fn stored(&self) -> Option<&Arc<LiveEvent>> {
        match &self.content {
            Content::Event(event) => Some(event),
            Content::Ephemeral(_) => None,
        }
    }

    /// Its number; 0 when it has none and may be dropped.
    pub(super) fn seq(&self) -> Seq {
        self.stored().map_or(0, |event| event.seq())
    }

    pub(super) fn after(&self) -> Seq {
        self.after
    }

    pub(super) fn is_for(&self, connection: &Connection) -> bool {
        self.except != Some(connection.id)
    }

    pub(super) fn bytes(&self, codec: Codec) -> &Bytes {
        match &self.content {
            Content::Event(event) => event.frame().bytes(codec),
            Content::Ephemeral(frame) => frame.bytes(codec),
        }
    }
}

/// Frames without a hole between their numbers.
#[derive(Default)]
pub(super) struct Batch {
    items: Vec<Item>,
    /// How many of them are stored.
    stored: u64,
    /// The lane's slots of connections that do not get all of them. Sorted.
    excepted: Vec<u32>,
    /// Who is removed by one of them.
    removed: Vec<UserId>,
    /// Which notifications they bring.
    notifications: Vec<(Seq, NotificationId)>,
    json: Vec<Bytes>,
    postcard: Vec<Bytes>,
}

impl Batch {
    /// Takes as many as follow each other. `slot_of`: where the lane has a connection, if it has it.
    pub(super) fn fill(&mut self, queued: &mut VecDeque<Item>, slot_of: impl Fn(ConnectionId) -> Option<u32>) {
        self.clear();
        let Some(mut at) = queued.front().map(Item::after) else { return };
        while self.items.len() < BATCH_MAX_FRAMES
            && let Some(item) = queued.pop_front_if(|item| item.after == at)
        {
            if let Some(event) = item.stored() {
                at += 1;
                self.stored += 1;
                self.removed.extend(event.removed_user().cloned());
                self.notifications.extend(event.notification().map(|id| (event.seq(), id)));
            }
            self.excepted.extend(item.except.and_then(&slot_of));
            self.items.push(item);
        }
        self.excepted.sort_unstable();
        self.excepted.dedup();
    }

    pub(super) fn clear(&mut self) {
        self.items.clear();
        self.stored = 0;
        self.excepted.clear();
        self.removed.clear();
        self.notifications.clear();
        self.json.clear();
        self.postcard.clear();
    }

    pub(super) fn items(&self) -> &[Item] {
        &self.items
    }

    /// The notifications among them; in a room's stream there are none.
    pub(super) fn notifications(&self) -> &[(Seq, NotificationId)] {
        &self.notifications
    }

    /// The number that comes first, or would.
    pub(super) fn first(&self) -> Seq {
        self.items.first().map_or(0, |item| item.after + 1)
    }

    pub(super) fn stored(&self) -> u64 {
        self.stored
    }

    /// Whether a connection that lacks nothing before gets every frame, and stays.
    pub(super) fn is_whole_for(&self, slot: u32, connection: &Connection) -> bool {
        self.excepted.binary_search(&slot).is_err()
            && (self.removed.is_empty() || !self.removed.contains(&connection.user))
    }

    /// All frames in one codec, in as few pieces as is good.
    pub(super) fn runs(&mut self, codec: Codec) -> &[Bytes] {
        let runs = match codec {
            Codec::Json => &mut self.json,
            Codec::Postcard => &mut self.postcard,
        };
        if runs.is_empty() {
            join(self.items.iter().map(|item| item.bytes(codec)), runs);
        }
        runs
    }
}

/// Joins neighbours that are small.
fn join<'a>(frames: impl ExactSizeIterator<Item = &'a Bytes> + Clone, runs: &mut Vec<Bytes>) {
    if frames.len() == 1 {
        runs.extend(frames.cloned());
        return;
    }
    let mut rest: usize = frames.clone().map(Bytes::len).sum();
    let mut run = Vec::with_capacity(rest.min(RUN_MAX_BYTES));
    for frame in frames {
        let is_large = frame.len() > COPY_MAX_BYTES;
        if !run.is_empty() && (is_large || run.len() + frame.len() > RUN_MAX_BYTES) {
            let next = Vec::with_capacity(rest.min(RUN_MAX_BYTES));
            runs.push(Bytes::from(std::mem::replace(&mut run, next)));
        }
        rest -= frame.len();
        if is_large {
            runs.push(frame.clone());
        } else {
            run.extend_from_slice(frame);
        }
    }
    if !run.is_empty() {
        runs.push(Bytes::from(run));
    }
}
