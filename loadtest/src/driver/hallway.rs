//! How Hallway itself is spoken to. Rooms and memberships are made before, so a greeting is `hello` and its sync.

use hallway_protocol::codec::{Codec, encode_request};
use hallway_protocol::command::{Hello, MessageSend, Request, Signal, UNANSWERED_ID};
use hallway_protocol::{Command, Meta, Nonce, PROTOCOL_MINOR, RoomId};
use serde::{Deserialize, Serialize};

use super::adapter::{Adapter, Message, Step, Who};

/// What of Hallway is driven.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Kind {
    pub(crate) path: String,
    pub(crate) postcard: bool,
    /// `message.send` rather than `signal`.
    pub(crate) durable: bool,
}

/// The adapter.
pub(crate) struct Hallway {
    kind: Kind,
    codec: Codec,
}

impl Hallway {
    pub(crate) fn new(kind: Kind) -> Self {
        let codec = if kind.postcard { Codec::Postcard } else { Codec::Json };
        Self { kind, codec }
    }

    fn request(&self, id: u64, command: Command) -> Message {
        let bytes = encode_request(self.codec, &Request { id, command });
        match self.codec {
            Codec::Json => Message::Text(bytes),
            Codec::Postcard => Message::Binary(bytes),
        }
    }

    /// Words by which a server frame is known.
    fn sign(&self, json: &str, kind: u16) -> Vec<u8> {
        match self.codec {
            Codec::Json => json.as_bytes().to_vec(),
            Codec::Postcard => {
                let [low, high] = kind.to_le_bytes();
                vec![1, low, high]
            }
        }
    }
}

/// A publish as a command; `None` when room or body cannot be one's.
fn publish(room: &str, body: &str, durable: bool) -> Option<Command> {
    let room = RoomId::new(room).ok()?;
    Some(if durable {
        // Publisher, sequence number and time: nobody else has them.
        let nonce = Nonce::new(body.get(4..36)?).ok()?;
        let text = body.to_owned();
        Command::MessageSend(MessageSend {
            nonce,
            room,
            id: None,
            text,
            reply_to: None,
            mentions: Vec::new(),
            meta: None,
        })
    } else {
        let data = Meta::from_json(&format!(r#"{{"b":"{body}"}}"#)).ok()?;
        Command::Signal(Signal { room, name: "load".to_owned(), data: Some(data) })
    })
}

impl Adapter for Hallway {
    fn path(&self, _who: &Who) -> String {
        self.kind.path.clone()
    }

    fn headers(&self, _who: &Who) -> Vec<(&'static str, String)> {
        vec![("Sec-WebSocket-Protocol", self.codec.subprotocol().to_owned())]
    }

    fn greeting(&self, who: &Who) -> Vec<Step> {
        let hello = Hello {
            token: who.token.clone(),
            client_name: Some("loadtest".to_owned()),
            client_version: None,
            protocol_minor: PROTOCOL_MINOR,
            positions: Vec::new(),
            // What was said before is nobody's here: without this, every room's newest events would be read, sent, and kept.
            limit: Some(1),
        };
        let hello = Some(self.request(1, Command::Hello(hello)));
        vec![
            Step { say: hello, wait_for: Some(self.sign(r#""reply":{"hello""#, 0x1001)) },
            Step { say: None, wait_for: Some(self.sign(r#"{"sync_end""#, 3)) },
        ]
    }

    fn publish(&self, _who: &Who, room: &str, body: &str) -> Message {
        let sequence = body.get(12..20).and_then(|digits| u64::from_str_radix(digits, 16).ok()).unwrap_or(0);
        // Room names and bodies are the driver's own and always valid; a ping does no harm where one is not.
        let command =
            publish(room, body, self.kind.durable).unwrap_or(Command::Ping(hallway_protocol::command::Ping {}));
        // A signal wants no answer, as a broadcast of the peers has none.
        let id = if self.kind.durable { sequence + 2 } else { UNANSWERED_ID };
        self.request(id, command)
    }

    fn refused(&self, payload: &[u8]) -> bool {
        match self.codec {
            Codec::Json => payload.starts_with(br#"{"error""#) || payload.starts_with(br#"{"closing""#),
            Codec::Postcard => payload.starts_with(&[1, 1, 0]) || payload.starts_with(&[1, 7, 0]),
        }
    }
}
