//! Random operations against the simplest model of rooms and members that could be right.

use std::collections::BTreeMap;

use hallway_protocol::{EventBody, History, Role, RoomId, Seq, StreamId, UserId, Visibility};
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

use super::kit::{self, Shared, commit, create, mark, whole, write};
use crate::{Action, Refusal};

const STEPS: usize = 300;

/// A room as the model knows it.
struct Room {
    history: History,
    last_seq: Seq,
    /// Seqs of the messages.
    messages: Vec<Seq>,
    members: BTreeMap<UserId, Member>,
}

#[derive(Clone, Copy)]
struct Member {
    role: Role,
    joined_seq: Seq,
    read_seq: Seq,
}

impl Room {
    fn others_own(&self, user: &UserId) -> bool {
        self.members.iter().any(|(other, member)| other != user && member.role == Role::Owner)
    }

    fn join(&mut self, user: &UserId, role: Role) {
        self.last_seq += 1;
        self.members.insert(user.clone(), Member { role, joined_seq: self.last_seq, read_seq: self.last_seq });
    }

    /// What the action should come to: the seq to acknowledge, or nothing where it is refused.
    fn expect(&mut self, actor: &UserId, action: &Action) -> Option<Seq> {
        let mine = self.members.get(actor).copied();
        match action {
            Action::Join { .. } => {
                if let Some(member) = mine {
                    return Some(member.joined_seq);
                }
                self.join(actor, Role::Member);
            }
            Action::SendMessage { .. } => {
                mine.filter(|member| member.role >= Role::Member)?;
                self.last_seq += 1;
                self.messages.push(self.last_seq);
                self.members.get_mut(actor)?.read_seq = self.last_seq;
            }
            Action::Leave { .. } => {
                if mine?.role == Role::Owner && self.members.len() > 1 && !self.others_own(actor) {
                    return None;
                }
                self.members.remove(actor);
                self.last_seq += 1;
            }
            Action::Remove { user, .. } => {
                let (mine, target) = (mine?.role, self.members.get(user)?.role);
                if user == actor || mine < Role::Admin || (mine == Role::Admin && target >= mine) {
                    return None;
                }
                self.members.remove(user);
                self.last_seq += 1;
            }
            Action::Invite { user, role, .. } => {
                let (mine, target) = (mine?.role, self.members.get(user).copied());
                if mine < Role::Admin || *role > mine || target.is_some_and(|target| target.role > mine) {
                    return None;
                }
                let Some(target) = target else {
                    self.join(user, *role);
                    return Some(self.last_seq);
                };
                if target.role == *role {
                    return Some(target.joined_seq);
                }
                if target.role == Role::Owner && !self.others_own(user) {
                    return None;
                }
                self.members.get_mut(user)?.role = *role;
                self.last_seq += 1;
            }
            _ => return None,
        }
        Some(self.last_seq)
    }

    fn unread(&self, member: Member) -> u64 {
        self.messages.iter().filter(|seq| **seq > member.read_seq).count().try_into().unwrap()
    }
}

fn any_action(random: &mut StdRng, room: &RoomId, users: &[UserId]) -> Action {
    let user = users[random.random_range(0..users.len())].clone();
    let role = [Role::Guest, Role::Member, Role::Admin, Role::Owner][random.random_range(0..4)];
    match random.random_range(0..10) {
        0 | 1 => Action::Join { room: room.clone() },
        2 => Action::Leave { room: room.clone() },
        3 => Action::Remove { room: room.clone(), user },
        4 | 5 => Action::Invite { room: room.clone(), user, role },
        _ => kit::send(room, "text"),
    }
}

