//! Pure: whole messages out of a client's bytes (RFC 6455), in place.
//!
//! Bytes come in pieces of any size. A message that lies whole within a piece is unmasked where it lies and shown as a slice
//! of it: nothing is copied. Only what is incomplete is kept: the beginning of a frame, a message whose later fragments have
//! not come, or what the visitor had no room for.

use std::ops::ControlFlow;

use super::header::{Header, Opcode, unmask};

/// The largest payload of a ping, pong or close.
const CONTROL_MAX_BYTES: u64 = 125;

/// What a client said: unmasked, put together, checked. A text is valid UTF-8.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Message<'a> {
    Text(&'a [u8]),
    Binary(&'a [u8]),
    Ping(&'a [u8]),
    Pong,
    /// The whole payload, code and reason, to be echoed. Nothing behind it is decoded.
    Close(&'a [u8]),
}

/// Why a stream of bytes is given up.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// It breaks RFC 6455.
    #[error("broken WebSocket framing: {0}")]
    Protocol(&'static str),
    /// Said as soon as the length is announced.
    #[error("a message has at most {max_bytes} bytes; this one has at least {bytes}")]
    TooLarge { bytes: u64, max_bytes: u64 },
    #[error("text that is no UTF-8")]
    Utf8,
    /// A message came in more frames than allowed, or as many control frames came between two messages.
    #[error("too many WebSocket frames for one message")]
    TooManyFrames,
}

/// A message of which fragments are still to come.
#[derive(Debug)]
struct Begun {
    is_text: bool,
    bytes: Vec<u8>,
    /// How much of a text is known to be UTF-8.
    checked: usize,
}

/// Follows one client's bytes. After a [`Refusal`] it must not be used again.
///
/// **Invariant:** it holds at most one message of the largest size with its header, plus, after the visitor stopped, the
/// rest of the piece that it stopped in.
#[derive(Debug)]
pub struct Decoder {
    message_max_bytes: u32,
    frames_max: u32,
    /// Frames since the last message ended.
    frames: u32,
    /// How much of `held` was shown already.
    held_from: u32,
    /// The visitor stopped: `held` may begin with whole frames.
    is_stopped: bool,
    /// The client has closed: whatever follows is ignored (section 5.5.1).
    is_closed: bool,
    /// Bytes as they came, not shown yet.
    held: Vec<u8>,
    begun: Option<Box<Begun>>,
}

impl Decoder {
    /// At the start of a stream, of which some `early` bytes have come already: [`Decoder::resume`] shows them.
    #[must_use]
    pub fn new(message_max_bytes: u64, frames_max: u64, early: &[u8]) -> Self {
        Self {
            message_max_bytes: u32::try_from(message_max_bytes).unwrap_or(u32::MAX),
            frames_max: u32::try_from(frames_max).unwrap_or(u32::MAX),
            frames: 0,
            held_from: 0,
            is_stopped: !early.is_empty(),
            is_closed: false,
            held: early.to_vec(),
            begun: None,
        }
    }

    /// Whether messages may have come that were not shown yet: [`Decoder::resume`] comes before [`Decoder::take`].
    #[must_use]
    pub fn is_stopped(&self) -> bool {
        self.is_stopped
    }

    /// Memory that it holds for what is incomplete or was not shown yet.
    #[must_use]
    pub fn held_bytes(&self) -> usize {
        self.held.capacity() + self.begun.as_ref().map_or(0, |begun| begun.bytes.capacity())
    }

    /// Takes the next bytes and shows every message that they complete, until the visitor breaks off. They are scratch
    /// afterwards.
    ///
    /// # Errors
    /// The first [`Refusal`]; what came whole before it was shown.
    pub fn take(
        &mut self,
        mut bytes: &mut [u8],
        visit: &mut impl FnMut(Message<'_>) -> ControlFlow<()>,
    ) -> Result<(), Refusal> {
        if self.is_closed {
            return Ok(());
        }
        if self.is_stopped {
            // Nothing overtakes what was not shown yet.
            self.held.extend_from_slice(bytes);
            return Ok(());
        }
        if !self.held.is_empty() {
            let used = self.complete(bytes, visit)?;
            bytes = &mut bytes[used..];
        }
        let used = if self.is_stopped || bytes.is_empty() { 0 } else { self.run(bytes, visit)? };
        self.held.extend_from_slice(&bytes[used..]);
        self.is_stopped &= !self.held.is_empty();
        Ok(())
    }

    /// Goes on after the visitor broke off.
    ///
    /// # Errors
    /// As [`Decoder::take`].
    pub fn resume(&mut self, visit: &mut impl FnMut(Message<'_>) -> ControlFlow<()>) -> Result<(), Refusal> {
        self.is_stopped = false;
        let mut held = std::mem::take(&mut self.held);
        let from = std::mem::take(&mut self.held_from) as usize;
        let shown = from + self.run(&mut held[from..], visit)?;
        if self.is_stopped && shown < held.len() {
            // A step in place: moving the rest to the front for each message would be quadratic.
            self.held_from = u32::try_from(shown).unwrap_or(u32::MAX);
            self.held = held;
        } else {
            self.is_stopped = false;
            self.held = held[shown..].to_vec();
        }
        Ok(())
    }

    /// Completes the one frame that `held` begins with. Returns how many of the bytes belong to it.
    fn complete(
        &mut self,
        bytes: &[u8],
        visit: &mut impl FnMut(Message<'_>) -> ControlFlow<()>,
    ) -> Result<usize, Refusal> {
        let mut used = 0;
        loop {
            let (wanted, is_whole) = match Header::parse(&self.held) {
                Err(wanted) => (wanted, false),
                Ok(header) => (self.check(&header)?, true),
            };
            let missing = wanted.saturating_sub(self.held.len());
            let come = missing.min(bytes.len() - used);
            make_room(&mut self.held, come, wanted);
            self.held.extend_from_slice(&bytes[used..used + come]);
            used += come;
            if come < missing {
                return Ok(used);
            }
            if is_whole {
                let mut frame = std::mem::take(&mut self.held);
                self.run(&mut frame, visit)?;
                return Ok(if self.is_closed { bytes.len() } else { used });
            }
        }
    }

    /// Shows what lies whole in the bytes. Returns how many were shown.
    fn run(
        &mut self,
        bytes: &mut [u8],
        visit: &mut impl FnMut(Message<'_>) -> ControlFlow<()>,
    ) -> Result<usize, Refusal> {
        let mut at = 0;
        while let Ok(header) = Header::parse(&bytes[at..]) {
            let frame_bytes = self.check(&header)?;
            if bytes.len() - at < frame_bytes {
                break;
            }
            let payload = &mut bytes[at + header.bytes..at + frame_bytes];
            at += frame_bytes;
            if let Some(mask) = header.mask {
                unmask(payload, mask);
            }
            if self.frame(&header, payload, visit)?.is_break() {
                self.is_stopped = true;
                break;
            }
            if self.is_closed {
                return Ok(bytes.len());
            }
        }
        Ok(at)
    }

    /// Whether a frame with this header may come now; then its whole length. Changes nothing, so that a header may be looked
    /// at again when more of its payload has come.
    fn check(&self, header: &Header) -> Result<usize, Refusal> {
        let max_bytes = u64::from(self.message_max_bytes);
        if self.frames >= self.frames_max {
            return Err(Refusal::TooManyFrames);
        }
        if header.opcode == Opcode::Unknown {
            return Err(Refusal::Protocol("an unknown opcode"));
        }
        if header.payload_bytes > max_bytes {
            return Err(Refusal::TooLarge { bytes: header.payload_bytes, max_bytes });
        }
        if header.mask.is_none() {
            return Err(Refusal::Protocol("a frame that is not masked"));
        }
        if header.has_reserved_bits {
            return Err(Refusal::Protocol("a reserved bit"));
        }
        match (header.opcode, &self.begun) {
            (opcode, _) if opcode.is_control() => {
                if !header.is_final {
                    return Err(Refusal::Protocol("a control frame in fragments"));
                }
                if header.payload_bytes > CONTROL_MAX_BYTES {
                    return Err(Refusal::Protocol("a control frame of more than 125 bytes"));
                }
            }
            (Opcode::Continuation, None) => return Err(Refusal::Protocol("a continuation of nothing")),
            (Opcode::Continuation, Some(begun)) => {
                let bytes = begun.bytes.len() as u64 + header.payload_bytes;
                if bytes > max_bytes {
                    return Err(Refusal::TooLarge { bytes, max_bytes });
                }
            }
            (_, Some(_)) => return Err(Refusal::Protocol("a new message inside of another")),
            (_, None) => {}
        }
        // At most `message_max_bytes`, a u32.
        Ok(header.bytes + header.payload_bytes as usize)
    }

    /// Takes one whole frame that was checked and unmasked.
    fn frame(
        &mut self,
        header: &Header,
        payload: &[u8],
        visit: &mut impl FnMut(Message<'_>) -> ControlFlow<()>,
    ) -> Result<ControlFlow<()>, Refusal> {
        self.frames += 1;
        match header.opcode {
            Opcode::Ping => return Ok(visit(Message::Ping(payload))),
            Opcode::Pong => return Ok(visit(Message::Pong)),
            Opcode::Close => {
                check_close(payload)?;
                self.is_closed = true;
                // There is nothing to break off.
                let _ = visit(Message::Close(payload));
                return Ok(ControlFlow::Continue(()));
            }
            _ => {}
        }
        if header.is_final {
            self.frames = 0;
        } else if self.begun.is_none() {
            let is_text = header.opcode == Opcode::Text;
            self.begun = Some(Box::new(Begun { is_text, bytes: Vec::new(), checked: 0 }));
        }
        let Some(begun) = &mut self.begun else {
            return if header.opcode == Opcode::Text {
                std::str::from_utf8(payload).map_err(|_| Refusal::Utf8)?;
                Ok(visit(Message::Text(payload)))
            } else {
                Ok(visit(Message::Binary(payload)))
            };
        };
        make_room(&mut begun.bytes, payload.len(), self.message_max_bytes as usize);
        begun.add(payload, header.is_final)?;
        if !header.is_final {
            return Ok(ControlFlow::Continue(()));
        }
        let Some(whole) = self.begun.take() else { return Ok(ControlFlow::Continue(())) };
        Ok(visit(if whole.is_text { Message::Text(&whole.bytes) } else { Message::Binary(&whole.bytes) }))
    }
}

impl Begun {
    /// Adds a fragment; a text is refused at the first byte that cannot be UTF-8.
    fn add(&mut self, payload: &[u8], is_last: bool) -> Result<(), Refusal> {
        self.bytes.extend_from_slice(payload);
        if !self.is_text {
            return Ok(());
        }
        match std::str::from_utf8(&self.bytes[self.checked..]) {
            Ok(_) => self.checked = self.bytes.len(),
            // A character that is cut by the end of the fragment.
            Err(error) if error.error_len().is_none() && !is_last => self.checked += error.valid_up_to(),
            Err(_) => return Err(Refusal::Utf8),
        }
        Ok(())
    }
}

/// Makes room for what has come, twice as much each time, but never beyond the end that is announced: an announcement alone
/// costs nothing.
fn make_room(bytes: &mut Vec<u8>, come: usize, end: usize) {
    if come > bytes.capacity() - bytes.len() {
        let twice = bytes.len().min(end.saturating_sub(bytes.len()));
        bytes.reserve_exact(come.max(twice));
    }
}

/// Section 5.5.1 and 7.4: nothing, or a code that may be sent and a reason in UTF-8.
fn check_close(payload: &[u8]) -> Result<(), Refusal> {
    let (code, reason) = match payload {
        [] => return Ok(()),
        [_] => return Err(Refusal::Protocol("half a close code")),
        [high, low, reason @ ..] => (u16::from_be_bytes([*high, *low]), reason),
    };
    std::str::from_utf8(reason).map_err(|_| Refusal::Utf8)?;
    match code {
        1000..=1003 | 1007..=1013 | 3000..=4999 => Ok(()),
        _ => Err(Refusal::Protocol("a close code that nobody may send")),
    }
}
