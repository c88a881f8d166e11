//! A random walk: who does what next, and what is noted of it.

use std::collections::BTreeMap;

use hallway_protocol::model::{History, Visibility};
use hallway_protocol::{EventBody, Position, Seq, ServerFrame, StreamId};
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use serde_json::{Value, json};

use super::super::node::TestNode;
use super::super::seat::room_stream;
use super::crowd::{Device, Person, WARDEN};
use super::judge::{Verdict, judge};
use super::record::{Heads, Mark, Of, RoomLog, Seen, Sight};
use super::writes::about;

/// People besides the warden.
const PEOPLE: usize = 5;
const ROOMS_AT_FIRST: usize = 4;
pub(super) const ROOMS_MAX: usize = 7;
/// Writes that are sent before any of them is answered.
const BURST_WRITES: usize = 5;

/// A command with the room that it is about.
pub(super) struct Ask {
    pub(super) name: &'static str,
    pub(super) arguments: Value,
    pub(super) room: Option<String>,
    /// Of a notice, which makes no event of the room.
    pub(super) notice: Option<Mark>,
}

/// A task or message that somebody made, or tried to make.
pub(super) struct Known {
    pub(super) room: String,
    pub(super) id: String,
    pub(super) version: u64,
    pub(super) exists: bool,
}

pub(crate) struct Walk<'a> {
    node: &'a TestNode,
    pub(super) random: StdRng,
    pub(super) people: Vec<Person>,
    pub(super) rooms: BTreeMap<String, RoomLog>,
    pub(super) heads: Heads,
    pub(super) tasks: Vec<Known>,
    pub(super) messages: Vec<Known>,
    pub(super) sights: Vec<Sight>,
    notices: Vec<(Mark, String, Seq)>,
    marks: u64,
}

impl<'a> Walk<'a> {
    /// Walks so many steps, and judges what everybody saw.
    pub(crate) async fn run(node: &'a TestNode, seed: u64, steps: u32) -> Verdict {
        let mut walk = Self {
            node,
            random: StdRng::seed_from_u64(seed),
            people: Vec::new(),
            rooms: BTreeMap::new(),
            heads: Heads::new(),
            tasks: Vec::new(),
            messages: Vec::new(),
            sights: Vec::new(),
            notices: Vec::new(),
            marks: 0,
        };
        walk.begin().await;
        for _ in 0..steps {
            walk.step().await;
        }
        walk.end().await
    }

    async fn begin(&mut self) {
        for number in 0..=PEOPLE {
            let name = if number == WARDEN { "warden".to_owned() } else { format!("p{number}") };
            let devices = if number == 1 { 2 } else { 1 };
            let mut person = Person { name, devices: Vec::new() };
            for _ in 0..devices {
                person.devices.push(Device::connect(self.node, &person.name, Vec::new()).await);
            }
            self.people.push(person);
        }
        for number in 0..self.people.len() {
            let name = format!("Person {}", self.people[number].name);
            self.must(number, "profile.set", json!({ "name": name })).await;
        }
        for _ in 0..ROOMS_AT_FIRST {
            self.found_a_room().await;
        }
        for room in self.heads.clone().into_keys() {
            for other in 1..self.people.len() {
                if self.random.random_bool(0.5) {
                    let user = self.people[other].name.clone();
                    let ask = about("room.invite", &room, json!({"user": user, "role": "member"}));
                    self.carry_out(WARDEN, ask).await;
                }
            }
        }
    }

    pub(super) async fn found_a_room(&mut self) {
        let number = self.rooms.len();
        // The first four are the four kinds, so that no walk misses one.
        let bits = if number < ROOMS_AT_FIRST { number } else { self.random.random_range(0..4) };
        let (visibility, public) =
            if bits & 1 == 0 { (Visibility::Private, "private") } else { (Visibility::Public, "public") };
        let (history, shows) = if bits & 2 == 0 { (History::SinceJoin, "since_join") } else { (History::All, "all") };
        let room = format!("r{number}");
        let arguments = json!({"room": room, "visibility": public, "history": shows, "name": format!("Room {number}")});
        // Its first events may come before the answer.
        self.rooms.insert(room.clone(), RoomLog::new(history, visibility));
        let seq = self.must(WARDEN, "room.create", arguments).await["seq"].as_u64().unwrap();
        self.heads.insert(room, seq);
    }

