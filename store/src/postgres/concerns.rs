//! Pure: what a run of writes concerns beside the rows that it writes itself, so that the stored function can lock all of it first
//! without taking the writes apart.

use hallway_protocol::UserId;
use uuid::Uuid;

use super::commit::key;
use crate::{Action, Write};

/// Rooms, and who may be notified in them.
#[derive(Debug, Default)]
pub(super) struct Concerns<'a> {
    /// Names of the intents, one each.
    pub(super) keys: Vec<Uuid>,
    /// Some write is about something else than tasks and messages: the function finds the locks of all of them itself.
    pub(super) is_any: bool,
    pub(super) rooms: Vec<&'a str>,
    /// Who is named, and in which room.
    pub(super) named_in: Vec<&'a str>,
    pub(super) named: Vec<&'a str>,
    /// Tasks whose followers are told.
    pub(super) tasks_in: Vec<&'a str>,
    pub(super) tasks: Vec<Uuid>,
    /// Messages whose senders are answered.
    pub(super) replies_in: Vec<&'a str>,
    pub(super) replies: Vec<Uuid>,
    /// Direct rooms where something is said: everybody there is notified.
    pub(super) direct: Vec<&'a str>,
}

impl<'a> Concerns<'a> {
    pub(super) fn of(writes: &[&'a Write]) -> Self {
        let mut concerns = Self { keys: writes.iter().map(|write| key(write)).collect(), ..Self::default() };
        for write in writes {
            concerns.add(write, writes.len() == 1);
        }
        concerns
    }

    fn add(&mut self, write: &'a Write, is_alone: bool) {
        // Who follows a task or says something by one write of a run may be notified by the next.
        let mut joins_in = false;
        let mut tells_followers = false;
        let mut names: &'a [UserId] = &[];
        let Some(room) = write.action.room() else {
            self.is_any = true;
            return;
        };
        match &write.action {
            Action::SendMessage { mentions, reply_to, .. } => {
                joins_in = true;
                names = mentions;
                self.direct.extend(room.is_direct().then_some(room.as_str()));
                if let Some(message) = reply_to {
                    self.replies_in.push(room.as_str());
                    self.replies.push(message.as_uuid());
                }
            }
            Action::CreateTask { assignees, .. } => {
                joins_in = true;
                names = assignees;
            }
            Action::CommentTask { mentions, .. } => {
                (joins_in, tells_followers) = (true, true);
                names = mentions;
            }
            Action::AssignTask { add, .. } => {
                tells_followers = true;
                names = add;
            }
            Action::EditTask { .. } | Action::MoveTask { .. } | Action::LinkTask { .. } => tells_followers = true,
            Action::FollowTask { .. } => joins_in = true,
            Action::DeleteTask { .. } => {}
            _ => self.is_any = true,
        }
        self.rooms.push(room.as_str());
        if let Some(task) = write.action.task().filter(|_| tells_followers) {
            self.tasks_in.push(room.as_str());
            self.tasks.push(task.as_uuid());
        }
        // Nobody is told what they do themselves.
        let actor = std::iter::once(&write.actor).filter(|_| joins_in && !is_alone);
        for name in names.iter().filter(|name| !is_alone || **name != write.actor).chain(actor) {
            self.named_in.push(room.as_str());
            self.named.push(name.as_str());
        }
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests {
    use hallway_protocol::{MessageId, Nonce, RoomId, TaskId};

    use super::*;

    fn user(name: &str) -> UserId {
        UserId::new(name).unwrap()
    }

    fn write(actor: &str, action: Action) -> Write {
        Write { actor: user(actor), nonce: Nonce::new("n").unwrap(), body_hash: [0; 16], action }
    }

    fn say(actor: &str, mentions: &[&str], reply_to: Option<MessageId>) -> Write {
        let mentions = mentions.iter().map(|name| user(name)).collect();
        let (room, id) = (RoomId::new("r").unwrap(), MessageId::generate());
        write(actor, Action::SendMessage { room, id, text: String::new(), reply_to, mentions, meta: None })
    }

    #[test]
    fn a_write_that_is_alone_locks_nobody_for_the_sake_of_the_actor() {
        let one = say("ada", &["ada", "bob"], None);
        let concerns = Concerns::of(&[&one]);
        assert_eq!((concerns.rooms, concerns.named), (vec!["r"], vec!["bob"]));
        assert!(!concerns.is_any && concerns.tasks.is_empty() && concerns.replies.is_empty());
    }

    #[test]
    fn of_a_run_everybody_who_takes_part_and_all_that_is_answered_is_named() {
        let answered = MessageId::generate();
        let task = TaskId::generate();
        let follow = Action::FollowTask { room: RoomId::new("s").unwrap(), id: task, follow: true };
        let delete = Action::DeleteTask { room: RoomId::new("s").unwrap(), id: task, version: 1 };
        let link = Action::LinkTask {
            room: RoomId::new("s").unwrap(),
            id: task,
            version: 1,
            add: Vec::new(),
            remove: Vec::new(),
        };
        let run = [say("ada", &["bob"], Some(answered)), write("cy", follow), write("cy", delete), write("dan", link)];
        let concerns = Concerns::of(&run.iter().collect::<Vec<_>>());
        assert_eq!(concerns.named, ["bob", "ada", "cy"]);
        assert_eq!(concerns.named_in, ["r", "r", "s"]);
        assert_eq!(concerns.replies, [answered.as_uuid()]);
        assert_eq!(concerns.tasks, [task.as_uuid()]);
        assert_eq!((concerns.rooms, concerns.keys.len()), (vec!["r", "s", "s", "s"], 4));
    }

    #[test]
    fn a_write_of_another_kind_makes_the_function_look_for_the_locks() {
        let join = write("ada", Action::Join { room: RoomId::new("r").unwrap() });
        let name = write("ada", Action::SetProfile { user: user("ada"), name: None });
        assert!(Concerns::of(&[&join]).is_any && Concerns::of(&[&name]).is_any);
    }
}
