//! NATS' text protocol, in binary messages. A room is a subject.

use crate::driver::adapter::{Adapter, Message, Step, Who};

const PING: &[u8] = b"PING\r\n";

pub(super) struct Nats;

impl Adapter for Nats {
    fn path(&self, _who: &Who) -> String {
        "/".to_owned()
    }

    fn greeting(&self, who: &Who) -> Vec<Step> {
        let token = who.token.as_deref().unwrap_or("");
        let mut hello = format!(
            "CONNECT {{\"verbose\":false,\"pedantic\":false,\"echo\":false,\"auth_token\":\"{token}\",\"name\":\"{}\",\
             \"lang\":\"loadtest\",\"version\":\"1\",\"protocol\":1}}\r\n",
            who.user
        );
        for (number, room) in who.rooms.iter().enumerate() {
            hello.push_str(&format!("SUB {room} {}\r\n", number + 1));
        }
        // The answer to it comes after the subscriptions took effect.
        hello.push_str("PING\r\n");
        vec![
            Step { say: None, wait_for: Some(b"INFO {".to_vec()) },
            Step { say: Some(Message::Binary(hello.into_bytes())), wait_for: Some(b"PONG\r\n".to_vec()) },
        ]
    }

    fn publish(&self, _who: &Who, room: &str, body: &str) -> Message {
        Message::Binary(format!("PUB {room} {}\r\n{body}\r\n", body.len()).into_bytes())
    }

    /// A ping begins a message or follows a line's end; within a body there is no line's end.
    fn answer(&self, payload: &[u8]) -> Option<Message> {
        let asked = payload.starts_with(PING)
            || (payload.ends_with(PING) && payload[..payload.len() - PING.len()].ends_with(b"\r\n"));
        asked.then(|| Message::Binary(b"PONG\r\n".to_vec()))
    }

    fn refused(&self, payload: &[u8]) -> bool {
        payload.starts_with(b"-ERR")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::peers::adapters::somebody;

    #[test]
    fn a_connection_subscribes_to_its_rooms_and_publishes_with_a_length() {
        let who = somebody();
        assert_eq!(Nats.publish(&who, "r1", "body"), Message::Binary(b"PUB r1 4\r\nbody\r\n".to_vec()));
        let Some(Message::Binary(hello)) = &Nats.greeting(&who)[1].say else { panic!("it says nothing") };
        let hello = String::from_utf8_lossy(hello);
        assert!(hello.starts_with("CONNECT {\"verbose\":false,"), "{hello}");
        assert!(hello.contains("\"echo\":false") && hello.contains("\"auth_token\":\"secret\""), "{hello}");
        assert!(hello.ends_with("}\r\nSUB r1 1\r\nPING\r\n"), "{hello}");
    }

    #[test]
    fn a_ping_is_answered_also_behind_messages_but_not_within_one() {
        let pong = Some(Message::Binary(b"PONG\r\n".to_vec()));
        assert_eq!(Nats.answer(b"PING\r\n"), pong);
        assert_eq!(Nats.answer(b"MSG r1 1 4\r\nbody\r\nPING\r\n"), pong);
        assert_eq!(Nats.answer(b"MSG r1 1 8\r\nbodyPING\r\n"), None);
    }
}