    async fn step(&mut self) {
        match self.random.random_range(0..100) {
            0 if self.rooms.len() < ROOMS_MAX => self.found_a_room().await,
            0..62 => {
                let (who, ask) = self.any_write();
                self.carry_out(who, ask).await;
            }
            62..90 => self.any_read().await,
            90..95 => self.reconnect().await,
            _ => self.burst().await,
        }
    }

    /// One command, answered before the next: everybody's standing is known when it is asked.
    pub(super) async fn carry_out(&mut self, who: usize, ask: Ask) {
        let heads = self.heads.clone();
        let device = self.any_device(who);
        let answer = self.people[who].devices[device].seat.ask(ask.name, ask.arguments.clone()).await;
        let answer = answer.map_err(|error| error.code.as_str());
        self.settle(who, &ask, answer, Some(&heads));
        self.absorb(who);
    }

    /// Several commands at once: of several people, or a removal among messages of the same room.
    async fn burst(&mut self) {
        let asks: Vec<(usize, Ask)> = if self.random.random_bool(0.5) {
            (0..BURST_WRITES).map(|_| self.any_write()).filter(|(_, ask)| ask.notice.is_none()).collect()
        } else {
            self.removal_among_messages(BURST_WRITES)
        };
        let mut sent = Vec::new();
        for (who, ask) in asks {
            let device = self.any_device(who);
            let id = self.people[who].devices[device].seat.send(ask.name, ask.arguments.clone()).await;
            sent.push((who, device, id, ask));
        }
        for (who, device, id, ask) in sent {
            let answer = self.people[who].devices[device].seat.answer(id).await.map_err(|error| error.code.as_str());
            self.settle(who, &ask, answer, None);
            self.absorb(who);
        }
    }

    /// Notes what a write came to. Without `heads` others wrote at the same time, and only numbers say what was allowed.
    fn settle(&mut self, who: usize, ask: &Ask, answer: Result<Value, &str>, heads: Option<&Heads>) {
        if let Ok(answer) = &answer {
            // What one says oneself is no secret: a stale answer within an atomic whole shows what its earlier actions would
            // have made, and nothing of that may ever be committed.
            let own = Mark::all_in(&ask.arguments.to_string());
            for mark in Mark::all_in(&answer.to_string()).difference(&own) {
                self.note(who, ask.name, &Heads::new(), Seen::Marked(*mark));
            }
        }
        if ask.name == "actions" {
            return self.settle_actions(who, ask, answer, heads);
        }
        match answer {
            Ok(answer) if answer.get("stale").is_some() => {
                self.learn_version(&answer["stale"]);
                self.note_exactly(who, ask, heads, |room| Seen::Answered { room });
            }
            Ok(answer) => self.settle_commit(who, ask, answer.get("committed").unwrap_or(&answer)),
            Err(code) => {
                let code = code.to_owned();
                self.note_exactly(who, ask, heads, |room| Seen::Refused { room, code });
            }
        }
    }

    fn settle_actions(&mut self, who: usize, ask: &Ask, answer: Result<Value, &str>, heads: Option<&Heads>) {
        // A refusal of the whole says nothing of any room.
        let Ok(answer) = answer else { return };
        let items = ask.arguments["actions"].as_array().unwrap();
        for (item, result) in items.iter().zip(answer["results"].as_array().unwrap()) {
            let (name, arguments) = item.as_object().unwrap().iter().next().unwrap();
            let making = ["task.create", "task.delete", "message.send", "message.delete"];
            let name = making.into_iter().find(|making| making == name).unwrap_or("one of several");
            let room = arguments["room"].as_str().map(str::to_owned);
            let part = Ask { name, arguments: arguments.clone(), room, notice: None };
            if let Some(committed) = result.get("committed") {
                self.settle_commit(who, &part, committed);
            } else if let Some(stale) = result.get("stale") {
                self.learn_version(stale);
                self.note_exactly(who, &part, heads, |room| Seen::Answered { room });
            } else if let Some(failed) = result.get("failed") {
                let code = failed["code"].as_str().unwrap().to_owned();
                self.note_exactly(who, &part, heads, |room| Seen::Refused { room, code });
            }
        }
    }

