//! What is done with the bytes that come: the upgrade, frames, bodies, messages.

use super::super::clock::now_ns;
use super::super::connection::{self, End, Stage};
use super::super::frame::{self, Frame};
use super::Engine;

/// A message in fragments may be this large.
const MESSAGE_MAX_BYTES: usize = 16 * 1024 * 1024;

impl Engine<'_> {
    /// Reads until nothing is there. Less than there is room for means that nothing more is.
    pub(super) fn read(&mut self, seat: u32) -> Result<(), End> {
        let mut buffer = std::mem::take(&mut self.buffer);
        let result = loop {
            let connection = &mut self.connections[seat as usize];
            let carried = connection.carry.len();
            if carried * 2 > buffer.len() {
                buffer.resize(buffer.len() * 2, 0);
            }
            buffer[..carried].copy_from_slice(&connection.carry);
            match connection.read(&mut buffer[carried..]) {
                Ok(None) => break Ok(()),
                Err(end) => break Err(end),
                Ok(Some(bytes)) => {
                    connection.carry.clear();
                    let filled = carried + bytes;
                    match self.take_in(seat, &buffer[..filled]) {
                        Err(end) => break Err(end),
                        Ok(()) if filled < buffer.len() => break Ok(()),
                        Ok(()) => {}
                    }
                }
            }
        };
        self.buffer = buffer;
        result?;
        self.connections[seat as usize].flush()
    }

    /// All that one read gave, with what was left over before.
    fn take_in(&mut self, seat: u32, bytes: &[u8]) -> Result<(), End> {
        let now = now_ns();
        let mut at = 0;
        if matches!(self.connections[seat as usize].stage, Stage::Upgrading) {
            let steps = self.adapter.greeting(&self.job.seats[seat as usize].who);
            let connection = &mut self.connections[seat as usize];
            match connection.upgraded(bytes, steps)? {
                Some(used) => at = used,
                None => {
                    connection.carry.extend_from_slice(bytes);
                    return Ok(());
                }
            }
            self.check_ready(seat, now);
        }
        while let Some((frame, used)) = frame::cut(&bytes[at..])? {
            at += used;
            match frame.opcode {
                frame::PING => self.connections[seat as usize].control(frame::PONG, frame.payload),
                frame::PONG => {}
                frame::CLOSE => return Err(connection::closed(frame.payload)),
                _ => self.on_data(seat, frame, now)?,
            }
        }
        self.connections[seat as usize].carry.extend_from_slice(&bytes[at..]);
        Ok(())
    }

    fn on_data(&mut self, seat: u32, frame: Frame<'_>, now: u64) -> Result<(), End> {
        let connection = &mut self.connections[seat as usize];
        let (ledger, tally, talk, job) = (&mut self.ledger, &mut self.tally, &mut self.talk, &self.job);
        self.bodies.scan(&mut connection.partial, frame.payload, |stamp| {
            if let (Some(arrival), Some(stamp)) = (ledger.receive(seat, stamp), stamp) {
                let timed = arrival.timed && job.times(ledger.seat_of(arrival.talker), seat);
                tally.arrived(stamp.due_ns, now, timed);
                if let (true, Some(talk)) = (arrival.awaited, talk.as_mut()) {
                    talk.arrived(arrival.talker, arrival.sequence);
                }
            }
        });
        let mut assembled = Vec::new();
        let message = match (frame.finished, frame.opcode) {
            (true, opcode) if opcode != frame::CONTINUATION => frame.payload,
            (finished, _) => {
                if connection.fragments.len() + frame.payload.len() > MESSAGE_MAX_BYTES {
                    return Err(End::Refused("a message of more than 16 MiB".to_owned()));
                }
                connection.fragments.extend_from_slice(frame.payload);
                if !finished {
                    return Ok(());
                }
                assembled.append(&mut connection.fragments);
                &assembled
            }
        };
        let refused = self.adapter.refused(message);
        if let Some(answer) = self.adapter.answer(message) {
            connection.say(&answer);
        }
        match connection.stage {
            Stage::Greeting { .. } => {
                connection.greeted(message, refused)?;
                self.check_ready(seat, now);
            }
            _ if refused => self.tally.refused(message),
            _ => {}
        }
        Ok(())
    }

    fn check_ready(&mut self, seat: u32, now: u64) {
        let connection = &self.connections[seat as usize];
        if matches!(connection.stage, Stage::Ready) {
            self.counts.connected += 1;
            self.ledger.open(seat);
            if let Some(connecting) = &mut self.connecting {
                connecting.opened(now.saturating_sub(connection.began_ns), now);
            }
        }
    }
}
