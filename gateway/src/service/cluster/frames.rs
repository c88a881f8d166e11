//! Pure: what stands in the frames of an envelope between nodes.
//!
//! Numbers of kinds and what they hold never change once released; growth is a new kind, which older nodes skip.

use bytes::Bytes;
use hallway_protocol::codec::{Codec, Received, decode_frame};
use hallway_protocol::{Epoch, Event, Seq, ServerFrame, StreamId};
use serde::{Deserialize, Serialize};

use crate::bus::envelope::Frame;
use crate::directory::Notice;

/// The store's life that the events after it belong to: text.
const EPOCH: u16 = 1;
/// A committed event: the frame that a client with the binary codec gets.
const EVENT: u16 = 2;
/// Typing, signal and the like, for everyone who follows its room now: the frame that a client gets.
const EPHEMERAL: u16 = 3;
/// What the directory says: postcard.
const NOTICE: u16 = 4;
/// A number that is to come back: postcard.
const PROBE: u16 = 5;
/// See [`Question`]: postcard.
const QUESTION: u16 = 6;
/// See [`Answered`]: postcard.
const ANSWER: u16 = 7;

/// Something that one node asks another.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Question {
    /// For the answer.
    pub id: u64,
    /// What it is about.
    pub topic: u16,
    pub body: Vec<u8>,
}

/// What came of a question.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Answered {
    pub id: u64,
    /// `None`: the node does not know what the question is about.
    pub body: Option<Vec<u8>>,
}

/// A frame as it is understood here.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Heard {
    Epoch(Epoch),
    Event(Event),
    /// An event of a kind that this version does not know: it tells how far its stream has come.
    Head(StreamId, Seq),
    Ephemeral(ServerFrame),
    Notice(Notice),
    Question(Question),
    Answer(Answered),
    /// A kind that this version does not know, or that is none of its business.
    Skipped,
    /// A kind that it knows, with a body that it cannot read.
    Broken,
}

/// The epoch of what follows.
#[must_use]
pub(super) fn epoch(epoch: &Epoch) -> Frame {
    Frame { kind: EPOCH, body: Bytes::copy_from_slice(epoch.as_str().as_bytes()) }
}

/// An event, as the binary codec wrote it.
#[must_use]
pub(super) fn event(body: Bytes) -> Frame {
    Frame { kind: EVENT, body }
}

/// A frame for everyone who follows a room, as the binary codec wrote it.
#[must_use]
pub(super) fn ephemeral(body: Bytes) -> Frame {
    Frame { kind: EPHEMERAL, body }
}

/// What the directory says.
#[must_use]
pub(super) fn notice(notice: &Notice) -> Frame {
    Frame { kind: NOTICE, body: postcard(notice) }
}

/// A number that is to come back.
#[must_use]
pub(super) fn probe(number: u64) -> Frame {
    Frame { kind: PROBE, body: postcard(&number) }
}

/// A question.
#[must_use]
pub(super) fn question(question: &Question) -> Frame {
    Frame { kind: QUESTION, body: postcard(question) }
}

/// An answer.
#[must_use]
pub(super) fn answer(answered: &Answered) -> Frame {
    Frame { kind: ANSWER, body: postcard(answered) }
}

/// Reads a frame.
#[must_use]
pub(super) fn read(frame: &Frame) -> Heard {
    match frame.kind {
        EPOCH => std::str::from_utf8(&frame.body)
            .ok()
            .and_then(|text| Epoch::new(text).ok())
            .map_or(Heard::Broken, Heard::Epoch),
        EVENT => match decode_frame(Codec::Postcard, &frame.body) {
            Ok(Received::Frame(ServerFrame::Event(event))) => Heard::Event(event),
            Ok(Received::UnknownEvent { stream, seq }) => Heard::Head(stream, seq),
            _ => Heard::Broken,
        },
        EPHEMERAL => match decode_frame(Codec::Postcard, &frame.body) {
            Ok(Received::Frame(frame)) => Heard::Ephemeral(frame),
            Ok(_) => Heard::Skipped,
            Err(_) => Heard::Broken,
        },
        NOTICE => whole(&frame.body).map_or(Heard::Broken, Heard::Notice),
        QUESTION => whole(&frame.body).map_or(Heard::Broken, Heard::Question),
        ANSWER => whole(&frame.body).map_or(Heard::Broken, Heard::Answer),
        _ => Heard::Skipped,
    }
}

