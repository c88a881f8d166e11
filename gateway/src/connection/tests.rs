//! The outbound side against a socket that takes as much as the test wants.
#![expect(clippy::unwrap_used, reason = "a failed test panics")]

use std::io::{self, IoSlice};
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use hallway_protocol::CloseCode;
use proptest::prelude::*;

use super::frames::first_frame_bytes;
use super::{Budget, Outbound, Wire};
use crate::telemetry::metrics::Metrics;

/// Takes `room_bytes` more bytes and keeps them.
#[derive(Default)]
struct Socket {
    room_bytes: Mutex<usize>,
    got: Mutex<Vec<u8>>,
}

impl Wire for Socket {
    fn try_write_vectored(&self, slices: &[IoSlice<'_>]) -> io::Result<usize> {
        let mut room = self.room_bytes.lock().unwrap();
        let mut written = 0;
        for slice in slices {
            let taken = slice.len().min(*room);
            *room -= taken;
            self.got.lock().unwrap().extend_from_slice(&slice[..taken]);
            written += taken;
        }
        if written == 0 { Err(io::ErrorKind::WouldBlock.into()) } else { Ok(written) }
    }
}

struct Scene {
    socket: Arc<Socket>,
    budget: Arc<Budget>,
    metrics: Arc<Metrics>,
    outbound: Outbound<Arc<Socket>>,
    written_bytes: u64,
}

fn scene(backlog_max_bytes: u64) -> Scene {
    let (metrics, _) = Metrics::new().unwrap();
    let socket = Arc::new(Socket::default());
    let budget = Arc::new(Budget::new(u64::MAX, Arc::clone(&metrics)));
    let outbound = Outbound::new(Arc::clone(&socket), backlog_max_bytes, Arc::clone(&budget));
    Scene { socket, budget, metrics, outbound, written_bytes: 0 }
}

impl Scene {
    /// Appends runs; how many frames were refused.
    fn push(&mut self, runs: &[Bytes]) -> usize {
        let pushed = self.outbound.push_events(runs);
        self.written_bytes += pushed.written_bytes;
        self.check();
        pushed.refused_frames
    }

    fn flush(&mut self) {
        let before = self.got();
        self.outbound.flush();
        self.written_bytes += (self.got() - before) as u64;
        self.check();
    }

    fn got(&self) -> usize {
        self.socket.got.lock().unwrap().len()
    }

