//! What one node commits, others hear at once.

use super::house::{House, everybody_hears, meet};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_message_reaches_members_on_all_nodes_without_the_tail() {
    let house = House::start(3, |_| {}).await;
    let mut ada = house.seat(0, "ada").await;
    let mut bob = house.seat(1, "bob").await;
    let mut eve = house.seat(2, "eve").await;
    meet("hall", &mut ada, &mut [&mut bob, &mut eve]).await;
    bob.event("hall", 4).await;
    for _ in 0..20 {
        everybody_hears("hall", &mut ada, &mut [&mut bob, &mut eve]).await;
        everybody_hears("hall", &mut bob, &mut [&mut ada, &mut eve]).await;
    }
    for node in 0..3 {
        assert_eq!(house.found_by_tail(node).await, 0.0, "node {node}");
        let direct = house.came(node, "direct").await;
        assert!(direct >= 20.0, "{direct} events came to node {node} directly");
    }
    assert_eq!(house.nodes[0].metric("hallway_bus_refused_total").await, 0.0);
}
