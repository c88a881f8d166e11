//! A committed event on its way to many readers.

use hallway_protocol::notification::Notification;
use hallway_protocol::task::Task;
use hallway_protocol::{Event, EventBody, Message, NotificationId, Seq, ServerFrame, StreamId, UserId};

use crate::connection::Encoded;
use crate::sabotage::{Mutant, is_on};

/// A committed event, encoded at most once per codec.
#[derive(Debug)]
pub struct LiveEvent {
    frame: Encoded,
    stream: StreamId,
    seq: Seq,
    size_bytes: usize,
}

impl LiveEvent {
    /// Wraps an event.
    #[must_use]
    pub fn new(event: Event) -> Self {
        let size_bytes = size_of::<Self>() + variable_bytes(&event.body);
        Self {
            stream: event.stream.clone(),
            seq: event.seq,
            size_bytes,
            frame: Encoded::new(ServerFrame::Event(event)),
        }
    }

    /// Its stream.
    #[must_use]
    pub fn stream(&self) -> &StreamId {
        &self.stream
    }

    /// Its number.
    #[must_use]
    pub fn seq(&self) -> Seq {
        self.seq
    }

    /// Its frame.
    #[must_use]
    pub fn frame(&self) -> &Encoded {
        &self.frame
    }

    /// What happened.
    #[must_use]
    pub fn body(&self) -> Option<&EventBody> {
        match self.frame.content() {
            ServerFrame::Event(event) => Some(&event.body),
            _ => None,
        }
    }

    /// Who is no member any more after this event.
    #[must_use]
    pub fn removed_user(&self) -> Option<&UserId> {
        match self.body() {
            Some(EventBody::MemberRemoved(removed)) if !is_on(Mutant::RemovalWithoutItsNumber) => Some(&removed.user),
            _ => None,
        }
    }

    /// The notification that it brings.
    #[must_use]
    pub fn notification(&self) -> Option<NotificationId> {
        match self.body() {
            Some(EventBody::NotificationCreated(created)) => Some(created.notification.id),
            _ => None,
        }
    }

    /// An estimate of the memory that it takes with both encodings, whether they are made yet or not: what is added to a
    /// bound when it comes is what is taken off when it goes.
    #[must_use]
    pub fn size_bytes(&self) -> usize {
        self.size_bytes
    }
}

fn variable_bytes(body: &EventBody) -> usize {
    match body {
        EventBody::MessageCreated(created) => message_bytes(&created.message),
        EventBody::MessageEdited(edited) => message_bytes(&edited.message),
        EventBody::TaskCreated(created) => task_bytes(&created.task),
        EventBody::TaskChanged(changed) => task_bytes(&changed.task),
        EventBody::TaskCommented(commented) => {
            held_bytes(commented.comment.text.len() + ID_BYTES * commented.comment.mentions.len())
        }
        EventBody::NotificationCreated(created) => {
            let Notification { title, text, data, .. } = &created.notification;
            let said = title.as_ref().map_or(0, String::len) + text.as_ref().map_or(0, String::len);
            held_bytes(said + data.as_ref().map_or(0, |data| data.as_json().len()))
        }
        _ => 64,
    }
}

/// About what an id takes in an encoding.
const ID_BYTES: usize = 40;

fn message_bytes(message: &Message) -> usize {
    held_bytes(message.text.len() + message.meta.as_ref().map_or(0, |meta| meta.as_json().len()))
}

fn task_bytes(task: &Task) -> usize {
    let meta_bytes = task.meta.as_ref().map_or(0, |meta| meta.as_json().len());
    held_bytes(
        task.title.len() + task.text.len() + meta_bytes + ID_BYTES * (task.assignees.len() + task.waits_on.len()),
    )
}

/// Counted three times: the struct, and one encoding in each codec.
fn held_bytes(said_bytes: usize) -> usize {
    3 * (said_bytes + 128)
}
