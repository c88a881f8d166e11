//! What becomes of a batch whose answer did not come in time; and a mutant that does not wait for it.

use std::sync::Arc;
use std::time::Duration;

use hallway_protocol::StreamId;
use hallway_store::{Action, Committed};
use tokio::sync::oneshot;

use super::entry::{Entry, Work};
use super::{Commit, WriterTask};

/// Between attempts to learn what became of a batch of unknown outcome.
const HEADS_RETRY_PAUSE: Duration = Duration::from_millis(250);

impl WriterTask {
    /// The answer came too late for the publishers. When it comes, its events are published all the same.
    pub(super) fn await_late(&self, commit: Commit, streams: Vec<StreamId>) {
        let Ok(permit) = Arc::clone(&self.late).try_acquire_owned() else {
            self.look_for(streams);
            return;
        };
        let this = self.clone();
        self.tasks.spawn(async move {
            let _permit = permit;
            tokio::select! {
                result = commit => match result {
                    Ok(answered) => drop(this.publish(answered).await),
                    Err(_) => this.look(streams).await,
                },
                () = this.tasks.stopped() => {}
            }
        });
    }

    /// Nobody knows whether the batch was committed: the heads of its streams tell, once the store answers.
    pub(super) fn look_for(&self, streams: Vec<StreamId>) {
        let this = self.clone();
        self.tasks.spawn(async move { this.look(streams).await });
    }

    async fn look(&self, mut streams: Vec<StreamId>) {
        streams.sort();
        streams.dedup();
        loop {
            if let Ok(batch) = self.store.heads(streams.clone()).await {
                self.publisher.hub.heads(batch.heads.into_iter().map(|head| (head.stream, head.last_seq)).collect());
                return;
            }
            tokio::select! {
                () = tokio::time::sleep(HEADS_RETRY_PAUSE) => {}
                () = self.tasks.stopped() => return,
            }
        }
    }

    /// [`Mutant::AcknowledgeBeforeCommit`]: answers with the numbers that the messages would get.
    pub(super) async fn acknowledge_unheard(&self, part: Vec<Entry>) -> Vec<Entry> {
        let mut unheard = Vec::with_capacity(part.len());
        for (place, entry) in part.into_iter().enumerate() {
            let (Action::SendMessage { room, id, .. }, false) = (&entry.writes()[0].action, entry.is_together()) else {
                unheard.push(entry);
                continue;
            };
            let stream = StreamId::Room(room.clone());
            let heads = self.store.heads(vec![stream.clone()]).await;
            let last_seq = heads.map_or(0, |batch| batch.heads.first().map_or(0, |head| head.last_seq));
            let seq = last_seq + 1 + place as u64;
            let id = Some((*id).into());
            let events = Vec::new();
            let committed = Committed { stream, seq, at_ms: 0, id, repeated: false, events, fans_out: false };
            let Work::One { write, reply, .. } = entry.work else { continue };
            drop(reply.send(Ok(committed)));
            unheard.push(Entry::one(write, oneshot::channel().0));
        }
        unheard
    }
}