    fn check(&self) {
        let waiting = self.outbound.backlog_bytes();
        assert_eq!(self.budget.used_bytes(), waiting as u64);
        assert_eq!(self.metrics.backlog_bytes.get(), i64::try_from(waiting).unwrap());
        assert_eq!(self.got() as u64, self.written_bytes);
    }
}

/// A frame with that payload, filled with its number.
fn frame(number: u8, payload_bytes: usize) -> Vec<u8> {
    let mut bytes = vec![0x82];
    match u8::try_from(payload_bytes) {
        Ok(short) if short < 126 => bytes.push(short),
        _ => {
            bytes.push(126);
            bytes.extend_from_slice(&u16::try_from(payload_bytes).unwrap().to_be_bytes());
        }
    }
    bytes.resize(bytes.len() + payload_bytes, number);
    bytes
}

#[derive(Debug, Clone)]
enum Turn {
    /// Runs of frames, by the lengths of their payloads.
    Push(Vec<Vec<usize>>),
    Reads(usize),
}

fn turn() -> impl Strategy<Value = Turn> {
    let run = prop::collection::vec(0..200_usize, 1..6);
    prop_oneof![
        2 => prop::collection::vec(run, 1..5).prop_map(Turn::Push),
        1 => (0..900_usize).prop_map(Turn::Reads),
    ]
}

proptest! {
    /// Whether frames come one by one or in runs, the same ones are taken, and they leave whole and in order.
    #[test]
    fn a_run_is_taken_as_its_frames_would_be(turns in prop::collection::vec(turn(), 1..40), give_up in any::<bool>()) {
        let (mut in_runs, mut one_by_one) = (scene(700), scene(700));
        let mut number = 0_u8;
        let mut taken = Vec::new();
        for turn in turns {
            match turn {
                Turn::Push(lengths) => {
                    let runs: Vec<Vec<Vec<u8>>> = lengths
                        .iter()
                        .map(|run| run.iter().map(|length| { number = number.wrapping_add(1); frame(number, *length) }).collect())
                        .collect();
                    let joined: Vec<Bytes> = runs.iter().map(|run| Bytes::from(run.concat())).collect();
                    let frames: Vec<Bytes> = runs.into_iter().flatten().map(Bytes::from).collect();
                    let refused = in_runs.push(&joined);
                    prop_assert_eq!(refused, one_by_one.push(&frames));
                    taken.extend(frames[..frames.len() - refused].iter().flat_map(|frame| frame.to_vec()));
                }
                Turn::Reads(bytes) => for scene in [&mut in_runs, &mut one_by_one] {
                    *scene.socket.room_bytes.lock().unwrap() += bytes;
                    scene.flush();
                },
            }
        }
        if give_up {
            in_runs.outbound.give_up(CloseCode::MemoryBudget);
            let frames = (0..).scan(0, |end, _| { *end += first_frame_bytes(&taken[*end..]); Some(*end) });
            let kept = frames.take_while(|_| !taken.is_empty()).find(|end| *end > in_runs.got() || *end == taken.len());
            taken.truncate(kept.unwrap_or(0));
            in_runs.check();
        }
        for scene in [&mut in_runs, &mut one_by_one] {
            *scene.socket.room_bytes.lock().unwrap() = usize::MAX;
            scene.flush();
        }
        prop_assert_eq!(&*in_runs.socket.got.lock().unwrap(), &taken);
        if !give_up {
            prop_assert_eq!(&*one_by_one.socket.got.lock().unwrap(), &taken);
        }
        prop_assert_eq!(in_runs.budget.used_bytes(), 0);
    }
}

#[test]
fn one_frame_fits_when_nothing_waits_however_large() {
    let mut scene = scene(100);
    let large = Bytes::from(frame(1, 300));
    let run = Bytes::from([frame(1, 300), frame(2, 10)].concat());
    assert_eq!(scene.push(&[run.clone(), large.clone()]), 2);
    assert_eq!(scene.push(std::slice::from_ref(&large)), 1);
    *scene.socket.room_bytes.lock().unwrap() = 304;
    scene.flush();
    *scene.socket.room_bytes.lock().unwrap() = 4;
    assert_eq!(scene.push(&[run, large]), 2, "a frame that is partly written is taken, and nothing after it");
}

#[test]
fn a_connection_that_is_ending_hears_of_no_position_behind_events_that_were_dropped() {
    let scene = scene(1_000);
    *scene.socket.room_bytes.lock().unwrap() = usize::MAX;
    scene.outbound.push_position(Bytes::from(frame(1, 10)));
    assert_eq!(scene.got(), 12, "on a connection that goes on it comes like any other frame");
    scene.outbound.request_close(CloseCode::MemoryBudget);
    let pushed = scene.outbound.push_events(&[Bytes::from(frame(2, 10))]);
    assert_eq!(pushed.refused_frames, 0, "its lane goes on as if it had been sent");
    scene.outbound.push_position(Bytes::from(frame(3, 10)));
    assert_eq!(scene.got(), 12, "the client would believe that it has what was dropped");
    scene.outbound.push(Bytes::from(frame(4, 10)));
    assert_eq!(scene.got(), 24, "the goodbye itself leaves");
}

#[test]
fn the_outbound_side_of_a_connection_is_small() {
    assert_eq!(size_of::<Outbound<tokio::net::TcpStream>>(), 112);
}
