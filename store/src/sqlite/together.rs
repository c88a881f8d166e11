//! Several writes in one transaction: all of them or none.

use rusqlite::{Connection, Transaction, TransactionBehavior};

use super::batch::Batch;
use super::{commit, commit_failed, life, upkeep};
use crate::{HandOutRules, StoreError, TogetherBatch, Write};

/// Carries out the writes in their order, and commits; at the first refusal it leaves everything as it was.
pub(super) fn commit_together(
    connection: &mut Connection,
    writes: &[Write],
    hand_outs: HandOutRules,
) -> Result<TogetherBatch, StoreError> {
    // Dropped without a commit it is rolled back.
    let transaction = Transaction::new(connection, TransactionBehavior::Immediate)?;
    let epoch = life::epoch(&transaction)?;
    let mut state = Batch::new(&transaction, upkeep::now_ms(), hand_outs);
    let mut done = Vec::with_capacity(writes.len());
    for (at, write) in writes.iter().enumerate() {
        match commit::apply(&mut state, write) {
            Ok(committed) => done.push(committed),
            Err(commit::Stop::Refused(refusal)) => return Ok(TogetherBatch { epoch, result: Err((at, refusal)) }),
            Err(commit::Stop::Failed(error)) => return Err(error),
        }
    }
    state.flush()?;
    transaction.commit().map_err(commit_failed)?;
    Ok(TogetherBatch { epoch, result: Ok(done) })
}
