//! How each peer is spoken to, from a client's side. Framing and masking are the driver's.

mod mqtt;
mod nats;
mod plain;
mod socket_io;

use serde::{Deserialize, Serialize};

use crate::driver::adapter::Adapter;

/// What a peer speaks within WebSocket messages.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Protocol {
    /// Nothing: the room is in the path and a message is its body.
    Plain,
    /// Engine.IO 4 and Socket.IO 5.
    SocketIo,
    /// NATS' client protocol.
    Nats,
    /// MQTT 3.1.1.
    Mqtt,
}

impl Protocol {
    /// How it is spoken.
    pub(crate) fn adapter(self) -> Box<dyn Adapter> {
        match self {
            Self::Plain => Box::new(plain::Plain),
            Self::SocketIo => Box::new(socket_io::SocketIo),
            Self::Nats => Box::new(nats::Nats),
            Self::Mqtt => Box::new(mqtt::Mqtt),
        }
    }
}

#[cfg(test)]
fn somebody() -> crate::driver::adapter::Who {
    crate::driver::adapter::Who {
        user: "u7".to_owned(),
        rooms: vec!["r1".to_owned()],
        token: Some("secret".to_owned()),
    }
}
