//! What is asked about acts on people: who is banned or muted, and the record.

use hallway_protocol::model::{AuditEntry, Ban};
use hallway_protocol::position::SEQ_MAX;
use hallway_protocol::{RoomId, UserId};

/// The end of a ban or mute that has none.
pub(crate) const FOR_EVER_MS: u64 = SEQ_MAX;
/// How long the record of acts on people is kept.
pub const AUDIT_KEPT_MS: u64 = 400 * 24 * 60 * 60 * 1000;
/// Rows of each table that one step of [`crate::People::trim_records`] drops.
pub(crate) const RECORDS_PER_STEP: u32 = 1_000;

/// A ban or mute that is in force.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Ending {
    /// When it ends, from now, by the store's clock. `None`: not by itself.
    pub left_ms: Option<u64>,
}

impl Ending {
    /// Of what ends then; `None` when it has ended.
    #[must_use]
    pub(crate) fn at(until_ms: u64, now_ms: u64) -> Option<Self> {
        let left_ms = until_ms.checked_sub(now_ms).filter(|left| *left > 0)?;
        Some(Self { left_ms: (until_ms < FOR_EVER_MS).then_some(left_ms) })
    }
}

/// An end as it is shown.
pub(crate) fn shown(until_ms: u64) -> Option<u64> {
    (until_ms < FOR_EVER_MS).then_some(until_ms)
}

/// An end as it is kept.
pub(crate) fn kept(until_ms: Option<u64>) -> u64 {
    until_ms.map_or(FOR_EVER_MS, |until| until.min(FOR_EVER_MS))
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BanQuery {
    pub room: RoomId,
    pub after: Option<UserId>,
    pub limit: u32,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BansPage {
    /// In the order of the user ids.
    pub bans: Vec<Ban>,
    pub more: bool,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AuditQuery {
    pub room: Option<RoomId>,
    /// To whom it was done.
    pub target: Option<UserId>,
    /// Entries with a number below.
    pub before: Option<u64>,
    pub limit: u32,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AuditPage {
    /// Newest first.
    pub entries: Vec<AuditEntry>,
    /// Number of the last entry, when there are more.
    pub next: Option<u64>,
}
