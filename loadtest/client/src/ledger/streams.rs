//! I3 no duplicate, I4 one order, I5 continuity: each session is walked line by line.

use std::collections::HashMap;

use hallway_protocol::Seq;
use hallway_protocol::frame::ResetReason;

use super::index::{History, Session};
use super::record::{EventKind, Received, Record};
use super::verdict::{Invariant, Report};

/// What a session has of a stream.
#[derive(Debug, Default, Clone)]
pub(super) struct Walk {
    /// Epoch and seq that the client stands at; `None` when it holds no position.
    position: Option<(u32, Seq)>,
    /// What it received, as ranges of seqs, in the order of receiving.
    ranges: Vec<(Seq, Seq)>,
    /// What it was told that it will not get.
    excused: Vec<(Seq, Seq)>,
    /// The greatest seq it was told of.
    pub(super) last: Seq,
    /// The own removal, when it was the last that came.
    ended: Option<Seq>,
    /// The node said that the room is no longer the session's.
    is_gone: bool,
}

impl Walk {
    pub(super) fn has(&self, seq: Seq) -> bool {
        contains(&self.ranges, seq)
    }

    pub(super) fn is_excused(&self, seq: Seq) -> bool {
        contains(&self.excused, seq)
    }

    fn push(&mut self, seq: Seq) {
        match self.ranges.last_mut() {
            Some((_, to)) if *to + 1 == seq => *to = seq,
            _ => self.ranges.push((seq, seq)),
        }
    }

    fn forget_after(&mut self, seq: Seq) {
        self.ranges.retain(|(from, _)| *from <= seq);
        for (_, to) in &mut self.ranges {
            *to = (*to).min(seq);
        }
    }
}

fn contains(ranges: &[(Seq, Seq)], seq: Seq) -> bool {
    ranges.iter().any(|(from, to)| (*from..=*to).contains(&seq))
}

/// Walks one session; tells nothing.
pub(super) fn walks(history: &History<'_>, session: &Session<'_>) -> HashMap<u32, Walk> {
    walk(history, session, &mut Report::default())
}

pub(super) fn check(history: &History<'_>, report: &mut Report) {
    for session in history.sessions.values() {
        let walks = walk(history, session, report);
        for (stream, walk) in walks.iter().filter(|_| session.node.is_some()) {
            for pair in walk.ranges.windows(2) {
                let (before, after) = (pair[0].1, pair[1].0);
                if !(walk.is_excused(before + 1) && walk.is_excused(after.saturating_sub(1))) {
                    report.add(Invariant::I4, || {
                        let stream = history.stream_name(*stream);
                        format!("{stream} is not dense in the final read: after {before} comes {after}")
                    });
                }
            }
        }
    }
    one_order(history, report);
}

fn walk(history: &History<'_>, session: &Session<'_>, report: &mut Report) -> HashMap<u32, Walk> {
    let mut walks: HashMap<u32, Walk> = HashMap::new();
    for record in &session.lines {
        match record {
            Record::Position { stream, epoch, seq, .. } => {
                let walk = walks.entry(*stream).or_default();
                walk.position = Some((*epoch, *seq));
                walk.last = *seq;
                if *seq > 0 {
                    walk.excused.push((1, *seq));
                }
            }
            Record::Receive(received) if received.repeat => {}
            Record::Receive(received) => {
                receive(history, session, walks.entry(received.stream).or_default(), received, report);
            }
            Record::Reset { stream, epoch, seq, reason, before, .. } => {
                if !explained(history, session, *stream, (*epoch, *seq), *reason, *before) {
                    report.add(Invariant::I5, || {
                        let whom = who(history, session, *stream);
                        format!("{whom}: reset to {seq} for {reason:?}, of which nobody knows the cause; it stood at {before:?}")
                    });
                }
                let walk = walks.entry(*stream).or_default();
                walk.forget_after(*seq);
                let from = before.map_or(0, |(_, before)| before) + 1;
                if from <= *seq {
                    walk.excused.push((from, *seq));
                }
                walk.position = Some((*epoch, *seq));
                (walk.last, walk.ended, walk.is_gone) = (*seq, None, false);
            }
            Record::Synced { stream, epoch, seq, .. } => {
                synced(history, session, walks.entry(*stream).or_default(), (*stream, *epoch, *seq), report);
            }
            Record::Welcomed { .. } => walks.values_mut().for_each(|walk| walk.is_gone = true),
            Record::Follows { stream, .. } => {
                if let Some(walk) = walks.get_mut(stream) {
                    walk.is_gone = false;
                }
            }
            _ => {}
        }
    }
    // Who was removed while away is owed no more of that membership.
    for (_, walk) in walks.iter_mut().filter(|(stream, walk)| walk.is_gone && history.is_room(**stream)) {
        walk.excused.push((walk.last + 1, Seq::MAX));
    }
    walks
}

