#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use bytes::Bytes;
use hallway_protocol::RoomId;
use proptest::prelude::*;

use super::*;
use crate::bus::Channel;
use crate::node::NodeId;

const SENDER: NodeId = NodeId::from_number(7);
const READER: NodeId = NodeId::from_number(8);

fn key() -> ClusterKey {
    ClusterKey::from_secret(b"a secret of thirty-two bytes, no less").unwrap()
}

fn sealer() -> Sealer {
    Sealer::new(SENDER, key())
}

fn opener() -> Opener {
    Opener::new(READER, key())
}

fn frame(kind: u16, body: &[u8]) -> Frame {
    Frame { kind, body: Bytes::copy_from_slice(body) }
}

fn room(name: &str) -> Channel {
    Channel::Room(RoomId::new(name).unwrap())
}

fn one(sealer: &mut Sealer, channel: &Channel) -> Bytes {
    sealer.seal(channel, frame(1, b"body")).unwrap()
}

/// The bytes of release 1.0. They never change: a node of that release must be understood for as long as the major is 1.
#[test]
fn the_bytes_of_an_envelope_are_those_that_were_released() {
    let golden = include_str!("../../../fixtures/bus/envelope-v1.0.hex");
    let mut sealer = Sealer::new(NodeId::from_number(0x0102_0304_0506_0708), key());
    let frames = [frame(1, b"hello"), frame(0xfffe, b""), frame(2, &[0, 255])];
    let mut lines = golden.lines().filter(|line| !line.starts_with('#'));
    for channel in [Channel::All, Channel::Node(READER), room("r"), room("r")] {
        let sealed = sealer.seal_all(&channel, &frames).unwrap();
        let hex: String = sealed[0].iter().map(|byte| format!("{byte:02x}")).collect();
        assert_eq!(Some(format!("{channel} {hex}").as_str()), lines.next());
        let opened = opener().open(&channel, &sealed[0]).unwrap();
        assert_eq!((opened.minor, opened.frames.as_slice()), (MINOR, &frames[..]));
    }
    assert_eq!(lines.next(), None);
}

#[test]
fn a_message_cannot_be_moved_to_another_channel() {
    let (mut sealer, mut opener) = (sealer(), opener());
    let message = one(&mut sealer, &room("a"));
    for other in [room("b"), room("a:"), room("aa"), Channel::All, Channel::Node(READER)] {
        assert_eq!(opener.open(&other, &message), Err(Refused::Signature), "{other}");
    }
    assert!(opener.open(&room("a"), &message).is_ok());
}

#[test]
fn a_node_without_the_secret_is_not_heard() {
    let other = ClusterKey::from_secret(b"another secret of thirty-two bytes!").unwrap();
    let message = one(&mut Sealer::new(SENDER, other), &Channel::All);
    assert_eq!(opener().open(&Channel::All, &message), Err(Refused::Signature));
}

#[test]
fn a_short_secret_is_refused_and_a_key_shows_nothing() {
    assert_eq!(ClusterKey::from_secret(&[7; 31]).unwrap_err(), SecretTooShort { length: 31 });
    assert_eq!(format!("{:?}", ClusterKey::from_secret(&[7; 32]).unwrap()), "ClusterKey(…)");
    assert!(format!("{:?}", sealer()).contains("ClusterKey(…)"));
}

#[test]
fn own_messages_are_known_before_their_signature_is_computed() {
    let mut message = one(&mut sealer(), &Channel::All).to_vec();
    *message.last_mut().unwrap() ^= 1;
    let mut own = Opener::new(SENDER, key());
    assert_eq!(own.open(&Channel::All, &message.into()), Err(Refused::Own));
}

#[test]
fn a_newer_minor_is_opened_and_its_unknown_kinds_are_kept_another_major_is_refused() {
    let frames = [frame(1, b"known"), frame(40_000, b"from the future"), frame(2, b"known too")];
    let newer = sealer().of_version(MAJOR, MINOR + 9).seal_all(&Channel::All, &frames).unwrap();
    let opened = opener().open(&Channel::All, &newer[0]).unwrap();
    assert_eq!((opened.minor, opened.frames.as_slice()), (MINOR + 9, &frames[..]));
    for major in [0, MAJOR + 1, 255] {
        let other = one(&mut sealer().of_version(major, 0), &Channel::All);
        assert_eq!(opener().open(&Channel::All, &other), Err(Refused::Version));
    }
}

