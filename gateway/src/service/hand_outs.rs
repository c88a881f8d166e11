//! Hands to the application what nobody looked at: claims notifications that are due, decides (`hand_out_plan`, pure), and
//! settles them together with the webhooks that carry them. Every node does so; a claim is a lease, so what a node that dies
//! had claimed is claimed again.

use std::time::{Duration, Instant};

use hallway_store::{HandOut, HandOutFate, StoreError};
use tracing::{info, warn};

use super::Service;
use super::hand_out_plan::{Decision, Sight, There, Why, decide, jobs};
use crate::outbox::Webhooks;
use crate::sabotage::{FailPoint, pass};
use crate::tasks::Tasks;
use crate::telemetry::labels::HandOutLabel;

/// How often it is looked for notifications that are due.
const PERIOD: Duration = Duration::from_secs(1);
/// Notifications that one look takes.
const CLAIM_MAX: u32 = 500;
/// Time in which they are decided.
const CLAIM_LEASE_MS: u64 = 10_000;

impl Service {
    /// From now on notifications are handed to these targets, if there are any. Ends with `tasks`.
    pub fn start_hand_outs(&self, webhooks: Webhooks, tasks: &Tasks) {
        let webhooks = self.inner.webhooks.get_or_init(|| webhooks);
        if webhooks.targets().is_empty() {
            return;
        }
        let (service, webhooks, stop) = (self.clone(), webhooks.clone(), tasks.clone());
        tasks.spawn(async move { service.hand_out_loop(&webhooks, stop).await });
    }

    async fn hand_out_loop(&self, webhooks: &Webhooks, tasks: Tasks) {
        let node_lease = Duration::from_millis(self.inner.limits.node_lease_ms);
        let mut sight = Sight::new(node_lease, Instant::now());
        let mut store_works = true;
        while !tasks.is_stopped() {
            let looked = self.hand_out_due(webhooks, &mut sight).await;
            match (&looked, store_works) {
                (Err(error), true) => warn!(%error, "notifications cannot be looked at for the application: they wait"),
                (Ok(_), false) => info!("notifications can be looked at for the application again"),
                _ => {}
            }
            store_works = looked.is_ok();
            if looked.is_ok_and(|there_is_more| there_is_more) {
                continue;
            }
            tokio::select! {
                () = tokio::time::sleep(PERIOD) => {}
                () = tasks.stopped() => {}
            }
        }
    }

    /// One look; whether there may be more.
    async fn hand_out_due(&self, webhooks: &Webhooks, sight: &mut Sight) -> Result<bool, StoreError> {
        let absent = sight.of_absent(self.inner.cluster.bus_up(), Instant::now());
        let claimed = self.inner.store.claim_hand_outs(CLAIM_MAX, CLAIM_LEASE_MS).await?;
        if claimed.is_empty() {
            return Ok(false);
        }
        pass(FailPoint::AfterHandOutClaim);
        let there_is_more = claimed.len() >= CLAIM_MAX as usize;
        let there: Vec<There> = self.inner.cluster.in_directory(|directory| {
            let is_there = |one: &HandOut| directory.devices(&one.user).devices > 0;
            claimed.iter().map(|one| if is_there(one) { There::Yes } else { absent }).collect()
        });
        let (mut fates, mut handed): (_, Vec<(HandOut, Why)>) = (Vec::with_capacity(claimed.len()), Vec::new());
        let counts = &self.inner.metrics.hand_outs;
        for (one, there) in claimed.into_iter().zip(there) {
            let (fate, label) = match decide(&one, there) {
                Decision::Settle => (HandOutFate::Settled, HandOutLabel::Settled),
                Decision::Again { after_ms } => (HandOutFate::Again { after_ms }, HandOutLabel::Again),
                Decision::HandOut(_) => (HandOutFate::Settled, HandOutLabel::HandedOut),
            };
            counts.add(label);
            fates.push((one.notification.id, fate));
            if let Decision::HandOut(why) = decide(&one, there) {
                handed.push((one, why));
            }
        }
        let targets: Vec<(String, u32)> =
            webhooks.targets().attempts().map(|(name, attempts_max)| (name.to_owned(), attempts_max)).collect();
        let jobs = jobs(&handed, &targets, || uuid::Uuid::now_v7().to_string());
        let has_jobs = !jobs.is_empty();
        self.inner.store.settle_hand_outs(fates, jobs).await?;
        pass(FailPoint::AfterHandOutSettle);
        if has_jobs {
            webhooks.wake();
        }
        Ok(there_is_more)
    }
}
