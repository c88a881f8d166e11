//! What every bus promises.

use std::sync::Arc;

use bytes::Bytes;
use hallway_gateway::bus::local::LocalExchange;
use hallway_gateway::bus::{Channel, Heard, INBOX_MAX_BYTES};
use hallway_gateway::node::NodeId;
use loadtest_cluster::TemporaryRedis;

use crate::meeting::{Meeting, hear, hear_until, heard_at_last, message, room, text};

/// One test for each promise, on what is quick to start.
macro_rules! promises {
    ($($promise:ident)*) => {
        $(pub(crate) mod $promise {
            use super::*;

            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn in_one_process() {
                super::promise::$promise(&Meeting::Local(LocalExchange::default())).await;
            }

            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn over_redis() {
                let server = TemporaryRedis::start().unwrap();
                super::promise::$promise(&Meeting::redis(&server.url())).await;
            }
        })*

        /// All of them, on what is slow to start.
        pub(crate) async fn all_promises(meeting: &Meeting) {
            $(
                println!("{}", stringify!($promise));
                promise::$promise(meeting).await;
            )*
        }
    };
}

promises! {
    messages_of_a_channel_reach_all_its_subscribers_in_order_and_nobody_else
    a_confirmed_subscription_hears_everything_that_is_published_afterwards
    after_a_confirmed_unsubscription_nothing_published_later_is_heard
    subscribing_twice_is_hearing_once
    a_large_payload_arrives_as_it_was
    a_burst_is_heard_whole_or_said_to_be_missed
    who_does_not_listen_loses_messages_and_is_told
    ten_thousand_channels_can_be_followed_and_left
    meetings_next_door_do_not_hear_each_other
    who_leaves_disturbs_nobody
}

mod promise {
    use super::*;

    pub(super) async fn messages_of_a_channel_reach_all_its_subscribers_in_order_and_nobody_else(meeting: &Meeting) {
        const COUNT: usize = 500;
        let (writer, one, other) = (meeting.join().await, meeting.join().await, meeting.join().await);
        let inbox = Channel::Node(NodeId::from_number(1));
        writer.subscribe(vec![Channel::All]).await.unwrap();
        one.subscribe(vec![Channel::All, inbox.clone()]).await.unwrap();
        other.subscribe(vec![room("a"), Channel::All]).await.unwrap();
        let channels = [Channel::All, inbox.clone(), room("a"), room("b")];
        for first in (0..COUNT).step_by(50) {
            let numbers = first..first + 50;
            let batch = numbers.flat_map(|number| channels.iter().map(move |channel| (channel.clone(), text(number))));
            writer.publish(batch.collect()).await.unwrap();
        }
        writer.publish(vec![(Channel::All, text("end"))]).await.unwrap();
        let end = message(&Channel::All, "end");
        for (bus, follows) in [(writer, vec![]), (one, vec![inbox]), (other, vec![room("a")])] {
            let heard = hear_until(&*bus, &end).await;
            assert_eq!(heard.len(), COUNT * (follows.len() + 1));
            for channel in follows.iter().chain([&Channel::All]) {
                let of_channel: Vec<&Heard> = heard
                    .iter()
                    .filter(|heard| matches!(heard, Heard::Message { channel: at, .. } if at == channel))
                    .collect();
                let sent: Vec<Heard> = (0..COUNT).map(|number| message(channel, number)).collect();
                assert_eq!(of_channel, sent.iter().collect::<Vec<_>>());
            }
        }
    }

    pub(super) async fn a_confirmed_subscription_hears_everything_that_is_published_afterwards(meeting: &Meeting) {
        let (writer, reader) = (meeting.join().await, meeting.join().await);
        for number in 0..100 {
            let channel = room(format!("confirmed-{number}"));
            reader.subscribe(vec![channel.clone()]).await.unwrap();
            writer.publish(vec![(channel.clone(), text(number))]).await.unwrap();
            assert_eq!(hear(&*reader).await, message(&channel, number));
        }
    }

    pub(super) async fn after_a_confirmed_unsubscription_nothing_published_later_is_heard(meeting: &Meeting) {
        let (writer, reader) = (meeting.join().await, meeting.join().await);
        reader.subscribe(vec![Channel::All, room("left")]).await.unwrap();
        for number in 0..50 {
            reader.subscribe(vec![room("left")]).await.unwrap();
            writer.publish(vec![(room("left"), text("before"))]).await.unwrap();
            assert_eq!(hear(&*reader).await, message(&room("left"), "before"));
            reader.unsubscribe(vec![room("left"), room("never-followed")]).await.unwrap();
            writer.publish(vec![(room("left"), text("after")), (Channel::All, text(number))]).await.unwrap();
            assert_eq!(hear(&*reader).await, message(&Channel::All, number));
        }
    }

    pub(super) async fn subscribing_twice_is_hearing_once(meeting: &Meeting) {
        let (writer, reader) = (meeting.join().await, meeting.join().await);
        reader.subscribe(vec![room("twice"), room("twice")]).await.unwrap();
        reader.subscribe(vec![room("twice"), Channel::All]).await.unwrap();
        writer.publish(vec![(room("twice"), text("once")), (Channel::All, text("end"))]).await.unwrap();
        assert_eq!(hear_until(&*reader, &message(&Channel::All, "end")).await, [message(&room("twice"), "once")]);
    }

