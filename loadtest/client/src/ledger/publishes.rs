//! I1 no loss, I2 no phantom, I3 for acknowledgements, I6 real time.

use std::collections::HashMap;

use hallway_protocol::Seq;

use super::index::{History, Membership, Publish, Session};
use super::record::EventKind;
use super::streams::{self, Walk};
use super::verdict::{Invariant, Report};

pub(super) fn check(history: &History<'_>, report: &mut Report) {
    no_loss(history, report);
    no_phantom(history, report);
    real_time(history, report);
}

fn no_loss(history: &History<'_>, report: &mut Report) {
    let mut readers: HashMap<u32, Vec<(&Session<'_>, Walk)>> = HashMap::new();
    for session in history.sessions.values() {
        for (stream, walk) in streams::walks(history, session) {
            readers.entry(stream).or_default().push((session, walk));
        }
    }
    let ids = ids_in_final_reads(history);
    for publish in history.publishes.values() {
        if let (Some((_, _, seq)), Some((_, other))) = (publish.ok, publish.other_ok) {
            report
                .add(Invariant::I3, || format!("message {:x} was acknowledged with seq {seq} and {other}", publish.id));
        }
        let Some((_, epoch, seq)) = publish.ok else { continue };
        // A restore may take back what an older life had acknowledged.
        if history.expects_new_epoch() && history.newest_epoch != Some(epoch) {
            continue;
        }
        for (session, walk) in readers.get(&publish.stream).map_or(&[][..], Vec::as_slice) {
            one_reader(history, publish, seq, session, walk, report);
        }
        if let Some(found) = ids.get(&(publish.stream, seq))
            && *found != publish.id
        {
            report.add(Invariant::I1, || {
                let stream = history.stream_name(publish.stream);
                format!("message {:x} was acknowledged as {stream} seq {seq}, where {found:x} stands", publish.id)
            });
        }
    }
}

fn one_reader(
    history: &History<'_>,
    publish: &Publish,
    seq: Seq,
    session: &Session<'_>,
    walk: &Walk,
    report: &mut Report,
) {
    if walk.has(seq) || walk.is_excused(seq) {
        return;
    }
    // A client that went away owes nothing beyond where it stood.
    if session.node.is_none() && !session.done && seq > walk.last {
        return;
    }
    let times = history.members.get(&(publish.stream, session.user)).map_or(&[][..], Vec::as_slice);
    let owed = |time: &&Membership| time.joined <= seq && time.removed.is_none_or(|removed| seq <= removed);
    let Some(time) = times.iter().find(owed) else { return };
    // When the end of a membership was trimmed away before somebody had read up to it, nothing of it can be read any more, and
    // what is said of it is that it ended.
    if seq > walk.last && time.removed.is_some_and(|removed| removed < history.trimmed_to(publish.stream)) {
        return;
    }
    report.add(Invariant::I1, || {
        let (user, stream) = (history.user_name(session.user), history.stream_name(publish.stream));
        let read = if session.node.is_some() { "the final read of" } else { "session of" };
        let until = time.removed.map_or_else(|| "on".to_owned(), |removed| format!("to {removed}"));
        format!(
            "message {:x}, acknowledged as {stream} seq {seq}, never reached {read} {user}, a member from {} {until}",
            publish.id, time.joined
        )
    });
}

fn ids_in_final_reads(history: &History<'_>) -> HashMap<(u32, Seq), u128> {
    let read = history.received().filter(|(session, _)| session.node.is_some());
    read.map(|(_, received)| ((received.stream, received.seq), received.id)).collect()
}

fn no_phantom(history: &History<'_>, report: &mut Report) {
    for (_, received) in history.received().filter(|(_, received)| received.kind == EventKind::Created) {
        let publish = history.by_id.get(&received.id).and_then(|number| history.publishes.get(number));
        let fault = match publish {
            None => "was never sent",
            Some(publish) if publish.stream != received.stream => "was sent to another room",
            Some(publish) if publish.sender != received.user => "was sent by somebody else",
            Some(publish) if received.version == 1 && publish.checksum != received.checksum => {
                "was sent with another text"
            }
            Some(publish) if publish.failed() => "was definitely refused",
            Some(_) => continue,
        };
        report.add(Invariant::I2, || {
            let stream = history.stream_name(received.stream);
            format!("message {:x} in {stream} seq {} {fault}", received.id, received.seq)
        });
    }
}

/// A publish acknowledged before another began has the smaller seq.
fn real_time(history: &History<'_>, report: &mut Report) {
    // Where a message stands, also when nobody knows its acknowledgement.
    let mut seqs: HashMap<u128, (u32, Seq)> = HashMap::new();
    for (_, received) in history.received().filter(|(_, received)| received.kind == EventKind::Created) {
        seqs.entry(received.id).or_insert((received.epoch, received.seq));
    }
    // At one moment, what began is looked at before what ended: they overlap.
    let mut moments: Vec<(u64, bool, &Publish)> = Vec::new();
    for publish in history.publishes.values() {
        moments.push((publish.invoked_at_ns, false, publish));
        if let Some((at_ns, ..)) = publish.ok {
            moments.push((at_ns, true, publish));
        }
    }
    moments.sort_by_key(|(at_ns, ended, _)| (*at_ns, *ended));
    let mut greatest: HashMap<(u32, u32), Seq> = HashMap::new();
    for (_, ended, publish) in moments {
        let place = publish.ok.map(|(_, epoch, seq)| (epoch, seq)).or_else(|| seqs.get(&publish.id).copied());
        let Some((epoch, seq)) = place else { continue };
        let before = greatest.entry((publish.stream, epoch)).or_insert(0);
        if ended {
            *before = (*before).max(seq);
        } else if seq <= *before {
            let before = *before;
            report.add(Invariant::I6, || {
                let stream = history.stream_name(publish.stream);
                format!(
                    "{stream} seq {before} was acknowledged before message {:x} began, which got seq {seq}",
                    publish.id
                )
            });
        }
    }
}
