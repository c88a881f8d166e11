//! The store's tail makes delivery exact: a commit whose publisher died, or that nobody was told of, is found here.
//!
//! Every half second (at once when poked) the node asks what was committed since its cursor. On Postgres the cursor is the
//! oldest transaction that was still open, of any database of the server: while one stays open and writes, each poll finds
//! everything since again. Then the node asks for the heads of the streams that it holds instead, until the cursor moves
//! (`plan`, pure).
//!
//! **Invariant:** the cursor moves only over what was told to the hub, or was committed before heads were asked for.

mod plan;

use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use hallway_store::TailCursor;
use tracing::{error, info, warn};

use self::plan::{Ask, TailPlan};
use super::Service;
use crate::hub::FollowedFrom;
use crate::sabotage::{Mutant, is_on};
use crate::tasks::Tasks;

/// How often the store is probed and its tail read.
const PERIOD: Duration = Duration::from_millis(500);
/// Between two polls, however often someone pokes.
const POKED_PAUSE: Duration = Duration::from_millis(50);
/// Streams whose heads are asked for in one statement.
const HEADS_PAGE_STREAMS: u32 = 1000;

impl Service {
    /// Has the tail read soon: whoever lost messages on the fast path calls it. Many calls are one.
    pub fn poke_tail(&self) {
        self.inner.cluster.want_tail();
    }

    /// Follows the tail from a cursor on, until `tasks` end.
    pub(super) async fn follow_tail(self, cursor: TailCursor, tasks: Tasks) {
        let limits = &self.inner.limits;
        let mut plan =
            TailPlan::new(cursor, limits.tail_rows_max, Duration::from_millis(limits.tail_stall_ms), Instant::now());
        loop {
            let polled_at = Instant::now();
            tokio::select! {
                () = tokio::time::sleep(PERIOD) => {}
                () = self.inner.cluster.tail_wanted() => tokio::select! {
                    () = tokio::time::sleep_until((polled_at + POKED_PAUSE).into()) => {}
                    () = tasks.stopped() => return,
                },
                () = tasks.stopped() => return,
            }
            let polled = tokio::select! {
                polled = self.poll_tail(&mut plan) => polled,
                () = tasks.stopped() => return,
            };
            let timeout = Duration::from_millis(self.inner.limits.store_timeout_ms);
            let up = polled && matches!(tokio::time::timeout(timeout, self.inner.store.probe()).await, Ok(Ok(())));
            self.note_store(up);
            self.note_stall(&plan);
        }
    }

    /// One poll; whether the store answered.
    async fn poll_tail(&self, plan: &mut TailPlan) -> bool {
        if let Ask::Since(cursor) = plan.ask() {
            let Some(tail) = self.read_tail(cursor).await else { return false };
            self.inner.metrics.tail_rows.add(tail.rows);
            self.inner.hub.set_epoch(&tail.epoch);
            let is_ignored = is_on(Mutant::NoTail) || is_on(Mutant::IgnoreMissedAndNoTail);
            if !tail.heads.is_empty() && !is_ignored {
                // What still waits here for other notifications would count as missing.
                self.inner.publisher.publish_waiting().await;
                self.inner.hub.tail_heads(tail.heads);
            }
            plan.polled(tail.rows, tail.next, Instant::now());
        }
        if plan.ask() == Ask::Heads {
            // The cursor first: what was committed before it is in heads that are read after it.
            let Some(start) = self.read_tail(TailCursor::default()).await else { return false };
            self.inner.hub.set_epoch(&start.epoch);
            if !self.ask_all_heads().await {
                return false;
            }
            plan.heads_told(start.next, Instant::now());
        }
        true
    }

    async fn read_tail(&self, cursor: TailCursor) -> Option<hallway_store::Tail> {
        let timeout = Duration::from_millis(self.inner.limits.store_timeout_ms);
        match tokio::time::timeout(timeout, self.inner.store.tail(cursor)).await {
            Ok(Ok(tail)) => Some(tail),
            Ok(Err(error)) => {
                warn!(%error, "the store's tail cannot be read");
                None
            }
            Err(_) => None,
        }
    }

    /// Asks the store for the heads of everything that this node holds, a page at a time.
    async fn ask_all_heads(&self) -> bool {
        let timeout = Duration::from_millis(self.inner.limits.store_timeout_ms);
        let mut from = Some(FollowedFrom::default());
        while let Some(page) = from {
            let Some((streams, next)) = self.inner.hub.followed(page, HEADS_PAGE_STREAMS).await else { return false };
            from = next;
            if streams.is_empty() {
                continue;
            }
            self.inner.metrics.tail_heads.add(streams.len() as u64);
            match tokio::time::timeout(timeout, self.inner.store.heads(streams)).await {
                Ok(Ok(batch)) => {
                    self.inner.hub.set_epoch(&batch.epoch);
                    self.inner
                        .hub
                        .tail_heads(batch.heads.into_iter().map(|head| (head.stream, head.last_seq)).collect());
                }
                Ok(Err(error)) => {
                    warn!(%error, "heads cannot be read");
                    return false;
                }
                Err(_) => return false,
            }
        }
        true
    }

    fn note_store(&self, up: bool) {
        let was_up = self.inner.store_up.swap(up, Ordering::Relaxed);
        self.inner.metrics.store_up.set(i64::from(up));
        match (was_up, up) {
            (true, false) => error!("the store does not answer: not ready"),
            (false, true) => info!("the store answers again: ready"),
            _ => {}
        }
    }

    fn note_stall(&self, plan: &TailPlan) {
        let metrics = &self.inner.metrics;
        let was_stalled = metrics.tail_stalled.get() == 1;
        metrics.tail_stalled.set(i64::from(plan.is_stalled()));
        metrics.tail_age.set(i64::try_from(plan.age(Instant::now()).as_secs()).unwrap_or(i64::MAX));
        match (was_stalled, plan.is_stalled()) {
            (false, true) => warn!(
                "a long transaction on the database server, perhaps in another database, holds up the store's tail: the heads \
                 of the streams of this node are asked for instead; pg_stat_activity shows it (oldest backend_xid)"
            ),
            (true, false) => info!("the store's tail moves again"),
            _ => {}
        }
    }
}
