//! Pure: the header of a WebSocket frame (RFC 6455 section 5.2) and the mask of its payload (section 5.3).

/// What a frame is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Opcode {
    Continuation,
    Text,
    Binary,
    Close,
    Ping,
    Pong,
    /// One that the RFC keeps for later.
    Unknown,
}

impl Opcode {
    pub(super) fn is_control(self) -> bool {
        matches!(self, Self::Close | Self::Ping | Self::Pong)
    }
}

/// A frame's header, as the client wrote it: nothing is judged here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Header {
    pub(super) opcode: Opcode,
    pub(super) is_final: bool,
    pub(super) has_reserved_bits: bool,
    pub(super) mask: Option<[u8; 4]>,
    /// Its own length.
    pub(super) bytes: usize,
    pub(super) payload_bytes: u64,
}

impl Header {
    /// Reads the header at the front.
    ///
    /// # Errors
    /// How many bytes a longer front must have at least, when it is not all there.
    pub(super) fn parse(front: &[u8]) -> Result<Self, usize> {
        let &[first, second, ..] = front else { return Err(2) };
        let is_masked = second & 0x80 != 0;
        let length_bytes = match second & 0x7f {
            126 => 2,
            127 => 8,
            _ => 0,
        };
        let bytes = 2 + length_bytes + if is_masked { 4 } else { 0 };
        if front.len() < bytes {
            return Err(bytes);
        }
        let payload_bytes = match length_bytes {
            0 => u64::from(second & 0x7f),
            _ => front[2..2 + length_bytes].iter().fold(0, |length, byte| length << 8 | u64::from(*byte)),
        };
        let mask = is_masked.then(|| std::array::from_fn(|at| front[bytes - 4 + at]));
        let opcode = match first & 0x0f {
            0x0 => Opcode::Continuation,
            0x1 => Opcode::Text,
            0x2 => Opcode::Binary,
            0x8 => Opcode::Close,
            0x9 => Opcode::Ping,
            0xa => Opcode::Pong,
            _ => Opcode::Unknown,
        };
        let (is_final, has_reserved_bits) = (first & 0x80 != 0, first & 0x70 != 0);
        Ok(Self { opcode, is_final, has_reserved_bits, mask, bytes, payload_bytes })
    }
}

/// Takes the mask off in place, eight bytes at a time.
pub(super) fn unmask(payload: &mut [u8], mask: [u8; 4]) {
    let [a, b, c, d] = mask;
    let word = u64::from_ne_bytes([a, b, c, d, a, b, c, d]);
    let (words, rest) = payload.as_chunks_mut::<8>();
    for bytes in words {
        *bytes = (u64::from_ne_bytes(*bytes) ^ word).to_ne_bytes();
    }
    for (byte, mask) in rest.iter_mut().zip(mask.iter().cycle()) {
        *byte ^= mask;
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a failed test panics")]
    use super::*;

    #[test]
    fn a_header_is_read_whole_or_says_how_much_it_needs() {
        let long = [0x82, 0x80 | 127, 0, 0, 0, 0, 0, 1, 0, 0, 1, 2, 3, 4];
        for (front, needed) in [(0, 2), (1, 2), (2, 14), (13, 14)] {
            assert_eq!(Header::parse(&long[..front]).unwrap_err(), needed);
        }
        let header = Header::parse(&long).unwrap();
        assert_eq!((header.bytes, header.payload_bytes, header.mask), (14, 65536, Some([1, 2, 3, 4])));
        let header = Header::parse(&[0x81, 126, 1, 2]).unwrap();
        assert_eq!((header.bytes, header.payload_bytes, header.mask), (4, 258, None));
        assert_eq!(
            Header::parse(&[0xc3, 0x00]).map(|header| (header.opcode, header.has_reserved_bits)),
            Ok((Opcode::Unknown, true))
        );
    }

    #[test]
    fn a_mask_is_taken_off_at_every_length() {
        for length in 0..40_usize {
            let plain: Vec<u8> = (0..length as u8).collect();
            let mask = [0xde, 0xad, 0xbe, 0xef];
            let mut payload: Vec<u8> = plain.iter().enumerate().map(|(at, byte)| byte ^ mask[at % 4]).collect();
            unmask(&mut payload, mask);
            assert_eq!(payload, plain);
        }
    }
}
