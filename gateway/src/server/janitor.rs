//! Keeps the node's backlogs within their budget: the connection with the oldest waiting byte goes first.

use std::sync::Arc;

use hallway_protocol::CloseCode;

use crate::connection::Budget;
use crate::hub::Hub;
use crate::tasks::Tasks;

pub(super) fn start(hub: Hub, budget: Arc<Budget>, tasks: &Tasks) {
    let stop = tasks.clone();
    tasks.spawn(async move {
        loop {
            tokio::select! {
                () = budget.exceeded() => close_oldest(&hub, &budget),
                () = stop.stopped() => return,
            }
        }
    });
}

/// Closes as many as bring the budget back under its bound.
fn close_oldest(hub: &Hub, budget: &Budget) {
    let mut waiting: Vec<_> = hub
        .connections()
        .into_iter()
        .filter(|connection| connection.outbound.close_requested().is_none())
        .filter_map(|connection| Some((connection.outbound.stalled_since()?, connection)))
        .collect();
    waiting.sort_by_key(|(since, _)| *since);
    for (_, connection) in waiting {
        if budget.excess_bytes() == 0 {
            return;
        }
        // What waits is freed at once, not when the connection has ended: otherwise the next slowest would follow.
        connection.outbound.give_up(CloseCode::MemoryBudget);
    }
}
