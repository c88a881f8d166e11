//! WebSocket frames (RFC 6455) as a client needs them: what it sends is masked, what it gets is not.

use super::adapter::Message;

/// Largest frame that a server may send.
const FRAME_MAX_BYTES: u64 = 16 * 1024 * 1024;
/// Any key will do: nothing here needs hiding from proxies.
const MASK: [u8; 4] = [0x5a, 0x3c, 0x96, 0xa5];

pub(crate) const CONTINUATION: u8 = 0;
const TEXT: u8 = 1;
const BINARY: u8 = 2;
pub(crate) const CLOSE: u8 = 8;
pub(crate) const PING: u8 = 9;
pub(crate) const PONG: u8 = 10;

/// Why bytes are no frame of a server.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum FrameError {
    #[error("the server masked a frame")]
    Masked,
    #[error("the server sent a frame with reserved bits")]
    Reserved,
    #[error("the server sent a frame of {0} bytes")]
    TooLarge(u64),
}

/// A frame in the bytes it came in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Frame<'a> {
    pub(crate) finished: bool,
    pub(crate) opcode: u8,
    pub(crate) payload: &'a [u8],
}

/// Cuts the first frame off `bytes`: the frame and its length with its header. `None`: there is more to come.
pub(crate) fn cut(bytes: &[u8]) -> Result<Option<(Frame<'_>, usize)>, FrameError> {
    let [first, second, ..] = *bytes else { return Ok(None) };
    if first & 0x70 != 0 {
        return Err(FrameError::Reserved);
    }
    if second & 0x80 != 0 {
        return Err(FrameError::Masked);
    }
    let (length, header) = match second {
        127 => match bytes.get(2..10).and_then(|long| long.try_into().ok()) {
            Some(long) => (u64::from_be_bytes(long), 10),
            None => return Ok(None),
        },
        126 => match bytes.get(2..4).and_then(|short| short.try_into().ok()) {
            Some(short) => (u64::from(u16::from_be_bytes(short)), 4),
            None => return Ok(None),
        },
        length => (u64::from(length), 2),
    };
    if length > FRAME_MAX_BYTES {
        return Err(FrameError::TooLarge(length));
    }
    // Below 16 MiB.
    let end = header + length as usize;
    let Some(payload) = bytes.get(header..end) else { return Ok(None) };
    Ok(Some((Frame { finished: first & 0x80 != 0, opcode: first & 0x0f, payload }, end)))
}

/// Appends a message as one masked frame.
pub(crate) fn put_message(out: &mut Vec<u8>, message: &Message) {
    match message {
        Message::Text(text) => put(out, TEXT, text),
        Message::Binary(bytes) => put(out, BINARY, bytes),
    }
}

/// Appends one whole masked frame.
pub(crate) fn put(out: &mut Vec<u8>, opcode: u8, payload: &[u8]) {
    out.push(0x80 | opcode);
    match (u8::try_from(payload.len()), u16::try_from(payload.len())) {
        (Ok(length @ 0..126), _) => out.push(0x80 | length),
        (_, Ok(length)) => {
            out.push(0x80 | 126);
            out.extend_from_slice(&length.to_be_bytes());
        }
        _ => {
            out.push(0x80 | 127);
            out.extend_from_slice(&(payload.len() as u64).to_be_bytes());
        }
    }
    out.extend_from_slice(&MASK);
    out.extend(payload.iter().zip(MASK.iter().cycle()).map(|(byte, mask)| byte ^ mask));
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn server_frame(opcode: u8, finished: bool, payload: &[u8]) -> Vec<u8> {
        let mut masked = Vec::new();
        put(&mut masked, opcode, payload);
        let header = masked.len() - payload.len() - MASK.len();
        let mut frame = masked[..header].to_vec();
        frame[0] = opcode | u8::from(finished) << 7;
        frame[1] &= 0x7f;
        frame.extend_from_slice(payload);
        frame
    }

    proptest! {
        #[test]
        fn frames_come_out_as_they_went_in_however_the_bytes_are_cut(
            payloads in prop::collection::vec((0_usize..70_000, any::<bool>()), 0..6),
            cuts in prop::collection::vec(1_usize..9000, 1..20),
        ) {
            let frames: Vec<(Vec<u8>, bool)> =
                payloads.iter().map(|(length, finished)| (vec![b'x'; *length], *finished)).collect();
            let stream: Vec<u8> = frames.iter().flat_map(|(payload, finished)| server_frame(TEXT, *finished, payload)).collect();
            let (mut held, mut seen, mut at, mut sizes) = (Vec::new(), Vec::new(), 0, cuts.iter().cycle());
            while at < stream.len() {
                let end = (at + sizes.next().unwrap()).min(stream.len());
                held.extend_from_slice(&stream[at..end]);
                at = end;
                while let Some((frame, used)) = cut(&held).unwrap() {
                    seen.push((frame.payload.to_vec(), frame.finished));
                    held.drain(..used);
                }
            }
            prop_assert_eq!(seen, frames);
            prop_assert!(held.is_empty());
        }
    }

    #[test]
    fn what_no_server_may_send_is_refused() {
        assert_eq!(cut(&[0x81, 0x81, 0, 0, 0, 0, 0]), Err(FrameError::Masked));
        assert_eq!(cut(&[0xc1, 0x01, 0]), Err(FrameError::Reserved));
        assert_eq!(cut(&[0x82, 127, 0, 0, 0, 1, 0, 0, 0, 0]), Err(FrameError::TooLarge(1 << 32)));
    }

    #[test]
    fn what_is_sent_is_masked() {
        let mut out = Vec::new();
        put_message(&mut out, &Message::Text(b"hi".to_vec()));
        assert_eq!(out, [0x81, 0x82, 0x5a, 0x3c, 0x96, 0xa5, b'h' ^ 0x5a, b'i' ^ 0x3c]);
    }
}
