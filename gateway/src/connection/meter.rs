//! Counts the frames of an inbound byte stream, so that floods of empty fragments or control frames, which the WebSocket
//! library swallows without a word, can be bounded.

/// A message came in more frames than allowed, or as many control frames came between two messages.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("too many WebSocket frames for one message")]
pub struct TooManyFrames;

/// Follows frame headers (RFC 6455 section 5.2) through a byte stream that may be cut anywhere. Judges nothing else: the
/// WebSocket library behind it refuses what is malformed.
#[derive(Debug)]
pub struct FrameMeter {
    header: [u8; 14],
    header_length: usize,
    payload_left: u64,
    frames: u64,
    frames_max: u64,
}

impl FrameMeter {
    /// A meter at the start of a stream.
    #[must_use]
    pub fn new(frames_max: u64) -> Self {
        Self { header: [0; 14], header_length: 0, payload_left: 0, frames: 0, frames_max }
    }

    /// Takes the next bytes of the stream.
    ///
    /// # Errors
    /// [`TooManyFrames`] as soon as the bound is passed.
    pub fn take(&mut self, mut bytes: &[u8]) -> Result<(), TooManyFrames> {
        while !bytes.is_empty() {
            if self.payload_left > 0 {
                let skipped = usize::try_from(self.payload_left).unwrap_or(usize::MAX).min(bytes.len());
                self.payload_left -= skipped as u64;
                bytes = &bytes[skipped..];
                continue;
            }
            self.header[self.header_length] = bytes[0];
            self.header_length += 1;
            bytes = &bytes[1..];
            if self.header_length == self.header_size() {
                self.end_of_header()?;
            }
        }
        Ok(())
    }

    fn header_size(&self) -> usize {
        if self.header_length < 2 {
            return 2;
        }
        let extended = match self.header[1] & 0x7f {
            126 => 2,
            127 => 8,
            _ => 0,
        };
        let mask = if self.header[1] & 0x80 == 0 { 0 } else { 4 };
        2 + extended + mask
    }

    fn end_of_header(&mut self) -> Result<(), TooManyFrames> {
        self.payload_left = match self.header[1] & 0x7f {
            126 => u64::from(u16::from_be_bytes([self.header[2], self.header[3]])),
            127 => {
                let mut length = [0; 8];
                length.copy_from_slice(&self.header[2..10]);
                u64::from_be_bytes(length)
            }
            length => u64::from(length),
        };
        self.header_length = 0;
        self.frames += 1;
        let is_final = self.header[0] & 0x80 != 0;
        let is_control = self.header[0] & 0x08 != 0;
        if self.frames > self.frames_max {
            return Err(TooManyFrames);
        }
        if is_final && !is_control {
            self.frames = 0;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a failed test panics")]
    use super::*;

    fn masked(first: u8, payload: usize) -> Vec<u8> {
        let mut frame = vec![first];
        match payload {
            0..=125 => frame.push(0x80 | payload as u8),
            126..=0xffff => {
                frame.push(0x80 | 126);
                frame.extend((payload as u16).to_be_bytes());
            }
            _ => {
                frame.push(0x80 | 127);
                frame.extend((payload as u64).to_be_bytes());
            }
        }
        frame.extend([1, 2, 3, 4]);
        frame.extend(std::iter::repeat_n(0x81, payload));
        frame
    }

    #[test]
    fn whole_messages_of_every_length_pass_wherever_they_are_cut() {
        let stream: Vec<u8> = [0, 5, 125, 126, 70_000].into_iter().flat_map(|size| masked(0x81, size)).collect();
        for cut in [1, 2, 3, 7, 1000] {
            let mut meter = FrameMeter::new(1);
            for piece in stream.chunks(cut) {
                meter.take(piece).unwrap();
            }
            assert_eq!((meter.header_length, meter.payload_left), (0, 0));
        }
    }

    #[test]
    fn a_flood_of_fragments_or_pings_is_noticed() {
        for first in [0x00, 0x89] {
            let mut meter = FrameMeter::new(10);
            let results: Vec<_> = (0..11).map(|_| meter.take(&masked(first, 0))).collect();
            assert!(results[..10].iter().all(Result::is_ok));
            assert_eq!(results[10], Err(TooManyFrames));
        }
    }
}
