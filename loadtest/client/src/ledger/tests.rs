//! Correct histories are found clean, and each single lie in one is named.

use hallway_protocol::frame::ResetReason;
use hallway_protocol::{Epoch, RoomId};
use proptest::prelude::*;
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

use super::record::{EventKind, Received};
use super::*;

/// A correct run: users in rooms, sessions that reconnect, a final read.
struct Run {
    records: Vec<Record>,
    random: StdRng,
}

const STREAMS: u32 = 2;
const FINAL_SESSION: u32 = 1000;

impl Run {
    fn new(seed: u64) -> Self {
        let mut run = Self { records: Vec::new(), random: StdRng::seed_from_u64(seed) };
        let users = run.random.random_range(2..5);
        let publishes = run.random.random_range(4..20);
        let mut publish = 0;
        for user in 0..users {
            run.records.push(Record::Open { session: user, user, node: None, limited: false });
            run.records.push(Record::Connected { session: user });
        }
        run.records.push(Record::Open { session: FINAL_SESSION, user: 0, node: Some(0), limited: false });
        for stream in 0..STREAMS {
            let mut events = vec![(EventKind::Other, 0, 0)];
            events.extend((0..users).map(|user| (EventKind::Joined, user, 0)));
            for _ in 0..publishes {
                let sender = run.random.random_range(0..users);
                let id = u128::from(publish) + 7;
                // Each begins before the one before it has ended, or after: both are right.
                let at_ns = u64::from(publish) * 10;
                let lasts_ns = run.random.random_range(1..15);
                let seq = events.len() as u64 + 1;
                run.records.push(Record::Invoke { publish, at_ns, stream, sender, id, checksum: u64::from(publish) });
                if run.random.random_bool(0.2) {
                    run.records.push(Record::Unknown { publish });
                    run.records.push(Record::Retry { publish });
                }
                run.records.push(Record::Ok { publish, at_ns: at_ns + lasts_ns, epoch: 0, seq });
                events.push((EventKind::Created, sender, id));
                publish += 1;
            }
            for user in 0..users {
                run.read(user, stream, u64::from(user) + 2, &events);
            }
            run.records.push(Record::Position { session: FINAL_SESSION, stream, epoch: 0, seq: 0 });
            run.read(FINAL_SESSION, stream, 1, &events);
        }
        run
    }

    fn read(&mut self, session: u32, stream: u32, from: u64, events: &[(EventKind, u32, u128)]) {
        if session != FINAL_SESSION {
            let (seq, reason) = (from - 1, ResetReason::Joined);
            self.records.push(Record::Reset { session, stream, epoch: 0, seq, reason, before: None });
        }
        let all = (1..).zip(events).filter(|(seq, _)| *seq >= from);
        for (seq, (kind, user, id)) in all {
            let checksum = u64::try_from(id.saturating_sub(7)).unwrap_or(0);
            let (kind, user, id) = (*kind, *user, *id);
            let received =
                Received { session, stream, epoch: 0, user, seq, id, checksum, version: 1, kind, repeat: false };
            self.records.push(Record::Receive(received));
            if self.random.random_bool(0.1) {
                self.records.push(Record::Receive(Received { repeat: true, ..received }));
            }
            if self.random.random_bool(0.1) {
                self.records.push(Record::Connected { session });
            }
        }
        self.records.push(Record::Synced { session, stream, epoch: 0, seq: events.len() as u64 });
        self.records.push(Record::Done { session });
    }

    /// Index of some line that `wanted` accepts.
    fn some(&mut self, wanted: impl Fn(&Record) -> bool) -> usize {
        let fitting: Vec<usize> = (0..self.records.len()).filter(|index| wanted(&self.records[*index])).collect();
        fitting[self.random.random_range(0..fitting.len())]
    }

