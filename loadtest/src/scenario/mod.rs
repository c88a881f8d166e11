//! What is done to the node.

pub(crate) mod across;
pub(crate) mod chaos;
pub(crate) mod chat;
pub(crate) mod cluster;
pub(crate) mod fanout;
pub(crate) mod idle;
mod notify;
pub(crate) mod raw;
mod reconnect;
mod slow;
mod sync;
mod tasks;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use crate::arguments::{Scenario, Settings};
use crate::report::{self, Outcome};
use crate::run::{Context, Failure};

/// Runs a scenario to its summary. Ctrl-c ends the sending early; a second one ends everything.
pub(crate) async fn run(settings: Settings) -> Result<Outcome, Failure> {
    println!(
        "loadtest {:?} on {}: {} rooms, {} members, {} messages/s for {:?}, payload {}, {}, seed {}",
        settings.scenario,
        settings.targets.join(" and "),
        settings.rooms,
        settings.members,
        settings.rate,
        settings.duration,
        settings.payload,
        settings.codec.subprotocol(),
        settings.seed
    );
    let stop = Arc::new(AtomicBool::new(false));
    let context = Context::new(settings, Arc::clone(&stop));
    let began = Instant::now();
    let work = async {
        match context.settings.scenario {
            Scenario::Chat => chat::run(&context).await,
            Scenario::Reconnect => reconnect::run(&context).await,
            Scenario::Slow => slow::run(&context).await,
            Scenario::Tasks => tasks::run(&context).await,
            Scenario::Notify => notify::run(&context).await,
            Scenario::Sync => sync::run(&context).await,
        }
    };
    let interrupted = async {
        // Without a signal handler there is nothing to wait for; the run goes on.
        if tokio::signal::ctrl_c().await.is_err() {
            std::future::pending::<()>().await;
        }
        println!("stopping; once more to stop at once");
        stop.store(true, Ordering::Relaxed);
        if tokio::signal::ctrl_c().await.is_err() {
            std::future::pending::<()>().await;
        }
    };
    let scenario = tokio::select! {
        result = work => result?,
        () = report::progress(&context, began) => serde_json::Value::Null,
        () = interrupted => return Err("interrupted".into()),
    };
    context.close_books();
    // The observers' lines count once their tasks are gone.
    tokio::task::yield_now().await;
    Ok(report::conclude(&context, &scenario)?)
}
