//! A Postgres that dies, throws everybody out, stands still, answers late, or lets nobody write.

use std::time::{Duration, Instant};

use loadtest_cluster::node::READY_WITHIN;
use loadtest_cluster::proxy::{Faults, Flow};
use loadtest_cluster::{SqlSession, TemporaryPostgres};
use rand::RngExt;

use super::{Felt, Scene};
use crate::run::Failure;

/// Between two rounds of throwing everybody out.
const TERMINATE_PAUSE: Duration = Duration::from_millis(200);
/// How late answers come.
const DELAY: Duration = Duration::from_millis(200);
/// Between two looks at who waits.
const LOOK_PAUSE: Duration = Duration::from_millis(50);
const SHORT_LOOK_PAUSE: Duration = Duration::from_millis(5);
/// How long a batch may take to stand before the lock.
const WAITING_WITHIN: Duration = Duration::from_secs(5);
/// What was under way when it stopped is answered within this.
const UNDER_WAY: Duration = Duration::from_millis(300);

const THROW_OUT: &str = "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity \
    WHERE pid <> pg_backend_pid() AND datname = current_database() AND backend_type = 'client backend'";
const WAITERS: &str = "SELECT count(*) FROM pg_stat_activity \
    WHERE wait_event_type = 'Lock' AND datname = current_database()";
/// Every write bumps its room's counter.
const LOCK_TABLE: &str = "BEGIN; LOCK TABLE rooms IN EXCLUSIVE MODE";
const LOCK_ROWS: &str = "BEGIN; SELECT 1 FROM rooms FOR UPDATE";

fn server<'a>(scene: &'a Scene<'_>) -> Result<&'a TemporaryPostgres, Failure> {
    scene.cluster.postgres.as_ref().ok_or_else(|| "this Postgres is not ours to break".into())
}

pub(super) async fn kill(scene: &mut Scene<'_>) -> Result<Felt, Failure> {
    let before = scene.tally();
    let began_at = scene.begins();
    server(scene)?.kill9()?;
    scene.wait().await;
    let felt = scene.since(before);
    scene.heals();
    tokio::task::block_in_place(|| server(scene)?.restart().map_err(Failure::from))?;
    let how = format!("{} attempts refused, {} unknown while it was gone", felt.refused, felt.unknown);
    Ok(Felt { began_at, healed_at: Instant::now(), bit: felt.refused + felt.unknown > 0, how, wrong: None })
}

pub(super) async fn terminate(scene: &mut Scene<'_>) -> Result<Felt, Failure> {
    let operator = SqlSession::connect(&scene.cluster.postgres_url).await?;
    let before = scene.tally();
    let began_at = scene.begins();
    let mut thrown_out = 0;
    while began_at.elapsed() < scene.lasts {
        thrown_out += operator.number(THROW_OUT).await?;
        tokio::time::sleep(TERMINATE_PAUSE).await;
    }
    scene.heals();
    let felt = scene.since(before);
    let how = format!("{thrown_out} sessions thrown out, {} attempts refused, {} unknown", felt.refused, felt.unknown);
    Ok(Felt { began_at, healed_at: Instant::now(), bit: thrown_out > 0, how, wrong: None })
}

pub(super) async fn freeze(scene: &mut Scene<'_>) -> Result<Felt, Failure> {
    let began_at = scene.begins();
    server(scene)?.freeze()?;
    tokio::time::sleep(UNDER_WAY).await;
    let before = scene.tally();
    scene.wait().await;
    let felt = scene.since(before);
    scene.heals();
    server(scene)?.thaw()?;
    let how = format!("{} acknowledged, {} refused, {} unknown meanwhile", felt.acked, felt.refused, felt.unknown);
    let bit = felt.acked == 0 && felt.refused + felt.unknown > 0;
    // Nobody can have committed anything.
    let wrong = (felt.acked > 0).then(|| format!("{} were acknowledged while the store stood still", felt.acked));
    Ok(Felt { began_at, healed_at: Instant::now(), bit: bit || wrong.is_some(), how, wrong })
}

