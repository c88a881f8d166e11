//! Pure: from where each stream of a person goes on, and what a client must forget first.

use std::collections::HashMap;

use hallway_protocol::frame::ResetReason;
use hallway_protocol::{Epoch, Position, Seq, StreamId};

use crate::sabotage::{Mutant, is_on};

/// Events of a room that a client without a position gets at most.
pub(super) const NEW_STREAM_EVENTS: u64 = 50;

/// A stream as one snapshot of the store shows it to one person.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct StreamView {
    pub stream: StreamId,
    pub first_seq: Seq,
    pub last_seq: Seq,
    pub visible_from_seq: Seq,
    pub joined_seq: Seq,
}

/// How a stream goes on for a client.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct StreamPlan {
    /// The first event that it gets.
    pub next: Seq,
    /// Said before.
    pub reset: Option<(Seq, ResetReason)>,
}

/// Decides for one stream. `limit` is the client's own: more missed events than that, and it wants only the latest.
pub(super) fn plan(view: &StreamView, position: Option<&Position>, epoch: &Epoch, limit: Option<u32>) -> StreamPlan {
    let last = view.last_seq;
    let floor = view.first_seq.max(view.visible_from_seq).max(1) - 1;
    let newest = |most: u64| last.saturating_sub(most).max(floor).min(last.max(floor));
    let limit = limit.map(u64::from);
    let reset = |seq: Seq, reason| StreamPlan { next: seq + 1, reset: Some((seq, reason)) };
    let is_room = matches!(view.stream, StreamId::Room(_));
    let fresh = if is_room { newest(limit.unwrap_or(NEW_STREAM_EVENTS)) } else { last };
    let Some(position) = position else { return reset(fresh, ResetReason::New) };
    if position.epoch != *epoch {
        return reset(fresh, ResetReason::Epoch);
    }
    if position.seq > last {
        return reset(fresh, ResetReason::Ahead);
    }
    let kept = limit.map_or(floor, newest);
    if is_on(Mutant::ResumeAlwaysResets) {
        return reset(kept, ResetReason::Trimmed);
    }
    if position.seq < floor {
        // What is visible begins where the later of the two is. Who joined anew after what was trimmed is owed nothing of that.
        let is_trimmed = view.first_seq >= view.visible_from_seq;
        return reset(kept, if is_trimmed { ResetReason::Trimmed } else { ResetReason::Joined });
    }
    match limit {
        Some(limit) if last - position.seq > limit => reset(newest(limit), ResetReason::Limit),
        _ => StreamPlan { next: position.seq + 1, reset: None },
    }
}

/// Positions by stream; of two for the same stream the last one counts.
pub(super) fn by_stream(positions: &[Position]) -> HashMap<&StreamId, &Position> {
    positions.iter().map(|position| (&position.stream, position)).collect()
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a failed test panics")]
    use hallway_protocol::RoomId;
    use proptest::prelude::*;

    use super::*;

    fn view(first: Seq, last: Seq, visible: Seq) -> StreamView {
        let stream = StreamId::Room(RoomId::new("r").unwrap());
        StreamView { stream, first_seq: first, last_seq: last, visible_from_seq: visible, joined_seq: visible }
    }

    fn at(epoch: &str, seq: Seq) -> Position {
        Position { stream: StreamId::Room(RoomId::new("r").unwrap()), epoch: Epoch::new(epoch).unwrap(), seq }
    }

    #[test]
    fn a_client_is_told_to_forget_exactly_when_continuity_cannot_be_proved() {
        let epoch = Epoch::new("e1").unwrap();
        let case = |view: StreamView, position: Option<Position>, limit| {
            let plan = plan(&view, position.as_ref(), &epoch, limit);
            (plan.next, plan.reset.map(|(_, reason)| reason))
        };
        assert_eq!(case(view(1, 9, 1), Some(at("e1", 4)), None), (5, None));
        assert_eq!(case(view(1, 9, 1), Some(at("e1", 9)), None), (10, None));
        assert_eq!(case(view(1, 9, 1), None, None), (1, Some(ResetReason::New)));
        assert_eq!(case(view(1, 90, 1), None, None), (41, Some(ResetReason::New)));
        assert_eq!(case(view(1, 90, 60), None, None), (60, Some(ResetReason::New)));
        assert_eq!(case(view(1, 9, 1), Some(at("e0", 4)), None), (1, Some(ResetReason::Epoch)));
        assert_eq!(case(view(1, 9, 1), Some(at("e1", 10)), None), (1, Some(ResetReason::Ahead)));
        assert_eq!(case(view(6, 9, 1), Some(at("e1", 4)), None), (6, Some(ResetReason::Trimmed)));
        assert_eq!(case(view(6, 9, 1), Some(at("e1", 5)), None), (6, None));
        assert_eq!(case(view(10, 9, 1), Some(at("e1", 4)), None), (10, Some(ResetReason::Trimmed)));
        assert_eq!(case(view(1, 9, 7), Some(at("e1", 4)), None), (7, Some(ResetReason::Joined)));
        assert_eq!(case(view(6, 9, 7), Some(at("e1", 4)), None), (7, Some(ResetReason::Joined)));
        assert_eq!(case(view(7, 9, 6), Some(at("e1", 4)), None), (7, Some(ResetReason::Trimmed)));
        assert_eq!(case(view(6, 90, 1), Some(at("e1", 4)), Some(10)), (81, Some(ResetReason::Trimmed)));
        assert_eq!(case(view(1, 90, 1), Some(at("e1", 40)), Some(10)), (81, Some(ResetReason::Limit)));
        assert_eq!(case(view(1, 90, 1), Some(at("e1", 80)), Some(10)), (81, None));
        assert_eq!(case(view(1, 0, 1), None, None), (1, Some(ResetReason::New)));
    }

    proptest! {
        /// Nothing hidden or trimmed is ever planned, and without a reset nothing is skipped.
        #[test]
        fn plans_never_skip_silently_and_never_show_what_is_hidden(
            trimmed in 0..20_u64, kept in 0..20_u64, visible in 1..30_u64, seq in 0..50_u64, limit in prop::option::of(1..30_u32),
        ) {
            let view = view(trimmed + 1, trimmed + kept, visible.min(trimmed + kept).max(1));
            let epoch = Epoch::new("e").unwrap();
            let plan = plan(&view, Some(&at("e", seq)), &epoch, limit);
            prop_assert!(plan.next >= view.first_seq || plan.next > view.last_seq);
            prop_assert!(plan.next >= view.visible_from_seq);
            prop_assert!(plan.next <= view.last_seq.max(view.visible_from_seq.saturating_sub(1)) + 1);
            match plan.reset {
                None => prop_assert_eq!(plan.next, seq + 1),
                Some((reset, _)) => prop_assert_eq!(plan.next, reset + 1),
            }
        }
    }
}
