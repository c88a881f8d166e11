//! The live path: what came for a stream is handed to its pairs, a slice of them at a time, and written out.
//!
//! One *turn* takes entries from the inbox, hands a slice of what they bring to sockets, and writes once to each of these.
//! The next turn goes on where this one ended, so a large room delays a small one by one slice.

use std::ops::Range;
use std::sync::Arc;

use hallway_protocol::{NotificationId, Seq, StreamId, UserId};

use super::Lane;
use super::batch::Item;
use super::pairs::{Pair, Step};
use super::tables::{Counts, DueNotification, Dues, Follower, Part, Work};
use crate::hub::LiveEvent;
use crate::hub::diary::Handed;

/// Works that are kept to be used again.
const SPARE_WORKS_MAX: usize = 64;
/// Sockets that are looked up before they are written to, when there is no other reason to gather more.
const STEP_MAX_SOCKETS: usize = 16;

impl Lane {
    /// A frame is to be handed to everyone in the stream.
    pub(super) fn queue(&mut self, stream_slot: u32, item: Item) {
        let Some(stream) = self.streams[stream_slot as usize].as_mut() else { return };
        let work = stream.work.get_or_insert_with(|| {
            self.active.push_back(stream_slot);
            self.spare_works.pop().unwrap_or_default()
        });
        work.queued.push_back(item);
        self.queued_frames += 1;
    }

    /// Whether something waits for the next turn.
    pub(super) fn has_work(&self) -> bool {
        !self.active.is_empty() || self.cut_short.is_some()
    }

    /// Frames that wait for a turn.
    pub(super) fn queued_frames(&self) -> usize {
        self.queued_frames
    }

    /// Hands what is queued to at most so many sockets, in turn between streams, and writes it out.
    pub(super) fn serve_round(&mut self, sockets_max: usize) {
        let mut left = sockets_max;
        loop {
            // Those that came since have not had a turn.
            self.active.extend(self.cut_short.take());
            // Several streams may have something for one socket. One alone is handed out in small steps, so that what is looked
            // up for a socket is still in the processor's cache when it is written to.
            let step = if self.active.len() > 1 { left } else { left.min(STEP_MAX_SOCKETS) };
            let dealt = self.hand_out(step);
            self.write_out();
            left -= dealt;
            if dealt < step || left == 0 {
                break;
            }
        }
        self.close_revoked();
        self.count();
    }

    /// Closes those who were handed everything of their user's stream that came before.
    fn close_revoked(&mut self) {
        if self.closing.is_empty() {
            return;
        }
        let (streams, stream_of) = (&self.streams, &self.stream_of);
        let is_queued = |user: &UserId| {
            let slot = stream_of.get(&StreamId::User(user.clone()));
            slot.and_then(|slot| streams[*slot as usize].as_ref()).is_some_and(|stream| stream.work.is_some())
        };
        self.closing.retain(|(connection, code)| {
            let waits = is_queued(&connection.user);
            if !waits {
                connection.outbound.request_close(*code);
            }
            waits
        });
    }

    /// Hands what is queued to at most so many sockets; to how many.
    fn hand_out(&mut self, sockets_max: usize) -> usize {
        let mut left = sockets_max;
        let alone = self.active.len() == 1;
        for _ in 0..self.active.len() {
            if left == 0 {
                break;
            }
            let Some(stream_slot) = self.active.pop_front() else { break };
            left -= self.deal(stream_slot, left, alone);
            if self.retire(stream_slot) {
                match left {
                    0 => self.cut_short = Some(stream_slot),
                    _ => self.active.push_back(stream_slot),
                }
            }
        }
        sockets_max - left
    }

    fn write_out(&mut self) {
        // What a client has got is counted already.
        self.metrics.deliveries.add(std::mem::take(&mut self.counts.deliveries));
        self.write_dues();
        for index in 0..self.dues.len() {
            let slot = self.dues.entry(index).slot;
            self.check_watch(slot, None);
        }
        self.dues.reset();
    }

    /// Sockets that something is to be handed to, counted no further than `most` + 1.
    pub(super) fn sockets_due(&self, most: usize) -> usize {
        let mut due = 0;
        for slot in self.active.iter().chain(&self.cut_short) {
            let Some(stream) = self.streams[*slot as usize].as_ref() else { continue };
            due += stream.pairs.len() - stream.work.as_deref().map_or(stream.pairs.len(), |work| work.place);
            if due > most {
                return most + 1;
            }
        }
        due
    }

