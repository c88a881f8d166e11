//! The records, put together by publish, session and member.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

use hallway_protocol::Seq;

use super::record::{EventKind, Received, Record};
use super::verdict::Counts;
use super::{Expected, Names, Shared};

#[derive(Debug, Default, Clone, Copy)]
pub(super) struct Publish {
    pub(super) invoked_at_ns: u64,
    pub(super) stream: u32,
    pub(super) sender: u32,
    pub(super) id: u128,
    pub(super) checksum: u64,
    /// The first acknowledgement: when, epoch, seq.
    pub(super) ok: Option<(u64, u32, Seq)>,
    /// An acknowledgement that says otherwise.
    pub(super) other_ok: Option<(u32, Seq)>,
    attempts: u32,
    fails: u32,
}

impl Publish {
    /// Every attempt was definitely refused.
    pub(super) fn failed(&self) -> bool {
        self.ok.is_none() && self.fails == self.attempts
    }
}

#[derive(Debug, Default)]
pub(super) struct Session<'a> {
    pub(super) number: u32,
    pub(super) user: u32,
    pub(super) node: Option<u32>,
    pub(super) limited: bool,
    pub(super) done: bool,
    pub(super) lines: Vec<&'a Record>,
    connections: u64,
}

/// A time as a member: from the joining on, up to and including the removal.
#[derive(Debug, Clone, Copy)]
pub(super) struct Membership {
    pub(super) joined: Seq,
    pub(super) removed: Option<Seq>,
}

pub(super) struct History<'a> {
    pub(super) publishes: BTreeMap<u32, Publish>,
    pub(super) by_id: HashMap<u128, u32>,
    pub(super) sessions: BTreeMap<u32, Session<'a>>,
    /// By stream and user.
    pub(super) members: HashMap<(u32, u32), Vec<Membership>>,
    pub(super) history_all: HashSet<u32>,
    pub(super) expected: &'a [Expected],
    pub(super) newest_epoch: Option<u32>,
    /// What is said of tasks and notifications.
    pub(super) jobs: Vec<&'a Record>,
    names: &'a Names,
}

impl<'a> History<'a> {
    pub(super) fn build(shared: &'a Shared) -> Self {
        let history_all =
            shared.history_all.iter().filter_map(|stream| shared.names.streams.numbers.get(stream)).copied().collect();
        let mut history = Self {
            publishes: BTreeMap::new(),
            by_id: HashMap::new(),
            sessions: BTreeMap::new(),
            members: HashMap::new(),
            history_all,
            expected: &shared.expected,
            newest_epoch: None,
            jobs: Vec::new(),
            names: &shared.names,
        };
        let mut steps: HashMap<(u32, u32), BTreeSet<(Seq, bool)>> = HashMap::new();
        for record in shared.finished.iter().flatten() {
            history.take(record, &mut steps);
        }
        for (pair, steps) in steps {
            history.members.insert(pair, memberships(&steps));
        }
        // Final reads come last, so they speak of the newest epoch.
        history.newest_epoch = history.sessions.values().filter(|session| session.node.is_some()).find_map(last_epoch);
        history
    }

    fn take(&mut self, record: &'a Record, steps: &mut HashMap<(u32, u32), BTreeSet<(Seq, bool)>>) {
        match record {
            Record::Invoke { publish, at_ns, stream, sender, id, checksum } => {
                let entry = self.publishes.entry(*publish).or_default();
                entry.invoked_at_ns = *at_ns;
                (entry.stream, entry.sender, entry.id, entry.checksum) = (*stream, *sender, *id, *checksum);
                entry.attempts += 1;
                self.by_id.insert(*id, *publish);
            }
            Record::Retry { publish } => self.publishes.entry(*publish).or_default().attempts += 1,
            Record::Fail { publish } => self.publishes.entry(*publish).or_default().fails += 1,
            Record::Unknown { .. } => {}
            Record::Ok { publish, at_ns, epoch, seq } => {
                let entry = self.publishes.entry(*publish).or_default();
                match entry.ok {
                    None => entry.ok = Some((*at_ns, *epoch, *seq)),
                    Some((_, first_epoch, first_seq)) if (first_epoch, first_seq) != (*epoch, *seq) => {
                        entry.other_ok = Some((*epoch, *seq));
                    }
                    Some(_) => {}
                }
            }
            Record::Member { stream, user, joined, seq } => {
                steps.entry((*stream, *user)).or_default().insert((*seq, *joined));
            }
            Record::Open { session, user, node, limited } => {
                let entry = self.session(*session);
                (entry.user, entry.node, entry.limited) = (*user, *node, *limited);
            }
            Record::Connected { session } => self.session(*session).connections += 1,
            Record::Done { session } => self.session(*session).done = true,
            Record::Receive(received) => {
                if matches!(received.kind, EventKind::Joined | EventKind::Removed) {
                    let joined = received.kind == EventKind::Joined;
                    steps.entry((received.stream, received.user)).or_default().insert((received.seq, joined));
                }
                self.session(received.session).lines.push(record);
            }
            Record::TaskCommitted { .. }
            | Record::TaskUnknown { .. }
            | Record::TaskSeen { .. }
            | Record::Owed { .. }
            | Record::Notified { .. }
            | Record::Unread { .. } => self.jobs.push(record),
            Record::Welcomed { session }
            | Record::Follows { session, .. }
            | Record::Position { session, .. }
            | Record::Reset { session, .. }
            | Record::Synced { session, .. } => {
                self.session(*session).lines.push(record);
            }
        }
    }

