//! Random walks of people who ask for what is none of their business (`support/allowed`), on a node that tells them.

use hallway_gateway::sabotage::Mutant;

use super::allowed::judge::Verdict;
use super::allowed::walk::Walk;
use super::break_nodes;
use super::node::TestNode;

const STEPS: u32 = 300;
/// A walk draws lots: in some nobody comes by the door that stands open.
const WALKS_MAX: usize = 12;

async fn walk() -> Verdict {
    let seed: u64 = rand::random();
    println!("seed {seed}");
    let node = TestNode::start(|_| {}).await;
    Walk::run(&node, seed, STEPS).await
}

/// Some walk is judged red, and the verdict says why.
async fn expect_broken(mutant: Mutant, rule: &str) {
    break_nodes(mutant);
    for _ in 0..WALKS_MAX {
        let verdict = walk().await;
        println!("{}: {} violations of {:?}", mutant.name(), verdict.violations.len(), verdict.broken());
        if verdict.broken().contains(rule) {
            return;
        }
    }
    panic!("{} breaks {rule:?}, but {WALKS_MAX} walks did not see it", mutant.name());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whoever_asks_from_outside_gets_nothing() {
    let verdict = walk().await;
    assert!(verdict.violations.is_empty(), "{:#?}", verdict.violations);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_history_without_membership_is_seen_by_the_walk() {
    expect_broken(Mutant::HistoryWithoutMembership, "an answer for members").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_removed_member_who_goes_on_following_is_seen_by_the_walk() {
    expect_broken(Mutant::RemovalWithoutItsNumber, "an event of a room").await;
}
