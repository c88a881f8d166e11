//! What is read for somebody who comes.

use hallway_protocol::event::{
    MessageCreated, MessageEdited, NotificationCreated, TaskChanged, TaskCommented, TaskCreated,
};
use hallway_protocol::model::MyRoom;
use hallway_protocol::{Epoch, Event, EventBody, Meta, RoomId, Seq, StreamId};

use crate::{Page, StreamHead};

/// What a connecting user needs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConnectState {
    pub epoch: Epoch,
    /// The user's own stream.
    pub user: StreamHead,
    /// In the order of their ids.
    pub rooms: Vec<MyRoom>,
    /// Those of them in which the user is muted.
    pub muted: Vec<RoomId>,
    /// Tokens that were issued before are refused; 0: none.
    pub revoked_before_ms: u64,
    /// What was missed of the streams that were asked for, as far as it fits: each page begins where that stream goes on for
    /// this user. Streams without one have nothing new, are not theirs, or did not fit.
    pub missed: Vec<Page>,
}

/// What a connecting user has, and how much of what they missed is read at once.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct MissedQuery {
    /// Rooms and the user's own stream, each once, and the last number that the user has of it. Others are ignored.
    pub after: Vec<(StreamId, Seq)>,
    /// Of each stream at most so many are wanted: the newest.
    pub newest: Option<u32>,
    /// Bound of all pages together. Those that have little come first, and the last one may be cut.
    pub events_max: u32,
    /// Bound of all pages together, in bytes of the texts that their events show: of messages, tasks, comments and notices, with
    /// titles and what applications put there. A task counts with each event that shows it.
    pub bytes_max: u64,
}

impl MissedQuery {
    /// The number behind which a stream goes on for a user who has it up to `after`, in a stream in which they may see
    /// what lies above `floor`.
    pub(crate) fn goes_on_after(&self, after: Seq, floor: Seq, last_seq: Seq) -> Seq {
        let newest = self.newest.map_or(0, |newest| last_seq.saturating_sub(u64::from(newest)));
        after.max(floor).max(newest)
    }
}

/// How many bytes of texts an event shows, as [`MissedQuery::bytes_max`] counts them.
pub(crate) fn text_bytes(event: &Event) -> u64 {
    let meta = |meta: &Option<Meta>| meta.as_ref().map_or(0, |meta| meta.as_json().len());
    let text = |text: &Option<String>| text.as_ref().map_or(0, String::len);
    let bytes = match &event.body {
        EventBody::MessageCreated(MessageCreated { message }) | EventBody::MessageEdited(MessageEdited { message }) => {
            message.text.len() + meta(&message.meta)
        }
        EventBody::TaskCreated(TaskCreated { task }) | EventBody::TaskChanged(TaskChanged { task, .. }) => {
            task.title.len() + task.text.len() + meta(&task.meta)
        }
        EventBody::TaskCommented(TaskCommented { comment, .. }) => comment.text.len(),
        EventBody::NotificationCreated(NotificationCreated { notification, .. }) => {
            text(&notification.title) + text(&notification.text) + meta(&notification.data)
        }
        _ => 0,
    };
    bytes as u64
}