    fn some_message(&mut self, session_wanted: impl Fn(u32) -> bool) -> (usize, Received) {
        let index = self.some(|record| {
            matches!(record, Record::Receive(received)
                if received.kind == EventKind::Created && !received.repeat && session_wanted(received.session))
        });
        match self.records[index] {
            Record::Receive(received) => (index, received),
            _ => unreachable!(),
        }
    }

    fn map_received(&mut self, change: impl Fn(&mut Received)) {
        for record in &mut self.records {
            if let Record::Receive(received) = record {
                change(received);
            }
        }
    }

    fn judge(self) -> Verdict {
        self.judge_of_trimmed(&[])
    }

    /// Judges, when the first room was trimmed to each of these numbers.
    fn judge_of_trimmed(self, first_seqs: &[Seq]) -> Verdict {
        let ledger = Ledger::new();
        let name = |text: String| text.parse::<StreamId>();
        {
            let mut shared = ledger.lock();
            for stream in 0..STREAMS {
                let stream = name(format!("room:r{stream}")).ok();
                if let Some(stream) = stream {
                    shared.names.streams.number(&stream);
                    if shared.history_all.is_empty() {
                        // The final read of user 0 begins before their joining, in both rooms.
                        shared.history_all = (0..STREAMS)
                            .filter_map(|number| RoomId::new(&format!("r{number}")).ok().map(StreamId::Room))
                            .collect();
                    }
                }
            }
            if let Ok(epoch) = Epoch::new("e") {
                shared.names.epochs.number(&epoch);
            }
            shared.finished.push(self.records);
        }
        if let Ok(stream) = name("room:r0".to_owned()) {
            for first_seq in first_seqs {
                ledger.expect(Expected::Trimmed { stream: stream.clone(), first_seq: *first_seq });
            }
        }
        ledger.judge()
    }
}

#[derive(Debug, Clone, Copy)]
enum Lie {
    DropOne,
    RepeatOne,
    SwapTwo,
    Phantom,
    WrongText,
    DefinitelyRefused,
    AckLost,
    AckedWithAnotherSeq,
    SeqHole,
    TwoPlaces,
    Stranger,
    AfterRemoval,
    ResetOnResume,
    ResetNobodyKnows,
    SyncEndBeyond,
    LaterYetSmaller,
    Disagreement,
}

impl Lie {
    const ALL: [Self; 17] = [
        Self::DropOne,
        Self::RepeatOne,
        Self::SwapTwo,
        Self::Phantom,
        Self::WrongText,
        Self::DefinitelyRefused,
        Self::AckLost,
        Self::AckedWithAnotherSeq,
        Self::SeqHole,
        Self::TwoPlaces,
        Self::Stranger,
        Self::AfterRemoval,
        Self::ResetOnResume,
        Self::ResetNobodyKnows,
        Self::SyncEndBeyond,
        Self::LaterYetSmaller,
        Self::Disagreement,
    ];

