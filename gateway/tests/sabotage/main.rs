//! The checkers can fail: a node that is broken on purpose turns the ledger red, with the right invariant named; and nodes are
//! killed at exact points.
//!
//! Goal: a verdict of the ledger means something. Method: each scenario is played twice, by nodes as they are (clean) and by
//! nodes with one mutant of `gateway/src/sabotage.rs` (red). A process has one mutant, chosen once: run these with nextest,
//! which gives each test a process of its own.
//!
//! Reading order: `cluster` (scenarios of several nodes in this process), `one_node`, `outside` (who asks for what is none of their
//! business), `kills` (nodes as processes that end at a fail point), `webhooks` (the same, for what they deliver).
#![expect(clippy::unwrap_used, clippy::expect_used, reason = "a test fails by panicking")]
#![expect(clippy::disallowed_methods, reason = "tests own their tasks by joining them")]
#![allow(dead_code, reason = "the kits are shared with other test binaries, which use other parts of them")]

#[path = "../support/allowed/mod.rs"]
mod allowed;
#[path = "../support/application.rs"]
mod application;
#[path = "../nodes/fault_bus.rs"]
mod fault_bus;
#[path = "../support/fault_store.rs"]
mod fault_store;
#[path = "../nodes/house.rs"]
mod house;
#[path = "../support/node.rs"]
mod node;
#[path = "../support/process.rs"]
mod process;
#[path = "../support/seat.rs"]
mod seat;
#[path = "../support/witness.rs"]
mod witness;

mod cluster;
mod kills;
mod one_node;
mod outside;
mod webhooks;

use hallway_gateway::sabotage::{Mutant, choose};
use loadtest_client::ledger::{Invariant, Verdict};

/// All nodes of this process are broken in this way.
fn break_nodes(mutant: Mutant) {
    choose(&format!("mutant:{}", mutant.name())).expect("one mutant for each process");
}

fn expect_clean(verdict: &Verdict) {
    println!("{:?}", verdict.counts);
    assert!(verdict.is_clean(), "{verdict:#?}");
}

/// The verdict is red, and says why.
fn expect_red(mutant: Mutant, verdict: &Verdict, invariant: Invariant) {
    println!("{}: {:?}", mutant.name(), verdict.violation_counts);
    for violation in verdict.violations.iter().filter(|violation| violation.invariant == invariant).take(1) {
        println!("{}: {invariant:?}: {}", mutant.name(), violation.what);
    }
    assert_eq!(verdict.invalid, None, "the run proves nothing");
    assert!(verdict.names(invariant), "{} breaks {invariant:?}, but: {verdict:#?}", mutant.name());
}
