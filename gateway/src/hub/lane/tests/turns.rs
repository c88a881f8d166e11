//! Who works on a lane, and how much at a time. Sockets take everything; every write is noted.

use std::io::{self, IoSlice};
use std::sync::{Arc, Mutex, OnceLock, PoisonError, Weak};
use std::time::{Duration, Instant};

use hallway_protocol::codec::Codec;
use hallway_protocol::event::RoomArchived;
use hallway_protocol::frame::SignalFrame;
use hallway_protocol::{Event, EventBody, RoomId, Seq, ServerFrame, StreamId, UserId};

use super::super::{LaneAttach, LaneMessage, SharedLane};
use super::connect;
use crate::connection::{Encoded, Wire};
use crate::hub::facade::Owners;
use crate::hub::ring::RingBounds;
use crate::hub::{Diary, LiveEvent, Ring};
use crate::tasks::Tasks;
use crate::telemetry::metrics::Metrics;

const SLICE_SOCKETS: usize = 512;

/// Who wrote how many bytes, in order.
type Writes = Arc<Mutex<Vec<(u64, usize)>>>;

/// Handed to the lane by the next write.
struct Brings {
    lane: Weak<SharedLane>,
    message: Mutex<Option<LaneMessage>>,
}

struct NotingWire {
    id: u64,
    writes: Writes,
    brings: Arc<OnceLock<Brings>>,
}

impl Wire for NotingWire {
    fn try_write_vectored(&self, slices: &[IoSlice<'_>]) -> io::Result<usize> {
        let bytes = slices.iter().map(|slice| slice.len()).sum();
        self.writes.lock().unwrap_or_else(PoisonError::into_inner).push((self.id, bytes));
        if let Some(brings) = self.brings.get()
            && let Some(message) = brings.message.lock().unwrap().take()
        {
            let lane = brings.lane.upgrade().unwrap();
            assert!(lane.offer_quietly(message));
            lane.drive();
        }
        Ok(bytes)
    }
}

struct Scene {
    lane: Arc<SharedLane>,
    writes: Writes,
    brings: Arc<OnceLock<Brings>>,
}

fn room(name: &str) -> StreamId {
    StreamId::Room(RoomId::new(name).unwrap())
}

/// Rooms by their names and the ids of those who follow them.
fn scene(rooms: &[(&str, std::ops::Range<u64>)]) -> Scene {
    let (metrics, _) = Metrics::new().unwrap();
    let diary = Diary::new(1, Arc::clone(&metrics));
    let lane = Arc::new(SharedLane::new(0, 1 << 20, Arc::new(Owners::new(1, 16)), Arc::clone(&metrics), diary));
    let (writes, brings) = (Writes::default(), Arc::default());
    for (name, ids) in rooms {
        let ring = Arc::new(Ring::new(&RingBounds::new(256, 1 << 20, Arc::clone(&metrics))));
        for id in ids.clone() {
            let wire = NotingWire { id, writes: Arc::clone(&writes), brings: Arc::clone(&brings) };
            let connection = connect(id, &format!("user-{id}"), Codec::Postcard, Arc::new(wire), 1 << 20, &metrics);
            let attach = LaneAttach {
                stream: room(name),
                connection: connection.id,
                next: 1,
                joined_seq: 0,
                cursor: 0,
                ring: Arc::clone(&ring),
                reset: None,
                missed: Vec::new(),
                again: false,
            };
            lane.push(LaneMessage::Register(connection));
            lane.push(LaneMessage::Attach(attach));
        }
    }
    while lane.turn() {}
    let _ = lane.was_woken();
    Scene { lane, writes, brings }
}

fn event(name: &str, seq: Seq) -> LaneMessage {
    let body = EventBody::RoomArchived(RoomArchived { by: UserId::new("ada").unwrap() });
    LaneMessage::Event(Arc::new(LiveEvent::new(Event { stream: room(name), seq, at_ms: 0, body })))
}

fn signal(name: &str) -> LaneMessage {
    let (room_id, user) = (RoomId::new(name).unwrap(), UserId::new("ada").unwrap());
    let frame = SignalFrame { room: room_id, user, name: "wave".to_owned(), data: None };
    LaneMessage::Ephemeral {
        stream: room(name),
        frame: Arc::new(Encoded::new(ServerFrame::Signal(frame))),
        except: None,
    }
}

impl Scene {
    fn writers(&self) -> Vec<u64> {
        self.writes.lock().unwrap().iter().map(|(id, _)| *id).collect()
    }

