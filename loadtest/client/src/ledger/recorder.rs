//! Where one client or worker writes.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Instant;

use foldhash::fast::RandomState;
use hallway_protocol::command::Committed;
use hallway_protocol::notification::Notification;
use hallway_protocol::task::{Task, TaskStatus};
use hallway_protocol::{Epoch, Event, EventBody, MessageId, Position, Seq, StreamId, TaskId, UserId};

use super::record::{EventKind, Received, Record};
use super::{Ledger, checksum};
use crate::client::Notice;
use crate::positions::Step;

/// A publish with all its attempts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct PublishId(pub(super) u32);

/// A logical client with its positions.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct SessionId(pub(super) u32);

/// What a session is.
#[derive(Debug, Clone, Copy, Default)]
pub struct Opening {
    /// A final read from the node of this number.
    pub final_read_of_node: Option<u32>,
    /// The client says in `hello` how many missed events it wants at most.
    pub limited: bool,
}

/// Writes lines; they count once it is dropped.
#[derive(Debug)]
pub struct Recorder {
    ledger: Arc<Ledger>,
    records: Vec<Record>,
    streams: HashMap<StreamId, u32, RandomState>,
    /// The stream that was named last: events of one stream often follow each other.
    last_stream: Option<(StreamId, u32)>,
    users: HashMap<UserId, u32, RandomState>,
    epoch: Option<(Epoch, u32)>,
}

impl Recorder {
    pub(super) fn new(ledger: Arc<Ledger>) -> Self {
        let (streams, users) = (HashMap::default(), HashMap::default());
        Self { ledger, records: Vec::new(), streams, last_stream: None, users, epoch: None }
    }

    /// A session begins.
    pub fn open(&mut self, user: &UserId, opening: Opening) -> SessionId {
        let session = self.ledger.take_session();
        let user = self.user(user);
        let Opening { final_read_of_node: node, limited } = opening;
        self.records.push(Record::Open { session, user, node, limited });
        SessionId(session)
    }

    /// The session begins with these positions.
    pub fn starts_at(&mut self, session: SessionId, positions: &[Position]) {
        for position in positions {
            let (stream, epoch) = (self.stream(&position.stream), self.epoch(&position.epoch));
            self.records.push(Record::Position { session: session.0, stream, epoch, seq: position.seq });
        }
    }

    /// A message is about to be sent for the first time.
    pub fn invoke(&mut self, room: &StreamId, sender: &UserId, id: MessageId, text: &str) -> PublishId {
        let publish = self.ledger.take_publish();
        let (stream, sender) = (self.stream(room), self.user(sender));
        let (id, checksum, at_ns) = (id.as_uuid().as_u128(), checksum(text), self.now_ns());
        self.records.push(Record::Invoke { publish, at_ns, stream, sender, id, checksum });
        PublishId(publish)
    }

    /// It is about to be sent again, under the same nonce.
    pub fn retry(&mut self, publish: PublishId) {
        self.records.push(Record::Retry { publish: publish.0 });
    }

    /// It was acknowledged.
    pub fn ok(&mut self, publish: PublishId, committed: &Committed) {
        let at_ns = self.now_ns();
        let epoch = self.epoch(&committed.epoch);
        self.records.push(Record::Ok { publish: publish.0, at_ns, epoch, seq: committed.seq });
    }

    /// One attempt was definitely refused.
    pub fn fail(&mut self, publish: PublishId) {
        self.records.push(Record::Fail { publish: publish.0 });
    }

    /// Nobody knows about one attempt.
    pub fn unknown(&mut self, publish: PublishId) {
        self.records.push(Record::Unknown { publish: publish.0 });
    }

    /// A membership began at `seq`.
    pub fn joined(&mut self, room: &StreamId, user: &UserId, seq: Seq) {
        let (stream, user) = (self.stream(room), self.user(user));
        self.records.push(Record::Member { stream, user, joined: true, seq });
    }

    /// A membership ended at `seq`.
    pub fn removed(&mut self, room: &StreamId, user: &UserId, seq: Seq) {
        let (stream, user) = (self.stream(room), self.user(user));
        self.records.push(Record::Member { stream, user, joined: false, seq });
    }

    /// What the session's client saw.
    pub fn observe(&mut self, session: SessionId, notice: &Notice) {
        let session = session.0;
        match notice {
            Notice::Connected { welcome, .. } => {
                self.epoch(&welcome.epoch);
                self.records.push(Record::Connected { session });
                self.records.push(Record::Welcomed { session });
                for room in &welcome.rooms {
                    let stream = self.stream(&StreamId::Room(room.info.room.clone()));
                    self.records.push(Record::Follows { session, stream });
                }
            }
            Notice::Event { event, step } => self.event(session, event, *step),
            Notice::UnknownEvent { stream, seq, step } => {
                let received = self.received(session, stream, *seq, *step);
                self.records.push(Record::Receive(received));
            }
            Notice::Reset { reset, before } => {
                let before = before.as_ref().map(|position| (self.epoch(&position.epoch), position.seq));
                let (stream, epoch) = (self.stream(&reset.stream), self.epoch(&reset.epoch));
                let (seq, reason) = (reset.seq, reset.reason);
                self.records.push(Record::Reset { session, stream, epoch, seq, reason, before });
            }
            Notice::Synced { positions, .. } => {
                for position in positions {
                    let (stream, epoch) = (self.stream(&position.stream), self.epoch(&position.epoch));
                    self.records.push(Record::Synced { session, stream, epoch, seq: position.seq });
                }
            }
            Notice::Frame(_) | Notice::Disconnected { .. } => {}
        }
    }

