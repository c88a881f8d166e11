//! What coordinator and workers say to each other, one JSON object a line.

use std::net::SocketAddr;

use serde::{Deserialize, Serialize};

use super::adapter::{Adapter, Who};
use super::hallway::{Hallway, Kind};
use crate::peers::adapters::Protocol;

/// The kind of server that a job is for.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Server {
    Hallway(Kind),
    Peer(Protocol),
}

impl Server {
    /// How it is spoken to.
    pub(crate) fn adapter(&self) -> Box<dyn Adapter> {
        match self {
            Self::Hallway(kind) => Box::new(Hallway::new(kind.clone())),
            Self::Peer(protocol) => protocol.adapter(),
        }
    }
}

/// A worker's share of a run. Rooms are never divided: all of a room's members are in one worker.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Job {
    pub(crate) server: Server,
    pub(crate) target: SocketAddr,
    /// Further nodes of the same cluster: connections take turns, and only deliveries from one node to another are timed.
    #[serde(default)]
    pub(crate) further_targets: Vec<SocketAddr>,
    /// The `Host` header.
    pub(crate) host: String,
    /// Connections come from this many addresses of 127.0.0.0/8; 1: from wherever the system likes.
    pub(crate) source_addresses: u32,
    /// Connections begun per second; 0: as fast as it goes.
    pub(crate) connect_rate: f64,
    pub(crate) payload_bytes: usize,
    /// Whether a talker gets its own messages too.
    pub(crate) echoes: bool,
    /// Number of the first talker of the first room: talkers are numbered through the whole run.
    pub(crate) first_publisher: u32,
    pub(crate) talkers_per_room: u32,
    pub(crate) rooms: Vec<Room>,
    pub(crate) seats: Vec<Seat>,
}

impl Job {
    /// Which node a connection goes to, by number.
    pub(crate) fn node_of(&self, seat: u32) -> usize {
        seat as usize % (self.further_targets.len() + 1)
    }

    /// Where that node is.
    pub(crate) fn target_of(&self, seat: u32) -> SocketAddr {
        match self.node_of(seat) {
            0 => self.target,
            node => self.further_targets[node - 1],
        }
    }

    /// Whether a delivery between these connections says how long it takes.
    pub(crate) fn times(&self, from: u32, to: u32) -> bool {
        self.further_targets.is_empty() || self.node_of(from) != self.node_of(to)
    }
}

/// A room and those who talk in it.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Room {
    pub(crate) name: String,
    /// Which connections of the job; `talkers_per_room` of them.
    pub(crate) talkers: Vec<u32>,
}

/// One connection.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Seat {
    pub(crate) who: Who,
    /// Which rooms of the job it is in.
    pub(crate) rooms: Vec<u32>,
    /// Whether it must get everything. A publisher that is there for nothing else need not.
    pub(crate) listens: bool,
    /// Has a small receive buffer, is never waited for, and stops reading when a phase mutes it.
    pub(crate) mutable: bool,
}

/// What a worker is told. The job itself comes first, in a line of its own.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Order {
    /// Open this many more connections.
    Connect { more: usize },
    /// Close all connections.
    Disconnect,
    /// Talk.
    Talk(Phase),
    /// Stop talking now.
    Stop,
    /// Say what the ledger found.
    Judge,
}

/// How messages are paced.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Pace {
    /// Open loop: this worker's messages per second, all rooms together.
    Rate(f64),
    /// Saturated: this many messages of each room are under way; one is done when every listener has it.
    Outstanding(u32),
    /// One message in each room.
    Once,
}

/// A time of talking. All times are of [`super::clock::now_ns`].
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub(crate) struct Phase {
    pub(crate) pace: Pace,
    pub(crate) from_ns: u64,
    /// What was meant to be sent earlier is warm-up and not measured.
    pub(crate) measured_from_ns: u64,
    pub(crate) until_ns: u64,
    /// Whether the seats that can be muted stop reading.
    pub(crate) mutes: bool,
}

/// What a worker says.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Report {
    /// The job was understood.
    Ready,
    /// Once a second.
    Counts(Counts),
    Connected(Connected),
    Disconnected,
    Talked(Box<Talked>),
    Judged(Verdict),
    /// The worker gives up.
    Failed(String),
}

