//! [`crate::Log::commit_together`]: all or none, in one call of a stored function.

use super::commit::{LOCK_ATTEMPTS_MAX, carry_out_acts, is_lock_timeout, locked_rooms};
use super::connection::Connections;
use super::rows::corrupt;
use crate::{Refusal, StoreError, TOGETHER_MAX_WRITES, TogetherBatch, Write};

pub(super) async fn commit_together(
    connections: &Connections,
    writes: Vec<Write>,
) -> Result<TogetherBatch, StoreError> {
    if writes.len() > TOGETHER_MAX_WRITES {
        let what = format!("at most {TOGETHER_MAX_WRITES} writes are carried out together");
        return Err(StoreError::Refused(what.into()));
    }
    let all: Vec<&Write> = writes.iter().collect();
    for _ in 0..LOCK_ATTEMPTS_MAX {
        match carry_out_acts(connections, true, &all).await {
            Err(error) if is_lock_timeout(&error) => tracing::debug!(%error, "some writes waited in vain for a lock"),
            Err(error) => return Err(error),
            Ok(acted) => {
                let mut done = Vec::with_capacity(writes.len());
                for (index, (one, write)) in acted.results.into_iter().zip(&writes).enumerate() {
                    match one.answer(&write.action, acted.at_ms)? {
                        Ok(committed) => done.push(committed),
                        Err(refusal) => {
                            return Ok(TogetherBatch { epoch: acted.epoch, result: Err((index, refusal)) });
                        }
                    }
                }
                if done.len() != writes.len() {
                    return Err(corrupt(format!("{} answers to {} writes", done.len(), writes.len())));
                }
                return Ok(TogetherBatch { epoch: acted.epoch, result: Ok(done) });
            }
        }
    }
    let indexes: Vec<usize> = (0..writes.len()).collect();
    let locked = locked_rooms(connections, &writes, &indexes).await?;
    let waits = |write: &Write| write.action.room().is_some_and(|room| locked.contains(&room.as_str()));
    // It may be a person's row, or free again by now: then the first stands for all.
    let index = writes.iter().position(waits).unwrap_or_default();
    let epoch = super::upkeep::epoch(connections, false).await?;
    Ok(TogetherBatch { epoch, result: Err((index, Refusal::Locked)) })
}