    /// The session read messages of a room, whatever its positions: who may read them is I8, and what stands where is I4.
    pub fn read_history(&mut self, session: SessionId, room: &StreamId, messages: &[hallway_protocol::Message]) {
        for message in messages {
            let mut received = self.received(session.0, room, message.seq, Step::Repeat);
            self.message(&mut received, EventKind::Created, message);
            self.records.push(Record::Receive(received));
        }
    }

    /// The session had every chance to read to the end: what it lacks now is lost.
    pub fn done(&mut self, session: SessionId) {
        self.records.push(Record::Done { session: session.0 });
    }

    /// A change of a task was committed. `base`: the version that it was made on, 0 when it was created; `moved`: to which status.
    pub fn task_changed(&mut self, task: TaskId, base: u32, moved: Option<TaskStatus>, committed: &Committed) {
        let stream = self.stream(&committed.stream);
        let task = task.as_uuid().as_u128();
        self.records.push(Record::TaskCommitted { stream, task, base, moved, seq: committed.seq });
    }

    /// Nobody knows about a change of a task.
    pub fn task_unknown(&mut self, task: TaskId) {
        self.records.push(Record::TaskUnknown { task: task.as_uuid().as_u128() });
    }

    /// Somebody is to be notified, once, by a notice or announcement of this title.
    pub fn owes(&mut self, user: &UserId, title: &str) {
        let user = self.user(user);
        self.records.push(Record::Owed { user, key: checksum(title) });
    }

    /// What the node says of a user's unread notifications, and how many there must be.
    pub fn unread(&mut self, user: &UserId, told: u64, counted: u64) {
        let user = self.user(user);
        self.records.push(Record::Unread { user, told, counted });
    }

    fn task_seen(&mut self, session: u32, task: &Task) {
        let (version, status) = (task.version, task.status);
        self.records.push(Record::TaskSeen { session, task: task.id.as_uuid().as_u128(), version, status });
    }

    /// What a notification is about is its key: a title, or the message or task of which there is only one of this kind.
    fn notified(&mut self, session: u32, notification: &Notification, repeat: bool) {
        let id = notification.id.as_uuid().as_u128();
        let key = match (&notification.title, notification.message) {
            (Some(title), _) => checksum(title),
            (None, Some(message)) => checksum(&message.to_string()),
            (None, None) => checksum(&notification.id.to_string()),
        };
        self.records.push(Record::Notified { session, notification: id, key, repeat });
    }

    fn event(&mut self, session: u32, event: &Event, step: Step) {
        let mut received = self.received(session, &event.stream, event.seq, step);
        match &event.body {
            EventBody::MessageCreated(created) => self.message(&mut received, EventKind::Created, &created.message),
            EventBody::MessageEdited(edited) => self.message(&mut received, EventKind::Edited, &edited.message),
            EventBody::MessageDeleted(deleted) => {
                received.kind = EventKind::Deleted;
                received.id = deleted.id.as_uuid().as_u128();
            }
            EventBody::MemberJoined(joined) => {
                received.kind = EventKind::Joined;
                received.user = self.user(&joined.user);
            }
            EventBody::MemberRemoved(removed) => {
                received.kind = EventKind::Removed;
                received.user = self.user(&removed.user);
            }
            EventBody::TaskCreated(created) if !received.repeat => self.task_seen(session, &created.task),
            EventBody::TaskChanged(changed) if !received.repeat => self.task_seen(session, &changed.task),
            EventBody::NotificationCreated(created) => {
                self.notified(session, &created.notification, received.repeat);
            }
            _ => {}
        }
        self.records.push(Record::Receive(received));
    }

    fn message(&mut self, received: &mut Received, kind: EventKind, message: &hallway_protocol::Message) {
        received.kind = kind;
        received.user = self.user(&message.sender);
        received.id = message.id.as_uuid().as_u128();
        received.version = message.version;
        received.checksum = checksum(&message.text);
    }

    fn received(&mut self, session: u32, stream: &StreamId, seq: Seq, step: Step) -> Received {
        let stream = self.stream(stream);
        let epoch = self.epoch.as_ref().map_or(u32::MAX, |(_, number)| *number);
        let (kind, repeat) = (EventKind::Other, step == Step::Repeat);
        Received { session, stream, epoch, user: u32::MAX, seq, id: 0, checksum: 0, version: 0, kind, repeat }
    }

    fn now_ns(&self) -> u64 {
        u64::try_from(Instant::now().duration_since(self.ledger.started).as_nanos()).unwrap_or(u64::MAX)
    }

    fn stream(&mut self, stream: &StreamId) -> u32 {
        if let Some((last, number)) = &self.last_stream
            && last == stream
        {
            return *number;
        }
        let number = match self.streams.get(stream) {
            Some(number) => *number,
            None => {
                let number = self.ledger.lock().names.streams.number(stream);
                self.streams.insert(stream.clone(), number);
                number
            }
        };
        self.last_stream = Some((stream.clone(), number));
        number
    }

    fn user(&mut self, user: &UserId) -> u32 {
        if let Some(number) = self.users.get(user) {
            return *number;
        }
        let number = self.ledger.lock().names.users.number(user);
        self.users.insert(user.clone(), number);
        number
    }

    fn epoch(&mut self, epoch: &Epoch) -> u32 {
        if let Some((known, number)) = &self.epoch
            && known == epoch
        {
            return *number;
        }
        let number = self.ledger.lock().names.epochs.number(epoch);
        self.epoch = Some((epoch.clone(), number));
        number
    }
}

impl Drop for Recorder {
    fn drop(&mut self) {
        let records = std::mem::take(&mut self.records);
        self.ledger.lock().finished.push(records);
    }
}
