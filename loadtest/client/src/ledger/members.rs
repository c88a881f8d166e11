//! I8 authorization: whoever received an event was a member at its seq, or may read what was before they joined.

use super::index::History;
use super::verdict::{Invariant, Report};

pub(super) fn check(history: &History<'_>, report: &mut Report) {
    for (session, received) in history.received() {
        if !history.is_room(received.stream) {
            continue;
        }
        let open_past = history.history_all.contains(&received.stream);
        let times = history.members.get(&(received.stream, session.user)).map_or(&[][..], Vec::as_slice);
        let allowed = times.iter().any(|time| {
            (open_past || time.joined <= received.seq) && time.removed.is_none_or(|removed| received.seq <= removed)
        });
        if !allowed {
            report.add(Invariant::I8, || {
                let (user, stream) = (history.user_name(session.user), history.stream_name(received.stream));
                format!("{user} received {stream} seq {} without being a member then", received.seq)
            });
        }
    }
}