fn postcard<T: Serialize>(value: &T) -> Bytes {
    // Numbers, ids and lists of them: nothing of it can fail to serialise.
    postcard::to_extend(value, Vec::new()).map(Bytes::from).unwrap_or_default()
}

fn whole<T: for<'de> Deserialize<'de>>(bytes: &[u8]) -> Option<T> {
    postcard::take_from_bytes(bytes).ok().filter(|(_, rest)| rest.is_empty()).map(|(value, _)| value)
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a failed test panics")]
    use hallway_protocol::codec::{EVENT_KIND_BASE, encode_frame};
    use hallway_protocol::event::RoomArchived;
    use hallway_protocol::frame::TypingFrame;
    use hallway_protocol::{EventBody, RoomId, UserId};
    use proptest::prelude::*;

    use super::*;
    use crate::directory::Devices;

    fn user() -> UserId {
        UserId::new("ada").unwrap()
    }

    fn an_event() -> Event {
        let body = EventBody::RoomArchived(RoomArchived { by: user() });
        Event { stream: StreamId::System, seq: 7, at_ms: 3, body }
    }

    #[test]
    fn what_is_written_is_read() {
        let typing = ServerFrame::Typing(TypingFrame { room: RoomId::new("r").unwrap(), user: user(), active: true });
        let said = Notice::Delta { version: 2, changes: vec![(user(), Devices { devices: 1, away: 0 })] };
        let asked = Question { id: 9, topic: 1, body: vec![1, 2] };
        let answered = Answered { id: 9, body: Some(vec![3]) };
        let life = Epoch::new("e1").unwrap();
        let pairs = [
            (epoch(&life), Heard::Epoch(life.clone())),
            (event(encode_frame(Codec::Postcard, &ServerFrame::Event(an_event())).into()), Heard::Event(an_event())),
            (ephemeral(encode_frame(Codec::Postcard, &typing).into()), Heard::Ephemeral(typing.clone())),
            (notice(&said), Heard::Notice(said.clone())),
            (question(&asked), Heard::Question(asked.clone())),
            (answer(&answered), Heard::Answer(answered.clone())),
            (probe(3), Heard::Skipped),
        ];
        for (frame, heard) in pairs {
            assert_eq!(read(&frame), heard, "kind {}", frame.kind);
        }
    }

    #[test]
    fn released_kinds_keep_their_numbers() {
        assert_eq!((EPOCH, EVENT, EPHEMERAL, NOTICE, PROBE, QUESTION, ANSWER), (1, 2, 3, 4, 5, 6, 7));
        assert_eq!(notice(&Notice::Heartbeat { version: 300 }).body, Bytes::from_static(&[0, 0xac, 0x02]));
        let asked = Question { id: 9, topic: 1, body: vec![7] };
        assert_eq!(question(&asked).body, Bytes::from_static(&[9, 1, 1, 7]));
        assert_eq!(answer(&Answered { id: 9, body: None }).body, Bytes::from_static(&[9, 0]));
    }

    #[test]
    fn an_event_of_an_unknown_kind_is_a_head() {
        let mut body = encode_frame(Codec::Postcard, &ServerFrame::Event(an_event()));
        body[1..3].copy_from_slice(&(EVENT_KIND_BASE + 999).to_le_bytes());
        assert_eq!(read(&event(body.into())), Heard::Head(StreamId::System, 7));
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic(kind in 0..10_u16, body in prop::collection::vec(any::<u8>(), 0..80)) {
            let _ = read(&Frame { kind, body: body.into() });
        }
    }
}