/// Totals since the worker began.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Counts {
    pub(crate) connected: u64,
    pub(crate) sent: u64,
    pub(crate) delivered: u64,
    pub(crate) late: u64,
}

/// How connecting went.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(crate) struct Connected {
    pub(crate) opened: u64,
    pub(crate) failed: u64,
    pub(crate) first_failure: Option<String>,
    pub(crate) took_ns: u64,
    /// From the first SYN to the end of the greeting: microseconds and how often.
    pub(crate) latencies: Vec<(u64, u64)>,
}

/// How a phase went.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(crate) struct Talked {
    /// Messages that were meant to leave in the measured time.
    pub(crate) sent: u64,
    /// Of those, how many left more than 10 ms late.
    pub(crate) late: u64,
    /// Bodies that arrived in the measured time.
    pub(crate) delivered: u64,
    /// From intended time to arrival, of messages meant for the measured time: microseconds and how often.
    pub(crate) latencies: Vec<(u64, u64)>,
    /// Processor time of the worker in the measured time.
    pub(crate) client_cpu_ns: u64,
    pub(crate) refused: u64,
    pub(crate) first_refusal: Option<String>,
    pub(crate) closed: u64,
    pub(crate) first_closure: Option<String>,
}

/// What the light ledger found.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Verdict {
    /// Messages published, and bodies received.
    pub(crate) published: u64,
    pub(crate) received: u64,
    /// I1: did not reach a listener.
    pub(crate) lost: u64,
    /// I2: nobody sent this.
    pub(crate) phantom: u64,
    /// I3: came again.
    pub(crate) repeated: u64,
    /// I4: came after its successor.
    pub(crate) reordered: u64,
    /// I8: came to somebody who is not in the room.
    pub(crate) foreign: u64,
    /// A few of them, in words.
    pub(crate) examples: Vec<String>,
}

impl Verdict {
    /// Each invariant with the number of times that it was broken.
    pub(crate) fn broken(&self) -> [(&'static str, u64); 5] {
        [
            ("I1 no loss", self.lost),
            ("I2 no phantom", self.phantom),
            ("I3 no duplicate", self.repeated),
            ("I4 one order", self.reordered),
            ("I8 authorization", self.foreign),
        ]
    }

    /// Whether nothing was broken.
    pub(crate) fn is_clean(&self) -> bool {
        self.broken().iter().all(|(_, count)| *count == 0)
    }

    /// Adds another worker's.
    pub(crate) fn add(&mut self, other: Self) {
        self.published += other.published;
        self.received += other.received;
        self.lost += other.lost;
        self.phantom += other.phantom;
        self.repeated += other.repeated;
        self.reordered += other.reordered;
        self.foreign += other.foreign;
        self.examples.extend(other.examples);
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests {
    use super::*;

    fn there_and_back<T: Serialize + for<'a> Deserialize<'a> + std::fmt::Debug>(what: &T) {
        let line = serde_json::to_string(what).unwrap();
        assert!(!line.contains('\n'));
        let back: T = serde_json::from_str(&line).unwrap();
        assert_eq!(format!("{back:?}"), format!("{what:?}"));
    }

    #[test]
    fn orders_and_reports_are_one_line_each_and_arrive_as_they_were() {
        let phase = |pace| Phase { pace, from_ns: 1, measured_from_ns: 2, until_ns: u64::MAX, mutes: true };
        for pace in [Pace::Rate(0.5), Pace::Outstanding(32), Pace::Once] {
            there_and_back(&Order::Talk(phase(pace)));
        }
        there_and_back(&Order::Connect { more: 3 });
        there_and_back(&Report::Failed("two\nlines".to_owned()));
        there_and_back(&Report::Connected(Connected { latencies: vec![(7, 1)], ..Connected::default() }));
        there_and_back(&Report::Talked(Box::new(Talked { latencies: vec![(1, 2), (3, 4)], ..Talked::default() })));
        there_and_back(&Report::Judged(Verdict { examples: vec!["I1".to_owned()], lost: 1, ..Verdict::default() }));
    }

    #[test]
    fn verdicts_add_up_and_one_lie_is_enough() {
        let mut sum = Verdict { published: 1, ..Verdict::default() };
        assert!(sum.is_clean());
        sum.add(Verdict { published: 2, foreign: 1, ..Verdict::default() });
        assert_eq!(sum.published, 3);
        assert!(!sum.is_clean());
    }
}