    /// Hands a stream's batch to the next pairs, at most `most`; to how many.
    fn deal(&mut self, stream_slot: u32, most: usize, alone: bool) -> usize {
        let Some(stream) = self.streams[stream_slot as usize].as_mut() else { return 0 };
        let Some(work) = stream.work.as_deref_mut() else { return 0 };
        if work.batch.items().is_empty() {
            work.batch.fill(&mut work.queued, |id| self.follower_of.get(&id).copied());
            work.place = 0;
        }
        let places = work.place..stream.pairs.len().min(work.place + most);
        let (end, dealt) = (places.end, places.len());
        if alone && work.batch.notifications().is_empty() {
            self.write_straight(stream_slot, places);
        } else {
            self.gather(stream_slot, places);
        }
        let Some(stream) = self.streams[stream_slot as usize].as_mut() else { return dealt };
        let Some(work) = stream.work.as_deref_mut() else { return dealt };
        work.place = end;
        if end == stream.pairs.len() {
            self.queued_frames -= work.batch.items().len();
            work.batch.clear();
            work.place = 0;
        }
        dealt
    }

    /// Notes a stream's batch as due for these pairs: with what other streams have for the same sockets it leaves in one call.
    fn gather(&mut self, stream_slot: u32, places: Range<usize>) {
        let Some(stream) = self.streams[stream_slot as usize].as_mut() else { return };
        let Some(work) = stream.work.as_deref_mut() else { return };
        let (first, stored) = (work.batch.first(), work.batch.stored());
        let frames = work.batch.items().len();
        let first_noted = self.dues.seqs.len();
        self.dues.seqs.extend(work.batch.items().iter().map(Item::seq));
        for pair in &mut stream.pairs[places] {
            let Some(follower) = self.followers[pair.slot as usize].as_mut() else { continue };
            if work.batch.is_whole_for(pair.slot, &follower.connection) && pair.live_run(first, stored) {
                std::hint::black_box(follower.outbound.warm());
                let due = self.dues.of(follower, pair.slot);
                due.runs.extend_from_slice(work.batch.runs(follower.codec));
                due.parts.push(Part { stream: stream_slot, first: first_noted, frames });
                self.counts.deliveries += frames as u64;
                // In a room's stream there are none.
                let notified = |(seq, id): &(Seq, NotificationId)| DueNotification {
                    stream: stream_slot,
                    slot: pair.slot,
                    seq: *seq,
                    id: *id,
                };
                self.dues.notifications.extend(work.batch.notifications().iter().map(notified));
            } else {
                let to = (stream_slot, &stream.id);
                let mut one = OneByOne { to, follower, pair, dues: &mut self.dues, counts: &mut self.counts };
                work.batch.items().iter().for_each(|item| one.hand(item));
            }
        }
    }

    /// Whether a stream has more to hand out; if not, its tables for that are given back.
    fn retire(&mut self, stream_slot: u32) -> bool {
        let Some(stream) = self.streams[stream_slot as usize].as_mut() else { return false };
        match stream.work.as_deref() {
            None => false,
            Some(work) if work.frames() > 0 => true,
            Some(_) => {
                if let Some(work) = stream.work.take()
                    && self.spare_works.len() < SPARE_WORKS_MAX
                {
                    self.spare_works.push(work);
                }
                false
            }
        }
    }

    /// Hands a single pair what is stored among that which is queued, before its turn: the pair is about to change.
    pub(super) fn deal_now(&mut self, stream_slot: u32, slot: u32) {
        let Some(stream) = self.streams[stream_slot as usize].as_mut() else { return };
        let Some(Work { batch, queued, .. }) = stream.work.as_deref() else { return };
        let Some(follower) = self.followers[slot as usize].as_mut() else { return };
        let Some(place) = follower.place(stream_slot) else { return };
        let pair = &mut stream.pairs[place];
        let to = (stream_slot, &stream.id);
        let mut one = OneByOne { to, follower, pair, dues: &mut self.dues, counts: &mut self.counts };
        batch.items().iter().chain(queued).filter(|item| item.stored().is_some()).for_each(|item| one.hand(item));
        self.write_dues();
        self.dues.reset();
    }

    /// Hands events from the ring or the log to a pair that is Behind, and to the socket at once.
    pub(super) fn serve(&mut self, stream_slot: u32, slot: u32, events: &[Arc<LiveEvent>]) {
        let Some(stream) = self.streams[stream_slot as usize].as_mut() else { return };
        let Some(follower) = self.followers[slot as usize].as_mut() else { return };
        let Some(place) = follower.place(stream_slot) else { return };
        let pair = &mut stream.pairs[place];
        let to = (stream_slot, &stream.id);
        let mut one = OneByOne { to, follower, pair, dues: &mut self.dues, counts: &mut self.counts };
        for event in events {
            if one.pair.serve(event.seq()) == Step::Send {
                one.send(&Item::event(Arc::clone(event)));
            }
        }
        self.write_dues();
        self.dues.reset();
    }

    /// One system call for everything that is due for a connection; what does not fit turns its pairs Behind.
    fn write_dues(&mut self) {
        for index in 0..self.dues.len() {
            let due = self.dues.entry(index);
            let Some(follower) = self.followers[due.slot as usize].as_mut() else { continue };
            follower.nothing_is_due();
            let pushed = follower.outbound.push_events(&due.runs);
            due.runs.clear();
            self.counts.writes += pushed.writes;
            self.counts.written_bytes += pushed.written_bytes;
            if pushed.refused_frames == 0 && !std::mem::take(&mut due.ending) {
                due.parts.clear();
            } else {
                self.settle(index, pushed.refused_frames);
            }
        }
        if !self.dues.notifications.is_empty() {
            self.note_notifications();
        }
    }

