//! Pure: what an attempt came to, and what follows from it.

use hallway_store::JobOutcome;

use super::backoff::pause_ms;

/// What became of the request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Attempt {
    Answered {
        status: u16,
        /// The target said when to come back.
        retry_after_ms: Option<u64>,
    },
    /// No answer: the name, the connection, TLS, the time.
    Unanswered(String),
    /// It must not go there.
    Forbidden(String),
    /// The configuration has no such target (any more).
    Unknown,
    /// The node stopped meanwhile.
    Cut,
}

/// What an attempt says about its target.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Blame {
    Works,
    Fails,
    /// Nothing: it is about this webhook, or about us.
    None,
}

impl Attempt {
    pub(super) fn blame(&self) -> Blame {
        match self {
            Self::Answered { status: 200..300, .. } => Blame::Works,
            // It works; this body is not for it.
            Self::Answered { status: 400 | 413 | 422, .. } | Self::Unknown | Self::Cut => Blame::None,
            Self::Answered { .. } | Self::Unanswered(_) | Self::Forbidden(_) => Blame::Fails,
        }
    }

    /// What the store is told. What a repetition cannot change is given up at once; everything else is tried again.
    pub(super) fn outcome(self, attempt: u32, base_ms: u64, chance: f64) -> JobOutcome {
        let failed = |error: String, asked_ms| JobOutcome::Failed {
            retry_after_ms: pause_ms(attempt, base_ms, chance, asked_ms),
            error,
        };
        match self {
            Self::Answered { status: 200..300, .. } => JobOutcome::Delivered,
            Self::Answered { status: status @ 300..400, .. } => JobOutcome::Refused {
                error: format!("HTTP {status}: redirects are not followed; configure where it leads"),
            },
            Self::Answered { status: status @ (400 | 410 | 413 | 422), .. } => {
                JobOutcome::Refused { error: format!("HTTP {status}: the target does not want it") }
            }
            Self::Answered { status, retry_after_ms } => failed(format!("HTTP {status}"), retry_after_ms),
            Self::Unanswered(error) => failed(error, None),
            Self::Forbidden(error) => JobOutcome::Refused { error },
            Self::Unknown => failed("the configuration of the node that tried has no such target".to_owned(), None),
            Self::Cut => failed("the node stopped before the target answered".to_owned(), None),
        }
    }
}

/// What a `Retry-After` header asks for, when it is in seconds.
pub(super) fn retry_after_ms(header: &str) -> Option<u64> {
    header.trim().parse::<u64>().ok().map(|seconds| seconds.saturating_mul(1000))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answered(status: u16) -> Attempt {
        Attempt::Answered { status, retry_after_ms: None }
    }

    #[test]
    fn what_an_answer_means() {
        for (status, blame, expected) in [
            (200, Blame::Works, "delivered"),
            (204, Blame::Works, "delivered"),
            (101, Blame::Fails, "failed"),
            (301, Blame::Fails, "refused"),
            (307, Blame::Fails, "refused"),
            (400, Blame::None, "refused"),
            (413, Blame::None, "refused"),
            (422, Blame::None, "refused"),
            (410, Blame::Fails, "refused"),
            (401, Blame::Fails, "failed"),
            (403, Blame::Fails, "failed"),
            (404, Blame::Fails, "failed"),
            (408, Blame::Fails, "failed"),
            (429, Blame::Fails, "failed"),
            (500, Blame::Fails, "failed"),
            (503, Blame::Fails, "failed"),
        ] {
            let word = match answered(status).outcome(1, 2_000, 0.0) {
                JobOutcome::Delivered => "delivered",
                JobOutcome::Failed { retry_after_ms, .. } => {
                    assert_eq!(retry_after_ms, 2_000);
                    "failed"
                }
                JobOutcome::Refused { .. } => "refused",
            };
            assert_eq!((word, answered(status).blame()), (expected, blame), "{status}");
        }
    }

    #[test]
    fn a_target_that_says_when_is_not_asked_before() {
        let busy = Attempt::Answered { status: 503, retry_after_ms: retry_after_ms(" 7 ") };
        let JobOutcome::Failed { retry_after_ms: pause_ms, .. } = busy.outcome(1, 2_000, 0.0) else {
            panic!("it is tried again");
        };
        assert_eq!(pause_ms, 7_000);
        assert_eq!(retry_after_ms("Wed, 21 Oct 2015 07:28:00 GMT"), None);
    }
}
