//! Deliberate faults: what the checkers must notice, and the exact points at which a node can be made to die.
//!
//! A *mutant* makes a node break one promise; a *fail point* ends the process at one place, as kill -9 would. Both are chosen
//! by name when a process starts, in a build with the feature `sabotage` (`HALLWAY_SABOTAGE`, see [`choose`]); a test of this
//! crate chooses for its own thread. In any other build every question here is answered at compile time, with no.
//!
//! **Invariant:** a build with the feature serves in development mode only, and says what it is.

macro_rules! named {
    ($(#[$doc:meta])* $enum:ident { $($(#[$vdoc:meta])* $name:literal $variant:ident,)* }) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub enum $enum { $($(#[$vdoc])* $variant,)* }

        impl $enum {
            /// All of them.
            pub const ALL: &'static [Self] = &[$(Self::$variant),*];

            /// How it is chosen.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self { $(Self::$variant => $name,)* }
            }
        }
    };
}

named! {
    /// A way in which a node is broken on purpose.
    Mutant {
        /// Messages are acknowledged before they are committed.
        "acknowledge_before_commit" AcknowledgeBeforeCommit,
        /// What the bus says to have missed is ignored, and the store's tail too.
        "ignore_missed_and_no_tail" IgnoreMissedAndNoTail,
        /// The store's tail is read and ignored.
        "no_tail" NoTail,
        /// The sequencer ignores what it is told of the head, and starts from the first event that it happens to see.
        "sequencer_starts_at_first_event" SequencerStartsAtFirstEvent,
        /// The nonce is looked up in a snapshot that is older than the lock.
        "nonce_in_the_locks_snapshot" NonceInTheLocksSnapshot,
        /// Who was up to date when their rooms were read follows from now on, whatever came between.
        "read_without_connect_proof" ReadWithoutConnectProof,
        /// History is read without the reader's membership.
        "history_without_membership" HistoryWithoutMembership,
        /// A backlog has no bound.
        "unbounded_queue" UnboundedQueue,
        /// Every resume is answered with a reset.
        "resume_always_resets" ResumeAlwaysResets,
        /// A removed member goes on following.
        "removal_without_its_number" RemovalWithoutItsNumber,
    }
}

named! {
    /// A place at which a process can be made to end.
    FailPoint {
        /// A batch is about to be handed to the store.
        "before_commit" BeforeCommit,
        /// It is committed, and nobody has heard of it.
        "after_commit_before_publish" AfterCommitBeforePublish,
        /// It was handed to this node's own readers; nobody was answered, and no other node has heard of it.
        "after_publish_before_acknowledge" AfterPublishBeforeAcknowledge,
        /// It is about to be told to other nodes; its senders may have been answered.
        "before_bus" BeforeBus,
        /// Notifications were claimed to be looked at for the application, and nothing was decided.
        "after_hand_out_claim" AfterHandOutClaim,
        /// They are in the outbox, or settled; nobody was woken.
        "after_hand_out_settle" AfterHandOutSettle,
        /// Webhooks were claimed, and none was sent.
        "after_job_claim" AfterJobClaim,
        /// A webhook was answered (or failed), and nobody was told.
        "after_webhook" AfterWebhook,
        /// What became of it is in the store.
        "after_job_finish" AfterJobFinish,
    }
}

#[cfg(not(any(test, feature = "sabotage")))]
mod never {
    use super::{FailPoint, Mutant};

    /// Whether a node is broken in this way.
    #[must_use]
    pub const fn is_on(_: Mutant) -> bool {
        false
    }

    /// A process passes this point.
    pub const fn pass(_: FailPoint) {}
}

#[cfg(not(any(test, feature = "sabotage")))]
pub use never::{is_on, pass};

#[cfg(all(feature = "sabotage", not(test)))]
mod by_process {
    use std::sync::OnceLock;
    use std::sync::atomic::{AtomicU64, Ordering};

    use super::{FailPoint, Mutant};

    static CHOSEN: OnceLock<Chosen> = OnceLock::new();

    #[derive(Debug, Default)]
    struct Chosen {
        mutant: Option<Mutant>,
        /// Where to end, and after how many passes.
        fail_point: Option<(FailPoint, u64)>,
        passes: AtomicU64,
    }

    /// Whether this node is broken in this way.
    #[must_use]
    pub fn is_on(mutant: Mutant) -> bool {
        CHOSEN.get().is_some_and(|chosen| chosen.mutant == Some(mutant))
    }

    /// The process passes this point, or ends here: nothing is flushed, nobody is told.
    pub fn pass(point: FailPoint) {
        let Some(chosen) = CHOSEN.get() else { return };
        let Some((wanted, passes)) = chosen.fail_point else { return };
        if wanted == point && chosen.passes.fetch_add(1, Ordering::Relaxed) + 1 == passes {
            eprintln!("SABOTAGE: the process ends at {}", point.name());
            std::process::abort();
        }
    }

    /// Chooses for this process, once: `mutant:NAME`, `failpoint:NAME=kill` or `failpoint:NAME=kill@N` (at the n-th pass).
    /// Nothing at all is a choice too.
    ///
    /// # Errors
    /// What is wrong with the text.
    pub fn choose(text: &str) -> Result<(), String> {
        let mut chosen = Chosen::default();
        if let Some(name) = text.strip_prefix("mutant:") {
            let found = Mutant::ALL.iter().find(|mutant| mutant.name() == name);
            chosen.mutant = Some(*found.ok_or_else(|| format!("there is no mutant {name:?}"))?);
        } else if let Some(rest) = text.strip_prefix("failpoint:") {
            let (name, passes) = match rest.split_once("=kill") {
                Some((name, "")) => (name, 1),
                Some((name, rest)) => {
                    let number = rest.strip_prefix('@').and_then(|number| number.parse().ok());
                    (name, number.ok_or_else(|| format!("{rest:?} is no number of passes"))?)
                }
                None => return Err(format!("{rest:?} does not say =kill")),
            };
            let found = FailPoint::ALL.iter().find(|point| point.name() == name);
            chosen.fail_point = Some((*found.ok_or_else(|| format!("there is no fail point {name:?}"))?, passes));
        } else if !text.is_empty() {
            return Err(format!("{text:?} is neither mutant:NAME nor failpoint:NAME=kill"));
        }
        eprintln!("SABOTAGE: this build breaks on purpose and must not serve anybody; chosen: {text:?}");
        CHOSEN.set(chosen).map_err(|_| "chosen before".to_owned())
    }
}

#[cfg(all(feature = "sabotage", not(test)))]
pub use by_process::{choose, is_on, pass};

#[cfg(test)]
pub(crate) use by_thread::{is_on, pass, with_mutant};

#[cfg(test)]
mod by_thread {
    use std::cell::Cell;

    use super::{FailPoint, Mutant};

    thread_local! {
        static CHOSEN: Cell<Option<Mutant>> = const { Cell::new(None) };
    }

    pub(crate) fn is_on(mutant: Mutant) -> bool {
        CHOSEN.get() == Some(mutant)
    }

    pub(crate) const fn pass(_: FailPoint) {}

    /// Everything that is done here, by this thread, is broken in this way.
    pub(crate) fn with_mutant<T>(mutant: Mutant, work: impl FnOnce() -> T) -> T {
        CHOSEN.set(Some(mutant));
        let done = work();
        CHOSEN.set(None);
        done
    }
}
