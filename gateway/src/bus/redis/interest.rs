//! Pure. Which channels are wanted, and up to which of the changes the server has confirmed them.
//!
//! Callers change what is wanted and get the number of their change; who talks to the server takes the changes, several at once,
//! and confirms up to a number. A caller that did not wait for it leaves a mark, so that the confirmation is announced.

use std::collections::HashSet;

use crate::bus::Channel;

#[derive(Debug, Default)]
pub(super) struct Interest {
    wanted: HashSet<Channel>,
    changed: HashSet<Channel>,
    version: u64,
    confirmed: u64,
    unannounced: bool,
}

/// What is to be told to the server.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Changes {
    pub(super) version: u64,
    pub(super) subscribe: Vec<Channel>,
    pub(super) unsubscribe: Vec<Channel>,
}

impl Interest {
    /// Wants channels; returns the number to wait for.
    pub(super) fn want(&mut self, channels: Vec<Channel>) -> u64 {
        for channel in channels {
            if self.wanted.insert(channel.clone()) {
                self.changed.insert(channel);
                self.version += 1;
            }
        }
        self.version
    }

    /// Wants channels no more; returns the number to wait for.
    pub(super) fn forget(&mut self, channels: Vec<Channel>) -> u64 {
        for channel in channels {
            if self.wanted.remove(&channel) {
                self.changed.insert(channel);
                self.version += 1;
            }
        }
        self.version
    }

    /// What changed since the last call, if anything did.
    pub(super) fn take(&mut self) -> Option<Changes> {
        if self.changed.is_empty() {
            return None;
        }
        let (subscribe, unsubscribe) = self.changed.drain().partition(|channel| self.wanted.contains(channel));
        Some(Changes { version: self.version, subscribe, unsubscribe })
    }

    /// All that is wanted, for a server that knows nothing yet.
    pub(super) fn take_all(&mut self) -> Changes {
        self.changed.clear();
        Changes { version: self.version, subscribe: self.wanted.iter().cloned().collect(), unsubscribe: Vec::new() }
    }

    /// The server has confirmed everything up to this number; says whether somebody has to be told who did not wait.
    pub(super) fn confirm(&mut self, version: u64) -> bool {
        self.confirmed = version;
        std::mem::take(&mut self.unannounced)
    }

    /// Whether this number is confirmed. If it is not, the caller is taken to give up waiting.
    pub(super) fn is_confirmed_or_leave(&mut self, version: u64) -> bool {
        let confirmed = self.confirmed >= version;
        self.unannounced |= !confirmed;
        confirmed
    }

    /// Whether this number is confirmed.
    pub(super) const fn is_confirmed(&self, version: u64) -> bool {
        self.confirmed >= version
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

    use hallway_protocol::RoomId;
    use proptest::prelude::*;

    use super::*;

    fn room(number: u8) -> Channel {
        Channel::Room(RoomId::new(&number.to_string()).unwrap())
    }

    #[test]
    fn a_change_is_confirmed_only_with_its_own_number_or_a_later_one() {
        let mut interest = Interest::default();
        let first = interest.want(vec![room(1)]);
        let taken = interest.take().unwrap();
        let second = interest.want(vec![room(2)]);
        interest.confirm(taken.version);
        assert!(interest.is_confirmed(first) && !interest.is_confirmed(second));
        let again = interest.want(vec![room(2)]);
        assert_eq!(again, second, "who wants what is not confirmed yet waits for it too");
        let version = interest.take().unwrap().version;
        interest.confirm(version);
        assert!(interest.is_confirmed(second));
        let known = interest.want(vec![room(1)]);
        assert!(interest.is_confirmed(known) && interest.take().is_none());
    }

    #[test]
    fn who_did_not_wait_is_told_once() {
        let mut interest = Interest::default();
        let number = interest.want(vec![room(1)]);
        assert!(!interest.is_confirmed_or_leave(number));
        let version = interest.take().unwrap().version;
        assert!(interest.confirm(version));
        assert!(interest.is_confirmed_or_leave(number));
        assert!(!interest.confirm(version));
    }

    proptest! {
        /// Whatever is wanted and forgotten, taken and lost: who did what was taken is subscribed to what is wanted.
        #[test]
        fn the_server_is_told_exactly_what_is_wanted(
            steps in proptest::collection::vec((0..8_u8, 0..4_u8), 0..60),
        ) {
            let (mut interest, mut wanted, mut server) = (Interest::default(), HashSet::new(), HashSet::new());
            for (number, step) in steps {
                match step {
                    0 => {
                        interest.want(vec![room(number)]);
                        wanted.insert(room(number));
                    }
                    1 => {
                        interest.forget(vec![room(number)]);
                        wanted.remove(&room(number));
                    }
                    2 => {
                        let changes = interest.take().unwrap_or_default();
                        server.extend(changes.subscribe);
                        server.retain(|channel| !changes.unsubscribe.contains(channel));
                    }
                    _ => {
                        server = interest.take_all().subscribe.into_iter().collect();
                        prop_assert!(interest.take().is_none());
                        prop_assert_eq!(&server, &wanted);
                    }
                }
            }
            let changes = interest.take().unwrap_or_default();
            server.extend(changes.subscribe);
            server.retain(|channel| !changes.unsubscribe.contains(channel));
            prop_assert_eq!(server, wanted);
        }
    }
}
