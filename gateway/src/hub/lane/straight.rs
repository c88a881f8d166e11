//! The shortest way, for a stream that alone has something to hand out: its batch goes to sockets without a note of what is due
//! for them.

use std::ops::Range;

use super::Lane;
use super::batch::Item;
use super::deal::OneByOne;

impl Lane {
    /// Writes a stream's batch to those of these pairs who get all of it; for the others it is noted as due.
    pub(super) fn write_straight(&mut self, stream_slot: u32, places: Range<usize>) {
        let Some(stream) = self.streams[stream_slot as usize].as_mut() else { return };
        let Some(work) = stream.work.as_deref_mut() else { return };
        let (first, stored) = (work.batch.first(), work.batch.stored());
        let frames = work.batch.items().len();
        // First a look at all of them, with nothing in between that makes the processor wait for one: so it fetches for all at the
        // same time what the kernel has driven out of its cache.
        let followers =
            stream.pairs[places.clone()].iter().filter_map(|pair| self.followers[pair.slot as usize].as_ref());
        std::hint::black_box(followers.fold(false, |seen, follower| seen ^ follower.outbound.warm()));
        let mut whole = std::mem::take(&mut self.whole);
        for (place, pair) in places.clone().zip(&mut stream.pairs[places]) {
            let Some(follower) = self.followers[pair.slot as usize].as_mut() else { continue };
            if follower.watches.is_none()
                && work.batch.is_whole_for(pair.slot, &follower.connection)
                && pair.live_run(first, stored)
            {
                whole.push(place);
            } else {
                let to = (stream_slot, &stream.id);
                let mut one = OneByOne { to, follower, pair, dues: &mut self.dues, counts: &mut self.counts };
                work.batch.items().iter().for_each(|item| one.hand(item));
            }
        }
        // What a client has got is counted already.
        self.metrics.deliveries.add((frames * whole.len()) as u64);
        for place in whole.drain(..) {
            let pair = &mut stream.pairs[place];
            let Some(follower) = self.followers[pair.slot as usize].as_mut() else { continue };
            let pushed = follower.outbound.push_events(work.batch.runs(follower.codec));
            self.counts.writes += pushed.writes;
            self.counts.written_bytes += pushed.written_bytes;
            // What has no number was dropped, and that is all.
            let mut unfit = work.batch.items()[frames.saturating_sub(pushed.refused_frames)..].iter().map(Item::seq);
            if let Some(seq) = unfit.find(|seq| *seq > 0) {
                self.counts.lagging += u64::from(pair.unfit(seq));
                follower.connection.request(pair.wants(&stream.id));
            }
        }
        self.whole = whole;
    }
}
