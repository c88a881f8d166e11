//! `loadtest bare`: the floor. One thread, one poll, the least of WebSocket, and a write for every message and member (`each`)
//! or one for all that was read in a turn of the loop (`coalesce`). Nothing else is done, so what it costs is the kernel's
//! price, and every server that does more can be measured against it.
//!
//! **Invariant:** nothing is dropped silently: what the kernel does not take waits, and a member that lets more than
//! [`BACKLOG_MAX_BYTES`] wait is closed.

mod connection;
mod frame;
mod room;

use std::io;
use std::net::SocketAddr;

use clap::{Args, ValueEnum};
use mio::net::TcpListener;
use mio::{Events, Interest, Poll, Token};

use connection::{Connection, Read};
use frame::Asked;
use room::Rooms;

/// Most bytes that wait for one member.
const BACKLOG_MAX_BYTES: usize = 16 * 1024 * 1024;
/// Read at once, from one connection.
const READ_BYTES: usize = 64 * 1024;
/// Events taken in one turn.
const EVENTS_MAX: usize = 4096;
const LISTENER: Token = Token(usize::MAX);

/// The command line.
#[derive(Debug, Args)]
pub(crate) struct BareArguments {
    /// Where to listen.
    #[arg(long)]
    listen: SocketAddr,
    /// How members are written to.
    #[arg(long, value_enum)]
    mode: Mode,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Mode {
    /// A write for every message and member.
    Each,
    /// A write for all messages of a turn, for every member.
    Coalesce,
}

/// Serves until the process is ended.
pub(crate) fn run(arguments: &BareArguments) -> io::Result<()> {
    let mut server = Server::new(arguments.listen, arguments.mode)?;
    loop {
        server.turn()?;
    }
}

struct Server {
    poll: Poll,
    events: Events,
    listener: TcpListener,
    mode: Mode,
    connections: Vec<Option<Connection>>,
    /// Places in `connections` that are free, and those that become so at the turn's end: until then events may name them.
    free: Vec<usize>,
    closing: Vec<usize>,
    rooms: Rooms,
    buffer: Vec<u8>,
    frame: Vec<u8>,
}

impl Server {
    fn new(listen: SocketAddr, mode: Mode) -> io::Result<Self> {
        let poll = Poll::new()?;
        let mut listener = TcpListener::bind(listen)?;
        poll.registry().register(&mut listener, LISTENER, Interest::READABLE)?;
        Ok(Self {
            poll,
            events: Events::with_capacity(EVENTS_MAX),
            listener,
            mode,
            connections: Vec::new(),
            free: Vec::new(),
            closing: Vec::new(),
            rooms: Rooms::default(),
            buffer: vec![0; READ_BYTES],
            frame: Vec::new(),
        })
    }

    fn turn(&mut self) -> io::Result<()> {
        let mut events = std::mem::replace(&mut self.events, Events::with_capacity(0));
        match self.poll.poll(&mut events, None) {
            Err(error) if error.kind() != io::ErrorKind::Interrupted => return Err(error),
            _ => {}
        }
        for event in &events {
            if event.token() == LISTENER {
                self.accept();
                continue;
            }
            let at = event.token().0;
            if event.is_writable() && !self.connection(at).is_none_or(Connection::flush) {
                self.close(at);
            }
            if event.is_readable() {
                self.read(at, event.is_read_closed());
            }
        }
        self.events = events;
        self.write_rooms();
        for at in self.closing.drain(..) {
            if let Some(connection) = self.connections[at].take() {
                self.rooms.leave(connection.room(), at);
                self.free.push(at);
            }
        }
        Ok(())
    }

    fn connection(&mut self, at: usize) -> Option<&mut Connection> {
        self.connections.get_mut(at)?.as_mut()
    }

    /// Accepts all that wait. Without a spare file they wait on.
    fn accept(&mut self) {
        while let Ok((mut stream, _)) = self.listener.accept() {
            let at = self.free.pop().unwrap_or(self.connections.len());
            let both = Interest::READABLE | Interest::WRITABLE;
            let ready =
                stream.set_nodelay(true).and_then(|()| self.poll.registry().register(&mut stream, Token(at), both));
            if at == self.connections.len() {
                self.connections.push(None);
            }
            match ready {
                Ok(()) => self.connections[at] = Some(Connection::new(stream)),
                Err(_) => self.free.push(at),
            }
        }
    }

    /// Reads all there is. Events come once for what arrived, so it must be all.
    fn read(&mut self, at: usize, to_the_end: bool) {
        let mut buffer = std::mem::take(&mut self.buffer);
        while let Some(connection) = self.connection(at) {
            match connection.read(&mut buffer) {
                Read::Bytes(count) => {
                    if !self.take(at, &buffer[..count]) {
                        self.close(at);
                        break;
                    }
                    // Less than there was room for is all there was; what comes later is another event.
                    if count < buffer.len() && !to_the_end {
                        break;
                    }
                }
                Read::Nothing => break,
                Read::End => {
                    self.close(at);
                    break;
                }
            }
        }
        self.buffer = buffer;
    }

