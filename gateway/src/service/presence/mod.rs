//! Who is there: `presence.set`, `presence.get`, `presence.watch`, and the frames to those who watch.
//!
//! All of it is read from the directory. A device that comes, goes or looks away costs one change there, whatever rooms its
//! person is in; nothing of it is stored, and a frame may be dropped. Members of a room, and who shares one with whom, the
//! store decides.
//!
//! `watchers` (pure): who watches whom, and when something is pushed. `push` hands it to sockets, and asks the store from time to
//! time whether two people still share a room. `counts`: how many people of a room are there.
//!
//! **Invariant:** nobody sees more of somebody with whom they share no room than of somebody who does not exist: offline.
//!
//! **Invariant:** what was pushed last about a person is what is so, a moment later, for every watcher that reads.

mod counts;
mod push;
mod watchers;

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use hallway_protocol::command::{Done, PresenceGet, PresenceWatch, RoomPresence, Watched};
use hallway_protocol::cursor::Cursor;
use hallway_protocol::model::{Presence as Person, PresenceState};
use hallway_protocol::{Command, ErrorBody, ErrorCode, Reply, UserId};
use hallway_store::{MemberQuery, Store};
use tokio::sync::Notify;

use super::reads::{failed, text_cursor};
use super::{Cluster, answers};
use crate::config::Limits;
use crate::directory::{Devices, Directory};
use crate::hub::{Connection, ConnectionId, Hub};
use crate::tasks::Tasks;
use crate::telemetry::metrics::Metrics;

use watchers::Watchers;

/// The presence of people, on one node. Cheap to clone.
#[derive(Clone)]
pub(super) struct Presence {
    inner: Arc<Inner>,
}

struct Inner {
    cluster: Cluster,
    hub: Hub,
    store: Arc<dyn Store>,
    metrics: Arc<Metrics>,
    watch_max_users: u64,
    store_timeout: Duration,
    /// Of a room with so many members or fewer all are looked at.
    few_members_max: u32,
    desk: Mutex<Desk>,
    /// Something may be due earlier than before.
    wake: Notify,
}

/// Who watches, and how they are reached.
struct Desk {
    watchers: Watchers,
    connections: HashMap<ConnectionId, Arc<Connection>>,
}

impl Presence {
    pub(super) fn start(
        cluster: Cluster,
        store: Arc<dyn Store>,
        hub: Hub,
        limits: &Limits,
        metrics: Arc<Metrics>,
        tasks: &Tasks,
    ) -> Self {
        let entries_max = usize::try_from(limits.presence_watched_max).unwrap_or(usize::MAX);
        let desk = Desk { watchers: Watchers::new(entries_max), connections: HashMap::new() };
        let presence = Self {
            inner: Arc::new(Inner {
                cluster,
                hub,
                store,
                metrics,
                watch_max_users: limits.presence_watch_max_users,
                store_timeout: Duration::from_millis(limits.store_timeout_ms),
                few_members_max: u32::try_from(limits.large_room_threshold_members).unwrap_or(u32::MAX),
                desk: Mutex::new(desk),
                wake: Notify::new(),
            }),
        };
        push::start(&presence, tasks);
        presence
    }

    fn desk(&self) -> MutexGuard<'_, Desk> {
        self.inner.desk.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn in_directory<T>(&self, look: impl FnOnce(&mut Directory) -> T) -> T {
        self.inner.cluster.change_directory(look)
    }

    /// A device says whether somebody is looking at it.
    pub(super) fn set(&self, connection: &Connection, away: bool) -> Reply {
        self.inner.hub.set_away(connection, away);
        Reply::PresenceSet(Done {})
    }

