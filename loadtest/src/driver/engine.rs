//! The loop: one thread, all sockets of a worker. What comes in is in [`incoming`].

mod incoming;

use std::collections::VecDeque;
use std::sync::mpsc::{Receiver, TryRecvError};
use std::time::Duration;

use mio::unix::SourceFd;
use mio::{Events, Interest, Poll, Token};
use rustix::fd::{AsRawFd, OwnedFd};
use rustix::time::{Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, Timespec};

use super::adapter::Adapter;
use super::body::Bodies;
use super::clock::{SECOND_NS, now_ns};
use super::connect::Connecting;
use super::connection::{self, Connection, End, Stage};
use super::frame;
use super::job::{Counts, Job, Order, Pace, Phase, Report};
use super::ledger::Ledger;
use super::talk::Talk;
use super::tally::Tally;

/// One read takes at most this much, unless a frame is larger.
const READ_BUFFER_BYTES: usize = 256 * 1024;
const EVENTS_MAX: usize = 1024;
/// The loop looks around at least this often.
const LOOK_AROUND_EVERY: Duration = Duration::from_millis(50);
/// The same while connections begin at a rate.
const PACED_EVERY: Duration = Duration::from_millis(1);
/// Messages sent between two looks at the sockets.
const SENDS_MAX_AT_ONCE: usize = 4096;

/// Wakes the loop for orders.
pub(crate) const WAKER: Token = Token(usize::MAX);
const TIMER: Token = Token(usize::MAX - 1);

pub(crate) struct Engine<'a> {
    pub(crate) poll: Poll,
    job: Job,
    adapter: Box<dyn Adapter>,
    bodies: Bodies,
    connections: Vec<Connection>,
    buffer: Vec<u8>,
    body: String,
    timer: OwnedFd,
    timer_due_ns: Option<u64>,
    ledger: Ledger,
    tally: Tally,
    connecting: Option<Connecting>,
    talk: Option<Talk>,
    /// Seats that are not open, in order.
    absent: VecDeque<u32>,
    dirty: Vec<u32>,
    counts: Counts,
    counts_due_ns: u64,
    report: &'a mut dyn FnMut(Report),
}

impl<'a> Engine<'a> {
    pub(crate) fn new(job: Job, report: &'a mut dyn FnMut(Report)) -> std::io::Result<Self> {
        let poll = Poll::new()?;
        let timer = rustix::time::timerfd_create(TimerfdClockId::Monotonic, TimerfdFlags::NONBLOCK)?;
        poll.registry().register(&mut SourceFd(&timer.as_raw_fd()), TIMER, Interest::READABLE)?;
        Ok(Self {
            poll,
            adapter: job.server.adapter(),
            bodies: Bodies::new(job.payload_bytes),
            connections: job.seats.iter().map(|_| Connection::absent()).collect(),
            buffer: vec![0; READ_BUFFER_BYTES],
            body: String::new(),
            timer,
            timer_due_ns: None,
            ledger: Ledger::new(&job),
            tally: Tally::new(),
            connecting: None,
            talk: None,
            absent: (0..job.seats.len() as u32).collect(),
            dirty: Vec::new(),
            counts: Counts::default(),
            counts_due_ns: now_ns() + SECOND_NS,
            report,
            job,
        })
    }

    /// Works until the orders end.
    pub(crate) fn run(&mut self, orders: &Receiver<Order>) -> std::io::Result<()> {
        let mut events = Events::with_capacity(EVENTS_MAX);
        loop {
            loop {
                match orders.try_recv() {
                    Ok(order) => self.obey(order),
                    Err(TryRecvError::Empty) => break,
                    Err(TryRecvError::Disconnected) => return Ok(()),
                }
            }
            self.begin_connections();
            self.send_due();
            self.flush_dirty();
            self.look_around();
            let timeout = self.until_next()?;
            match self.poll.poll(&mut events, Some(timeout)) {
                Err(error) if error.kind() == std::io::ErrorKind::Interrupted => continue,
                other => other?,
            }
            for event in &events {
                if event.token() == WAKER || event.token() == TIMER {
                    continue;
                }
                // Tokens are places in the list of seats, of which there are fewer than 2^32.
                let seat = event.token().0 as u32;
                if let Err(end) = self.on_event(seat, event.is_readable(), event.is_writable()) {
                    self.on_end(seat, &end);
                }
            }
        }
    }

