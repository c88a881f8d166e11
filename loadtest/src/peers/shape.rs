//! Pure: the four loads that everybody gets.

use clap::ValueEnum;
use serde::Serialize;

use super::kind::{Kind, Role};
use crate::driver::crowd::{Crowd, Senders};
use crate::driver::job::Pace;

/// Members of an idle connection's room.
const IDLE_MEMBERS: u32 = 100;
/// Steps of the regression.
pub(crate) const IDLE_STEPS: u32 = 5;
const AUDIENCE: u32 = 1000;
const OUTSTANDING: u32 = 32;
const STEADY_PER_SECOND: f64 = 20.0;
const CHAT_ROOMS: u32 = 200;
const CHAT_MEMBERS: u32 = 10;
const CHAT_PER_SECOND: f64 = 2000.0;

/// A load.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, ValueEnum, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Shape {
    /// Connections that do nothing.
    Idle,
    /// One publisher, as fast as the audience gets it.
    Fanout,
    /// One publisher, at a steady rate.
    Latency,
    /// Everybody talks.
    Chat,
}

impl Shape {
    pub(crate) const ALL: [Self; 4] = [Self::Idle, Self::Fanout, Self::Latency, Self::Chat];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Idle => "idle",
            Self::Fanout => "fanout",
            Self::Latency => "latency",
            Self::Chat => "chat",
        }
    }

    /// What happens, in a line.
    pub(crate) fn title(self, idle_connections: u32, payload_bytes: usize) -> String {
        match self {
            Self::Idle => format!(
                "memory: up to {idle_connections} connections in {IDLE_STEPS} steps, rooms of {IDLE_MEMBERS}, by regression"
            ),
            Self::Fanout => format!(
                "saturated: {AUDIENCE} members, one publisher, {OUTSTANDING} messages under way, {payload_bytes} bytes"
            ),
            Self::Latency => format!(
                "steady: {AUDIENCE} members, one publisher, {STEADY_PER_SECOND} messages/s, {payload_bytes} bytes"
            ),
            Self::Chat => format!(
                "chat: {CHAT_ROOMS} rooms of {CHAT_MEMBERS}, all talk, {CHAT_PER_SECOND} messages/s together, \
                 {payload_bytes} bytes"
            ),
        }
    }

    /// Who is there.
    pub(crate) fn crowd(self, name: String, idle_connections: u32) -> Crowd {
        let (groups, members, senders) = match self {
            Self::Idle => (idle_connections.div_ceil(IDLE_MEMBERS), IDLE_MEMBERS, Senders::First),
            Self::Fanout | Self::Latency => (1, AUDIENCE, Senders::Publisher),
            Self::Chat => (CHAT_ROOMS, CHAT_MEMBERS, Senders::Members),
        };
        Crowd { name, groups, members, rooms: 1, senders, mutable: 0 }
    }

    /// How it is talked; nothing is said in `idle`.
    pub(crate) fn pace(self) -> Pace {
        match self {
            Self::Idle | Self::Fanout => Pace::Outstanding(OUTSTANDING),
            Self::Latency => Pace::Rate(STEADY_PER_SECOND),
            Self::Chat => Pace::Rate(CHAT_PER_SECOND),
        }
    }

    /// The floor that fits: a saturated room can be coalesced, a steady message has nothing to be coalesced with.
    pub(crate) fn floor(self) -> Kind {
        match self {
            Self::Fanout => Kind::BareCoalesce,
            Self::Idle | Self::Latency | Self::Chat => Kind::BareEach,
        }
    }

    /// Whether it is measured at all: an idle connection promises nothing, so it has no stronger guarantee.
    pub(crate) fn fits(self, kind: Kind) -> bool {
        self != Self::Idle || kind.role() != Role::Stronger
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_shape_seats_whom_its_title_promises() {
        let seats = |shape: Shape| shape.crowd("x".to_owned(), 5000).seats();
        assert_eq!(Shape::ALL.map(seats), [5000, 1001, 1001, 2000]);
        assert!(Shape::ALL.iter().all(|shape| shape.title(5000, 128).contains(':') && !shape.name().is_empty()));
        assert!(!Shape::Idle.fits(Kind::HallwayDurable) && Shape::Chat.fits(Kind::HallwayDurable));
    }
}