pub(super) async fn slow(scene: &mut Scene<'_>) -> Result<Felt, Failure> {
    let began_at = scene.begins();
    let late = Faults { to_client: Flow { delay: DELAY, ..Flow::default() }, ..Faults::default() };
    for node in &scene.cluster.nodes {
        node.postgres.set(late);
    }
    scene.wait().await;
    scene.heals();
    let mut delayed = 0;
    for node in &scene.cluster.nodes {
        delayed += node.postgres.counts().bytes_delayed;
        node.postgres.heal();
    }
    let slowest = slowest_ack(scene, began_at);
    let how = format!("{delayed} bytes delayed, slowest acknowledgement {slowest:.1?}");
    Ok(Felt { began_at, healed_at: Instant::now(), bit: slowest >= DELAY, how, wrong: None })
}

fn slowest_ack(scene: &Scene<'_>, since: Instant) -> Duration {
    let mut slowest = Duration::ZERO;
    for room in &scene.world.rooms {
        for ack in room.acks().iter().filter(|ack| ack.invoked >= since) {
            slowest = slowest.max(ack.at - ack.invoked);
        }
    }
    slowest
}

pub(super) async fn locked(scene: &mut Scene<'_>) -> Result<Felt, Failure> {
    let (holder, operator) = two_sessions(scene).await?;
    let lock = if scene.random.random_bool(0.5) { LOCK_TABLE } else { LOCK_ROWS };
    let before = scene.tally();
    let began_at = scene.begins();
    holder.run(lock).await?;
    let mut waiters = 0;
    while began_at.elapsed() < scene.lasts {
        waiters = waiters.max(operator.number(WAITERS).await?);
        tokio::time::sleep(LOOK_PAUSE).await;
    }
    let felt = scene.since(before);
    scene.heals();
    holder.run("ROLLBACK").await?;
    let how = format!("{lock:?}: {waiters} waited, {} attempts refused, {} unknown", felt.refused, felt.unknown);
    Ok(Felt { began_at, healed_at: Instant::now(), bit: waiters > 0, how, wrong: None })
}

pub(super) async fn locked_node_kill(scene: &mut Scene<'_>) -> Result<Felt, Failure> {
    let (holder, operator) = two_sessions(scene).await?;
    let victim = scene.any_node();
    let began_at = scene.begins();
    holder.run(LOCK_ROWS).await?;
    let mut waiting = 0;
    while waiting == 0 && began_at.elapsed() < WAITING_WITHIN {
        waiting = operator.number(&waiters_of(&scene.cluster.nodes[victim].postgres.ports(), true)).await?;
        tokio::time::sleep(SHORT_LOOK_PAUSE).await;
    }
    let ports = scene.cluster.nodes[victim].postgres.ports();
    let before = scene.tally();
    scene.cluster.nodes[victim].process.kill9()?;
    let left = operator.number(&waiters_of(&ports, false)).await?;
    scene.heals();
    holder.run("ROLLBACK").await?;
    let healed_at = Instant::now();
    scene.wait().await;
    let felt = scene.since(before);
    scene.cluster.nodes[victim].process.start()?;
    scene.cluster.nodes[victim].process.wait_ready(READY_WITHIN).await?;
    let how = format!(
        "{waiting} batches of node {victim} waited, {left} still when it was dead, {} clients moved",
        felt.reconnects
    );
    Ok(Felt { began_at, healed_at, bit: waiting > 0 && left > 0, how, wrong: None })
}

/// How many batches wait of those who come from these ports; with `fresh` only those that will wait a while longer.
fn waiters_of(ports: &[u16], fresh: bool) -> String {
    let ports: Vec<String> = ports.iter().map(u16::to_string).collect();
    // A node gives up waiting after half a second.
    let age = if fresh { " AND clock_timestamp() - query_start < interval '200 milliseconds'" } else { "" };
    format!("{WAITERS} AND client_port = ANY ('{{{}}}'::int[]){age}", ports.join(","))
}

/// One that holds a lock, and one that looks.
async fn two_sessions(scene: &Scene<'_>) -> Result<(SqlSession, SqlSession), Failure> {
    let url = &scene.cluster.postgres_url;
    Ok((SqlSession::connect(url).await?, SqlSession::connect(url).await?))
}
