//! What is encoded comes back as it was, in both codecs.
//!
//! Every run takes other values and prints its seed; `HALLWAY_TEST_SEED=<seed>` repeats it.

use std::fmt::Debug;
use std::time::{SystemTime, UNIX_EPOCH};

use hallway_protocol::codec::{
    Codec, DECODE_MESSAGE_MAX_BYTES, DecodeError, POSTCARD_HEADER_BYTES, Received, decode_frame, decode_request,
    encode_frame, encode_request,
};
use hallway_protocol::{ErrorCode, check::check};
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::test_runner::{Config, RngAlgorithm, TestCaseResult, TestRng, TestRunner};

use crate::{samples, strategies};

fn seed() -> u64 {
    let given = std::env::var("HALLWAY_TEST_SEED").ok().map(|seed| seed.parse().unwrap());
    given.unwrap_or_else(|| SystemTime::now().duration_since(UNIX_EPOCH).unwrap().subsec_nanos().into())
}

fn for_all<S: Strategy>(cases: u32, strategy: S, test: impl Fn(S::Value) -> TestCaseResult)
where
    S::Value: Debug,
{
    let seed = seed();
    let mut bytes = [0; 32];
    bytes[..8].copy_from_slice(&seed.to_le_bytes());
    let config = Config { cases, failure_persistence: None, ..Config::default() };
    let rng = TestRng::from_seed(RngAlgorithm::ChaCha, &bytes);
    if let Err(error) = TestRunner::new_with_rng(config, rng).run(&strategy, test) {
        panic!("HALLWAY_TEST_SEED={seed} repeats this: {error}");
    }
}

/// A refusal is short, and says one of the three things that decoding can say.
fn assert_clean(error: &DecodeError) {
    assert!(error.message.len() <= DECODE_MESSAGE_MAX_BYTES, "{} bytes of message", error.message.len());
    assert!(!error.message.is_empty());
    assert!(matches!(error.code, ErrorCode::BadFrame | ErrorCode::UnknownCommand | ErrorCode::InvalidArgument));
}

/// Decodes as everything that bytes can be; whatever is taken must also survive the check and the way back.
fn decode_as_everything(bytes: &[u8]) {
    for codec in Codec::ALL {
        match decode_request(codec, bytes) {
            Ok(request) => {
                let _ = check(&request.command);
                assert_eq!(decode_request(codec, &encode_request(codec, &request)), Ok(request));
            }
            Err(error) => assert_clean(&error),
        }
        match decode_frame(codec, bytes) {
            Ok(Received::Frame(frame)) => {
                assert_eq!(decode_frame(codec, &encode_frame(codec, &frame)), Ok(Received::Frame(frame)));
            }
            Ok(_) => {}
            Err(error) => assert_clean(&error),
        }
    }
}

#[test]
fn every_request_survives_both_codecs() {
    for_all(512, strategies::request(), |request| {
        for codec in Codec::ALL {
            prop_assert_eq!(decode_request(codec, &encode_request(codec, &request)), Ok(request.clone()));
        }
        Ok(())
    });
}

#[test]
fn every_frame_survives_both_codecs() {
    for_all(512, strategies::frame(), |frame| {
        for codec in Codec::ALL {
            prop_assert_eq!(decode_frame(codec, &encode_frame(codec, &frame)), Ok(Received::Frame(frame.clone())));
        }
        Ok(())
    });
}

#[test]
fn random_bytes_are_refused_cleanly() {
    for_all(2048, vec(any::<u8>(), 0..300), |bytes| {
        decode_as_everything(&bytes);
        Ok(())
    });
}

#[test]
fn random_bodies_under_a_right_header_are_refused_cleanly() {
    let kinds = prop_oneof![0_u16..112, 0x1000_u16..0x1070, 0x2000_u16..0x201e, any::<u16>()];
    for_all(4096, (kinds, vec(any::<u8>(), 0..200)), |(kind, body)| {
        decode_as_everything(&binary(kind, &body));
        Ok(())
    });
}

/// A binary frame with a right header.
pub(crate) fn binary(kind: u16, body: &[u8]) -> Vec<u8> {
    let mut bytes = vec![1];
    bytes.extend_from_slice(&kind.to_le_bytes());
    bytes.extend_from_slice(&u32::try_from(body.len()).unwrap().to_le_bytes());
    bytes.extend_from_slice(body);
    bytes
}

/// Valid frames of everything, in both codecs.
pub(crate) fn valid_frames() -> Vec<(Codec, Vec<u8>)> {
    let mut all = Vec::new();
    for codec in Codec::ALL {
        all.extend(samples::requests().iter().map(|(_, request)| (codec, encode_request(codec, request))));
        all.extend(samples::frames().iter().map(|frame| (codec, encode_frame(codec, frame))));
    }
    all
}

#[test]
fn mutated_frames_are_refused_cleanly_or_mean_something_else() {
    let edits = vec((any::<prop::sample::Index>(), any::<u8>()), 1..5);
    let valid = valid_frames();
    for_all(4096, (any::<prop::sample::Index>(), edits), move |(which, edits)| {
        let (codec, mut bytes) = valid[which.index(valid.len())].clone();
        for (at, byte) in edits {
            let at = at.index(bytes.len());
            bytes[at] = byte;
        }
        if codec == Codec::Postcard {
            // Past the header check, so that the body is what is tried.
            let length = u32::try_from(bytes.len() - POSTCARD_HEADER_BYTES).unwrap();
            bytes[0] = 1;
            bytes[3..7].copy_from_slice(&length.to_le_bytes());
        }
        decode_as_everything(&bytes);
        Ok(())
    });
}

#[test]
fn truncated_frames_are_refused_cleanly() {
    for (codec, bytes) in valid_frames() {
        for length in 0..bytes.len() {
            let cut = &bytes[..length];
            assert!(decode_request(codec, cut).is_err(), "{codec:?} {cut:?}");
            assert!(decode_frame(codec, cut).is_err(), "{codec:?} {cut:?}");
            if codec == Codec::Postcard && length >= POSTCARD_HEADER_BYTES {
                // The same with a header that fits: now the body ends too early.
                let kind = u16::from_le_bytes([bytes[1], bytes[2]]);
                decode_as_everything(&binary(kind, &cut[POSTCARD_HEADER_BYTES..]));
            }
        }
    }
}

#[test]
fn bytes_after_a_frame_are_refused() {
    for (codec, bytes) in valid_frames() {
        let longer: Vec<u8> = match codec {
            Codec::Json => [bytes.as_slice(), b" x"].concat(),
            Codec::Postcard => {
                let kind = u16::from_le_bytes([bytes[1], bytes[2]]);
                binary(kind, &[&bytes[POSTCARD_HEADER_BYTES..], &[0]].concat())
            }
        };
        assert!(decode_request(codec, &longer).is_err());
        assert!(!matches!(decode_frame(codec, &longer), Ok(Received::Frame(_))));
        assert!(decode_request(codec, &[bytes.as_slice(), &bytes].concat()).is_err());
    }
}