    pub(super) async fn a_large_payload_arrives_as_it_was(meeting: &Meeting) {
        let (writer, reader) = (meeting.join().await, meeting.join().await);
        reader.subscribe(vec![Channel::All]).await.unwrap();
        for length in [0, 1, 1024 * 1024] {
            let payload: Bytes = (0..length).map(|at| (at * 31 % 257) as u8).collect();
            writer.publish(vec![(Channel::All, payload.clone())]).await.unwrap();
            assert!(hear(&*reader).await == Heard::Message { channel: Channel::All, payload }, "{length} bytes");
        }
    }

    pub(super) async fn a_burst_is_heard_whole_or_said_to_be_missed(meeting: &Meeting) {
        const COUNT: usize = 10_000;
        let (writer, reader) = (meeting.join().await, meeting.join().await);
        reader.subscribe(vec![Channel::All]).await.unwrap();
        let writing = async {
            for first in (0..COUNT).step_by(500) {
                let batch = (first..first + 500).map(|number| (Channel::All, text(number))).collect();
                writer.publish(batch).await.unwrap();
            }
            writer.publish(vec![(Channel::All, text("end"))]).await.unwrap();
        };
        let end = message(&Channel::All, "end");
        let (heard, ()) = tokio::join!(hear_until(&*reader, &end), writing);
        let missed = heard.contains(&Heard::Missed);
        assert!(missed || heard.len() == COUNT, "{} of {COUNT} are heard, and nobody said so", heard.len());
        assert!(!missed, "this is a small burst");
    }

    pub(super) async fn who_does_not_listen_loses_messages_and_is_told(meeting: &Meeting) {
        const LENGTH: usize = 256 * 1024;
        let (writer, reader) = (meeting.join().await, meeting.join().await);
        reader.subscribe(vec![Channel::All]).await.unwrap();
        let payload = Bytes::from(vec![b'x'; LENGTH]);
        let fits = INBOX_MAX_BYTES / LENGTH;
        // Twice what fits: over Redis the last ones may still be on their way when the reading begins.
        for _ in 0..fits.div_ceil(4) {
            writer.publish(vec![(Channel::All, payload.clone()); 8]).await.unwrap();
        }
        let mut messages = 0;
        // Redis may have dropped it before its inbox was full, which is missing something too.
        while let Heard::Message { .. } = hear(&*reader).await {
            messages += 1;
        }
        assert!(messages <= fits, "{messages} waited, {fits} may");
        if matches!(meeting, Meeting::Local(_)) {
            assert_eq!(messages, fits, "what fits is kept, in its place");
        }
        heard_at_last(&*writer, &*reader, &Channel::All, "end").await;
    }

    pub(super) async fn ten_thousand_channels_can_be_followed_and_left(meeting: &Meeting) {
        const COUNT: usize = 10_000;
        let (writer, reader) = (meeting.join().await, meeting.join().await);
        let rooms: Vec<Channel> = (0..COUNT).map(|number| room(format!("many:{number}"))).collect();
        reader.subscribe(rooms.clone()).await.unwrap();
        let sample: Vec<Channel> = rooms.iter().step_by(10).cloned().collect();
        let said = |text: &str| sample.iter().map(|channel| (channel.clone(), self::text(text))).collect();
        writer.publish(said("heard")).await.unwrap();
        for channel in &sample {
            // Order is a matter of each channel.
            let Heard::Message { channel: heard, .. } = hear(&*reader).await else { panic!("missed") };
            assert!(sample.contains(&heard), "{channel}");
        }
        reader.unsubscribe(rooms[1..].to_vec()).await.unwrap();
        writer.publish(said("left")).await.unwrap();
        writer.publish(vec![(rooms[0].clone(), text("end"))]).await.unwrap();
        let heard = hear_until(&*reader, &message(&rooms[0], "end")).await;
        assert_eq!(heard, [message(&rooms[0], "left")]);
    }

    pub(super) async fn meetings_next_door_do_not_hear_each_other(meeting: &Meeting) {
        let other = meeting.next_door();
        let (here, there) = (meeting.join().await, other.join().await);
        for bus in [&here, &there] {
            bus.subscribe(vec![Channel::All, room("r"), Channel::Node(NodeId::from_number(1))]).await.unwrap();
        }
        for (bus, name) in [(&here, "here"), (&there, "there")] {
            let channels = [room("r"), Channel::Node(NodeId::from_number(1)), Channel::All];
            bus.publish(channels.into_iter().map(|channel| (channel, text(name))).collect()).await.unwrap();
        }
        for (bus, name) in [(&here, "here"), (&there, "there")] {
            let heard = hear_until(&**bus, &message(&Channel::All, name)).await;
            assert_eq!(heard, [message(&room("r"), name), message(&Channel::Node(NodeId::from_number(1)), name)]);
        }
    }

    pub(super) async fn who_leaves_disturbs_nobody(meeting: &Meeting) {
        let (writer, stays, leaves) = (meeting.join().await, meeting.join().await, meeting.join().await);
        for bus in [&stays, &leaves] {
            bus.subscribe(vec![Channel::All]).await.unwrap();
        }
        drop(leaves);
        for number in 0..10 {
            writer.publish(vec![(Channel::All, text(number))]).await.unwrap();
            assert_eq!(hear(&*stays).await, message(&Channel::All, number));
        }
    }
}

#[tokio::test]
async fn a_node_that_is_alone_hears_itself_and_waits_for_nobody() {
    use hallway_gateway::bus::Bus as _;
    let alone = Arc::new(hallway_gateway::bus::local::LocalBus::alone());
    alone.subscribe(vec![Channel::All]).await.unwrap();
    alone.publish(vec![(Channel::All, text("echo")), (room("nobody"), text("there"))]).await.unwrap();
    assert_eq!(hear(&*alone).await, message(&Channel::All, "echo"));
}
