//! What is noted of a walk: the rooms' logs as the warden was told them, and what everybody saw.

use std::collections::{BTreeMap, HashMap, HashSet};

use hallway_protocol::model::{History, Visibility};
use hallway_protocol::{EventBody, Seq};

/// What begins and ends a mark.
const OPEN: &str = "<<";
const CLOSE: &str = ">>";

/// What a mark stands in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Of {
    /// A message: seen by those who may see its number.
    Message,
    /// A task or a comment: work is seen by all members as it is now, also by those who joined later.
    Task,
    /// A notice to a room: seen by those who were members then.
    Notice,
}

/// The number under which a text is recognised.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct Mark {
    pub(crate) of: Of,
    pub(crate) number: u64,
}

impl Mark {
    pub(crate) fn text(self) -> String {
        let letter = match self.of {
            Of::Message => 'm',
            Of::Task => 't',
            Of::Notice => 'n',
        };
        format!("{OPEN}{letter}{}{CLOSE}", self.number)
    }

    /// All marks in a text.
    pub(crate) fn all_in(text: &str) -> HashSet<Self> {
        let marks = text.split(OPEN).skip(1).filter_map(|rest| {
            let inside = rest.split_once(CLOSE)?.0;
            let of = match inside.chars().next()? {
                'm' => Of::Message,
                't' => Of::Task,
                'n' => Of::Notice,
                _ => return None,
            };
            Some(Self { of, number: inside[1..].parse().ok()? })
        });
        marks.collect()
    }
}

/// From the joining to the removal, both of which the person sees.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Membership {
    pub(crate) from: Seq,
    pub(crate) to: Option<Seq>,
}

/// One room, as its events say.
#[derive(Debug, Default)]
pub(crate) struct RoomLog {
    events: BTreeMap<Seq, EventBody>,
    pub(crate) shows_everything: bool,
    /// Whether it is public from these numbers on.
    public: BTreeMap<Seq, bool>,
    memberships: HashMap<String, Vec<Membership>>,
    marks: HashMap<Mark, Seq>,
    messages: HashMap<String, Seq>,
}

impl RoomLog {
    /// What the creator of a channel is not told: its first event.
    pub(crate) fn new(history: History, visibility: Visibility) -> Self {
        Self {
            shows_everything: history == History::All,
            public: BTreeMap::from([(1, visibility == Visibility::Public)]),
            ..Self::default()
        }
    }

    /// Notes an event. They come in order, but may come again.
    pub(crate) fn note(&mut self, seq: Seq, body: &EventBody) {
        if self.events.insert(seq, body.clone()).is_some() {
            return;
        }
        for mark in Mark::all_in(&serde_json::to_string(body).unwrap()) {
            self.marks.entry(mark).or_insert(seq);
        }
        match body {
            EventBody::MemberJoined(joined) => {
                let all = self.memberships.entry(joined.user.to_string()).or_default();
                all.push(Membership { from: seq, to: None });
            }
            EventBody::MemberRemoved(removed) => {
                let all = self.memberships.entry(removed.user.to_string()).or_default();
                all.last_mut().expect("who is removed was a member").to = Some(seq);
            }
            EventBody::RoomUpdated(updated) => {
                self.public.insert(seq, updated.info.visibility == Visibility::Public);
            }
            EventBody::MessageCreated(created) => {
                self.messages.insert(created.message.id.to_string(), seq);
            }
            _ => {}
        }
    }

    /// A notice to the room has no event; it was sent when the room stood here.
    pub(crate) fn note_notice(&mut self, mark: Mark, head: Seq) {
        self.marks.insert(mark, head);
    }

    /// The log has no hole, from the warden's joining on.
    pub(crate) fn is_whole(&self) -> bool {
        self.events.keys().zip(2..).all(|(seq, expected)| *seq == expected)
    }

    pub(crate) fn head(&self) -> Seq {
        self.events.keys().last().copied().unwrap_or(1)
    }

    pub(crate) fn marked(&self, mark: Mark) -> Option<Seq> {
        self.marks.get(&mark).copied()
    }

    pub(crate) fn message(&self, id: &str) -> Option<Seq> {
        self.messages.get(id).copied()
    }

    /// The membership that was in force when the room stood here.
    pub(crate) fn membership(&self, person: &str, head: Seq) -> Option<Membership> {
        let all = self.memberships.get(person)?;
        all.iter().find(|one| one.from <= head && one.to.is_none_or(|to| to > head)).copied()
    }

    /// Whether the person may ever have seen what happened at this number; `from_joining`: only what came since they joined.
    pub(crate) fn may_see(&self, person: &str, seq: Seq, from_joining: bool) -> bool {
        let Some(all) = self.memberships.get(person) else { return false };
        all.iter().any(|one| one.to.is_none_or(|to| seq <= to) && (!from_joining || seq >= one.from))
    }

    pub(crate) fn is_public(&self, head: Seq) -> bool {
        self.public.range(..=head).next_back().is_some_and(|(_, public)| *public)
    }
}

/// Where each room stood.
pub(crate) type Heads = BTreeMap<String, Seq>;

/// What somebody got to see, or did.
#[derive(Debug, Clone)]
pub(crate) enum Seen {
    /// An event of a room's stream.
    Event {
        room: String,
        seq: Seq,
    },
    /// A text of a room, in whatever frame.
    Marked(Mark),
    /// The acknowledgement of a change.
    Wrote {
        room: String,
        seq: Seq,
    },
    /// An answer that only members get.
    Answered {
        room: String,
    },
    /// A refusal.
    Refused {
        room: String,
        code: String,
    },
    /// Something of a room, in an answer about many rooms.
    Listed {
        room: String,
    },
    /// How many tasks there are in all rooms of the asker; and how many there were in each room.
    Counted {
        tasks: u64,
        in_rooms: BTreeMap<String, u64>,
    },
    /// `resolve` found somebody.
    FoundPerson {
        person: String,
    },
    FoundRoom {
        room: String,
    },
    FoundMessage {
        room: String,
        message: String,
    },
    /// An event of the own stream.
    Own {
        seq: Seq,
        body: Box<EventBody>,
    },
    /// A notification in a list.
    ListedNotification {
        id: String,
    },
}

/// Who saw what, by which command, and how the rooms stood when they asked.
#[derive(Debug, Clone)]
pub(crate) struct Sight {
    pub(crate) person: String,
    pub(crate) how: String,
    pub(crate) heads: Heads,
    pub(crate) seen: Seen,
}
