//! Random walks of people who ask for what is none of their business (`support/allowed`), on a node that tells them.

use hallway_gateway::sabotage::Mutant;

use super::allowed::judge::Verdict;
use super::allowed::walk::Walk;
use super::break_nodes;
use super::node::TestNode;

const STEPS: u32 = 300;

async fn walk() -> Verdict {
    let seed: u64 = rand::random();
    println!("seed {seed}");
    let node = TestNode::start(|_| {}).await;
    Walk::run(&node, seed, STEPS).await
}

/// The verdict is red, and says why.
fn expect_broken(mutant: Mutant, verdict: &Verdict, rule: &str) {
    println!("{}: {} violations of {:?}", mutant.name(), verdict.violations.len(), verdict.broken());
    assert!(verdict.broken().contains(rule), "{} breaks {rule:?}, but: {:#?}", mutant.name(), verdict.violations);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whoever_asks_from_outside_gets_nothing() {
    let verdict = walk().await;
    assert!(verdict.violations.is_empty(), "{:#?}", verdict.violations);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_history_without_membership_is_seen_by_the_walk() {
    break_nodes(Mutant::HistoryWithoutMembership);
    expect_broken(Mutant::HistoryWithoutMembership, &walk().await, "an answer for members");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_removed_member_who_goes_on_following_is_seen_by_the_walk() {
    break_nodes(Mutant::RemovalWithoutItsNumber);
    expect_broken(Mutant::RemovalWithoutItsNumber, &walk().await, "an event of a room");
}
