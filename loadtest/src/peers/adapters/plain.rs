//! No protocol of its own: the bare loops, `ws`, uWebSockets.js, Nchan. One room for each connection, named by the path.

use crate::driver::adapter::{Adapter, Message, Step, Who};

pub(super) struct Plain;

impl Adapter for Plain {
    fn path(&self, who: &Who) -> String {
        let room = who.rooms.first().map_or("", String::as_str);
        match &who.token {
            Some(token) => format!("/{room}?token={token}"),
            None => format!("/{room}"),
        }
    }

    /// Who is upgraded is in its room.
    fn greeting(&self, _who: &Who) -> Vec<Step> {
        Vec::new()
    }

    fn publish(&self, _who: &Who, _room: &str, body: &str) -> Message {
        Message::Text(body.as_bytes().to_vec())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::peers::adapters::somebody;

    #[test]
    fn the_path_names_the_room_and_a_message_is_its_body() {
        let mut who = somebody();
        assert_eq!(Plain.path(&who), "/r1?token=secret");
        assert_eq!(Plain.publish(&who, "r1", "body"), Message::Text(b"body".to_vec()));
        assert!(Plain.greeting(&who).is_empty());
        who.token = None;
        assert_eq!(Plain.path(&who), "/r1");
    }
}
