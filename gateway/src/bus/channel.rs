//! Pure. Where messages are published, and how that is called on a server.

use std::fmt;

use hallway_protocol::RoomId;

use crate::node::NodeId;

const ALL: &str = "all";
const NODE: &str = "node:";
const ROOM: &str = "room:";

/// Where to publish.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Channel {
    /// Every node of the cluster.
    All,
    /// The inbox of one node.
    Node(NodeId),
    /// The nodes that follow a large room.
    Room(RoomId),
}

impl Channel {
    /// The channel of this name; none when no channel is called exactly so.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        if name == ALL {
            return Some(Self::All);
        }
        if let Some(room) = name.strip_prefix(ROOM) {
            return RoomId::new(room).ok().map(Self::Room);
        }
        let node = name.strip_prefix(NODE)?;
        // The number alone would also be read from `+1` or in capitals.
        let id: NodeId = node.parse().ok()?;
        (id.to_string() == node).then_some(Self::Node(id))
    }
}

/// Its name, unique among channels; a back end may put a prefix before it.
impl fmt::Display for Channel {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::All => out.write_str(ALL),
            Self::Node(node) => write!(out, "{NODE}{node}"),
            Self::Room(room) => write!(out, "{ROOM}{room}"),
        }
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

    use proptest::prelude::*;

    use super::*;

    #[test]
    fn names_of_channels_are_as_they_are_written_down() {
        assert_eq!(Channel::All.to_string(), "all");
        assert_eq!(Channel::Node(NodeId::from_number(0xab)).to_string(), "node:00000000000000ab");
        assert_eq!(Channel::Room(RoomId::new("all").unwrap()).to_string(), "room:all");
    }

    #[test]
    fn a_name_that_is_almost_right_is_no_channel() {
        let long = format!("room:{}", "r".repeat(65));
        for name in ["", "al", "all ", "ALL", "node:", "node:1", "node:00000000000000AB", "node:+0000000000000ab"] {
            assert_eq!(Channel::from_name(name), None, "{name}");
        }
        for name in ["room:", "room:a b", "room:ä", "room", "other:1", "node:000000000000000ab", &long] {
            assert_eq!(Channel::from_name(name), None, "{name}");
        }
    }

    proptest! {
        #[test]
        fn every_channel_is_read_back_from_its_name(number in any::<u64>(), room in "[A-Za-z0-9_.:-]{1,64}") {
            for channel in [Channel::Node(NodeId::from_number(number)), Channel::Room(RoomId::new(&room).unwrap())] {
                prop_assert_eq!(Channel::from_name(&channel.to_string()), Some(channel));
            }
        }

        #[test]
        fn what_is_read_from_a_name_has_that_name(name in "(all|node:|room:)?[ -~]{0,70}") {
            if let Some(channel) = Channel::from_name(&name) {
                prop_assert_eq!(channel.to_string(), name);
            }
        }
    }
}
