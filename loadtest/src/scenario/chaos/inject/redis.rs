//! A Redis that dies, forgets, stands still, or hears and says less than it seems to.

use std::time::Instant;

use loadtest_cluster::TemporaryRedis;
use loadtest_cluster::proxy::{Faults, Flow};
use rand::RngExt;

use super::{Felt, Scene};
use crate::run::Failure;

/// Output buffer of a subscriber beyond which Redis throws it out: `pubsub HARD SOFT SECONDS`, in bytes.
const TINY_BUFFER: &str = "pubsub 1024 0 0";
const USUAL_BUFFER: &str = "pubsub 33554432 8388608 60";
/// More than a connection's own fixed buffer in Redis (16 KiB), so that the rest counts against the limit.
const FILLER_BYTES: usize = 64 * 1024;
const EVENTS_COMMITTED: &str = "hallway_events_committed_total";

const SILENT: Flow = Flow {
    delay: std::time::Duration::ZERO,
    hold: false,
    black_hole: true,
    bytes_per_second: None,
    cut_after_bytes: None,
};

fn server<'a>(scene: &'a Scene<'_>) -> Result<&'a TemporaryRedis, Failure> {
    scene.cluster.redis.as_ref().ok_or_else(|| "this Redis is not ours to break".into())
}

pub(super) async fn kill(scene: &mut Scene<'_>) -> Result<Felt, Failure> {
    let nodes = scene.all_nodes();
    let (links, before) = (scene.redis_links(&nodes), scene.tally());
    let began_at = scene.begins();
    server(scene)?.kill9()?;
    scene.wait().await;
    scene.heals();
    let (links, felt) = (scene.redis_links(&nodes).since(&links), scene.since(before));
    tokio::task::block_in_place(|| server(scene)?.restart().map_err(Failure::from))?;
    let how = format!("{} vain attempts to reach it, {} acknowledged meanwhile", links.unreachable, felt.acked);
    let bit = links.unreachable > 0 && felt.acked > 0;
    Ok(Felt { began_at, healed_at: Instant::now(), bit, how, wrong: None })
}

pub(super) async fn restart_empty(scene: &mut Scene<'_>) -> Result<Felt, Failure> {
    let nodes = scene.all_nodes();
    let links = scene.redis_links(&nodes);
    let began_at = scene.begins();
    server(scene)?.kill9()?;
    tokio::task::block_in_place(|| server(scene)?.restart().map_err(Failure::from))?;
    scene.heals();
    let healed_at = Instant::now();
    scene.wait().await;
    let links = scene.redis_links(&nodes).since(&links);
    let how = format!("{} new connections to it, {} of them subscribed again", links.connections, links.marked);
    let bit = links.marked >= nodes.len() as u64;
    Ok(Felt { began_at, healed_at, bit, how, wrong: None })
}

pub(super) async fn freeze(scene: &mut Scene<'_>) -> Result<Felt, Failure> {
    let nodes = scene.all_nodes();
    let began_at = scene.begins();
    server(scene)?.freeze()?;
    let (links, before) = (scene.redis_links(&nodes), scene.tally());
    scene.wait().await;
    scene.heals();
    let (links, felt) = (scene.redis_links(&nodes).since(&links), scene.since(before));
    server(scene)?.thaw()?;
    let how = format!(
        "{} bytes said to it, {} answered, {} acknowledged meanwhile",
        links.bytes_to_server, links.bytes_to_client, felt.acked
    );
    // What was on its way when it stopped may still come.
    let bit = links.bytes_to_server > 0 && links.bytes_to_client < links.bytes_to_server / 2 && felt.acked > 0;
    Ok(Felt { began_at, healed_at: Instant::now(), bit, how, wrong: None })
}

