//! Pure: who is compared, and what is said about each.

use clap::ValueEnum;
use serde::Serialize;

use super::adapters::Protocol;

/// What is measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, ValueEnum, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Kind {
    /// Hallway's `signal`: at most once, nothing stored.
    Hallway,
    /// The same to clients who speak postcard.
    HallwayPostcard,
    /// The floor: a write for every message and member.
    BareEach,
    /// The floor: a write for every turn of the loop and member.
    BareCoalesce,
    /// ws, for Node.
    Ws,
    /// Socket.IO on ws.
    Socketio,
    /// Socket.IO on uWebSockets.js.
    SocketioUws,
    /// uWebSockets.js.
    Uws,
    /// nginx with Nchan.
    Nchan,
    /// NATS over WebSocket.
    Nats,
    /// Mosquitto: MQTT over WebSocket.
    Mosquitto,
    /// Hallway's `message.send`: committed, ordered, acknowledged. Another guarantee, in a row of its own.
    HallwayDurable,
}

/// Why something is in the table.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Role {
    /// What it is all about.
    Subject,
    /// What the kernel costs.
    Floor,
    /// A server with the same guarantee.
    Peer,
    /// A stronger guarantee, not to be compared.
    Stronger,
}

impl Kind {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Hallway => "hallway",
            Self::HallwayPostcard => "hallway-postcard",
            Self::BareEach => "bare-each",
            Self::BareCoalesce => "bare-coalesce",
            Self::Ws => "ws",
            Self::Socketio => "socketio",
            Self::SocketioUws => "socketio-uws",
            Self::Uws => "uws",
            Self::Nchan => "nchan",
            Self::Nats => "nats",
            Self::Mosquitto => "mosquitto",
            Self::HallwayDurable => "hallway-durable",
        }
    }

    pub(crate) fn role(self) -> Role {
        match self {
            Self::Hallway | Self::HallwayPostcard => Role::Subject,
            Self::BareEach | Self::BareCoalesce => Role::Floor,
            Self::HallwayDurable => Role::Stronger,
            _ => Role::Peer,
        }
    }

    /// What a peer speaks; `None`: Hallway's own protocol.
    pub(crate) fn protocol(self) -> Option<Protocol> {
        match self {
            Self::Hallway | Self::HallwayPostcard | Self::HallwayDurable => None,
            Self::BareEach | Self::BareCoalesce | Self::Ws | Self::Uws | Self::Nchan => Some(Protocol::Plain),
            Self::Socketio | Self::SocketioUws => Some(Protocol::SocketIo),
            Self::Nats => Some(Protocol::Nats),
            Self::Mosquitto => Some(Protocol::Mqtt),
        }
    }

    /// Whether a sender gets its own messages too.
    pub(crate) fn echoes(self) -> bool {
        matches!(self, Self::HallwayDurable | Self::SocketioUws | Self::Nchan | Self::Mosquitto)
    }

    /// The program or configuration in `loadtest/peers`.
    pub(crate) fn file(self) -> Option<&'static str> {
        match self {
            Self::Hallway | Self::HallwayPostcard | Self::HallwayDurable | Self::BareEach | Self::BareCoalesce => None,
            Self::Ws => Some("ws.js"),
            Self::Socketio | Self::SocketioUws => Some("socketio.js"),
            Self::Uws => Some("uws.js"),
            Self::Nchan => Some("nginx.conf"),
            Self::Nats => Some("nats.conf"),
            Self::Mosquitto => Some("mosquitto.conf"),
        }
    }

    /// The settings that matter, in a line.
    pub(crate) fn settings(self) -> &'static str {
        match self {
            Self::Hallway => "serve --dev, signal; token checked, room membership checked for every message",
            Self::HallwayPostcard => "the same, clients speak postcard",
            Self::HallwayDurable => "serve --dev, message.send into its embedded store; acknowledged after the commit",
            Self::BareEach => "one thread, no checks, one write for every message and member",
            Self::BareCoalesce => "one thread, no checks, one write for every turn of the loop and member",
            Self::Ws => "rooms are sets, send(Buffer) to each, no compression, token checked at the upgrade",
            Self::Socketio => "websocket only, socket.to(room).emit, no compression, token checked on connect",
            Self::SocketioUws => "attachApp, io.to(room).emit (its fast path; the sender hears itself), token checked",
            Self::Uws => "publish to a topic, no compression, 16 MiB back-pressure, token checked at the upgrade",
            Self::Nchan => "one worker, nchan_pubsub websocket, nothing stored, the sender hears itself, token checked",
            Self::Nats => "core subjects, no TLS, no compression, echo and verbose off, token checked on connect",
            Self::Mosquitto => "MQTT 3.1.1, QoS 0, no persistence, anonymous, the sender hears itself",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_what_is_typed() {
        for kind in Kind::value_variants() {
            let typed = kind.to_possible_value().map(|value| value.get_name().to_owned());
            assert_eq!(typed.as_deref(), Some(kind.name()));
        }
    }
}
