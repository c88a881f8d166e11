//! Many who never read: the node's memory stays within its budget and the kernel's within the socket's, those who stood
//! longest are sent away and told when to come back, and nobody else notices.

use std::process::Command;

use hallway_protocol::ServerFrame;
use serde_json::json;
use tokio::task::JoinSet;

use crate::node::TestNode;
use crate::seat::Seat;

/// In each of the two rooms.
const SLEEPERS: usize = 100;
const BUDGET_BYTES: u64 = 1_048_576;
const SEND_BUFFER_BYTES: u64 = 16_384;
/// Of the smallest receive buffer that the kernel gives.
const RECEIVE_BUFFER_BYTES: u32 = 4096;
const TEXT_BYTES: usize = 1024;
/// Text and what is around it.
const FRAME_MAX_BYTES: u64 = 2 * TEXT_BYTES as u64;
/// How many of the first room are to be sent away.
const SENT_AWAY: f64 = 30.0;
const MESSAGES_MAX: u64 = 2000;

const CLOSED: &str = "hallway_connections_closed_total";

async fn sleepers(node: &TestNode, room: &str) -> Vec<Seat> {
    let mut seats = Vec::with_capacity(SLEEPERS);
    for number in 0..SLEEPERS {
        let mut options = node.options(&format!("{room}-{number}"));
        options.receive_buffer_bytes = Some(RECEIVE_BUFFER_BYTES);
        let mut seat = node.connect_with(&options).await;
        // Nobody waits for the events of the others' joining.
        seat.done("room.join", json!({ "room": room })).await;
        seats.push(seat);
    }
    seats
}

/// Send buffer and queued bytes of every connection to the node, as the kernel tells them.
fn kernel_memory(node: &TestNode) -> Vec<(u64, u64)> {
    let filter = format!("sport = :{}", node.address().port());
    let output = Command::new("ss").args(["-H", "-t", "-n", "-m", "state", "established", &filter]).output();
    let text = String::from_utf8(output.expect("ss comes with iproute2").stdout).unwrap();
    let sizes = text.split("skmem:(").skip(1).map(|rest| {
        let field = |name: &str| -> u64 {
            let words = rest.split(')').next().unwrap().split(',');
            let number = words.filter_map(|word| word.strip_prefix(name)).find_map(|number| number.parse().ok());
            number.unwrap_or_else(|| panic!("no {name} in {rest}"))
        };
        (field("tb"), field("w"))
    });
    sizes.collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn heavy_many_sleepers_stay_within_both_budgets_and_the_oldest_go_first() {
    let node = TestNode::start(|config| {
        config.limits.backlog_max_bytes = 65_536;
        config.limits.backlogs_max_bytes = BUDGET_BYTES;
        config.limits.socket_send_buffer_bytes = SEND_BUFFER_BYTES;
        // Only the budget closes anybody here.
        config.limits.write_timeout_ms = 600_000;
        config.limits.heartbeat_timeout_ms = 1_200_000;
    })
    .await;
    let mut writer = node.connect("writer").await;
    let mut neighbour = node.connect("neighbour").await;
    for room in ["old", "young"] {
        writer.create(room, "public").await;
        neighbour.join(room).await;
    }
    let old = sleepers(&node, "old").await;
    let young = sleepers(&node, "young").await;
    let text = "x".repeat(TEXT_BYTES);

    // First every sleeper of one room has something waiting, all together less than the budget …
    while node.metric("hallway_backlog_bytes").await < BUDGET_BYTES as f64 / 2.0 {
        let seq = writer.say("old", &text).await;
        assert!(seq < MESSAGES_MAX, "nothing waits for those who do not read");
        neighbour.event("old", seq).await;
    }
    assert_eq!(node.metric_of(CLOSED, "memory_budget").await, 0.0, "the budget is not reached yet");
    let sizes = kernel_memory(&node);
    let queued_bytes: u64 = sizes.iter().map(|(_, queued)| queued).sum();
    println!("{} sockets hold {queued_bytes} bytes in the kernel", sizes.len());
    assert!(
        sizes.iter().all(|(buffer, _)| *buffer == SEND_BUFFER_BYTES),
        "SO_SNDBUF is what the limit says: {sizes:?}"
    );
    assert!(queued_bytes <= sizes.len() as u64 * SEND_BUFFER_BYTES, "the kernel holds {queued_bytes} bytes: {sizes:?}");

    // … then those of the other room reach it. Nothing is above it but one frame each.
    let bound = BUDGET_BYTES + 2 * SLEEPERS as u64 * FRAME_MAX_BYTES;
    while node.metric_of(CLOSED, "memory_budget").await < SENT_AWAY {
        let seq = writer.say("young", &text).await;
        assert!(seq < MESSAGES_MAX, "the budget closes nobody");
        neighbour.event("young", seq).await;
        let backlog_bytes = node.metric("hallway_backlog_bytes").await;
        assert!(backlog_bytes <= bound as f64, "{backlog_bytes} bytes wait, {bound} are the bound");
    }
    // Who was sent away reads that, and when to come back; the others of the same room have missed nothing.
    let head = writer.say("old", "the last").await;
    let sent_away = wake_up(old, "old", head).await;
    assert!(sent_away as f64 >= SENT_AWAY, "only {sent_away} of those who stood longest were sent away");
    neighbour.event("old", head).await;
    let head = writer.say("young", "the last").await;
    neighbour.event("young", head).await;
    assert_eq!(wake_up(young, "young", head).await, 0, "one who stood for less time was sent away");
    assert_eq!(node.metric_of(CLOSED, "memory_budget").await, sent_away as f64, "everyone who was sent away was told");
}

/// All read on at once: what is left of a connection that was sent away waits two seconds for its reader.
async fn wake_up(sleepers: Vec<Seat>, room: &'static str, head: u64) -> usize {
    let mut waking = JoinSet::new();
    for seat in sleepers {
        waking.spawn(was_sent_away(seat, room, head));
    }
    waking.join_all().await.into_iter().filter(|sent_away| *sent_away).count()
}

/// Who was not has everything in the end.
async fn was_sent_away(mut seat: Seat, room: &'static str, head: u64) -> bool {
    let frame = seat
        .take("its end or the last event", |frame| match frame {
            ServerFrame::Closing(_) => true,
            ServerFrame::Event(event) => event.seq == head && event.stream == crate::seat::room_stream(room),
            _ => false,
        })
        .await;
    let ServerFrame::Closing(closing) = frame else { return false };
    assert_eq!(closing.code, 4003);
    assert!(closing.reconnect_after_ms.is_some(), "it was not told when to come back");
    assert_eq!(seat.end().await.code, Some(4003));
    true
}