    fn session(&mut self, number: u32) -> &mut Session<'a> {
        let entry = self.sessions.entry(number).or_default();
        entry.number = number;
        entry
    }

    pub(super) fn received(&self) -> impl Iterator<Item = (&Session<'a>, &'a Received)> {
        self.sessions.values().flat_map(|session| {
            session.lines.iter().filter_map(move |record| match record {
                Record::Receive(received) => Some((session, received)),
                _ => None,
            })
        })
    }

    pub(super) fn expects_new_epoch(&self) -> bool {
        self.expected.contains(&Expected::NewEpoch)
    }

    /// The first number that was kept when the stream was trimmed for the last time; 0: never.
    pub(super) fn trimmed_to(&self, stream: u32) -> Seq {
        self.first_seqs_of_trims(stream).max().unwrap_or(0)
    }

    /// What the stream began with after each time that it was trimmed.
    pub(super) fn first_seqs_of_trims(&self, stream: u32) -> impl Iterator<Item = Seq> {
        let name = self.names.streams.list.get(stream as usize);
        self.expected.iter().filter_map(move |expected| match expected {
            Expected::Trimmed { stream, first_seq } => (Some(stream) == name).then_some(*first_seq),
            Expected::NewEpoch => None,
        })
    }

    pub(super) fn stream_name(&self, number: u32) -> String {
        self.names.streams.list.get(number as usize).map_or_else(|| "?".to_owned(), ToString::to_string)
    }

    pub(super) fn user_name(&self, number: u32) -> &str {
        self.names.users.list.get(number as usize).map_or("?", |user| user.as_str())
    }

    pub(super) fn is_room(&self, number: u32) -> bool {
        self.names.streams.list.get(number as usize).is_some_and(|stream| stream.room().is_some())
    }

    /// A stream with acknowledgements that no final read covers.
    pub(super) fn stream_without_final_read(&self) -> Option<String> {
        let acknowledged: BTreeSet<u32> =
            self.publishes.values().filter(|publish| publish.ok.is_some()).map(|publish| publish.stream).collect();
        let read: HashSet<u32> = self
            .sessions
            .values()
            .filter(|session| session.node.is_some())
            .flat_map(|session| session.lines.iter())
            .filter_map(|record| match record {
                Record::Receive(received) => Some(received.stream),
                Record::Synced { stream, .. } => Some(*stream),
                _ => None,
            })
            .collect();
        acknowledged.iter().find(|stream| !read.contains(stream)).map(|stream| self.stream_name(*stream))
    }

    pub(super) fn counts(&self) -> Counts {
        let mut counts = Counts { sessions: self.sessions.len() as u64, ..Counts::default() };
        for publish in self.publishes.values() {
            counts.publishes += 1;
            match (publish.ok, publish.failed()) {
                (Some(_), _) => counts.acknowledged += 1,
                (None, true) => counts.failed += 1,
                (None, false) => counts.unknown += 1,
            }
        }
        for record in &self.jobs {
            counts.task_changes += u64::from(matches!(record, Record::TaskCommitted { .. }));
            counts.owed += u64::from(matches!(record, Record::Owed { .. }));
        }
        for session in self.sessions.values() {
            counts.final_reads += u64::from(session.node.is_some());
            counts.reconnects += session.connections.saturating_sub(1);
            for record in &session.lines {
                match record {
                    Record::Receive(received) if received.repeat => counts.raw_repeats += 1,
                    Record::Receive(_) => counts.received += 1,
                    Record::Reset { .. } => counts.resets += 1,
                    _ => {}
                }
            }
        }
        counts
    }
}

fn last_epoch(session: &Session<'_>) -> Option<u32> {
    session.lines.iter().rev().find_map(|record| match record {
        Record::Synced { epoch, .. } => Some(*epoch),
        Record::Receive(received) => Some(received.epoch),
        _ => None,
    })
}

fn memberships(steps: &BTreeSet<(Seq, bool)>) -> Vec<Membership> {
    let mut list: Vec<Membership> = Vec::new();
    for (seq, joined) in steps {
        match (list.last_mut(), joined) {
            (Some(Membership { removed: None, .. }), true) => {}
            (_, true) => list.push(Membership { joined: *seq, removed: None }),
            (Some(open @ Membership { removed: None, .. }), false) => open.removed = Some(*seq),
            (_, false) => list.push(Membership { joined: 0, removed: Some(*seq) }),
        }
    }
    list
}