fn synced(
    history: &History<'_>,
    session: &Session<'_>,
    walk: &mut Walk,
    (stream, epoch, seq): (u32, u32, Seq),
    report: &mut Report,
) {
    let stands = walk.position.map_or(0, |(_, stands)| stands);
    if seq > stands {
        report.add(Invariant::I5, || {
            let whom = who(history, session, stream);
            format!("{whom}: sync_end says {seq}, but events came only up to {stands}")
        });
    }
    walk.position = Some((epoch, stands.max(seq)));
    walk.last = walk.last.max(seq);
}

fn receive(history: &History<'_>, session: &Session<'_>, walk: &mut Walk, received: &Received, report: &mut Report) {
    let seq = received.seq;
    let whom = || who(history, session, received.stream);
    if walk.has(seq) {
        report.add(Invariant::I3, || format!("{}: seq {seq} was delivered twice", whom()));
        return;
    }
    let ended = walk.ended.take();
    match walk.position {
        // A removal of long ago, read in a room whose past is open: whether it may be read is I8.
        None if ended == Some(seq - 1) => {}
        None if seq != 1 => report.add(Invariant::I5, || format!("{}: seq {seq} came without a position", whom())),
        Some((_, last)) if seq != last + 1 => {
            report.add(Invariant::I5, || format!("{}: after seq {last} came {seq}", whom()));
        }
        _ => {}
    }
    walk.push(seq);
    walk.last = walk.last.max(seq);
    walk.position = Some((received.epoch, walk.last));
    if received.kind == EventKind::Removed && received.user == session.user {
        walk.position = None;
        walk.ended = Some(seq);
    }
}

fn explained(
    history: &History<'_>,
    session: &Session<'_>,
    stream: u32,
    (epoch, seq): (u32, Seq),
    reason: ResetReason,
    before: Option<(u32, Seq)>,
) -> bool {
    match reason {
        ResetReason::New => before.is_none(),
        ResetReason::Joined => {
            let times = history.members.get(&(stream, session.user)).map_or(&[][..], Vec::as_slice);
            let stood = before.map_or(0, |(_, before)| before);
            // A client's own limit may skip the beginning of what a new membership shows.
            let is_cause = |joined: Seq| joined == seq + 1 || session.limited && stood < joined && joined <= seq;
            stood <= seq && times.iter().any(|time| is_cause(time.joined))
        }
        ResetReason::Limit => session.limited && before.is_none_or(|(_, before)| before < seq),
        ResetReason::Epoch => history.expects_new_epoch() && before.is_none_or(|(before, _)| before != epoch),
        ResetReason::Ahead => history.expects_new_epoch(),
        ResetReason::Trimmed => {
            let stood = before.map_or(0, |(_, before)| before);
            // A client's own limit may skip the beginning of what is kept, too.
            let is_cause = |first: Seq| first == seq + 1 || session.limited && stood + 1 < first && first <= seq;
            before.is_none_or(|_| stood < seq) && history.first_seqs_of_trims(stream).any(is_cause)
        }
    }
}

/// Everyone agrees on what stands at a seq, and a message stands at one seq only.
fn one_order(history: &History<'_>, report: &mut Report) {
    let mut at: HashMap<(u32, u32, Seq), (EventKind, u128)> = HashMap::new();
    let mut places: HashMap<(u32, u128), (u32, Seq)> = HashMap::new();
    for (_, received) in history.received() {
        let what = (received.kind, received.id);
        let first = *at.entry((received.stream, received.epoch, received.seq)).or_insert(what);
        if first != what {
            report.add(Invariant::I4, || {
                let stream = history.stream_name(received.stream);
                let seq = received.seq;
                format!(
                    "{stream} seq {seq} is {:?} {:x} for one and {:?} {:x} for another",
                    first.0, first.1, what.0, what.1
                )
            });
        }
        if received.kind == EventKind::Created {
            let place = (received.epoch, received.seq);
            let first = *places.entry((received.stream, received.id)).or_insert(place);
            if first.0 == place.0 && first.1 != place.1 {
                report.add(Invariant::I3, || {
                    let stream = history.stream_name(received.stream);
                    format!("message {:x} stands in {stream} at seq {} and at seq {}", received.id, first.1, place.1)
                });
            }
        }
    }
}

fn who(history: &History<'_>, session: &Session<'_>, stream: u32) -> String {
    let role = if session.node.is_some() { "final read" } else { "session" };
    format!("{role} {} of {} in {}", session.number, history.user_name(session.user), history.stream_name(stream))
}
