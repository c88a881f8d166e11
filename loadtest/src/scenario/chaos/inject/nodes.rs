//! Nodes that die, leave, or stand still.

use std::time::{Duration, Instant};

use loadtest_cluster::node::READY_WITHIN;

use super::{Felt, Scene};
use crate::run::Failure;

/// How long a node may take to leave: its own deadline, and a slow machine.
const LEAVES_WITHIN: Duration = Duration::from_secs(40);
/// A node that answers within this does not stand still.
const ANSWERS_WITHIN: Duration = Duration::from_millis(500);

pub(super) async fn kill(scene: &mut Scene<'_>) -> Result<Felt, Failure> {
    let victim = scene.any_node();
    let before = scene.tally();
    scene.burst().await;
    let began_at = scene.begins();
    scene.cluster.nodes[victim].process.kill9()?;
    // The others must do without it from now on.
    let healed_at = Instant::now();
    scene.wait().await;
    let felt = scene.since(before);
    scene.heals();
    scene.cluster.nodes[victim].process.start()?;
    scene.cluster.nodes[victim].process.wait_ready(READY_WITHIN).await?;
    let how = format!("node {victim}: {} clients moved, {} outcomes unknown", felt.reconnects, felt.unknown);
    Ok(Felt { began_at, healed_at, bit: felt.reconnects > 0, how, wrong: None })
}

pub(super) async fn drain(scene: &mut Scene<'_>) -> Result<Felt, Failure> {
    let victim = scene.any_node();
    let before = scene.tally();
    let began_at = scene.begins();
    let (took, wrong) = leave(scene, victim).await?;
    let healed_at = Instant::now();
    scene.wait().await;
    let felt = scene.since(before);
    scene.heals();
    scene.cluster.nodes[victim].process.start()?;
    scene.cluster.nodes[victim].process.wait_ready(READY_WITHIN).await?;
    let how = format!("node {victim} left within {took:.1?}, {} clients moved", felt.reconnects);
    Ok(Felt { began_at, healed_at, bit: felt.reconnects > 0, how, wrong })
}

pub(super) async fn rolling_restart(scene: &mut Scene<'_>) -> Result<Felt, Failure> {
    let before = scene.tally();
    let began_at = scene.begins();
    let mut wrong = None;
    let mut longest = Duration::ZERO;
    for node in 0..scene.cluster.nodes.len() {
        let (took, complaint) = leave(scene, node).await?;
        longest = longest.max(took);
        wrong = wrong.or(complaint);
        if node + 1 == scene.cluster.nodes.len() {
            scene.heals();
        }
        scene.cluster.nodes[node].process.start()?;
        scene.cluster.nodes[node].process.wait_ready(READY_WITHIN).await?;
    }
    let healed_at = Instant::now();
    // The last node's clients are on their way.
    scene.wait().await;
    let felt = scene.since(before);
    let how = format!(
        "{} nodes restarted, each left within {longest:.1?}, {} reconnects",
        scene.cluster.nodes.len(),
        felt.reconnects
    );
    // Everybody was sent away once at least.
    let bit = felt.reconnects >= scene.world.guests.len() as u64;
    Ok(Felt { began_at, healed_at, bit, how, wrong })
}

/// SIGTERM, and the node's goodbye: how long it took, and what was wrong with it.
async fn leave(scene: &mut Scene<'_>, node: usize) -> Result<(Duration, Option<String>), Failure> {
    let process = &mut scene.cluster.nodes[node].process;
    let told_at = Instant::now();
    process.terminate()?;
    let status = process.wait_exit(LEAVES_WITHIN).await?;
    let wrong = (!status.success()).then(|| format!("node {node} was told to leave and ended with {status}"));
    Ok((told_at.elapsed(), wrong))
}

pub(super) async fn lag(scene: &mut Scene<'_>) -> Result<Felt, Failure> {
    let victim = scene.any_node();
    let began_at = scene.begins();
    scene.cluster.nodes[victim].process.freeze()?;
    let answer = tokio::time::timeout(ANSWERS_WITHIN, scene.cluster.nodes[victim].process.get("/healthz")).await;
    let stood_still = !matches!(answer, Ok(Some(_)));
    scene.wait().await;
    scene.heals();
    scene.cluster.nodes[victim].process.thaw()?;
    let how = format!("node {victim} stood still for {:.1?}", began_at.elapsed());
    Ok(Felt { began_at, healed_at: Instant::now(), bit: stood_still, how, wrong: None })
}
