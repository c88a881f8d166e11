//! What the way over one Redis promises when that is killed, frozen, cut off, or refuses.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use bytes::Bytes;
use hallway_gateway::bus::redis::{ANSWER_TIMEOUT, RedisBus, RedisOptions, UNANSWERED_MAX_BYTES};
use hallway_gateway::bus::{Bus as _, Channel, Heard};
use hallway_gateway::tasks::Tasks;
use loadtest_cluster::TemporaryRedis;
use loadtest_cluster::proxy::{FaultProxy, Faults, Flow};

use crate::meeting::{connected, eventually, hear, hear_until, message, options, publish_at_last, room, text};

/// How long a failing call may take: its time-out, and what a busy machine adds.
const FAILS_WITHIN: Duration = Duration::from_secs(2);
/// How soon the way is to be in use again once it can be.
const BACK_WITHIN: Duration = Duration::from_secs(5);

async fn assert_publishing_fails_soon(bus: &RedisBus, said: &str) -> String {
    let begun = Instant::now();
    let error = bus.publish(vec![(Channel::All, text(said))]).await.expect_err("there is no Redis");
    assert!(begun.elapsed() < FAILS_WITHIN, "it took {:?} to fail", begun.elapsed());
    let cause = std::error::Error::source(&error).map(ToString::to_string).unwrap_or_default();
    format!("{error}: {cause}")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn subscriptions_are_back_after_their_connection_was_killed_and_the_gap_is_told() {
    let server = TemporaryRedis::start().unwrap();
    let (writer, reader) = (connected(&options(&server.url())).await, connected(&options(&server.url())).await);
    reader.subscribe(vec![Channel::All, room("a")]).await.unwrap();
    for round in 0..5 {
        server.command(&["CLIENT", "KILL", "TYPE", "pubsub"]).unwrap();
        let begun = Instant::now();
        assert_eq!(hear(&*reader).await, Heard::Missed);
        println!("round {round}: subscribed again after {:?}", begun.elapsed());
        assert!(begun.elapsed() < BACK_WITHIN);
        for channel in [Channel::All, room("a")] {
            writer.publish(vec![(channel.clone(), text(round))]).await.unwrap();
            assert_eq!(hear(&*reader).await, message(&channel, round));
        }
    }
    assert_eq!(reader.health().connections_lost(), 5);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_redis_that_was_killed_and_came_back_empty_is_used_again_and_nothing_old_comes_later() {
    let server = TemporaryRedis::start().unwrap();
    let (writer, reader) = (connected(&options(&server.url())).await, connected(&options(&server.url())).await);
    reader.subscribe(vec![Channel::All]).await.unwrap();
    server.kill9().unwrap();
    eventually("the loss is noticed", || !writer.health().is_connected() && !reader.health().is_connected()).await;
    for _ in 0..100 {
        assert_publishing_fails_soon(&writer, "too old").await;
    }
    let begun = Instant::now();
    reader.subscribe(vec![room("new")]).await.unwrap_err();
    assert!(begun.elapsed() < FAILS_WITHIN);

    server.restart().unwrap();
    let begun = Instant::now();
    assert_eq!(hear(&*reader).await, Heard::Missed);
    publish_at_last(&*writer, &room("new"), "fresh").await;
    assert_eq!(hear(&*reader).await, message(&room("new"), "fresh"));
    println!("in use again {:?} after it was back", begun.elapsed());
    assert!(begun.elapsed() < BACK_WITHIN);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_starts_without_redis_and_uses_it_once_it_is_there() {
    let server = TemporaryRedis::start().unwrap();
    server.kill9().unwrap();
    let bus = RedisBus::open(&options(&server.url()), &Tasks::default()).unwrap();
    let begun = Instant::now();
    bus.subscribe(vec![Channel::All]).await.unwrap_err();
    assert!(begun.elapsed() < FAILS_WITHIN);
    assert_publishing_fails_soon(&bus, "nobody").await;
    server.restart().unwrap();
    assert_eq!(hear(&bus).await, Heard::Missed, "it was confirmed after the subscriber had gone");
    publish_at_last(&bus, &Channel::All, "here").await;
    assert_eq!(hear(&bus).await, message(&Channel::All, "here"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_subscriber_that_redis_drops_for_its_output_buffer_is_told_and_back() {
    let server = TemporaryRedis::start().unwrap();
    server.command(&["CONFIG", "SET", "client-output-buffer-limit", "pubsub 32kb 32kb 1"]).unwrap();
    let (writer, reader) = (connected(&options(&server.url())).await, connected(&options(&server.url())).await);
    reader.subscribe(vec![Channel::All]).await.unwrap();
    writer.publish(vec![(Channel::All, Bytes::from(vec![7; 64 * 1024])); 64]).await.unwrap();
    while hear(&*reader).await != Heard::Missed {}
    assert!(reader.health().connections_lost() > 0);
    publish_at_last(&*writer, &Channel::All, "small").await;
    hear_until(&*reader, &message(&Channel::All, "small")).await;
}

/// Of this process, in bytes.
fn resident() -> u64 {
    let pages = std::fs::read_to_string("/proc/self/statm").unwrap();
    pages.split(' ').nth(1).unwrap().parse::<u64>().unwrap() * 4096
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn heavy_while_redis_is_frozen_publishing_fails_in_time_and_memory_is_bounded() {
    let server = TemporaryRedis::start().unwrap();
    let before = resident();
    let (writer, reader) = (connected(&options(&server.url())).await, connected(&options(&server.url())).await);
    println!("a bus takes {} KiB", (resident() - before) / 2 / 1024);
    reader.subscribe(vec![Channel::All]).await.unwrap();
    let payload = Bytes::from(vec![7; 256 * 1024]);
    writer.publish(vec![(Channel::All, payload.clone())]).await.unwrap();
    hear(&*reader).await;
    let before = resident();
    server.freeze().unwrap();
    let begun = Instant::now();
    let (mut failed, mut slowest, mut grown) = (0, Duration::ZERO, 0);
    while begun.elapsed() < ANSWER_TIMEOUT * 3 {
        let call = Instant::now();
        // Copied: what is kept of it shows.
        let copy = Bytes::copy_from_slice(&payload);
        failed += u32::from(writer.publish(vec![(Channel::All, copy); 4]).await.is_err());
        slowest = slowest.max(call.elapsed());
        grown = grown.max(resident().saturating_sub(before));
        tokio::task::yield_now().await;
    }
    println!("{failed} calls failed, the slowest took {slowest:?}; memory grew by {} KiB", grown / 1024);
    assert!(failed > 10 && slowest < FAILS_WITHIN);
    assert!(grown < 8 * UNANSWERED_MAX_BYTES as u64, "memory grew by {grown} bytes");
    assert!(!writer.health().is_connected() && !reader.health().is_connected());

    server.thaw().unwrap();
    let begun = Instant::now();
    while hear(&*reader).await != Heard::Missed {}
    publish_at_last(&*writer, &Channel::All, "thawed").await;
    hear_until(&*reader, &message(&Channel::All, "thawed")).await;
    println!("in use again {:?} after the thaw", begun.elapsed());
    assert!(begun.elapsed() < BACK_WITHIN);
}

/// A proxy before the server, and the settings for the way through it. The mark is on connections that subscribe.
async fn proxied(server: &TemporaryRedis) -> (FaultProxy, RedisOptions) {
    let address = SocketAddr::from(([127, 0, 0, 1], server.port()));
    let proxy = FaultProxy::start_with_mark(address, Some(b"SUBSCRIBE")).await.unwrap();
    let options = options(&format!("redis://{}", proxy.address()));
    (proxy, options)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn heavy_a_line_that_is_silent_one_way_is_replaced() {
    let server = TemporaryRedis::start().unwrap();
    let silent = Flow { black_hole: true, ..Flow::default() };
    for (name, faults) in [
        ("nothing comes from Redis", Faults { to_client: silent, ..Faults::default() }),
        ("nothing comes to Redis", Faults { to_server: silent, ..Faults::default() }),
        ("the subscriber hears nothing", Faults { to_client: silent, marked_only: true, ..Faults::default() }),
    ] {
        let (proxy, options) = proxied(&server).await;
        let (bus, other) = (connected(&options).await, connected(&self::options(&server.url())).await);
        bus.subscribe(vec![Channel::All]).await.unwrap();
        proxy.set(faults);
        eventually("the silence is noticed", || !bus.health().is_connected()).await;
        proxy.heal();
        let begun = Instant::now();
        while hear(&*bus).await != Heard::Missed {}
        other.publish(vec![(Channel::All, text("healed"))]).await.unwrap();
        hear_until(&*bus, &message(&Channel::All, "healed")).await;
        publish_at_last(&*bus, &Channel::All, "too").await;
        println!("{name}: in use again {:?} after it was healed", begun.elapsed());
        assert!(begun.elapsed() < BACK_WITHIN, "{name}");
    }
}

/// Made so by taking from Redis what the subscriber has: its connection lives, answers, and hears nothing.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn heavy_a_subscriber_that_answers_but_hears_nothing_is_replaced() {
    let server = TemporaryRedis::start().unwrap();
    let (proxy, options) = proxied(&server).await;
    let (bus, other) = (connected(&options).await, connected(&self::options(&server.url())).await);
    bus.subscribe(vec![Channel::All]).await.unwrap();
    // Everything comes, but later than a beat may: answers too late for beats are in time for nobody.
    let late = Flow { delay: Duration::from_millis(1_900), ..Flow::default() };
    proxy.set(Faults { to_client: late, to_server: late, marked_only: true, ..Faults::default() });
    eventually("it is noticed", || bus.health().connections_lost() > 0).await;
    proxy.heal();
    while hear(&*bus).await != Heard::Missed {}
    other.publish(vec![(Channel::All, text("healed"))]).await.unwrap();
    hear_until(&*bus, &message(&Channel::All, "healed")).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_message_is_one_publish() {
    let server = TemporaryRedis::start().unwrap();
    let bus = connected(&options(&server.url())).await;
    let before = server.publishes().unwrap();
    let begun = Instant::now();
    bus.publish((0..1_000).map(|number| (room(number), text("one"))).collect()).await.unwrap();
    let published = server.publishes().unwrap() - before;
    // Beside them, only beats, one a second.
    let beats = 1 + begun.elapsed().as_secs();
    assert!((1_000..=1_000 + beats).contains(&published), "{published} were published");
}

/// What docs/configuration.md asks for.
const ACL_COMMANDS: [&str; 9] =
    ["on", "+hello", "+ping", "+info", "+client|id", "+client|info", "+publish", "+subscribe", "+unsubscribe"];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_user_with_a_password_and_the_few_rights_that_are_documented_is_enough() {
    let server = TemporaryRedis::start().unwrap();
    let rights = [&["ACL", "SETUSER", "gateway", ">p%40:/ß\\?#word", "&test:*"][..], &ACL_COMMANDS].concat();
    server.command(&rights).unwrap();
    let (writer, reader) = (
        connected(&options(&server.url_of("gateway", "p%2540%3A%2F%C3%9F%5C%3F%23word"))).await,
        connected(&options(&server.url_of("gateway", "p%2540%3A%2F%C3%9F%5C%3F%23word"))).await,
    );
    reader.subscribe(vec![Channel::All]).await.unwrap();
    writer.publish(vec![(Channel::All, text("hello"))]).await.unwrap();
    assert_eq!(hear(&*reader).await, message(&Channel::All, "hello"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_wrong_password_is_named_but_not_shown_and_mended_without_a_restart() {
    let server = TemporaryRedis::start().unwrap();
    let rights = [&["ACL", "SETUSER", "gateway", ">right", "&test:*"][..], &ACL_COMMANDS].concat();
    server.command(&rights).unwrap();
    let options = options(&server.url_of("gateway", "wr0ng-secret"));
    let bus = RedisBus::open(&options, &Tasks::default()).unwrap();
    let error = bus.subscribe(vec![Channel::All]).await.unwrap_err();
    let told = format!("{error} {error:?} {bus:?} {options:?}");
    assert!(told.contains("WRONGPASS") && told.contains("refuses"), "{told}");
    assert!(!told.contains("wr0ng-secret"), "{told}");
    server.command(&["ACL", "SETUSER", "gateway", ">wr0ng-secret"]).unwrap();
    assert_eq!(hear(&bus).await, Heard::Missed);
    publish_at_last(&bus, &Channel::All, "in").await;
    assert_eq!(hear(&bus).await, message(&Channel::All, "in"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_channel_that_is_not_allowed_fails_its_subscription_and_works_once_it_is() {
    let server = TemporaryRedis::start().unwrap();
    let rights = [&["ACL", "SETUSER", "gateway", ">right", "&test:beat:*", "&test:all"][..], &ACL_COMMANDS].concat();
    server.command(&rights).unwrap();
    let bus = connected(&options(&server.url_of("gateway", "right"))).await;
    bus.subscribe(vec![Channel::All]).await.unwrap();
    let error = bus.subscribe(vec![room("forbidden")]).await.unwrap_err();
    assert!(format!("{error:?}").contains("Refused"), "{error:?}");
    server.command(&["ACL", "SETUSER", "gateway", "&test:*"]).unwrap();
    assert_eq!(hear(&*bus).await, Heard::Missed);
    publish_at_last(&*bus, &room("forbidden"), "allowed").await;
    assert_eq!(hear(&*bus).await, message(&room("forbidden"), "allowed"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tls_is_used_and_the_server_has_to_prove_itself() {
    let (server, files) = TemporaryRedis::start_with_tls().unwrap();
    let url = server.tls_url().unwrap();
    let trusting = RedisOptions { tls_ca_file: Some(files.authority.clone()), ..options(&url) };
    let (writer, reader) = (connected(&trusting).await, connected(&options(&server.url())).await);
    reader.subscribe(vec![Channel::All]).await.unwrap();
    writer.publish(vec![(Channel::All, text("sealed"))]).await.unwrap();
    assert_eq!(hear(&*reader).await, message(&Channel::All, "sealed"));

    let (_other, others) = TemporaryRedis::start_with_tls().unwrap();
    let mistrusting = RedisOptions { tls_ca_file: Some(others.authority), ..options(&url) };
    let bus = RedisBus::open(&mistrusting, &Tasks::default()).unwrap();
    let error = bus.subscribe(vec![Channel::All]).await.unwrap_err();
    assert!(format!("{error:?}").contains("InvalidCertificate"), "{error:?}");
    let missing = RedisOptions { tls_ca_file: Some(PathBuf::from("/nowhere.pem")), ..options(&url) };
    assert!(RedisBus::open(&missing, &Tasks::default()).unwrap_err().to_string().contains("/nowhere.pem"));
}
