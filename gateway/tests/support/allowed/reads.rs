//! Everything that can be asked, by anybody, about whosever rooms.

use std::collections::BTreeMap;

use rand::RngExt;
use serde_json::{Value, json};

use super::record::{Heads, Seen};
use super::walk::{Ask, Walk};
use super::writes::{about, plain};

/// Most phrases in one question.
const PHRASES_MAX: usize = 4;

impl Walk<'_> {
    pub(super) async fn any_read(&mut self) {
        let (who, room) = (self.anybody(), self.any_room());
        let task = self.any_task().map(|place| (self.tasks[place].room.clone(), self.tasks[place].id.clone()));
        let ask = match (self.random.random_range(0..28), task) {
            (0..4, _) => {
                let direction = if self.random.random_bool(0.5) { "older" } else { "newer" };
                about("message.history", &room, json!({"direction": direction, "limit": 100}))
            }
            (4..7, _) => about("task.list", &room, json!({"order": self.any_order()})),
            (7..10, _) => {
                let other = self.anybody();
                let assignee = self.people[other].name.clone();
                plain("task.list", json!({"assignee": assignee, "order": self.any_order()}))
            }
            (10..13, Some((room, id))) => about("task.get", &room, json!({"id": id})),
            (13..15, Some((room, id))) => about("task.comments", &room, json!({"id": id})),
            (15..17, _) => about("task.summary", &room, json!({})),
            (17..20, _) => plain("task.summary", json!({})),
            (20..22, _) => plain("notification.list", json!({"unread_only": self.random.random_bool(0.3)})),
            (22, _) => plain("room.list", json!({"scope": "mine"})),
            (23, _) => plain("room.list", json!({"scope": "public"})),
            (_, task) => self.question(&room, task),
        };
        let heads = self.heads.clone();
        let answer = self.people[who].devices[0].seat.ask(ask.name, ask.arguments.clone()).await;
        match answer {
            Ok(answer) => self.note_answer(who, &ask, &answer, &heads),
            Err(error) => {
                if let Some(room) = ask.room.clone() {
                    let code = error.code.as_str().to_owned();
                    self.note(who, ask.name, &heads, Seen::Refused { room, code });
                }
            }
        }
        self.absorb(who);
    }

    fn any_order(&mut self) -> &'static str {
        ["newest", "due", "priority"][self.random.random_range(0..3)]
    }

    /// What somebody says, here or elsewhere.
    fn question(&mut self, room: &str, task: Option<(String, String)>) -> Ask {
        let count = self.random.random_range(1..=PHRASES_MAX);
        let phrases: Vec<Value> = (0..count).map(|_| json!({"text": self.any_phrase()})).collect();
        let mut arguments = json!({ "phrases": phrases });
        if self.random.random_bool(0.8) {
            arguments["room"] = json!(room);
        }
        if let Some((_, id)) = task {
            arguments["task"] = json!(id);
        }
        plain("resolve", arguments)
    }

    fn any_phrase(&mut self) -> String {
        let (other, room) = (self.anybody(), self.any_room());
        match self.random.random_range(0..9) {
            0 => self.people[other].name.clone(),
            1 => "person".to_owned(),
            2 => "room".to_owned(),
            3 => room,
            4 => "task".to_owned(),
            5 => "here".to_owned(),
            6 => "this task".to_owned(),
            7 => "last message".to_owned(),
            _ => "everyone on the task".to_owned(),
        }
    }

    fn note_answer(&mut self, who: usize, ask: &Ask, answer: &Value, heads: &Heads) {
        self.note_marks(who, ask.name, &answer.to_string());
        if let Some(room) = ask.room.clone() {
            self.note(who, ask.name, heads, Seen::Answered { room });
        }
        let list = |field: &str| answer[field].as_array().cloned().unwrap_or_default();
        let text = |value: &Value| value.as_str().unwrap().to_owned();
        match ask.name {
            "task.list" => {
                for task in list("tasks") {
                    self.note(who, ask.name, heads, Seen::Listed { room: text(&task["room"]) });
                }
            }
            "task.summary" if ask.room.is_none() => {
                let statuses = ["open", "in_progress", "blocked", "done", "cancelled"];
                let tasks = statuses.iter().map(|status| answer[*status].as_u64().unwrap()).sum();
                let mut in_rooms = BTreeMap::new();
                for known in self.tasks.iter().filter(|known| known.exists) {
                    *in_rooms.entry(known.room.clone()).or_default() += 1;
                }
                self.note(who, ask.name, heads, Seen::Counted { tasks, in_rooms });
            }
            "notification.list" => {
                for notification in list("notifications") {
                    self.note(who, ask.name, heads, Seen::ListedNotification { id: text(&notification["id"]) });
                }
            }
            "room.list" => {
                for room in list("rooms") {
                    self.note(who, ask.name, heads, Seen::FoundRoom { room: text(&room["room"]) });
                }
            }
            "resolve" => {
                for resolution in list("resolutions") {
                    self.note_resolution(who, &resolution, heads);
                }
            }
            _ => {}
        }
    }

    fn note_resolution(&mut self, who: usize, resolution: &Value, heads: &Heads) {
        let Some((kind, found)) = resolution.as_object().and_then(|choice| choice.iter().next()) else { return };
        let candidates = if kind == "one" { vec![found.clone()] } else { found.as_array().unwrap().clone() };
        let text = |value: &Value| value.as_str().unwrap().to_owned();
        for candidate in candidates {
            let (what, of) = candidate.as_object().unwrap().iter().next().unwrap();
            let seen = match what.as_str() {
                // To whom a task is assigned stands in the task, also when they have left its room since.
                "person" if kind == "all" => continue,
                "person" => Seen::FoundPerson { person: text(&of["user"]) },
                "room" => Seen::FoundRoom { room: text(&of["room"]) },
                "task" => Seen::Listed { room: text(&of["room"]) },
                "message" => Seen::FoundMessage { room: text(&of["room"]), message: text(&of["message"]) },
                other => panic!("{other} is nothing that can be found"),
            };
            self.note(who, "resolve", heads, seen);
        }
    }
}
