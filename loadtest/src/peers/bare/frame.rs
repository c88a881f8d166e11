//! Pure: the least of HTTP and WebSocket that a broadcaster can do with.

use tokio_tungstenite::tungstenite::handshake::derive_accept_key;

/// Longest upgrade request.
const REQUEST_MAX_BYTES: usize = 8 * 1024;
/// Longest frame that is taken.
const FRAME_MAX_BYTES: u64 = 1024 * 1024;

const TEXT: u8 = 1;
const BINARY: u8 = 2;
const PING: u8 = 9;
const PONG: u8 = 10;

/// Why a connection is closed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Nonsense;

/// An upgrade request: its path's first part, the answer, and how long the request was.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Upgrade {
    pub(super) room: String,
    pub(super) answer: Vec<u8>,
    pub(super) used: usize,
}

/// Reads a whole upgrade request; `None`: there is more to come.
pub(super) fn upgrade(bytes: &[u8]) -> Result<Option<Upgrade>, Nonsense> {
    let Some(end) = bytes.windows(4).position(|window| window == b"\r\n\r\n") else {
        return if bytes.len() > REQUEST_MAX_BYTES { Err(Nonsense) } else { Ok(None) };
    };
    let request = std::str::from_utf8(&bytes[..end]).map_err(|_| Nonsense)?;
    let mut lines = request.split("\r\n");
    let path = lines.next().and_then(|line| line.split(' ').nth(1)).ok_or(Nonsense)?;
    let room = path.trim_start_matches('/').split('?').next().unwrap_or_default().to_owned();
    let key = lines
        .filter_map(|line| line.split_once(':'))
        .find(|(name, _)| name.eq_ignore_ascii_case("sec-websocket-key"))
        .map(|(_, value)| value.trim())
        .ok_or(Nonsense)?;
    let accept = derive_accept_key(key.as_bytes());
    let answer = format!(
        "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: {accept}\r\n\r\n"
    );
    Ok(Some(Upgrade { room, answer: answer.into_bytes(), used: end + 4 }))
}

/// What a client's frame asks for.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Asked {
    /// The frame that was appended goes to everybody else.
    Broadcast,
    /// The frame that was appended goes back.
    Answer,
    /// A pong, or the like.
    Nothing,
}

/// Appends the server's form of the first frame in `bytes` to `out`; gives what to do with it, and the length that was used.
/// `None`: there is more to come. A close frame, a fragment and anything unmasked is nonsense here.
pub(super) fn turn(bytes: &[u8], out: &mut Vec<u8>) -> Result<Option<(Asked, usize)>, Nonsense> {
    let [first, second, ..] = *bytes else { return Ok(None) };
    if first & 0xf0 != 0x80 || second & 0x80 == 0 {
        return Err(Nonsense);
    }
    let (length, header) = match second & 0x7f {
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
        return Err(Nonsense);
    }
    let begin = header + 4;
    // Below 1 MiB.
    let end = begin + length as usize;
    let Some(masked) = bytes.get(begin..end) else { return Ok(None) };
    let mask = [bytes[header], bytes[header + 1], bytes[header + 2], bytes[header + 3]];
    let (opcode, asked) = match first & 0x0f {
        opcode @ (TEXT | BINARY) => (opcode, Asked::Broadcast),
        PING => (PONG, Asked::Answer),
        PONG => return Ok(Some((Asked::Nothing, end))),
        _ => return Err(Nonsense),
    };
    out.push(0x80 | opcode);
    out.push(second & 0x7f);
    out.extend_from_slice(&bytes[2..header]);
    let at = out.len();
    out.extend_from_slice(masked);
    // The compiler makes whole words of the constant four.
    for chunk in out[at..].chunks_mut(4) {
        for (byte, mask) in chunk.iter_mut().zip(mask) {
            *byte ^= mask;
        }
    }
    Ok(Some((asked, end)))
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests {
    use super::*;

    #[test]
    fn an_upgrade_is_accepted_as_the_standard_says() {
        let request = b"GET /r1?token=x HTTP/1.1\r\nHost: a\r\nsec-websocket-KEY: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\nrest";
        let upgrade = super::upgrade(request).unwrap().unwrap();
        assert_eq!(upgrade.room, "r1");
        assert_eq!(&request[upgrade.used..], b"rest");
        let answer = String::from_utf8(upgrade.answer).unwrap();
        assert!(answer.contains("Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n"), "{answer}");
        assert_eq!(super::upgrade(&request[..40]), Ok(None));
        assert_eq!(super::upgrade(b"GET / HTTP/1.1\r\n\r\n"), Err(Nonsense));
    }

    #[test]
    fn a_masked_frame_comes_out_unmasked() {
        for length in [0_usize, 5, 125, 126, 70_000] {
            let payload: Vec<u8> = (0..length).map(|at| at as u8).collect();
            let header = match length {
                0..126 => vec![length as u8],
                126..65_536 => [vec![126], (length as u16).to_be_bytes().to_vec()].concat(),
                _ => [vec![127], (length as u64).to_be_bytes().to_vec()].concat(),
            };
            let expected = [vec![0x82], header.clone(), payload.clone()].concat();
            let mut masked = [vec![0x82], header.clone(), vec![1, 2, 3, 4]].concat();
            masked[1] |= 0x80;
            masked.extend(payload.iter().zip([1, 2, 3, 4].iter().cycle()).map(|(byte, mask)| byte ^ mask));
            let mut out = Vec::new();
            assert_eq!(turn(&masked, &mut out), Ok(Some((Asked::Broadcast, masked.len()))));
            assert_eq!(out, expected);
            assert_eq!(turn(&masked[..masked.len() - 1], &mut Vec::new()), Ok(None));
        }
    }

    #[test]
    fn a_ping_is_answered_and_a_close_ends_it() {
        let mut out = Vec::new();
        assert_eq!(turn(&[0x89, 0x81, 0, 0, 0, 0, b'x'], &mut out), Ok(Some((Asked::Answer, 7))));
        assert_eq!(out, [0x8a, 1, b'x']);
        assert_eq!(turn(&[0x88, 0x80, 0, 0, 0, 0], &mut out), Err(Nonsense));
        assert_eq!(turn(&[0x81, 0x00], &mut out), Err(Nonsense));
    }
}
