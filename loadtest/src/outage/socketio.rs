//! A cluster of Socket.IO nodes with the Redis adapter, and members that speak its protocol over WebSocket.

use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream as StdTcpStream};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use futures_util::{SinkExt, StreamExt};
use tokio::net::TcpStream;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message;

use super::{OutageArguments, Place, Shared, body, read_body};
use crate::peers::installed::on_path;
use crate::run::Failure;

const LISTEN_WITHIN: Duration = Duration::from_secs(20);
const LOOK_EVERY: Duration = Duration::from_millis(20);
/// Pause before a member comes back, as Socket.IO's own client does at first.
const RECONNECT_PAUSE: Duration = Duration::from_secs(1);

/// The nodes; ended when dropped.
pub(super) struct Cluster {
    nodes: Vec<(Child, SocketAddr)>,
    token: String,
}

/// Members that are connected.
pub(super) struct Members {
    tasks: JoinSet<()>,
    stop: watch::Sender<bool>,
    // The nodes outlive their members.
    _cluster: Cluster,
}

impl Members {
    /// Disconnects them all.
    pub(super) async fn end(mut self) {
        let _ = self.stop.send(true);
        while self.tasks.join_next().await.is_some() {}
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        for (child, _) in &mut self.nodes {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

impl Cluster {
    /// Starts the nodes and waits until they listen.
    pub(super) async fn start(arguments: &OutageArguments, redis_url: &str) -> Result<Self, Failure> {
        let node = on_path("node")?;
        let mut cluster = Self { nodes: Vec::new(), token: uuid::Uuid::now_v7().simple().to_string() };
        for _ in 0..arguments.nodes {
            let port = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?.port();
            let child = Command::new(&node)
                .current_dir(&arguments.peers_dir)
                .args(["socketio-cluster.js", "127.0.0.1", &port.to_string(), &cluster.token, redis_url])
                .env("NODE_ENV", "production")
                .stdin(Stdio::null())
                .spawn()?;
            cluster.nodes.push((child, SocketAddr::from((Ipv4Addr::LOCALHOST, port))));
        }
        let until = Instant::now() + LISTEN_WITHIN;
        for (child, address) in &mut cluster.nodes {
            while StdTcpStream::connect_timeout(address, LOOK_EVERY).is_err() {
                if let Some(status) = child.try_wait()? {
                    let directory = arguments.peers_dir.display();
                    return Err(format!("a Socket.IO node ended: {status}; run {directory}/install first").into());
                }
                if Instant::now() > until {
                    return Err("a Socket.IO node does not listen".into());
                }
                tokio::time::sleep(LOOK_EVERY).await;
            }
        }
        Ok(cluster)
    }

    /// Connects everybody; returns when all have joined their rooms.
    pub(super) async fn join(self, places: &[Place], shared: &Shared) -> Result<Members, Failure> {
        let (joined, mut all_joined) = mpsc::channel(places.len().max(1));
        let (stop, stopped) = watch::channel(false);
        let mut tasks = JoinSet::new();
        for place in places {
            let member = Member {
                place: *place,
                address: self.nodes[place.node].1,
                token: self.token.clone(),
                shared: shared.clone(),
                joined: joined.clone(),
                next: 0,
            };
            tasks.spawn(member.live(stopped.clone()));
        }
        for _ in places {
            tokio::time::timeout(LISTEN_WITHIN, all_joined.recv()).await.map_err(|_| "not all members could join")?;
        }
        Ok(Members { tasks, stop, _cluster: self })
    }
}

struct Member {
    place: Place,
    address: SocketAddr,
    token: String,
    shared: Shared,
    joined: mpsc::Sender<()>,
    /// Number of the next message, when this is the room's sender.
    next: u32,
}

type Socket = WebSocketStream<TcpStream>;

impl Member {
    async fn live(mut self, mut stopped: watch::Receiver<bool>) {
        loop {
            tokio::select! {
                _ = stopped.wait_for(|stopped| *stopped) => return,
                lost = self.connected() => {
                    if lost.is_ok() {
                        return;
                    }
                    self.shared.tally().reconnects += 1;
                }
            }
            tokio::time::sleep(RECONNECT_PAUSE).await;
        }
    }

    async fn connected(&mut self) -> Result<(), Failure> {
        let mut socket = self.open().await?;
        let _ = self.joined.try_send(());
        let mut ticks = tokio::time::interval(self.shared.period);
        let is_sender = self.place.member == 0;
        loop {
            tokio::select! {
                frame = socket.next() => match frame.ok_or("closed")?? {
                    Message::Text(text) if text.as_str() == "2" => socket.send(Message::text("3")).await?,
                    Message::Text(text) => self.heard(text.as_str()),
                    _ => {}
                },
                _ = ticks.tick(), if is_sender && *self.shared.is_sending.borrow() => {
                    let (number, now) = (self.next, self.shared.now());
                    self.next += 1;
                    self.shared.tally().sent(self.place.room, number, now);
                    let text = format!(r#"42{number}["m","{}"]"#, body(self.place.room, number, now));
                    socket.send(Message::text(text)).await?;
                }
            }
        }
    }

    async fn open(&self) -> Result<Socket, Failure> {
        let stream = TcpStream::connect(self.address).await?;
        stream.set_nodelay(true)?;
        let path = format!("/socket.io/?EIO=4&transport=websocket&room=r{}", self.place.room);
        let (mut socket, _) = tokio_tungstenite::client_async(format!("ws://{}{path}", self.address), stream).await?;
        self.expect(&mut socket, r#"0{"sid""#).await?;
        socket.send(Message::text(format!(r#"40{{"token":"{}"}}"#, self.token))).await?;
        self.expect(&mut socket, r#"42["joined"]"#).await?;
        Ok(socket)
    }

    async fn expect(&self, socket: &mut Socket, beginning: &str) -> Result<(), Failure> {
        let wait = async {
            loop {
                match socket.next().await.ok_or("closed")?? {
                    Message::Text(text) if text.as_str().starts_with(beginning) => return Ok::<_, Failure>(()),
                    _ => {}
                }
            }
        };
        tokio::time::timeout(LISTEN_WITHIN, wait).await?
    }

    /// `42["m","BODY"]` is a message, `43NUMBER[]` an acknowledgement.
    fn heard(&self, text: &str) {
        let mut tally = self.shared.tally();
        if let Some(number) = text.strip_prefix("43").and_then(|rest| rest.split('[').next()?.parse().ok()) {
            tally.acknowledged(self.place.room, number);
        } else if let Some((room, number, sent_at)) =
            text.strip_prefix(r#"42["m",""#).and_then(|rest| read_body(rest.strip_suffix(r#""]"#)?))
        {
            tally.received(room, self.place.member, number, sent_at, self.shared.now());
        }
    }
}