    fn settle_commit(&mut self, who: usize, ask: &Ask, committed: &Value) {
        let stream = committed["stream"].as_str().unwrap();
        let Some(room) = stream.strip_prefix("room:").map(str::to_owned) else { return };
        let seq = committed["seq"].as_u64().unwrap();
        if let Some(mark) = ask.notice {
            self.notices.push((mark, room.clone(), seq));
        }
        let all = self.tasks.iter_mut().chain(&mut self.messages);
        let about = all.filter(|known| Some(known.id.as_str()) == ask.arguments["id"].as_str());
        for known in about {
            match ask.name {
                "task.create" | "message.send" => known.exists = true,
                "task.delete" | "message.delete" => known.exists = false,
                _ => {}
            }
        }
        let head = self.heads.get_mut(&room).unwrap();
        // An invitation that changes nothing is answered with the number of the joining that it found.
        let is_found = ask.name == "room.invite" && seq <= *head;
        *head = seq.max(*head);
        if !is_found {
            self.note(who, ask.name, &Heads::new(), Seen::Wrote { room, seq });
        }
    }

    fn note_exactly(&mut self, who: usize, ask: &Ask, heads: Option<&Heads>, seen: impl FnOnce(String) -> Seen) {
        if let Some((heads, room)) = heads.zip(ask.room.clone()) {
            self.note(who, ask.name, heads, seen(room));
        }
    }

    pub(super) fn note(&mut self, who: usize, how: &str, heads: &Heads, seen: Seen) {
        let person = self.people[who].name.clone();
        self.sights.push(Sight { person, how: how.to_owned(), heads: heads.clone(), seen });
    }

    pub(super) fn note_marks(&mut self, who: usize, how: &str, text: &str) {
        for mark in Mark::all_in(text) {
            self.note(who, how, &Heads::new(), Seen::Marked(mark));
        }
    }

    fn learn_version(&mut self, task: &Value) {
        let id = task["id"].as_str();
        if let Some(known) = self.tasks.iter_mut().find(|known| Some(known.id.as_str()) == id) {
            known.version = task["version"].as_u64().unwrap();
        }
    }

    /// Notes what came to a person's devices.
    pub(super) fn absorb(&mut self, who: usize) {
        for device in 0..self.people[who].devices.len() {
            for frame in self.people[who].devices[device].absorb() {
                self.note_marks(who, "a frame", &serde_json::to_string(&frame).unwrap());
                if let ServerFrame::Event(event) = frame {
                    self.note_event(who, &event.stream, event.seq, event.body);
                }
            }
        }
    }

    fn note_event(&mut self, who: usize, stream: &StreamId, seq: Seq, body: EventBody) {
        if let EventBody::TaskChanged(changed) = &body {
            self.learn_version(&serde_json::to_value(&changed.task).unwrap());
        }
        match stream {
            StreamId::Room(room) => {
                if who == WARDEN {
                    self.rooms.get_mut(room.as_str()).unwrap().note(seq, &body);
                }
                self.note(who, body.name(), &Heads::new(), Seen::Event { room: room.to_string(), seq });
            }
            StreamId::User(user) => {
                assert_eq!(user.as_str(), self.people[who].name, "a stream of somebody else");
                self.note(who, "a frame", &Heads::new(), Seen::Own { seq, body: Box::new(body) });
            }
            StreamId::System => {}
        }
    }