    /// Does what the bytes ask for; `false` when the connection must end.
    fn take(&mut self, at: usize, bytes: &[u8]) -> bool {
        let Some(connection) = self.connection(at) else { return true };
        let joined = connection.join(bytes);
        let mut rest: &[u8] = joined.as_deref().unwrap_or(bytes);
        if connection.room().is_none() {
            match frame::upgrade(rest) {
                Ok(None) => return self.keep(at, rest),
                Err(_) => return false,
                Ok(Some(upgrade)) => {
                    rest = &rest[upgrade.used..];
                    let room = self.rooms.join(&upgrade.room, at);
                    let Some(connection) = self.connection(at) else { return true };
                    connection.enter(room);
                    if !connection.write(&upgrade.answer) {
                        return false;
                    }
                }
            }
        }
        loop {
            self.frame.clear();
            match frame::turn(rest, &mut self.frame) {
                Err(_) => return false,
                Ok(None) => return self.keep(at, rest),
                Ok(Some((asked, used))) => {
                    rest = &rest[used..];
                    if !self.act(at, &asked) {
                        return false;
                    }
                }
            }
        }
    }

    fn keep(&mut self, at: usize, rest: &[u8]) -> bool {
        if let Some(connection) = self.connection(at) {
            connection.keep(rest);
        }
        true
    }

    fn act(&mut self, at: usize, asked: &Asked) -> bool {
        match asked {
            Asked::Nothing => true,
            Asked::Answer => {
                let answer = std::mem::take(&mut self.frame);
                let went = self.connection(at).is_none_or(|connection| connection.write(&answer));
                self.frame = answer;
                went
            }
            Asked::Broadcast => {
                let Some(room) = self.connection(at).and_then(|connection| connection.room()) else { return false };
                match self.mode {
                    Mode::Coalesce => self.rooms.append(room, at, &self.frame),
                    Mode::Each => {
                        for member in self.rooms.members(room).iter().copied().filter(|member| *member != at) {
                            write(&mut self.connections, &mut self.closing, member, &self.frame);
                        }
                    }
                }
                true
            }
        }
    }

    /// Writes what the turn gathered, with one call for each member.
    fn write_rooms(&mut self) {
        let Self { rooms, connections, closing, .. } = self;
        rooms.deliver(|member, bytes| write(connections, closing, member, bytes));
    }

    fn close(&mut self, at: usize) {
        self.closing.push(at);
    }
}

fn write(connections: &mut [Option<Connection>], closing: &mut Vec<usize>, member: usize, bytes: &[u8]) {
    if connections[member].as_mut().is_some_and(|connection| !connection.write(bytes)) {
        closing.push(member);
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests {
    use std::net::TcpStream;
    use std::time::Duration;

    use tokio_tungstenite::tungstenite::{Message, WebSocket, client};

    use super::*;

    /// Longest wait for a message.
    const PATIENCE: Duration = Duration::from_secs(30);

    fn start(mode: Mode) -> SocketAddr {
        let mut server = Server::new("127.0.0.1:0".parse().unwrap(), mode).unwrap();
        let address = server.listener.local_addr().unwrap();
        // It ends with the test's process.
        std::thread::spawn(move || while server.turn().is_ok() {});
        address
    }

    fn member(address: SocketAddr, room: &str) -> WebSocket<TcpStream> {
        let stream = TcpStream::connect(address).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        client(format!("ws://{address}/{room}?token=x"), stream).unwrap().0
    }

    #[test]
    fn everybody_else_in_the_room_gets_every_message_in_order() {
        for mode in [Mode::Each, Mode::Coalesce] {
            let address = start(mode);
            let [mut ada, mut bob, mut cyd, mut dan] = ["a", "a", "a", "b"].map(|room| member(address, room));
            for number in 0..500 {
                let text = format!("{number} {}", "x".repeat(number * 7));
                ada.write(Message::text(text)).unwrap();
            }
            ada.flush().unwrap();
            bob.send(Message::text("bob")).unwrap();
            dan.send(Message::text("dan")).unwrap();
            for number in 0..500 {
                let expected = format!("{number} {}", "x".repeat(number * 7));
                assert_eq!(bob.read().unwrap().into_text().unwrap(), expected);
            }
            // Bob's own does not come back to him; Ada gets nothing but his.
            assert_eq!(ada.read().unwrap().into_text().unwrap(), "bob");
            let texts: Vec<String> = (0..501).map(|_| cyd.read().unwrap().into_text().unwrap().to_string()).collect();
            let adas: Vec<&String> = texts.iter().filter(|text| *text != "bob").collect();
            assert_eq!(adas.len(), 500);
            assert!(adas.iter().enumerate().all(|(number, text)| text.starts_with(&format!("{number} "))));
        }
    }

    #[test]
    fn a_member_who_left_leaves_the_others_alone() {
        let address = start(Mode::Coalesce);
        let [mut ada, mut bob] = ["a", "a"].map(|room| member(address, room));
        drop(member(address, "a"));
        for _ in 0..3 {
            ada.send(Message::text("hi")).unwrap();
            assert_eq!(bob.read().unwrap().into_text().unwrap(), "hi");
        }
        // Its place is taken by the next who comes.
        let mut eve = member(address, "a");
        ada.send(Message::Ping(Vec::new().into())).unwrap();
        ada.send(Message::text("eve")).unwrap();
        assert_eq!(eve.read().unwrap().into_text().unwrap(), "eve");
        assert!(ada.read().unwrap().is_pong());
    }
}
