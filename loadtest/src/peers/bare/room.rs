//! Pure: who is in which room, and what a turn of the loop gathered for it.

use std::collections::HashMap;
use std::ops::Range;

/// All rooms. A room stays until the process ends, which is one measurement long.
#[derive(Default)]
pub(super) struct Rooms {
    numbers: HashMap<String, usize>,
    rooms: Vec<Room>,
    /// Rooms for which something was gathered.
    due: Vec<usize>,
    /// A sender's share, without what it said itself.
    others: Vec<u8>,
}

#[derive(Default)]
struct Room {
    members: Vec<usize>,
    gathered: Vec<u8>,
    /// Who sent which part of it.
    parts: Vec<(usize, Range<usize>)>,
}

impl Rooms {
    pub(super) fn join(&mut self, name: &str, member: usize) -> usize {
        let number = match self.numbers.get(name) {
            Some(number) => *number,
            None => {
                self.rooms.push(Room::default());
                self.numbers.insert(name.to_owned(), self.rooms.len() - 1);
                self.rooms.len() - 1
            }
        };
        self.rooms[number].members.push(member);
        number
    }

    pub(super) fn leave(&mut self, room: Option<usize>, member: usize) {
        if let Some(room) = room {
            self.rooms[room].members.retain(|other| *other != member);
        }
    }

    pub(super) fn members(&self, room: usize) -> &[usize] {
        &self.rooms[room].members
    }

    /// Gathers a frame of one member for the others.
    pub(super) fn append(&mut self, number: usize, sender: usize, frame: &[u8]) {
        let room = &mut self.rooms[number];
        if room.gathered.is_empty() {
            self.due.push(number);
        }
        let begin = room.gathered.len();
        room.gathered.extend_from_slice(frame);
        let end = room.gathered.len();
        match room.parts.last_mut() {
            Some((last, part)) if *last == sender => part.end = end,
            _ => room.parts.push((sender, begin..end)),
        }
    }

    /// Hands each member what was gathered for it, in one piece, and forgets it.
    pub(super) fn deliver(&mut self, mut write: impl FnMut(usize, &[u8])) {
        for number in self.due.drain(..) {
            let room = &mut self.rooms[number];
            for member in &room.members {
                if !room.parts.iter().any(|(sender, _)| sender == member) {
                    write(*member, &room.gathered);
                    continue;
                }
                self.others.clear();
                for (_, part) in room.parts.iter().filter(|(sender, _)| sender != member) {
                    self.others.extend_from_slice(&room.gathered[part.clone()]);
                }
                if !self.others.is_empty() {
                    write(*member, &self.others);
                }
            }
            room.gathered.clear();
            room.parts.clear();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_turn_gives_each_member_what_the_others_said_in_order() {
        let mut rooms = Rooms::default();
        let room = rooms.join("a", 1);
        assert_eq!((rooms.join("a", 2), rooms.join("a", 3)), (room, room));
        let other = rooms.join("b", 4);
        assert_ne!(room, other);
        for (sender, frame) in [(1, "A"), (2, "B"), (1, "C")] {
            rooms.append(room, sender, frame.as_bytes());
        }
        let mut written = Vec::new();
        rooms.deliver(|member, bytes| written.push((member, String::from_utf8_lossy(bytes).into_owned())));
        assert_eq!(written, [(1, "B".to_owned()), (2, "AC".to_owned()), (3, "ABC".to_owned())]);
        rooms.deliver(|_, _| panic!("nothing was gathered"));
        rooms.leave(Some(room), 1);
        assert_eq!(rooms.members(room), [2, 3]);
    }
}
