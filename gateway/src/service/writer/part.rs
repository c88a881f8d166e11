//! A part of a batch on its way to the store and back: writes of one entry each, or one entry of several writes.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use hallway_protocol::Epoch;
use hallway_store::{Committed, Refusal, Store, StoreError, Write};

use super::answers;
use super::entry::{Entry, NotTogether, Unwritten, Work};
use super::parking::{Keyed, Left};

/// What the store said to a part of a batch.
pub(super) struct Answered {
    pub(super) epoch: Epoch,
    pub(super) results: Results,
}

pub(super) enum Results {
    Each(Vec<Result<Committed, Refusal>>),
    Together(Result<Vec<Committed>, (usize, Refusal)>),
}

impl Results {
    pub(super) fn committed(&mut self) -> impl Iterator<Item = &mut Committed> {
        let (each, together) = match self {
            Self::Each(each) => (Some(each), None),
            Self::Together(together) => (None, Some(together)),
        };
        let together = together.into_iter().flat_map(|result| result.iter_mut()).flatten();
        each.into_iter().flatten().filter_map(|result| result.as_mut().ok()).chain(together)
    }
}

pub(super) type Commit = Pin<Box<dyn Future<Output = Result<Answered, StoreError>> + Send>>;

/// Hands writes to the store. A part of a batch is one entry of several writes, or entries of one each.
pub(super) fn commit(store: Arc<dyn Store>, writes: Vec<Write>, together: bool) -> Commit {
    Box::pin(async move {
        Ok(if together {
            let batch = store.commit_together(writes).await?;
            Answered { epoch: batch.epoch, results: Results::Together(batch.result) }
        } else {
            let batch = store.commit(writes).await?;
            Answered { epoch: batch.epoch, results: Results::Each(batch.results) }
        })
    })
}

/// Answers a write, unless it was left out because of a lock. A publisher that hung up does not read its answer; the event is
/// out all the same.
pub(super) fn settle_one(entry: Entry, result: Result<Committed, Refusal>) -> Option<Left<Entry>> {
    match (result, entry) {
        (Err(Refusal::Locked), entry) => Some(Left { locked: entry.rooms().first().cloned(), write: entry }),
        (Err(Refusal::BehindLocked), entry) => Some(Left { locked: None, write: entry }),
        (result, Entry { work: Work::One { reply, .. }, .. }) => {
            drop(reply.send(result.map_err(Unwritten::from)));
            None
        }
        (_, entry) => {
            entry.fail(answers::unknown());
            None
        }
    }
}

/// The same for several writes together.
pub(super) fn settle_together(entry: Entry, result: Result<Vec<Committed>, (usize, Refusal)>) -> Option<Left<Entry>> {
    match (result, entry) {
        (Err((at, Refusal::Locked)), entry) => {
            let locked = entry.writes().get(at).map(|write| write.action.stream());
            Some(Left { locked, write: entry })
        }
        (Err((_, Refusal::BehindLocked)), entry) => Some(Left { locked: None, write: entry }),
        (result, Entry { work: Work::Together { reply, .. }, .. }) => {
            drop(reply.send(result.map_err(|(at, refusal)| NotTogether::One(at, refusal.into()))));
            None
        }
        (_, entry) => {
            entry.fail(answers::unknown());
            None
        }
    }
}