    fn obey(&mut self, order: Order) {
        let now = now_ns();
        match order {
            Order::Connect { more } => {
                self.connecting = Some(Connecting::new(more.min(self.absent.len()), self.job.connect_rate, now));
            }
            Order::Disconnect => self.disconnect(),
            Order::Talk(phase) => self.begin_phase(phase),
            Order::Stop => {
                if let Some(talk) = &mut self.talk {
                    talk.stop(now);
                }
            }
            Order::Judge => (self.report)(Report::Judged(self.ledger.verdict())),
        }
    }

    fn begin_phase(&mut self, phase: Phase) {
        if phase.mutes {
            for (seat, connection) in self.job.seats.iter().zip(&mut self.connections) {
                connection.muted = seat.mutable;
            }
        }
        self.connections.iter().for_each(Connection::acknowledge_when_read);
        self.tally.begin(phase);
        self.talk = Some(Talk::new(phase, self.job.rooms.len() as u32, self.job.talkers_per_room));
    }

    fn disconnect(&mut self) {
        for seat in 0..self.connections.len() as u32 {
            let connection = &mut self.connections[seat as usize];
            if connection.stream.is_some() {
                connection.control(frame::CLOSE, &1000_u16.to_be_bytes());
                // A socket that takes no goodbye is closed without one.
                let _ = connection.flush();
                self.forget(seat);
            }
        }
        self.absent = (0..self.connections.len() as u32).collect();
        (self.report)(Report::Disconnected);
    }

    fn forget(&mut self, seat: u32) {
        let connection = &mut self.connections[seat as usize];
        if matches!(connection.stage, Stage::Ready) {
            self.counts.connected -= 1;
        }
        connection.reset();
        for (talker, sequences) in self.ledger.close(seat) {
            if let Some(talk) = &mut self.talk {
                sequences.for_each(|sequence| talk.arrived(talker, sequence));
            }
        }
    }

    fn on_end(&mut self, seat: u32, end: &End) {
        let stage = std::mem::replace(&mut self.connections[seat as usize].stage, Stage::Absent);
        match (stage, &mut self.connecting) {
            (Stage::Absent, _) => return,
            (Stage::Ready, _) => {
                self.tally.closed(end);
                self.connections[seat as usize].stage = Stage::Ready;
            }
            (_, Some(connecting)) => connecting.failed(end, now_ns()),
            (_, None) => {}
        }
        self.forget(seat);
    }

    fn begin_connections(&mut self) {
        let now = now_ns();
        while self.connecting.as_ref().is_some_and(|connecting| connecting.may_begin(now)) {
            let Some(seat) = self.absent.pop_front() else { return };
            if let Some(connecting) = &mut self.connecting {
                connecting.began();
            }
            self.connections[seat as usize].stage = Stage::Connecting;
            self.connections[seat as usize].began_ns = now_ns();
            if let Err(error) = self.dial(seat) {
                self.on_end(seat, &End::Io(error));
            }
        }
    }

    fn dial(&mut self, seat: u32) -> std::io::Result<()> {
        let place = seat as usize;
        let mutable = self.job.seats[place].mutable;
        let mut stream = connection::dial(self.job.target_of(seat), place, self.job.source_addresses, mutable)?;
        self.poll.registry().register(&mut stream, Token(place), Interest::READABLE | Interest::WRITABLE)?;
        self.connections[place].stream = Some(stream);
        Ok(())
    }

    fn on_event(&mut self, seat: u32, readable: bool, writable: bool) -> Result<(), End> {
        let connection = &mut self.connections[seat as usize];
        if connection.muted {
            return Ok(());
        }
        if matches!(connection.stage, Stage::Connecting) {
            let Some(stream) = &connection.stream else { return Ok(()) };
            if let Some(error) = stream.take_error()? {
                return Err(error.into());
            }
            if !writable {
                return Ok(());
            }
            connection.upgrade(&*self.adapter, &self.job.seats[seat as usize].who, &self.job.host);
        }
        if writable {
            connection.flush()?;
        }
        if readable { self.read(seat) } else { Ok(()) }
    }

