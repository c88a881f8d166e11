//! Pure: which writes of a batch go on without the rooms that someone else has locked.

use std::collections::HashSet;

use crate::Write;

/// What the rest of a batch must not overtake.
#[derive(Debug, Default)]
pub(super) struct Waiting<'a> {
    rooms: HashSet<&'a str>,
    /// Who has a write that waits: their later ones wait behind it, whatever room they are for.
    actors: HashSet<&'a str>,
}

impl<'a> Waiting<'a> {
    /// These rooms are locked.
    pub(super) fn lock(&mut self, rooms: impl IntoIterator<Item = &'a str>) {
        self.rooms.extend(rooms);
    }

    pub(super) fn is_locked(&self, write: &Write) -> bool {
        write.action.room().is_some_and(|room| self.rooms.contains(room.as_str()))
    }

    /// Those of a run that go on, and those that wait; both in their order. Runs of a batch are split in their order, too.
    pub(super) fn split(&mut self, batch: &'a [Write], run: Vec<usize>) -> (Vec<usize>, Vec<usize>) {
        run.into_iter().partition(|index| {
            let write = &batch[*index];
            let goes = !self.is_locked(write) && !self.actors.contains(write.actor.as_str());
            if !goes {
                self.actors.insert(write.actor.as_str());
            }
            goes
        })
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests {
    use hallway_protocol::{Nonce, RoomId, UserId};
    use proptest::prelude::*;

    use super::*;
    use crate::Action;

    fn write(actor: u8, room: u8) -> Write {
        Write {
            actor: UserId::new(&format!("u{actor}")).unwrap(),
            nonce: Nonce::new("n").unwrap(),
            body_hash: [0; 16],
            action: Action::Join { room: RoomId::new(&format!("r{room}")).unwrap() },
        }
    }

    proptest! {
        /// Nothing is lost or turned round; nobody overtakes themselves; only who must wait waits.
        #[test]
        fn what_is_locked_waits_and_nobody_overtakes_themselves(
            writes in prop::collection::vec((0..4_u8, 0..6_u8), 0..40),
            locked in prop::collection::vec(prop::collection::hash_set(0..6_u8, 0..3), 1..3),
            cut in 0..40_usize,
        ) {
            let batch: Vec<Write> = writes.iter().map(|(actor, room)| write(*actor, *room)).collect();
            let names: Vec<String> = (0..6).map(|room| format!("r{room}")).collect();
            let mut waiting = Waiting::default();
            let (mut goes, mut waits) = (Vec::new(), Vec::new());
            let cut = cut.min(batch.len());
            let mut rooms = HashSet::new();
            // Two runs; the first finds more and more rooms locked.
            for (number, run) in [(0..cut).collect::<Vec<_>>(), (cut..batch.len()).collect()].into_iter().enumerate() {
                let mut go = run;
                for more in locked.iter().filter(|_| number == 0) {
                    waiting.lock(more.iter().map(|room| names[usize::from(*room)].as_str()));
                    rooms.extend(more.iter().copied());
                    let (on, behind) = waiting.split(&batch, go);
                    go = on;
                    waits.extend(behind);
                }
                let (on, behind) = waiting.split(&batch, go);
                goes.extend(on);
                waits.extend(behind);
            }
            let mut all: Vec<usize> = goes.iter().chain(&waits).copied().collect();
            all.sort_unstable();
            prop_assert_eq!(all, (0..batch.len()).collect::<Vec<_>>());
            prop_assert!(goes.is_sorted());
            for index in 0..batch.len() {
                let (actor, room) = writes[index];
                let is_behind = waits.iter().any(|other| *other < index && writes[*other].0 == actor);
                let must_wait = rooms.contains(&room) || is_behind;
                prop_assert_eq!(waits.contains(&index), must_wait, "write {} of {:?}", index, writes);
            }
        }
    }
}
