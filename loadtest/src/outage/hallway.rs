//! A cluster of gateways on one Postgres, and members that use our client.

use std::time::Duration;

use hallway_protocol::{EventBody, MessageId, RoomId, UserId};
use loadtest_client::client::{Notice, Observer, committed, message, retry_until_known};
use loadtest_client::token::mint;
use loadtest_client::{Client, ClientSettings, ConnectOptions, Step};
use loadtest_cluster::ClusterSettings;
use tokio::task::JoinSet;

use super::{ACKNOWLEDGE_WITHIN, OutageArguments, Place, Shared, body, read_body};
use crate::run::Failure;

/// Tokens outlive every experiment.
const TOKEN_LIFE: Duration = Duration::from_secs(3600);

/// The nodes with their Postgres; ended when dropped.
pub(super) struct Cluster {
    cluster: loadtest_cluster::Cluster,
}

/// Members that are connected.
pub(super) struct Members {
    clients: Vec<Client>,
    senders: JoinSet<()>,
    // The nodes outlive their members.
    _cluster: Cluster,
}

impl Members {
    /// Disconnects them all.
    pub(super) async fn end(mut self) {
        while self.senders.join_next().await.is_some() {}
        for client in &self.clients {
            client.close().await;
        }
    }
}

impl Cluster {
    /// Starts the nodes and waits until they are ready.
    pub(super) async fn start(arguments: &OutageArguments, redis_url: &str) -> Result<Self, Failure> {
        let settings = ClusterSettings {
            nodes: arguments.nodes as usize,
            binary: Some(std::path::absolute(&arguments.hallway_bin)?),
            redis: Some(redis_url.to_owned()),
            ..ClusterSettings::default()
        };
        Ok(Self { cluster: loadtest_cluster::Cluster::start(settings).await? })
    }

    /// Connects everybody; returns when all have joined their rooms and the senders begin.
    pub(super) async fn join(self, places: &[Place], shared: &Shared) -> Result<Members, Failure> {
        let urls = self.cluster.urls();
        let mut clients = Vec::new();
        let mut senders = JoinSet::new();
        let mut ready = Vec::new();
        for place in places {
            let user = UserId::new(&format!("u{}-{}", place.room, place.member))?;
            let token = mint(&self.cluster.secret, user.as_str(), TOKEN_LIFE)?;
            let settings = ClientSettings::new(ConnectOptions::new(urls[place.node].clone(), token));
            let ear = Ear { place: *place, user, shared: shared.clone() };
            let client = Client::connect(settings, ear).await?;
            let room = RoomId::new(&format!("outage-{}", place.room))?;
            client.join_or_create(&room).await?;
            if place.member == 0 {
                ready.push((client.clone(), room, *place));
            }
            clients.push(client);
        }
        for (client, room, place) in ready {
            senders.spawn(send(client, room, place, shared.clone()));
        }
        Ok(Members { clients, senders, _cluster: self })
    }
}

/// Sends until it is told to stop, at its pace: it does not wait for acknowledgements.
async fn send(client: Client, room: RoomId, place: Place, shared: Shared) {
    let mut ticks = tokio::time::interval(shared.period);
    let mut under_way = JoinSet::new();
    for number in 0.. {
        ticks.tick().await;
        if !*shared.is_sending.borrow() {
            break;
        }
        let now = shared.now();
        shared.tally().sent(place.room, number, now);
        let command = message(&room, MessageId::generate(), body(place.room, number, now));
        let (client, shared) = (client.clone(), shared.clone());
        under_way.spawn(async move {
            let name = command.name();
            let answer = retry_until_known(&client, command, ACKNOWLEDGE_WITHIN).await;
            let mut tally = shared.tally();
            match answer.and_then(|reply| committed(name, reply)) {
                Ok(_) => tally.acknowledged(place.room, number),
                Err(_) => tally.refused += 1,
            }
        });
    }
    while under_way.join_next().await.is_some() {}
}

/// Hears one member's messages.
struct Ear {
    place: Place,
    user: UserId,
    shared: Shared,
}

impl Observer for Ear {
    fn observe(&mut self, notice: Notice) {
        match notice {
            Notice::Event { event, step } if step != Step::Repeat => {
                let EventBody::MessageCreated(created) = event.body else { return };
                if created.message.sender == self.user {
                    return;
                }
                if let Some((room, number, sent_at)) = read_body(&created.message.text) {
                    self.shared.tally().received(room, self.place.member, number, sent_at, self.shared.now());
                }
            }
            Notice::Disconnected { .. } if *self.shared.is_sending.borrow() => self.shared.tally().reconnects += 1,
            _ => {}
        }
    }
}
