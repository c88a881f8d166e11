//! The epoch and retention.

use hallway_protocol::{Epoch, StreamId};

use super::connection::{Connections, Kind};
use super::reads::owner;
use super::rows::{signed, unsigned};
use super::statements;
use crate::{DEDUP_WINDOW_MS, StoreError, StreamHead};

/// Nonces are forgotten in slots of this length: whole partitions are dropped.
const NONCE_SLOT_MS: i64 = 8 * 60 * 60 * 1000;

pub(super) async fn epoch(connections: &Connections, renew: bool) -> Result<Epoch, StoreError> {
    let kind = if renew { Kind::Write } else { Kind::Read };
    let row = connections.run_one(kind, statements::EPOCH, &[&renew]).await?;
    Ok(Epoch::new(row.get(0))?)
}

pub(super) async fn trim(
    connections: &Connections,
    stream: &StreamId,
    keep_from_seq: u64,
) -> Result<StreamHead, StoreError> {
    let (room, user) = owner(stream);
    let keep = signed(keep_from_seq);
    let row = connections.run_one(Kind::Write, statements::TRIM, &[&stream.to_string(), &room, &user, &keep]).await?;
    Ok(StreamHead { stream: stream.clone(), first_seq: unsigned(row.get(0)), last_seq: unsigned(row.get(1)) })
}

pub(super) async fn expired(
    connections: &Connections,
    older_than_ms: u64,
    limit: u32,
) -> Result<Vec<(StreamId, u64)>, StoreError> {
    let parameters: [&(dyn tokio_postgres::types::ToSql + Sync); 2] = [&signed(older_than_ms), &i64::from(limit)];
    let rows = connections.run(Kind::Read, statements::EXPIRED, &parameters).await?;
    rows.iter().map(|row| Ok((row.get::<_, &str>(0).parse()?, unsigned(row.get(1))))).collect()
}

pub(super) async fn trim_nonces(connections: &Connections) -> Result<bool, StoreError> {
    let window = signed(DEDUP_WINDOW_MS);
    let row = connections.run_one(Kind::Write, statements::TRIM_NONCES, &[&NONCE_SLOT_MS, &window]).await?;
    Ok(row.get(0))
}
