//! MQTT 3.1.1, QoS 0, clean sessions, no keep-alive, in binary messages. A room is a topic. Version 3.1.1 has no way to leave
//! the publisher out, so it hears itself.

use crate::driver::adapter::{Adapter, Message, Step, Who};

const CONNECT: u8 = 0x10;
const CONNACK: u8 = 0x20;
const PUBLISH: u8 = 0x30;
const SUBSCRIBE: u8 = 0x82;
const SUBACK: u8 = 0x90;

pub(super) struct Mqtt;

/// A text with its length before it. Names of rooms and users are far shorter than 64 KiB.
fn put_text(out: &mut Vec<u8>, text: &str) {
    let length = u16::try_from(text.len()).unwrap_or(u16::MAX);
    out.extend_from_slice(&length.to_be_bytes());
    out.extend_from_slice(&text.as_bytes()[..usize::from(length)]);
}

/// A packet: its type, its length in groups of seven bits, its content.
fn packet(kind: u8, content: &[u8]) -> Vec<u8> {
    let mut out = vec![kind];
    let mut rest = content.len();
    loop {
        let group = (rest & 0x7f) as u8;
        rest >>= 7;
        out.push(if rest > 0 { group | 0x80 } else { group });
        if rest == 0 {
            break;
        }
    }
    out.extend_from_slice(content);
    out
}

impl Adapter for Mqtt {
    fn path(&self, _who: &Who) -> String {
        "/".to_owned()
    }

    fn headers(&self, _who: &Who) -> Vec<(&'static str, String)> {
        vec![("Sec-WebSocket-Protocol", "mqtt".to_owned())]
    }

    fn greeting(&self, who: &Who) -> Vec<Step> {
        let mut connect = Vec::new();
        put_text(&mut connect, "MQTT");
        // Level 4, clean session, no keep-alive.
        connect.extend_from_slice(&[4, 2, 0, 0]);
        put_text(&mut connect, &who.user);

        let mut subscribe = vec![0, 1];
        for room in &who.rooms {
            put_text(&mut subscribe, room);
            subscribe.push(0);
        }
        // Packet 1, and QoS 0 granted for each topic.
        let granted = [vec![0, 1], vec![0; who.rooms.len()]].concat();
        vec![
            Step { say: Some(Message::Binary(packet(CONNECT, &connect))), wait_for: Some(packet(CONNACK, &[0, 0])) },
            Step {
                say: Some(Message::Binary(packet(SUBSCRIBE, &subscribe))),
                wait_for: Some(packet(SUBACK, &granted)),
            },
        ]
    }

    fn publish(&self, _who: &Who, room: &str, body: &str) -> Message {
        let mut content = Vec::with_capacity(2 + room.len() + body.len());
        put_text(&mut content, room);
        content.extend_from_slice(body.as_bytes());
        Message::Binary(packet(PUBLISH, &content))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::peers::adapters::somebody;

    #[test]
    fn packets_are_those_of_the_standard() {
        let who = somebody();
        let greeting = Mqtt.greeting(&who);
        let connect = b"\x10\x0e\x00\x04MQTT\x04\x02\x00\x00\x00\x02u7";
        assert_eq!(greeting[0].say, Some(Message::Binary(connect.to_vec())));
        assert_eq!(greeting[0].wait_for.as_deref(), Some(&b"\x20\x02\x00\x00"[..]));
        assert_eq!(greeting[1].say, Some(Message::Binary(b"\x82\x07\x00\x01\x00\x02r1\x00".to_vec())));
        assert_eq!(greeting[1].wait_for.as_deref(), Some(&b"\x90\x03\x00\x01\x00"[..]));
        assert_eq!(Mqtt.publish(&who, "r1", "body"), Message::Binary(b"\x30\x08\x00\x02r1body".to_vec()));
        assert_eq!(Mqtt.headers(&who), [("Sec-WebSocket-Protocol", "mqtt".to_owned())]);
    }

    #[test]
    fn a_length_beyond_127_takes_two_bytes() {
        let Message::Binary(bytes) = Mqtt.publish(&somebody(), "r1", &"x".repeat(128)) else { panic!("not binary") };
        assert_eq!(bytes[..3], [0x30, 0x84, 0x01]);
        assert_eq!(bytes.len(), 3 + 132);
    }
}
