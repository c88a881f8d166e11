//! Everything that can be written, by anybody, in whosever rooms.

use hallway_protocol::{CommentId, MessageId, TaskId};
use rand::RngExt;
use serde_json::{Value, json};

use super::crowd::WARDEN;
use super::record::Of;
use super::walk::{Ask, Known, Walk};

/// Most people whom one command names.
const NAMED_MAX: usize = 3;
/// Most commands in one `actions`.
const ACTIONS_MAX: usize = 4;
/// How soon tasks are due that are due at all.
const DUE_WITHIN_MS: u64 = 3_000;

impl Walk<'_> {
    pub(super) fn any_write(&mut self) -> (usize, Ask) {
        match self.random.random_range(0..100) {
            0..24 => self.about_members(),
            24..90 => {
                let who = self.writer();
                (who, self.content())
            }
            _ => {
                let who = self.writer();
                let count = self.random.random_range(1..=ACTIONS_MAX);
                let items: Vec<Value> =
                    (0..count).map(|_| self.content()).filter(|ask| ask.notice.is_none()).map(as_item).collect();
                let atomic = self.random.random_bool(0.5);
                if items.is_empty() {
                    return self.any_write();
                }
                (who, plain("actions", json!({"atomic": atomic, "actions": items})))
            }
        }
    }

    /// The warden writes, too, so that there is something in rooms that others are not in.
    fn writer(&mut self) -> usize {
        if self.random.random_bool(0.2) { WARDEN } else { self.anybody() }
    }

    fn about_members(&mut self) -> (usize, Ask) {
        let (room, other) = (self.any_room(), self.anybody());
        let user = self.people[other].name.clone();
        let acts = if self.random.random_bool(0.6) { WARDEN } else { self.anybody() };
        match self.random.random_range(0..34) {
            0..9 => (self.anybody(), about("room.join", &room, json!({}))),
            9..11 => (self.anybody(), about("room.leave", &room, json!({}))),
            11..24 => {
                let role = ["guest", "member", "member", "member", "admin"][self.random.random_range(0..5)];
                (acts, about("room.invite", &room, json!({"user": user, "role": role})))
            }
            24..27 => (acts, about("room.remove", &room, json!({"user": user}))),
            27..29 => (acts, about("room.kick", &room, json!({"user": user}))),
            29 => (acts, about("room.ban", &room, json!({"user": user}))),
            30..33 => (acts, about("room.unban", &room, json!({"user": user}))),
            _ => {
                let visibility = if self.random.random_bool(0.5) { "public" } else { "private" };
                (WARDEN, about("room.update", &room, json!({"visibility": visibility})))
            }
        }
    }

    /// Somebody is removed, and the next messages of the room follow so closely that one look at the log finds them together.
    pub(super) fn removal_among_messages(&mut self, writes: usize) -> Vec<(usize, Ask)> {
        let (room, other) = (self.any_room(), self.anybody());
        let user = self.people[other].name.clone();
        let mut asks = vec![(WARDEN, about("room.remove", &room, json!({"user": user})))];
        asks.extend((1..writes).map(|_| (WARDEN, self.message(&room))));
        asks
    }

    fn content(&mut self) -> Ask {
        let room = self.any_room();
        match self.random.random_range(0..58) {
            0..12 => self.message(&room),
            12..20 => self.about_a_message(),
            20..31 => self.new_task(&room),
            31..54 => self.about_a_task(),
            _ => {
                let (title, mark) = self.marked(Of::Notice);
                let arguments = json!({"to": {"room": room}, "title": title, "urgent": self.random.random_bool(0.2)});
                Ask { name: "notify", arguments, room: Some(room), notice: Some(mark) }
            }
        }
    }

    fn message(&mut self, room: &str) -> Ask {
        let (text, _) = self.marked(Of::Message);
        let id = MessageId::generate().to_string();
        let mut arguments = json!({"id": id, "text": text, "mentions": self.some_people()});
        if let Some((_, answered)) = self.any_message() {
            arguments["reply_to"] = json!(answered);
        }
        self.messages.push(Known { room: room.to_owned(), id, version: 1, exists: false });
        about("message.send", room, arguments)
    }

    fn about_a_message(&mut self) -> Ask {
        let Some((room, id)) = self.any_message() else { return self.message("r0") };
        match self.random.random_range(0..4) {
            0 => about("message.delete", &room, json!({"id": id})),
            1 => about("message.react", &room, json!({"id": id, "emoji": "x"})),
            _ => {
                let (text, _) = self.marked(Of::Message);
                about("message.edit", &room, json!({"id": id, "text": text, "mentions": self.some_people()}))
            }
        }
    }

    fn new_task(&mut self, room: &str) -> Ask {
        let (title, _) = self.marked(Of::Task);
        let id = TaskId::generate().to_string();
        let mut arguments = json!({"id": id, "title": format!("task {title}"), "assignees": self.some_people()});
        if let Some(other) = self.any_task()
            && self.tasks[other].room == room
            && self.random.random_bool(0.5)
        {
            arguments["waits_on"] = json!([self.tasks[other].id]);
        }
        if self.random.random_bool(0.3) {
            // Its time comes while the walk goes on: whoever is told then must be a member then.
            let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_millis();
            let now_ms = u64::try_from(now).unwrap();
            arguments["due_at_ms"] = json!(now_ms + self.random.random_range(0..DUE_WITHIN_MS));
        }
        self.tasks.push(Known { room: room.to_owned(), id, version: 1, exists: false });
        about("task.create", room, arguments)
    }

    fn about_a_task(&mut self) -> Ask {
        let Some(place) = self.any_task() else { return self.new_task("r0") };
        let (room, id, mut version) = {
            let known = &self.tasks[place];
            (known.room.clone(), known.id.clone(), known.version)
        };
        if self.random.random_bool(0.15) {
            version = 1;
        }
        let (text, _) = self.marked(Of::Task);
        match self.random.random_range(0..23) {
            0..4 => about("task.update", &room, json!({"id": id, "version": version, "title": format!("task {text}")})),
            4..8 => {
                let status = ["open", "in_progress", "blocked", "done", "cancelled"][self.random.random_range(0..5)];
                about("task.move", &room, json!({"id": id, "version": version, "status": status}))
            }
            8..13 => {
                let (add, remove) = (self.some_people(), self.some_people());
                if add.is_empty() && remove.is_empty() {
                    return self.about_a_task();
                }
                about("task.assign", &room, json!({"id": id, "version": version, "add": add, "remove": remove}))
            }
            13..19 => {
                let comment = CommentId::generate().to_string();
                let mentions = self.some_people();
                about("task.comment", &room, json!({"id": id, "comment": comment, "text": text, "mentions": mentions}))
            }
            19 => about("task.follow", &room, json!({"id": id, "follow": self.random.random_bool(0.7)})),
            20 | 21 => {
                let other = self.any_task().map(|other| self.tasks[other].id.clone());
                about("task.depend", &room, json!({"id": id, "version": version, "add": [other]}))
            }
            _ => about("task.delete", &room, json!({"id": id, "version": version})),
        }
    }

    /// Some of the people, whether or not the room is theirs.
    fn some_people(&mut self) -> Vec<String> {
        let count = self.random.random_range(0..=NAMED_MAX);
        (0..count)
            .map(|_| {
                let who = self.anybody();
                self.people[who].name.clone()
            })
            .collect()
    }

    pub(super) fn any_task(&mut self) -> Option<usize> {
        Self::any_of(&mut self.random, &self.tasks)
    }

    fn any_message(&mut self) -> Option<(String, String)> {
        let known = &self.messages[Self::any_of(&mut self.random, &self.messages)?];
        Some((known.room.clone(), known.id.clone()))
    }
}

pub(super) fn plain(name: &'static str, arguments: Value) -> Ask {
    Ask { name, arguments, room: None, notice: None }
}

pub(super) fn about(name: &'static str, room: &str, mut arguments: Value) -> Ask {
    arguments["room"] = json!(room);
    Ask { name, arguments, room: Some(room.to_owned()), notice: None }
}

/// A command as one of several.
fn as_item(ask: Ask) -> Value {
    let mut arguments = ask.arguments;
    arguments["nonce"] = json!(loadtest_client::client::nonce().as_str());
    json!({ ask.name: arguments })
}