pub(super) async fn one_way(scene: &mut Scene<'_>) -> Result<Felt, Failure> {
    let to_server = scene.random.random_bool(0.5);
    let faults = match to_server {
        true => Faults { to_server: SILENT, ..Faults::default() },
        false => Faults { to_client: SILENT, ..Faults::default() },
    };
    let nodes = scene.all_nodes();
    let direction = if to_server { "towards Redis" } else { "from Redis" };
    hurt_links(scene, &nodes, faults, direction).await
}

pub(super) async fn deaf(scene: &mut Scene<'_>) -> Result<Felt, Failure> {
    let victim = scene.any_node();
    let faults = Faults { to_client: SILENT, marked_only: true, ..Faults::default() };
    hurt_links(scene, &[victim], faults, &format!("that node {victim} was to hear")).await
}

/// Links suffer for a while; it bit when they lost something.
async fn hurt_links(scene: &mut Scene<'_>, nodes: &[usize], faults: Faults, what: &str) -> Result<Felt, Failure> {
    let (links, before) = (scene.redis_links(nodes), scene.tally());
    let began_at = scene.begins();
    scene.set_redis_links(nodes, faults);
    scene.wait().await;
    scene.heals();
    scene.set_redis_links(nodes, Faults::default());
    let healed_at = Instant::now();
    let (links, felt) = (scene.redis_links(nodes).since(&links), scene.since(before));
    let how = format!("{} bytes lost {what}, {} acknowledged meanwhile", links.bytes_lost, felt.acked);
    Ok(Felt { began_at, healed_at, bit: links.bytes_lost > 0 && felt.acked > 0, how, wrong: None })
}

pub(super) async fn overflow(scene: &mut Scene<'_>) -> Result<Felt, Failure> {
    let nodes = scene.all_nodes();
    let links = scene.redis_links(&nodes);
    let before = scene.tally();
    let began_at = scene.begins();
    server(scene)?.command(&["CONFIG", "SET", "client-output-buffer-limit", TINY_BUFFER])?;
    let channels = server(scene)?.command(&["PUBSUB", "CHANNELS"])?.to_string();
    // It is no envelope of ours: whoever gets it must drop it.
    let filler = "x".repeat(FILLER_BYTES);
    for channel in channels.lines().filter(|channel| !channel.is_empty()) {
        server(scene)?.command(&["PUBLISH", channel, &filler])?;
    }
    scene.wait().await;
    scene.heals();
    server(scene)?.command(&["CONFIG", "SET", "client-output-buffer-limit", USUAL_BUFFER])?;
    let healed_at = Instant::now();
    let (links, felt) = (scene.redis_links(&nodes).since(&links), scene.since(before));
    let how = format!(
        "{} subscribers thrown out, {} subscribed again, {} acknowledged meanwhile",
        links.ended_by_server, links.marked, felt.acked
    );
    let bit = links.ended_by_server > 0 && links.marked > 0 && felt.acked > 0;
    Ok(Felt { began_at, healed_at, bit, how, wrong: None })
}

pub(super) async fn cut_one_node(scene: &mut Scene<'_>) -> Result<Felt, Failure> {
    let victim = scene.any_node();
    let links = scene.redis_links(&[victim]);
    let committed = scene.cluster.nodes[victim].process.metric(EVENTS_COMMITTED).await.unwrap_or(0.0);
    let began_at = scene.begins();
    scene.set_redis_links(&[victim], Faults::cut_off());
    scene.wait().await;
    let committed = scene.cluster.nodes[victim].process.metric(EVENTS_COMMITTED).await.unwrap_or(0.0) - committed;
    scene.heals();
    scene.set_redis_links(&[victim], Faults::default());
    let healed_at = Instant::now();
    let links = scene.redis_links(&[victim]).since(&links);
    let how = format!(
        "node {victim} lost {} bytes and was refused {} times, and committed {committed} events meanwhile",
        links.bytes_lost, links.refused
    );
    Ok(Felt { began_at, healed_at, bit: links.bytes_lost > 0 && committed > 0.0, how, wrong: None })
}