#[test]
fn a_repeated_or_old_message_is_refused_and_a_jump_is_told() {
    let (mut sealer, mut opener) = (sealer(), opener());
    let messages: Vec<Bytes> = (0..5).map(|_| one(&mut sealer, &Channel::All)).collect();
    assert!(!opener.open(&Channel::All, &messages[1]).unwrap().missed, "the first that is heard is no jump");
    assert!(!opener.open(&Channel::All, &messages[2]).unwrap().missed);
    for old in [0, 1, 2] {
        assert_eq!(opener.open(&Channel::All, &messages[old]), Err(Refused::Replayed));
    }
    assert!(opener.open(&Channel::All, &messages[4]).unwrap().missed);
    assert_eq!(opener.open(&Channel::All, &messages[3]), Err(Refused::Replayed));
}

#[test]
fn channels_and_senders_are_counted_apart() {
    let mut opener = opener();
    for number in [1, 2, 3] {
        let mut sealer = Sealer::new(NodeId::from_number(number), key());
        for channel in [Channel::All, room("a"), room("b"), Channel::All] {
            assert!(!opener.open(&channel, &one(&mut sealer, &channel)).unwrap().missed);
        }
    }
}

#[test]
fn a_refused_message_changes_no_counter() {
    let (mut sealer, mut opener) = (sealer(), opener());
    opener.open(&Channel::All, &one(&mut sealer, &Channel::All)).unwrap();
    let mut forged = one(&mut self::sealer(), &Channel::All).to_vec();
    forged[12..20].copy_from_slice(&u64::MAX.to_be_bytes());
    assert_eq!(opener.open(&Channel::All, &forged.into()), Err(Refused::Signature));
    assert!(!opener.open(&Channel::All, &one(&mut sealer, &Channel::All)).unwrap().missed);
    assert_eq!(opener.remembered(), 1);
}

#[test]
fn counters_are_bounded_on_both_sides_and_never_run_backwards() {
    const BOUND: usize = 64;
    let mut sealer = Sealer::remembering(SENDER, key(), BOUND);
    let mut long_memory = opener();
    let mut short_memory = Opener::remembering(READER, key(), BOUND);
    for round in 0..4 {
        for number in 0..1_000 {
            let channel = room(&number.to_string());
            let message = one(&mut sealer, &channel);
            assert!(long_memory.open(&channel, &message).is_ok(), "round {round}, room {number}");
            assert!(short_memory.open(&channel, &message).is_ok());
            assert!(short_memory.remembered() <= BOUND);
        }
    }
}

#[test]
fn what_is_used_again_and_again_is_not_forgotten() {
    let mut sealer = sealer();
    let mut opener = Opener::remembering(READER, key(), 64);
    let mut lively = one(&mut sealer, &Channel::All);
    for number in 0..1_000 {
        assert!(!opener.open(&Channel::All, &lively).unwrap().missed);
        assert_eq!(opener.open(&Channel::All, &lively), Err(Refused::Replayed));
        let passing = room(&number.to_string());
        opener.open(&passing, &one(&mut sealer, &passing)).unwrap();
        lively = one(&mut sealer, &Channel::All);
    }
}

#[test]
fn what_is_too_large_for_one_message_is_split_in_order_and_what_fits_is_not() {
    let small: Vec<Frame> = (0..FRAMES_MAX + 1).map(|_| frame(3, b"")).collect();
    assert_eq!(sealer().seal_all(&Channel::All, &small[1..]).unwrap().len(), 1);
    assert_eq!(sealer().seal_all(&Channel::All, &small).unwrap().len(), 2);
    assert!(sealer().seal_all(&Channel::All, &[]).unwrap().is_empty());

    let large = Bytes::from(vec![9; BODY_MAX_BYTES]);
    let frames: Vec<Frame> = (0..3).map(|kind| Frame { kind, body: large.clone() }).collect();
    let messages = sealer().seal_all(&Channel::All, &frames).unwrap();
    assert!(messages.iter().all(|message| message.len() == MESSAGE_MAX_BYTES));
    let mut opener = opener();
    let opened: Vec<Frame> =
        messages.iter().flat_map(|message| opener.open(&Channel::All, message).unwrap().frames).collect();
    assert_eq!(opened, frames);
}