    /// Writes into the diary which notifications were handed over: those that did not fit turned their pairs back. A pair sends
    /// numbers without a hole until it is brought elsewhere between two turns, so what is due for it here follows each other.
    fn note_notifications(&mut self) {
        let mut due = std::mem::take(&mut self.dues.notifications);
        let handed = due.drain(..).filter_map(|due| {
            let follower = self.followers[due.slot as usize].as_ref()?;
            let place = follower.place(due.stream)?;
            let pair = self.streams[due.stream as usize].as_ref()?.pairs.get(place)?;
            (pair.next() > due.seq).then_some(Handed { connection: follower.connection.id, seq: due.seq, id: due.id })
        });
        self.diary.note(handed);
        self.dues.notifications = due;
    }

    /// Some frames were refused, or a removal was among them.
    fn settle(&mut self, index: usize, refused_frames: usize) {
        let due = self.dues.entry(index);
        let slot = due.slot;
        let mut parts = std::mem::take(&mut due.parts);
        let mut refused = refused_frames;
        for part in parts.iter().rev() {
            let unfit = refused.min(part.frames);
            refused -= unfit;
            let end = part.first + part.frames;
            // What has no number was dropped, and that is all.
            let first_unfit = self.dues.seqs[end - unfit..end].iter().copied().find(|seq| *seq > 0);
            if let (Some(seq), Some(follower)) = (first_unfit, self.followers[slot as usize].as_ref())
                && let Some(place) = follower.place(part.stream)
                && let Some(stream) = self.streams[part.stream as usize].as_mut()
            {
                let pair = &mut stream.pairs[place];
                self.counts.lagging += u64::from(pair.unfit(seq));
                follower.connection.request(pair.wants(&stream.id));
            }
        }
        for part in &parts {
            if self.pair(part.stream, slot).is_some_and(|pair| pair.has_ended()) {
                self.end_pair(part.stream, slot);
            }
        }
        parts.clear();
        self.dues.entry(index).parts = parts;
    }

    pub(super) fn pair(&mut self, stream_slot: u32, slot: u32) -> Option<&mut Pair> {
        let place = self.followers[slot as usize].as_ref()?.place(stream_slot)?;
        self.streams[stream_slot as usize].as_mut()?.pairs.get_mut(place)
    }

    /// Adds what was counted to what all lanes count.
    pub(super) fn count(&mut self) {
        let Counts { deliveries, writes, written_bytes, lagging } = std::mem::take(&mut self.counts);
        for (counter, amount) in [
            (&self.metrics.deliveries, deliveries),
            (&self.metrics.socket_writes, writes),
            (&self.metrics.delivered_bytes, written_bytes),
            (&self.metrics.lagging, lagging),
        ] {
            if amount > 0 {
                counter.add(amount);
            }
        }
    }
}

/// The careful way for one pair: frame by frame.
pub(super) struct OneByOne<'a> {
    pub(super) to: (u32, &'a StreamId),
    pub(super) follower: &'a mut Follower,
    pub(super) pair: &'a mut Pair,
    pub(super) dues: &'a mut Dues,
    pub(super) counts: &'a mut Counts,
}

impl OneByOne<'_> {
    pub(super) fn hand(&mut self, item: &Item) {
        let step = match item.stored() {
            Some(event) => self.pair.live(event.seq()),
            // Only to those who are exactly there in the stream, so that it comes in its place.
            None if self.pair.live_run(item.after() + 1, 0) && item.is_for(&self.follower.connection) => Step::Send,
            None => Step::Skip,
        };
        match step {
            Step::Skip => {}
            Step::Send => self.send(item),
            Step::FellBehind => {
                self.counts.lagging += 1;
                self.follower.connection.request(self.pair.wants(self.to.1));
            }
        }
    }

    fn send(&mut self, item: &Item) {
        let first = self.dues.note(item.seq());
        let due = self.dues.of(self.follower, self.pair.slot);
        due.runs.push(item.bytes(self.follower.connection.codec).clone());
        due.parts.push(Part { stream: self.to.0, first, frames: 1 });
        if let Some(event) = item.stored()
            && event.removed_user() == Some(&self.follower.connection.user)
            && event.seq() > self.pair.joined_seq()
        {
            self.pair.end();
            due.ending = true;
        }
        if let Some(id) = item.stored().and_then(|event| event.notification()) {
            let (stream, slot, seq) = (self.to.0, self.pair.slot, item.seq());
            self.dues.notifications.push(DueNotification { stream, slot, seq, id });
        }
        self.counts.deliveries += 1;
    }
}
