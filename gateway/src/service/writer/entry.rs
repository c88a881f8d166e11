//! What waits in the writer's queue: one write, or several together; each with whoever waits for the answer.

use std::time::Instant;

use hallway_protocol::task::Task;
use hallway_protocol::{ErrorBody, StreamId, UserId};
use hallway_store::{Action, Committed, Refusal, Write};
use tokio::sync::oneshot;

use super::answers;
use super::parking::Keyed;
use super::schedule::{Kind, Scheduled};

/// What a write came to.
pub(in crate::service) type Written = Result<Committed, Unwritten>;
/// What several writes together came to: one result for each, in their order.
pub(in crate::service) type WrittenTogether = Result<Vec<Committed>, NotTogether>;

/// Why a write was not made, or may not have been.
#[derive(Debug)]
pub(in crate::service) enum Unwritten {
    /// The task has changed since; this is the task now.
    Stale(Box<Task>),
    Error(ErrorBody),
}

/// Why several writes were not made together.
#[derive(Debug)]
pub(in crate::service) enum NotTogether {
    /// This one was refused, and so none was made.
    One(usize, Unwritten),
    /// All of them share this.
    All(ErrorBody),
}

impl From<Refusal> for Unwritten {
    fn from(refusal: Refusal) -> Self {
        match refusal {
            Refusal::TaskStale(task) => Self::Stale(task),
            refusal => Self::Error(answers::refusal(refusal)),
        }
    }
}

/// An entry of the queue.
pub(super) struct Entry {
    pub(super) work: Work,
    pub(super) queued_at: Instant,
}

pub(super) enum Work {
    One {
        write: Write,
        /// Of the write's action.
        stream: StreamId,
        reply: oneshot::Sender<Written>,
    },
    /// All or none, of one actor; at least one.
    Together {
        writes: Vec<Write>,
        /// Of the writes' actions, each once.
        streams: Vec<StreamId>,
        reply: oneshot::Sender<WrittenTogether>,
    },
}

impl Entry {
    pub(super) fn one(write: Write, reply: oneshot::Sender<Written>) -> Self {
        let stream = write.action.stream();
        Self { work: Work::One { write, stream, reply }, queued_at: Instant::now() }
    }

    pub(super) fn together(writes: Vec<Write>, reply: oneshot::Sender<WrittenTogether>) -> Self {
        let mut streams: Vec<StreamId> = writes.iter().map(|write| write.action.stream()).collect();
        streams.sort();
        streams.dedup();
        Self { work: Work::Together { writes, streams, reply }, queued_at: Instant::now() }
    }

    pub(super) fn is_together(&self) -> bool {
        matches!(self.work, Work::Together { .. })
    }

    pub(super) fn writes(&self) -> &[Write] {
        match &self.work {
            Work::One { write, .. } => std::slice::from_ref(write),
            Work::Together { writes, .. } => writes,
        }
    }

    /// Answers that nothing came of it, or that nobody knows. Whoever asked may have hung up.
    pub(super) fn fail(self, error: ErrorBody) {
        match self.work {
            Work::One { reply, .. } => drop(reply.send(Err(Unwritten::Error(error)))),
            Work::Together { reply, .. } => drop(reply.send(Err(NotTogether::All(error)))),
        }
    }
}

impl Keyed for Entry {
    type Room = StreamId;
    type Actor = UserId;

    fn rooms(&self) -> &[StreamId] {
        match &self.work {
            Work::One { stream, .. } => std::slice::from_ref(stream),
            Work::Together { streams, .. } => streams,
        }
    }

    fn actor(&self) -> &UserId {
        // An entry has a write: `together` is only made of some.
        &self.writes()[0].actor
    }

    fn weight(&self) -> usize {
        self.writes().len()
    }
}

impl Scheduled for Entry {
    fn kind(&self) -> Kind {
        match &self.work {
            Work::One { write: Write { action: Action::SendMessage { .. }, .. }, .. } => Kind::Send,
            Work::One { .. } => Kind::Act,
            Work::Together { .. } => Kind::Together,
        }
    }
}

/// Cuts a batch where several writes are to be made together: those stand alone, and all keep their order.
pub(super) fn parts(batch: Vec<Entry>) -> Vec<Vec<Entry>> {
    let mut parts: Vec<Vec<Entry>> = Vec::new();
    for entry in batch {
        match parts.last_mut() {
            Some(last) if !entry.is_together() && !last[0].is_together() => last.push(entry),
            _ => parts.push(vec![entry]),
        }
    }
    parts
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a failed test panics")]
    use hallway_protocol::{Nonce, RoomId};
    use hallway_store::BODY_HASH_BYTES;

    use super::*;

    fn write(room: &str) -> Write {
        Write {
            actor: UserId::new("ada").unwrap(),
            nonce: Nonce::new("n").unwrap(),
            body_hash: [0; BODY_HASH_BYTES],
            action: Action::Join { room: RoomId::new(room).unwrap() },
        }
    }

    #[test]
    fn writes_that_are_made_together_stand_alone_and_all_keep_their_order() {
        let one = |room: &str| Entry::one(write(room), oneshot::channel().0);
        let two = || Entry::together(vec![write("x"), write("y")], oneshot::channel().0);
        let batch = vec![one("a"), one("b"), two(), two(), one("c"), one("d")];
        let rooms = |entry: &Entry| entry.rooms().iter().map(ToString::to_string).collect::<Vec<_>>().join("+");
        let cut: Vec<Vec<String>> = parts(batch).iter().map(|part| part.iter().map(rooms).collect()).collect();
        let expected: [&[&str]; 4] =
            [&["room:a", "room:b"], &["room:x+room:y"], &["room:x+room:y"], &["room:c", "room:d"]];
        assert_eq!(cut, expected);
    }
}