    fn bring(&self, message: LaneMessage) {
        assert!(self.lane.offer_quietly(message));
        self.lane.drive();
    }
}

#[test]
fn a_small_room_waits_for_one_slice_of_a_huge_one_and_no_more() {
    let scene = scene(&[("huge", 0..3000), ("small", 3000..3002)]);
    scene.lane.push(event("huge", 1));
    assert!(scene.lane.turn());
    assert_eq!(scene.writers().len(), SLICE_SOCKETS);
    scene.lane.push(event("small", 1));
    scene.lane.push(event("huge", 2));
    assert!(scene.lane.turn());
    let before = scene.writers().iter().position(|id| *id == 3001).unwrap();
    assert!(before <= 2 * SLICE_SOCKETS, "the small room waited for {before} writes");
    while scene.lane.turn() {}
    // Those of the huge room got one event and then the other, each in a write of its own, since they were apart.
    let one_bytes = scene.writes.lock().unwrap()[0].1;
    for id in 0..3000 {
        let got = scene
            .writes
            .lock()
            .unwrap()
            .iter()
            .filter(|(writer, _)| *writer == id)
            .map(|(_, bytes)| *bytes)
            .sum::<usize>();
        assert_eq!(got, 2 * one_bytes, "connection {id}");
    }
}

#[test]
fn who_brings_little_work_does_it_and_wakes_nobody() {
    let scene = scene(&[("small", 0..10)]);
    scene.bring(signal("small"));
    assert_eq!(scene.writers().len(), 10);
    assert!(!scene.lane.was_woken());
}

#[test]
fn a_large_room_is_left_to_the_task_at_once() {
    let scene = scene(&[("large", 0..100)]);
    scene.bring(signal("large"));
    assert_eq!(scene.writers().len(), 0);
    assert!(scene.lane.was_woken());
    while scene.lane.turn() {}
    assert_eq!(scene.writers().len(), 100);
}

#[test]
fn what_comes_while_the_lane_is_taken_is_not_forgotten() {
    let scene = scene(&[("small", 0..10)]);
    let second = Brings { lane: Arc::downgrade(&scene.lane), message: Mutex::new(Some(signal("small"))) };
    assert!(scene.brings.set(second).is_ok());
    scene.bring(signal("small"));
    assert_eq!(scene.writers().len(), 10);
    assert!(scene.lane.was_woken(), "whoever let go of the lane has seen the second signal");
    while scene.lane.turn() {}
    assert_eq!(scene.writers().len(), 20);
}

#[test]
fn frames_that_came_together_leave_in_one_write() {
    let scene = scene(&[("one", 0..3), ("two", 3..6)]);
    for seq in 1..=20 {
        assert!(scene.lane.offer_quietly(event("one", seq)));
        assert!(scene.lane.offer_quietly(signal("one")));
    }
    assert!(scene.lane.offer_quietly(event("two", 1)));
    scene.lane.drive();
    assert_eq!(scene.writers().len(), 6);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_stranded_however_many_bring_something_at_once() {
    const WRITERS: usize = 4;
    const SIGNALS: usize = 3000;
    let scene = scene(&[("small", 0..3), ("large", 3..90)]);
    let tasks = Tasks::default();
    tasks.spawn(Arc::clone(&scene.lane).run(tasks.clone()));
    let one_bytes = {
        scene.bring(signal("small"));
        scene.writes.lock().unwrap()[0].1
    };
    let writers: Vec<_> = (0..WRITERS)
        .map(|_| {
            let lane = Arc::clone(&scene.lane);
            std::thread::spawn(move || {
                for number in 0..SIGNALS {
                    // Every tenth makes work for the task.
                    assert!(lane.offer_quietly(signal(if number % 10 == 0 { "large" } else { "small" })));
                    lane.drive();
                }
            })
        })
        .collect();
    writers.into_iter().for_each(|writer| writer.join().unwrap());
    let frames = 3 + WRITERS * SIGNALS / 10 * (9 * 3 + 87);
    let begun = Instant::now();
    loop {
        let bytes: usize = scene.writes.lock().unwrap().iter().map(|(_, bytes)| bytes).sum();
        if bytes == frames * one_bytes {
            break;
        }
        assert!(begun.elapsed() < Duration::from_secs(30), "{bytes} of {} bytes came", frames * one_bytes);
        tokio::task::yield_now().await;
    }
    tasks.stop();
    tasks.ended().await;
}
