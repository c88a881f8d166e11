//! What is heard that no node of this version said.

use bytes::Bytes;
use hallway_gateway::bus::Channel;
use hallway_gateway::bus::envelope::{ClusterKey, Frame, Sealer};
use hallway_gateway::config::{Config, Secret};
use hallway_gateway::node::NodeId;
use hallway_protocol::codec::{Codec, EVENT_KIND_BASE, encode_frame};
use hallway_protocol::event::MemberRemoved;
use hallway_protocol::{Event, EventBody, Seq, ServerFrame, UserId};
use std::sync::atomic::Ordering;

use super::house::{House, everybody_hears, meet};
use super::node::SECRET;
use super::seat::room_stream;

/// Kinds of frames, as they are released.
const EPOCH: u16 = 1;
const EVENT: u16 = 2;

/// What the nodes of these tests share.
fn key() -> ClusterKey {
    let mut config = Config::default();
    config.server.dev = true;
    let secret = config.load_cluster_secret(&Secret::new(SECRET)).unwrap();
    ClusterKey::from_secret(secret.expose()).unwrap()
}

/// An event as it travels.
fn event(room: &str, seq: Seq) -> Frame {
    let user = UserId::new("bob").unwrap();
    let body = EventBody::MemberRemoved(MemberRemoved { user: user.clone(), by: user });
    let event = Event { stream: room_stream(room), seq, at_ms: 0, body };
    Frame { kind: EVENT, body: Bytes::from(encode_frame(Codec::Postcard, &ServerFrame::Event(event))) }
}

/// The same event, of a kind that nobody knows yet.
fn unknown_event(room: &str, seq: Seq) -> Frame {
    let mut body = event(room, seq).body.to_vec();
    body[1..3].copy_from_slice(&(EVENT_KIND_BASE + 999).to_le_bytes());
    Frame { kind: EVENT, body: Bytes::from(body) }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_forged_message_is_counted_and_never_delivered() {
    let house = House::start(2, |_| {}).await;
    let mut ada = house.seat(0, "ada").await;
    let mut bob = house.seat(1, "bob").await;
    meet("hall", &mut ada, &mut [&mut bob]).await;
    let seq = everybody_hears("hall", &mut ada, &mut [&mut bob]).await;
    let (node, bus) = (&house.nodes[1], &house.buses[0]);
    let inbox = Channel::Node(node.node().service().cluster().node());
    let refused = async |reason: &str, count: f64| {
        let label = format!("reason=\"{reason}\"");
        node.metric_until("hallway_bus_refused_total", &label, |refused| refused == count).await;
    };

    let epoch = Frame { kind: EPOCH, body: Bytes::copy_from_slice(ada.welcome.epoch.as_str().as_bytes()) };
    let frames = [epoch.clone(), event("hall", seq + 1)];
    let wrong = ClusterKey::from_secret(b"somebody else's secret, of the right length").unwrap();
    let stranger = Sealer::new(NodeId::generate(), wrong).seal_all(&inbox, &frames).unwrap().remove(0);
    bus.publish_raw(inbox.clone(), stranger).await;
    refused("signature", 1.0).await;
    bus.publish_raw(inbox.clone(), Bytes::from_static(b"\x00\xff not an envelope at all, whatever it may say")).await;
    refused("malformed", 1.0).await;

    // A real one that was heard before, changed, or sent to another channel.
    let mut sealer = Sealer::new(NodeId::generate(), key());
    let other_life = Frame { kind: EPOCH, body: Bytes::from_static(b"another-life") };
    let real = sealer.seal_all(&inbox, &[other_life, event("hall", seq + 1)]).unwrap().remove(0);
    let mut changed = real.to_vec();
    *changed.last_mut().unwrap() ^= 1;
    bus.publish_raw(inbox.clone(), Bytes::from(changed)).await;
    bus.publish_raw(Channel::All, real.clone()).await;
    refused("signature", 3.0).await;
    bus.publish_raw(inbox.clone(), real.clone()).await;
    refused("epoch", 1.0).await;
    bus.publish_raw(inbox.clone(), real).await;
    refused("replayed", 1.0).await;
    let broken = Frame { kind: EVENT, body: Bytes::from_static(b"\x01") };
    let message = sealer.seal_all(&inbox, &[epoch, broken]).unwrap().remove(0);
    bus.publish_raw(inbox, message).await;
    refused("frame", 1.0).await;

    everybody_hears("hall", &mut ada, &mut [&mut bob]).await;
    everybody_hears("hall", &mut bob, &mut [&mut ada]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_newer_node_is_understood_as_far_as_this_one_can() {
    let house = House::start(2, |_| {}).await;
    let mut ada = house.seat(0, "ada").await;
    let mut bob = house.seat(1, "bob").await;
    meet("hall", &mut ada, &mut [&mut bob]).await;
    everybody_hears("hall", &mut ada, &mut [&mut bob]).await;
    // Committed, and lost on the way: only the newer node's word of it, and the tail, can tell node 1.
    house.buses[0].loses.store(true, Ordering::SeqCst);
    let seq = ada.say("hall", "what the newer node speaks of").await;
    let inbox = Channel::Node(house.nodes[1].node().service().cluster().node());
    let frames = [
        Frame { kind: 40_000, body: Bytes::from_static(b"a kind that does not exist yet") },
        Frame { kind: EPOCH, body: Bytes::copy_from_slice(ada.welcome.epoch.as_str().as_bytes()) },
        unknown_event("hall", seq),
    ];
    let mut newer = Sealer::new(NodeId::generate(), key()).of_version(1, 9);
    let message = newer.seal_all(&inbox, &frames).unwrap().remove(0);
    house.buses[0].publish_raw(inbox, message).await;
    house.buses[0].loses.store(false, Ordering::SeqCst);
    bob.event("hall", seq).await;
    assert_eq!(house.nodes[1].metric("hallway_bus_refused_total").await, 0.0);
    everybody_hears("hall", &mut ada, &mut [&mut bob]).await;
}