#[test]
fn a_frame_that_fits_nowhere_is_named_and_nothing_is_sealed() {
    let mut sealer = sealer();
    let body = Bytes::from(vec![0; BODY_MAX_BYTES + 1]);
    let refused = FrameTooLarge { kind: 5, length: BODY_MAX_BYTES + 1 };
    assert_eq!(sealer.seal(&Channel::All, Frame { kind: 5, body: body.clone() }), Err(refused));
    assert_eq!(sealer.seal_all(&Channel::All, &[frame(1, b""), Frame { kind: 5, body }]), Err(refused));
    let mut opener = opener();
    opener.open(&Channel::All, &one(&mut sealer, &Channel::All)).unwrap();
}

#[test]
fn a_message_above_the_limits_is_refused_whoever_signed_it() {
    let too_long = Bytes::from(vec![MAGIC; MESSAGE_MAX_BYTES + 1]);
    assert_eq!(opener().open(&Channel::All, &too_long), Err(Refused::TooLarge));
    let resigned = resign(&one(&mut sealer(), &Channel::All), |bytes| {
        bytes.truncate(HEADER_BYTES);
        bytes.extend(std::iter::repeat_n([0; FRAME_HEADER_BYTES], FRAMES_MAX + 1).flatten());
    });
    assert_eq!(opener().open(&Channel::All, &resigned), Err(Refused::TooLarge));
}

/// A change that somebody makes who knows the secret.
fn resign(message: &Bytes, change: impl FnOnce(&mut Vec<u8>)) -> Bytes {
    let mut bytes = message[..message.len() - TAG_BYTES].to_vec();
    change(&mut bytes);
    let tag = key().tag(&Channel::All, &bytes);
    bytes.extend(tag);
    bytes.into()
}

fn frames() -> impl Strategy<Value = Vec<Frame>> {
    let frame = (any::<u16>(), proptest::collection::vec(any::<u8>(), 0..200));
    proptest::collection::vec(frame.prop_map(|(kind, body)| Frame { kind, body: body.into() }), 1..20)
}

proptest! {
    #[test]
    fn what_was_sealed_is_opened_as_it_was(frames in frames(), number in any::<u64>()) {
        prop_assume!(NodeId::from_number(number) != READER);
        let channel = room("r");
        let mut sealer = Sealer::new(NodeId::from_number(number), key());
        let message = sealer.seal_all(&channel, &frames).unwrap().remove(0);
        let opened = opener().open(&channel, &message).unwrap();
        prop_assert_eq!(opened, Opened { sender: NodeId::from_number(number), minor: MINOR, missed: false, frames });
    }

    #[test]
    fn random_bytes_are_refused(bytes in proptest::collection::vec(any::<u8>(), 0..300), as_envelope in any::<bool>()) {
        let mut bytes = bytes;
        if as_envelope && bytes.len() > 1 {
            (bytes[0], bytes[1]) = (MAGIC, MAJOR);
        }
        prop_assert!(opener().open(&Channel::All, &bytes.into()).is_err());
    }

    #[test]
    fn every_changed_bit_and_every_cut_is_refused(frames in frames(), at in any::<prop::sample::Index>(), bit in 0..8u8) {
        let message = sealer().seal_all(&Channel::All, &frames).unwrap().remove(0);
        let at = at.index(message.len());
        prop_assert!(opener().open(&Channel::All, &message.slice(..at)).is_err());
        let mut changed = message.to_vec();
        changed[at] ^= 1 << bit;
        prop_assert!(opener().open(&Channel::All, &changed.into()).is_err());
        let mut longer = message.to_vec();
        longer.push(bit);
        prop_assert!(opener().open(&Channel::All, &longer.into()).is_err());
    }

    /// Also one who knows the secret cannot make a node panic, or read beyond the message.
    #[test]
    fn frames_that_lie_about_their_length_are_refused(frames in frames(), length in any::<u32>(), cut in 1..6usize) {
        let message = sealer().seal_all(&Channel::All, &frames).unwrap().remove(0);
        let lied = resign(&message, |bytes| {
            bytes.extend([0, 1]);
            bytes.extend(length.max(1).to_be_bytes());
        });
        prop_assert_eq!(opener().open(&Channel::All, &lied), Err(Refused::Malformed));
        let torn = resign(&message, |bytes| bytes.extend(std::iter::repeat_n(0, cut)));
        prop_assert_eq!(opener().open(&Channel::All, &torn), Err(Refused::Malformed));
    }
}