    /// Members of a room as they are, and how many of them are there. `None`: the room is none of theirs.
    pub(super) async fn get(&self, user: &UserId, get: PresenceGet) -> Result<Option<Reply>, ErrorBody> {
        let after = text_cursor(Cursor::Presence, get.cursor.as_deref(), UserId::new)?;
        let is_first = after.is_none();
        let limit = get.limit.unwrap_or(hallway_protocol::check::PAGE_LIMIT_DEFAULT);
        let query = MemberQuery { room: get.room.clone(), after, limit };
        let Some(page) = self.inner.store.members(user, query).await.map_err(failed)? else { return Ok(None) };
        let users: Vec<UserId> = page.members.into_iter().map(|member| member.user).collect();
        let members = self.people(&users);
        let counts = if is_first && !page.more { self.count(&members) } else { self.counts(&get.room).await? };
        let next = users.last().filter(|_| page.more).map(|user| Cursor::Presence.encode_text(user.as_str()));
        let counts_complete = counts.is_complete;
        let (online, away) = (counts.online, counts.away);
        Ok(Some(Reply::PresenceGet(RoomPresence { online, away, counts_complete, members, next })))
    }

    /// A connection is told of these people from now on.
    pub(super) async fn watch(&self, connection: &Arc<Connection>, watch: PresenceWatch) -> Result<Reply, ErrorBody> {
        let inner = &self.inner;
        if watch.users.len() as u64 > inner.watch_max_users {
            let message = format!("a connection watches at most {} people", inner.watch_max_users);
            return Err(ErrorBody::new(ErrorCode::LimitReached, message));
        }
        let allowed = if watch.users.is_empty() {
            Vec::new()
        } else {
            inner.store.acquaintances(&connection.user, watch.users.clone()).await.map_err(failed)?
        };
        {
            let mut desk = self.desk();
            if !desk.watchers.replace(connection.id, &allowed, Instant::now()) {
                let message = "this node's connections watch too many people: watch fewer, or try later";
                return Err(ErrorBody::new(ErrorCode::LimitReached, message));
            }
            if allowed.is_empty() {
                desk.connections.remove(&connection.id);
            } else {
                desk.connections.insert(connection.id, Arc::clone(connection));
            }
            inner.metrics.presence_watched.set(i64::try_from(desk.watchers.entries()).unwrap_or(i64::MAX));
        }
        // Looked at after the watch began: what changes from here on is pushed.
        let allowed: HashSet<UserId> = allowed.into_iter().collect();
        let people = self.people(&watch.users);
        let shown = people
            .into_iter()
            .map(|person| if allowed.contains(&person.user) { person } else { shown(person.user, Devices::default()) });
        Ok(Reply::PresenceWatch(Watched { people: shown.collect() }))
    }

    /// People as they are now.
    fn people(&self, users: &[UserId]) -> Vec<Person> {
        self.in_directory(|directory| users.iter().map(|user| shown(user.clone(), directory.devices(user))).collect())
    }
}

/// Somebody with these devices, as others see them.
fn shown(user: UserId, devices: Devices) -> Person {
    Person { user, state: devices.presence(), devices: u32::from(devices.devices) }
}

impl super::Service {
    /// Carries out one of the commands about presence.
    pub(super) fn presence(&self, actor: &super::Actor, command: Command) -> super::Answer {
        let (service, presence) = (self.clone(), self.inner.presence.clone());
        if let Command::PresenceSet(set) = &command {
            return super::Answer::Now(Ok(presence.set(&actor.connection, set.away)));
        }
        let connection = Arc::clone(&actor.connection);
        let timeout = presence.inner.store_timeout;
        let answer = async move {
            match command {
                Command::PresenceGet(get) => {
                    let room = get.room.clone();
                    match presence.get(&connection.user, get).await? {
                        Some(reply) => Ok(reply),
                        None => Err(service.not_for(&connection.user, &room).await),
                    }
                }
                Command::PresenceWatch(watch) => presence.watch(&connection, watch).await,
                _ => Err(ErrorBody::new(ErrorCode::Internal, "not a command about presence")),
            }
        };
        super::command::later(async move {
            tokio::time::timeout(timeout, answer).await.unwrap_or_else(|_| Err(answers::unavailable()))
        })
    }
}

/// How many there are, and whether all of them were looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
struct Counts {
    online: u64,
    away: u64,
    is_complete: bool,
}

impl Counts {
    fn add(&mut self, state: PresenceState) {
        match state {
            PresenceState::Online => self.online += 1,
            PresenceState::Away => self.away += 1,
            PresenceState::Offline => {}
        }
    }
}