    /// Goes and comes back, from where it stood, from nowhere, or from wherever it likes, in whosever rooms.
    async fn reconnect(&mut self) {
        let who = self.anybody();
        self.absorb(who);
        let device = self.any_device(who);
        let seat = &self.people[who].devices[device];
        let epoch = seat.seat.welcome.epoch.clone();
        let held = seat.positions.clone();
        let own = StreamId::User(self.people[who].name.parse().unwrap());
        let mut positions = vec![(own.clone(), held.get(&own).copied().unwrap_or(0))];
        for (room, head) in self.heads.clone() {
            let stream = room_stream(&room);
            let seq = match self.random.random_range(0..4) {
                0 => 0,
                1 => self.random.random_range(0..=head),
                2 => head,
                _ => match held.get(&stream) {
                    Some(held) => *held,
                    None => continue,
                },
            };
            // The warden's log must have no hole.
            let seq = if who == WARDEN { held.get(&stream).copied().unwrap_or(0) } else { seq };
            positions.push((stream, seq));
        }
        let positions = positions.into_iter().map(|(stream, seq)| Position { stream, epoch: epoch.clone(), seq });
        let name = self.people[who].name.clone();
        self.people[who].devices.remove(device);
        let back = Device::connect(self.node, &name, positions.collect()).await;
        self.people[who].devices.insert(device, back);
        self.absorb(who);
    }

    /// Waits until everybody has what is theirs, and judges.
    async fn end(mut self) -> Verdict {
        for (room, head) in self.heads.clone() {
            self.people[WARDEN].devices[0].reaches(&room_stream(&room), head).await;
        }
        self.absorb(WARDEN);
        for (mark, room, head) in std::mem::take(&mut self.notices) {
            self.rooms.get_mut(&room).unwrap().note_notice(mark, head);
        }
        for who in 0..self.people.len() {
            let name = self.people[who].name.clone();
            // The last event of the own stream: everything before it has come with it.
            let last = self.must(who, "profile.set", json!({"name": "the end"})).await["seq"].as_u64().unwrap();
            let own = StreamId::User(name.parse().unwrap());
            let mine = self.heads.iter().filter(|(room, head)| self.rooms[*room].membership(&name, **head).is_some());
            let mine: Vec<(String, Seq)> = mine.map(|(room, head)| (room.clone(), *head)).collect();
            for device in &mut self.people[who].devices {
                device.reaches(&own, last).await;
                for (room, head) in &mine {
                    device.reaches(&room_stream(room), *head).await;
                }
            }
            self.absorb(who);
        }
        for (room, log) in &self.rooms {
            assert!(log.is_whole() && log.head() == self.heads[room], "{room}: the warden's log has a hole");
        }
        judge(&self.rooms, &self.sights)
    }

    /// A command that cannot be refused.
    async fn must(&mut self, who: usize, name: &str, arguments: Value) -> Value {
        let answer = self.people[who].devices[0].seat.done(name, arguments).await;
        self.absorb(who);
        answer
    }

    fn any_device(&mut self, who: usize) -> usize {
        self.random.random_range(0..self.people[who].devices.len())
    }

    /// Somebody who is not the warden.
    pub(super) fn anybody(&mut self) -> usize {
        self.random.random_range(1..self.people.len())
    }

    /// Something that is there more often than not, wherever it is.
    pub(super) fn any_of(random: &mut StdRng, known: &[Known]) -> Option<usize> {
        let there: Vec<usize> = (0..known.len()).filter(|place| known[*place].exists).collect();
        if !there.is_empty() && random.random_bool(0.8) {
            return Some(there[random.random_range(0..there.len())]);
        }
        (!known.is_empty()).then(|| random.random_range(0..known.len()))
    }

    pub(super) fn any_room(&mut self) -> String {
        let place = self.random.random_range(0..self.rooms.len());
        self.rooms.keys().nth(place).unwrap().clone()
    }

    /// A text that is recognised.
    pub(super) fn marked(&mut self, of: Of) -> (String, Mark) {
        self.marks += 1;
        let mark = Mark { of, number: self.marks };
        (format!("about {}", mark.text()), mark)
    }
}