    /// Sends what is due, all of one connection's in one write.
    fn send_due(&mut self) {
        let now = now_ns();
        for _ in 0..SENDS_MAX_AT_ONCE {
            let Some(talk) = &mut self.talk else { return };
            let Some((talker, due_ns)) = talk.next(now) else { return };
            let seat = self.ledger.seat_of(talker);
            if !matches!(self.connections[seat as usize].stage, Stage::Ready) {
                // A talker that is gone says nothing, and nobody waits for it.
                talk.sent(talker, 0, 0);
                continue;
            }
            let (stamp, awaited) = self.ledger.publish(talker, due_ns);
            talk.sent(talker, stamp.sequence, awaited);
            self.tally.sent(due_ns, now);
            self.bodies.write(stamp, &mut self.body);
            let room = &self.job.rooms[(talker / self.job.talkers_per_room) as usize].name;
            let message = self.adapter.publish(&self.job.seats[seat as usize].who, room, &self.body);
            let connection = &mut self.connections[seat as usize];
            connection.say(&message);
            if !std::mem::replace(&mut connection.dirty, true) {
                self.dirty.push(seat);
            }
        }
    }

    fn flush_dirty(&mut self) {
        for seat in std::mem::take(&mut self.dirty) {
            let connection = &mut self.connections[seat as usize];
            connection.dirty = false;
            let result = if connection.unsent_bytes() > connection::UNSENT_MAX_BYTES {
                Err(End::Refused("the server does not read what is published".to_owned()))
            } else {
                connection.flush()
            };
            if let Err(end) = result {
                self.on_end(seat, &end);
            }
        }
    }

    /// What happens by time alone: reports, and the ends of things.
    fn look_around(&mut self) {
        let now = now_ns();
        if now >= self.counts_due_ns {
            self.counts_due_ns += SECOND_NS;
            let counts = Counts { connected: self.counts.connected, ..self.tally.counts() };
            (self.report)(Report::Counts(counts));
        }
        if let Some(connecting) = &mut self.connecting {
            if connecting.is_stalled(now) {
                let waiting = |stage: &Stage| !matches!(stage, Stage::Absent | Stage::Ready);
                let seats: Vec<u32> = (0..self.connections.len() as u32)
                    .filter(|seat| waiting(&self.connections[*seat as usize].stage))
                    .collect();
                for seat in seats {
                    self.on_end(seat, &End::Refused("nothing more came".to_owned()));
                }
            } else if let Some(connected) = connecting.outcome(now) {
                self.connecting = None;
                (self.report)(Report::Connected(connected));
            }
        }
        self.tally.look_around(now);
        let Some(talk) = &self.talk else { return };
        if talk.is_over(now) && self.tally.is_drained(self.ledger.owed(), talk.phase, now) {
            self.talk = None;
            self.ledger.settle();
            (self.report)(Report::Talked(Box::new(self.tally.talked())));
        }
    }

    /// Sets the timer, and says how long to wait at most.
    fn until_next(&mut self) -> std::io::Result<Duration> {
        let due = self.talk.as_ref().and_then(Talk::next_due_ns);
        if due != self.timer_due_ns {
            self.timer_due_ns = due;
            // All zeros: no timer.
            let value = Timespec {
                tv_sec: due.map_or(0, |due| due / SECOND_NS).cast_signed(),
                tv_nsec: due.map_or(0, |due| due % SECOND_NS).cast_signed(),
            };
            let once = Itimerspec { it_interval: Timespec { tv_sec: 0, tv_nsec: 0 }, it_value: value };
            rustix::time::timerfd_settime(&self.timer, TimerfdTimerFlags::ABSTIME, &once)?;
        }
        if self.connecting.as_ref().is_some_and(Connecting::is_paced) {
            return Ok(PACED_EVERY);
        }
        // A phase that begins later, or whose bursts are unfinished, has no timer of its own.
        let now = now_ns();
        let begins = self.talk.as_ref().filter(|talk| !matches!(talk.phase.pace, Pace::Rate(_)) && !talk.is_over(now));
        Ok(match begins {
            Some(talk) if talk.phase.from_ns > now => {
                Duration::from_nanos(talk.phase.from_ns - now).min(LOOK_AROUND_EVERY)
            }
            _ => LOOK_AROUND_EVERY,
        })
    }
}
