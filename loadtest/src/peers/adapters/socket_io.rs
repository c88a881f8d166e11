//! Socket.IO 5 in Engine.IO 4, websocket transport only. `4` is an Engine.IO message, `0` and `2` in it Socket.IO's connect and
//! event; a lone `2` is Engine.IO's ping and `3` the answer.

use crate::driver::adapter::{Adapter, Message, Step, Who};

pub(super) struct SocketIo;

impl Adapter for SocketIo {
    fn path(&self, who: &Who) -> String {
        let room = who.rooms.first().map_or("", String::as_str);
        format!("/socket.io/?EIO=4&transport=websocket&room={room}")
    }

    fn greeting(&self, who: &Who) -> Vec<Step> {
        let token = who.token.as_deref().unwrap_or("");
        let connect = Message::Text(format!(r#"40{{"token":"{token}"}}"#).into_bytes());
        vec![
            Step { say: None, wait_for: Some(br#"0{"sid""#.to_vec()) },
            // Our server says so once the socket is in its room.
            Step { say: Some(connect), wait_for: Some(br#"42["joined"]"#.to_vec()) },
        ]
    }

    fn publish(&self, _who: &Who, _room: &str, body: &str) -> Message {
        Message::Text(format!(r#"42["m","{body}"]"#).into_bytes())
    }

    fn answer(&self, payload: &[u8]) -> Option<Message> {
        (payload == b"2").then(|| Message::Text(b"3".to_vec()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::peers::adapters::somebody;

    #[test]
    fn an_event_is_what_the_javascript_client_sends() {
        let who = somebody();
        assert_eq!(SocketIo.path(&who), "/socket.io/?EIO=4&transport=websocket&room=r1");
        assert_eq!(SocketIo.publish(&who, "r1", "body"), Message::Text(br#"42["m","body"]"#.to_vec()));
        let greeting = SocketIo.greeting(&who);
        assert_eq!(greeting.len(), 2);
        assert_eq!(greeting[1].say, Some(Message::Text(br#"40{"token":"secret"}"#.to_vec())));
    }

    #[test]
    fn a_ping_is_answered_and_nothing_else() {
        assert_eq!(SocketIo.answer(b"2"), Some(Message::Text(b"3".to_vec())));
        assert_eq!(SocketIo.answer(br#"42["m","2"]"#), None);
    }
}