/// Every user's picture must be the model's, and the membership events must replay to it.
async fn compare(store: &Shared, rooms: &BTreeMap<RoomId, Room>, users: &[UserId]) {
    for user in users {
        let state = store.connect(user).await.unwrap();
        let seen: Vec<_> = state
            .rooms
            .iter()
            .map(|room| (&room.info.room, room.role, room.joined_seq, room.read_seq, room.unread, room.last_seq))
            .collect();
        let modelled: Vec<_> = rooms
            .iter()
            .filter_map(|(id, room)| Some((id, room, *room.members.get(user)?)))
            .map(|(id, room, member)| {
                (id, member.role, member.joined_seq, member.read_seq, room.unread(member), room.last_seq)
            })
            .collect();
        assert_eq!(seen, modelled, "{user}");
        for mine in &state.rooms {
            let from = if rooms[&mine.info.room].history == History::All { 1 } else { mine.joined_seq };
            assert_eq!(mine.visible_from_seq, from);
        }
        let mut replayed = BTreeMap::new();
        for event in whole(store, StreamId::User(user.clone())).await {
            let EventBody::MembershipChanged(changed) = event.body else { continue };
            match changed.role {
                Some(role) => replayed.insert(changed.room, (role, changed.joined_seq, changed.visible_from_seq)),
                None => replayed.remove(&changed.room),
            };
        }
        let mine = state.rooms.into_iter();
        let now: BTreeMap<_, _> =
            mine.map(|room| (room.info.room, (room.role, room.joined_seq, room.visible_from_seq))).collect();
        assert_eq!(replayed, now, "the events of {user} replay to their rooms");
    }
}

pub async fn unread_and_memberships_follow_a_simple_model(store: Shared) {
    let seed = std::env::var("HALLWAY_TEST_SEED").ok().and_then(|text| text.parse().ok());
    let seed = seed.unwrap_or_else(rand::random::<u64>);
    println!("seed {seed}: repeat with HALLWAY_TEST_SEED={seed}");
    let mut random = StdRng::seed_from_u64(seed);
    let users: Vec<UserId> = (0..4).map(|number| kit::user("model", &number.to_string())).collect();
    let mut rooms = BTreeMap::new();
    for (name, history) in [("all", History::All), ("since", History::SinceJoin)] {
        let id = kit::room("model", name);
        kit::one(&store, &users[0], create(&id, Visibility::Public, history)).await;
        let mut room = Room { history, last_seq: 1, messages: Vec::new(), members: BTreeMap::new() };
        room.join(&users[0], Role::Owner);
        rooms.insert(id, room);
    }
    let ids: Vec<RoomId> = rooms.keys().cloned().collect();
    for step in 0..STEPS {
        let id = &ids[random.random_range(0..ids.len())];
        if random.random_ratio(1, 5) {
            let user = &users[random.random_range(0..users.len())];
            let room = rooms.get_mut(id).unwrap();
            let wanted = random.random_range(0..room.last_seq + 3);
            let expected = room.members.get_mut(user).map(|member| {
                member.read_seq = member.read_seq.max(wanted.min(room.last_seq));
                *member
            });
            let result = mark(&store, user, id, wanted).await.map(|result| (result.read_seq, result.unread));
            assert_eq!(result, expected.map(|member| (member.read_seq, room.unread(member))), "step {step}");
            continue;
        }
        let batch: Vec<(UserId, Action)> = (0..random.random_range(1..6))
            .map(|_| (users[random.random_range(0..users.len())].clone(), any_action(&mut random, id, &users)))
            .collect();
        let writes = batch.iter().map(|(actor, action)| write(actor, action.clone())).collect();
        for ((actor, action), result) in batch.iter().zip(commit(&store, writes).await) {
            let expected = rooms.get_mut(id).unwrap().expect(actor, action);
            let seq = match &result {
                Ok(committed) => Some(committed.seq),
                Err(Refusal::NonceConflict | Refusal::IdTaken) => panic!("step {step}: {result:?}"),
                Err(_) => None,
            };
            assert_eq!(seq, expected, "seed {seed}, step {step}, {actor}: {action:?}: {result:?}");
        }
        if step % 25 == 0 {
            compare(&store, &rooms, &users).await;
        }
    }
    compare(&store, &rooms, &users).await;
    for id in &ids {
        let events = kit::room_events(&store, id).await;
        let seqs: Vec<Seq> = kit::created(&events).iter().map(|message| message.seq).collect();
        assert_eq!(seqs, rooms[id].messages);
    }
}