    /// Tells the lie in a run; says which invariants must be named.
    fn tell(self, run: &mut Run) -> &'static [Invariant] {
        use Invariant::{I1, I2, I3, I4, I5, I6, I8};
        match self {
            Self::DropOne => {
                let (index, _) = run.some_message(|session| session != FINAL_SESSION);
                run.records.remove(index);
                &[I1, I5]
            }
            Self::RepeatOne => {
                let (index, received) = run.some_message(|session| session != FINAL_SESSION);
                run.records.insert(index + 1, Record::Receive(received));
                &[I3]
            }
            Self::SwapTwo => {
                let (index, received) = run.some_message(|session| session != FINAL_SESSION);
                let earlier = run.some(|record| {
                    matches!(record, Record::Receive(other) if !other.repeat && other.session == received.session
                        && other.stream == received.stream && other.seq + 1 == received.seq)
                });
                run.records.swap(index, earlier);
                &[I5]
            }
            Self::Phantom => {
                let (_, received) = run.some_message(|_| true);
                let number = u32::try_from(received.id - 7).unwrap_or(0);
                run.records.retain(|record| {
                    !matches!(record, Record::Invoke { publish, .. } | Record::Retry { publish }
                    | Record::Unknown { publish } | Record::Ok { publish, .. } if *publish == number)
                });
                &[I2]
            }
            Self::WrongText => {
                let (index, received) = run.some_message(|_| true);
                run.records[index] = Record::Receive(Received { checksum: received.checksum + 1, ..received });
                &[I2]
            }
            Self::DefinitelyRefused => {
                let (_, received) = run.some_message(|_| true);
                let number = u32::try_from(received.id - 7).unwrap_or(0);
                run.records.retain(|record| !matches!(record, Record::Retry { publish } if *publish == number));
                let index = run.some(|record| matches!(record, Record::Ok { publish, .. } if *publish == number));
                run.records[index] = Record::Fail { publish: number };
                &[I2]
            }
            Self::AckLost => {
                // Acknowledged and then gone for everyone; what came after it moved up.
                let (_, lost) = run.some_message(|_| true);
                let after = move |stream: u32, seq: Seq| stream == lost.stream && seq > lost.seq;
                run.records.retain(|record| !matches!(record, Record::Receive(received) if received.id == lost.id));
                run.map_received(|received| received.seq -= u64::from(after(received.stream, received.seq)));
                for record in &mut run.records {
                    if let Record::Synced { stream, seq, .. } = record {
                        *seq -= u64::from(*stream == lost.stream);
                    }
                }
                &[I1]
            }
            Self::AckedWithAnotherSeq => {
                let index = run.some(|record| matches!(record, Record::Ok { .. }));
                if let Record::Ok { publish, at_ns, epoch, seq } = run.records[index] {
                    run.records.push(Record::Ok { publish, at_ns: at_ns + 1, epoch, seq: seq + 1 });
                }
                &[I3]
            }
            Self::SeqHole => {
                let (_, hole) = run.some_message(|_| true);
                run.map_received(|received| {
                    received.seq += u64::from(received.stream == hole.stream && received.seq >= hole.seq);
                });
                &[I4, I5]
            }
            Self::TwoPlaces => {
                let (index, received) = run.some_message(|_| true);
                run.records[index] = Record::Receive(Received { seq: received.seq + 100, ..received });
                &[I3]
            }
            Self::Stranger => {
                let (_, received) = run.some_message(|_| true);
                let session = 77;
                run.records.push(Record::Open { session, user: 77, node: None, limited: false });
                let (stream, epoch, seq) = (received.stream, 0, received.seq - 1);
                let reason = ResetReason::New;
                run.records.push(Record::Reset { session, stream, epoch, seq, reason, before: None });
                run.records.push(Record::Receive(Received { session, ..received }));
                &[I8]
            }
            Self::AfterRemoval => {
                // Every session has at least two messages of each room, so the last but one is after its joining.
                let (_, Received { session: user, stream, .. }) = run.some_message(|session| session != FINAL_SESSION);
                let last = run.records.iter().filter_map(|record| match record {
                    Record::Receive(received) if received.stream == stream => Some(received.seq),
                    _ => None,
                });
                let seq = last.max().unwrap_or(1) - 1;
                run.records.push(Record::Member { stream, user, joined: false, seq });
                &[I8]
            }
            Self::ResetOnResume => {
                let (index, received) = run.some_message(|session| session != FINAL_SESSION);
                let Received { session, stream, epoch, seq, .. } = received;
                let (reason, before) = (ResetReason::New, Some((epoch, seq)));
                run.records.insert(index + 1, Record::Reset { session, stream, epoch, seq, reason, before });
                &[I5]
            }
            Self::ResetNobodyKnows => {
                let (index, received) = run.some_message(|session| session != FINAL_SESSION);
                let Received { session, stream, epoch, seq, .. } = received;
                let reasons = [ResetReason::Epoch, ResetReason::Trimmed, ResetReason::Ahead, ResetReason::Limit];
                let reason = reasons[run.random.random_range(0..reasons.len())];
                let before = Some((epoch, seq));
                run.records.insert(index + 1, Record::Reset { session, stream, epoch, seq, reason, before });
                &[I5]
            }
            Self::SyncEndBeyond => {
                let index = run.some(|record| matches!(record, Record::Synced { .. }));
                if let Record::Synced { seq, .. } = &mut run.records[index] {
                    *seq += 1;
                }
                &[I5]
            }
            Self::LaterYetSmaller => {
                // The last message but one claims that it began long after the last one had been acknowledged.
                let number = run.records.iter().filter(|record| matches!(record, Record::Invoke { .. })).count();
                let last = u32::try_from(number).unwrap_or(1) - 1;
                for record in &mut run.records {
                    match record {
                        Record::Invoke { publish, at_ns, .. } if *publish + 1 == last => *at_ns += 1_000_000,
                        Record::Ok { publish, at_ns, .. } if *publish + 1 == last => *at_ns += 1_000_000,
                        _ => {}
                    }
                }
                &[I6]
            }
            Self::Disagreement => {
                let (index, received) = run.some_message(|session| session != FINAL_SESSION);
                run.records[index] = Record::Receive(Received { id: received.id + 100_000, ..received });
                &[I4, I2]
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_correct_history_is_clean(seed in any::<u64>()) {
        let verdict = Run::new(seed).judge();
        prop_assert!(verdict.is_clean(), "seed {seed}: {verdict:#?}");
    }

    #[test]
    fn every_single_lie_is_named(seed in any::<u64>()) {
        for lie in Lie::ALL {
            let mut run = Run::new(seed);
            let wanted = lie.tell(&mut run);
            let verdict = run.judge();
            for invariant in wanted {
                prop_assert!(verdict.names(*invariant), "seed {seed}: {lie:?} is not {invariant:?}: {verdict:#?}");
            }
        }
    }
}

#[test]
fn a_run_whose_fault_nobody_felt_proves_nothing() {
    let ledger = Ledger::new();
    ledger.fault_planned("kill");
    assert!(ledger.judge().invalid.is_some_and(|why| why.contains("kill")));
    ledger.fault_bit("kill");
    assert_eq!(ledger.judge().invalid, None);
}

#[test]
fn acknowledgements_without_a_final_read_prove_nothing() {
    let mut run = Run::new(1);
    run.records.retain(|record| match record {
        Record::Open { session, .. } | Record::Synced { session, .. } => *session != FINAL_SESSION,
        Record::Receive(received) => received.session != FINAL_SESSION,
        _ => true,
    });
    assert!(run.judge().invalid.is_some());
}

#[test]
fn checksums_differ_by_one_character() {
    assert_ne!(checksum("the same eight words"), checksum("the same eight wordz"));
    assert_ne!(checksum(""), checksum("\0"));
    assert_ne!(checksum("ab"), checksum("ba"));
}

/// User 1 joins a room at 2, a message is acknowledged at 3, and user 1 is removed at 4; user 1's session has neither, and came
/// back before or after the removal, or not at all. The room was trimmed to these numbers.
fn removed_before_reading(came_back: Option<&[u32]>, first_seqs: &[Seq]) -> Verdict {
    let mut run = Run { records: Vec::new(), random: StdRng::seed_from_u64(1) };
    let (stream, session, id) = (0, 1, 7);
    run.records.push(Record::Invoke { publish: 0, at_ns: 1, stream, sender: 0, id, checksum: 0 });
    run.records.push(Record::Ok { publish: 0, at_ns: 2, epoch: 0, seq: 3 });
    run.records.push(Record::Open { session, user: 1, node: None, limited: false });
    run.records.push(Record::Connected { session });
    run.records.push(Record::Reset { session, stream, epoch: 0, seq: 1, reason: ResetReason::Joined, before: None });
    let events =
        [(EventKind::Other, 0, 0), (EventKind::Joined, 1, 0), (EventKind::Created, 0, id), (EventKind::Removed, 1, 0)];
    let joined = Received {
        session,
        stream,
        epoch: 0,
        user: 1,
        seq: 2,
        id: 0,
        checksum: 0,
        version: 1,
        kind: EventKind::Joined,
        repeat: false,
    };
    run.records.push(Record::Receive(joined));
    if let Some(rooms) = came_back {
        run.records.extend([Record::Connected { session }, Record::Welcomed { session }]);
        run.records.extend(rooms.iter().map(|stream| Record::Follows { session, stream: *stream }));
    }
    run.records.push(Record::Done { session });
    run.records.push(Record::Open { session: FINAL_SESSION, user: 0, node: Some(0), limited: false });
    run.records.push(Record::Position { session: FINAL_SESSION, stream, epoch: 0, seq: 0 });
    run.read(FINAL_SESSION, stream, 1, &events);
    // Who reads in the end has been a member from the beginning.
    run.records.push(Record::Member { stream, user: 0, joined: true, seq: 1 });
    run.judge_of_trimmed(first_seqs)
}

#[test]
fn a_membership_that_ended_while_a_member_was_away_owes_nothing_and_one_that_ended_on_a_standing_line_does() {
    let verdict = removed_before_reading(Some(&[]), &[]);
    assert!(!verdict.names(Invariant::I1), "{verdict:?}");
    for still_a_member in [None, Some(&[0][..])] {
        let verdict = removed_before_reading(still_a_member, &[]);
        assert!(verdict.names(Invariant::I1), "{still_a_member:?}: {verdict:?}");
    }
}

#[test]
fn of_a_membership_whose_end_was_trimmed_away_nothing_is_owed_and_of_one_whose_end_is_kept_all_is() {
    for (first_seqs, is_owed) in [(&[4][..], true), (&[5, 4][..], false)] {
        let verdict = removed_before_reading(None, first_seqs);
        assert_eq!(verdict.names(Invariant::I1), is_owed, "trimmed to {first_seqs:?}: {verdict:?}");
    }
}

/// User 1 stood at 3, and is reset to this number: for having joined again at 8, or because the room was trimmed to 8.
fn reset_meanwhile(reason: ResetReason, limited: bool, seq: u64) -> Verdict {
    let mut run = Run { records: Vec::new(), random: StdRng::seed_from_u64(1) };
    let (session, stream, epoch) = (1, 0, 0);
    let has_joined_again = reason == ResetReason::Joined;
    let turns: &[_] = if has_joined_again { &[(true, 1), (false, 5), (true, 8)] } else { &[(true, 1)] };
    for (joined, seq) in turns {
        run.records.push(Record::Member { stream, user: 1, joined: *joined, seq: *seq });
    }
    run.records.push(Record::Open { session, user: 1, node: None, limited });
    run.records.push(Record::Connected { session });
    run.records.push(Record::Position { session, stream, epoch, seq: 3 });
    run.records.push(Record::Reset { session, stream, epoch, seq, reason, before: Some((epoch, 3)) });
    run.records.push(Record::Done { session });
    run.judge_of_trimmed(if has_joined_again { &[] } else { &[8] })
}

#[test]
fn a_reset_for_joining_again_or_for_what_was_trimmed_lies_right_before_it_or_beyond_it_by_the_own_limit() {
    for reason in [ResetReason::Joined, ResetReason::Trimmed] {
        for (limited, seq, is_explained) in [
            (false, 7, true),
            (false, 12, false),
            (false, 6, false),
            (true, 7, true),
            (true, 12, true),
            (true, 6, false),
        ] {
            let verdict = reset_meanwhile(reason, limited, seq);
            assert_eq!(
                !verdict.names(Invariant::I5),
                is_explained,
                "{reason:?}, limited {limited}, to {seq}: {verdict:?}"
            );
        }
    }
}
