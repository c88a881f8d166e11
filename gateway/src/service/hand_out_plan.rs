//! Pure: what becomes of a notification that nobody looked at yet, and the webhooks in which many leave together.

use std::time::{Duration, Instant};

use hallway_protocol::notification::Notification;
use hallway_protocol::{NotificationId, UserId};
use hallway_store::{HandOut, NewJob};
use serde::Serialize;
use serde_json::value::RawValue;

/// Notifications in one webhook.
pub(super) const NOTIFICATIONS_PER_JOB_MAX: usize = 500;
/// Bytes of their texts in one webhook; a single one is never as large.
pub(super) const JOB_MAX_BYTES: usize = 1024 * 1024;
/// Urgent ones go first.
const PRIORITY_URGENT: u8 = 10;
const PRIORITY_NORMAL: u8 = 5;
/// While it is not known who is there, it is looked again so soon.
const BLIND_PAUSE_MS: u64 = 1_000;
/// After so long without knowing who is there, what is offered is handed out all the same.
const BLIND_MAX: Duration = Duration::from_secs(30);

/// Whether a person is connected, to any node.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum There {
    Yes,
    No,
    /// Not here, and the other nodes have not been heard.
    Unknown {
        /// And that for longer than anybody should wait.
        too_long: bool,
    },
}

/// Why a notification is handed out, as its target reads it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Why {
    /// The person is connected nowhere.
    Offline,
    /// Nobody acknowledged it in time.
    Unacknowledged,
    /// It was not known for a while whether the person is connected.
    PresenceUnknown,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Decision {
    Settle,
    Again { after_ms: u64 },
    HandOut(Why),
}

/// What becomes of it.
pub(super) fn decide(one: &HandOut, there: There) -> Decision {
    if one.notification.read || one.notification.acknowledged {
        return Decision::Settle;
    }
    let deadline_ms = one.acknowledge_in_ms.filter(|_| one.notification.urgent);
    match (deadline_ms, there) {
        (Some(0), _) => Decision::HandOut(Why::Unacknowledged),
        (_, There::No) => Decision::HandOut(Why::Offline),
        (_, There::Unknown { too_long: true }) => Decision::HandOut(Why::PresenceUnknown),
        (Some(left_ms), There::Yes) => Decision::Again { after_ms: left_ms },
        (None, There::Yes) => Decision::Settle,
        (left_ms, There::Unknown { too_long: false }) => {
            Decision::Again { after_ms: left_ms.unwrap_or(BLIND_PAUSE_MS).min(BLIND_PAUSE_MS) }
        }
    }
}

/// Whether the directory knows who is connected where. It does when the bus has worked for as long as a node may be silent.
#[derive(Debug)]
pub(super) struct Sight {
    node_lease: Duration,
    /// The bus has worked since.
    up_since: Option<Instant>,
    /// When everything was known last.
    seen_at: Instant,
}

impl Sight {
    pub(super) fn new(node_lease: Duration, now: Instant) -> Self {
        Self { node_lease, up_since: None, seen_at: now }
    }

    /// What is to be thought of somebody who is not known to be connected. `bus_up` is `None` when there are no others.
    pub(super) fn of_absent(&mut self, bus_up: Option<bool>, now: Instant) -> There {
        self.up_since = match bus_up {
            Some(true) => self.up_since.or(Some(now)),
            _ => None,
        };
        let all_heard = self.up_since.is_some_and(|since| now.duration_since(since) >= self.node_lease);
        if bus_up.is_none() || all_heard {
            self.seen_at = now;
            return There::No;
        }
        There::Unknown { too_long: now.duration_since(self.seen_at) > BLIND_MAX.max(self.node_lease) }
    }
}

/// A webhook's body.
#[derive(Serialize)]
struct Body<'a> {
    version: u8,
    id: String,
    kind: &'static str,
    urgent: bool,
    notifications: &'a [Box<RawValue>],
}

#[derive(Serialize)]
struct Item<'a> {
    user: &'a UserId,
    why: Why,
    notification: &'a Notification,
}

/// The webhooks that carry these, for each target as many as it takes, urgent ones apart from the others.
pub(super) fn jobs(
    handed: &[(HandOut, Why)],
    targets: &[(String, u32)],
    mut id: impl FnMut() -> String,
) -> Vec<NewJob> {
    let mut jobs = Vec::new();
    for urgent in [true, false] {
        let items: Vec<(NotificationId, Box<RawValue>)> = handed
            .iter()
            .filter(|(one, _)| one.notification.urgent == urgent)
            .filter_map(|(one, why)| {
                let item = Item { user: &one.user, why: *why, notification: &one.notification };
                // A notification is made of texts and numbers, so it always has a JSON form.
                Some((one.notification.id, serde_json::value::to_raw_value(&item).ok()?))
            })
            .collect();
        for (notifications, texts) in parts(items) {
            let body = Body { version: 1, id: id(), kind: "notifications", urgent, notifications: &texts };
            let Ok(body) = serde_json::to_string(&body) else { continue };
            let priority = if urgent { PRIORITY_URGENT } else { PRIORITY_NORMAL };
            jobs.extend(targets.iter().map(|(target, attempts_max)| NewJob {
                target: target.clone(),
                priority,
                attempts_max: *attempts_max,
                body: body.clone(),
                notifications: notifications.clone(),
            }));
        }
    }
    jobs
}

type Part = (Vec<NotificationId>, Vec<Box<RawValue>>);

/// As few parts as the bounds allow.
fn parts(items: Vec<(NotificationId, Box<RawValue>)>) -> Vec<Part> {
    let mut parts: Vec<Part> = Vec::new();
    let mut bytes = 0;
    for (id, text) in items {
        let length = text.get().len() + 1;
        let fits = |part: &Part| part.0.len() < NOTIFICATIONS_PER_JOB_MAX && bytes + length <= JOB_MAX_BYTES;
        if !parts.last().is_some_and(fits) {
            parts.push(Part::default());
            bytes = 0;
        }
        bytes += length;
        if let Some(part) = parts.last_mut() {
            part.0.push(id);
            part.1.push(text);
        }
    }
    parts
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a failed test panics")]
mod tests {
    use hallway_protocol::notification::NotificationKind;
    use serde_json::Value;

    use super::*;

    fn notification(urgent: bool, text_bytes: usize) -> Notification {
        Notification {
            id: NotificationId::generate(),
            seq: 3,
            kind: NotificationKind::Announcement,
            urgent,
            silent: false,
            room: None,
            message: None,
            task: None,
            comment: None,
            by: None,
            at_ms: 1,
            title: Some("fire drill".to_owned()),
            text: Some("x".repeat(text_bytes)),
            data: None,
            acknowledge_by_ms: None,
            read: false,
            acknowledged: false,
        }
    }

    fn hand_out(urgent: bool, acknowledge_in_ms: Option<u64>) -> HandOut {
        HandOut { user: UserId::new("ada").unwrap(), notification: notification(urgent, 10), acknowledge_in_ms }
    }

    #[test]
    fn an_urgent_one_is_handed_out_when_its_person_is_offline_or_nobody_acknowledged_it() {
        let blind = There::Unknown { too_long: false };
        let long_blind = There::Unknown { too_long: true };
        for (left_ms, there, decision) in [
            (9_000, There::Yes, Decision::Again { after_ms: 9_000 }),
            (9_000, There::No, Decision::HandOut(Why::Offline)),
            (9_000, blind, Decision::Again { after_ms: BLIND_PAUSE_MS }),
            (300, blind, Decision::Again { after_ms: 300 }),
            (9_000, long_blind, Decision::HandOut(Why::PresenceUnknown)),
            (0, There::Yes, Decision::HandOut(Why::Unacknowledged)),
            (0, There::No, Decision::HandOut(Why::Unacknowledged)),
            (0, blind, Decision::HandOut(Why::Unacknowledged)),
        ] {
            assert_eq!(decide(&hand_out(true, Some(left_ms)), there), decision, "{left_ms} {there:?}");
        }
    }

    #[test]
    fn a_normal_one_is_handed_out_only_when_its_person_is_offline() {
        assert_eq!(decide(&hand_out(false, None), There::Yes), Decision::Settle);
        assert_eq!(decide(&hand_out(false, None), There::No), Decision::HandOut(Why::Offline));
        let blind = decide(&hand_out(false, None), There::Unknown { too_long: false });
        assert_eq!(blind, Decision::Again { after_ms: BLIND_PAUSE_MS });
    }

    #[test]
    fn what_was_read_or_acknowledged_is_never_handed_out() {
        for there in [There::Yes, There::No, There::Unknown { too_long: true }] {
            for (read, acknowledged) in [(true, false), (true, true)] {
                let mut one = hand_out(true, Some(0));
                (one.notification.read, one.notification.acknowledged) = (read, acknowledged);
                assert_eq!(decide(&one, there), Decision::Settle);
            }
        }
    }

    #[test]
    fn nobody_is_called_offline_before_the_other_nodes_were_heard() {
        let begun = Instant::now();
        let at = |seconds| begun + Duration::from_secs(seconds);
        let mut sight = Sight::new(Duration::from_secs(5), begun);
        let (unknown, too_long) = (There::Unknown { too_long: false }, There::Unknown { too_long: true });
        assert_eq!(sight.of_absent(Some(true), at(0)), unknown, "it has just started");
        assert_eq!(sight.of_absent(Some(true), at(4)), unknown);
        assert_eq!(sight.of_absent(Some(true), at(5)), There::No);
        assert_eq!(sight.of_absent(Some(false), at(6)), unknown, "the bus is gone");
        assert_eq!(sight.of_absent(Some(false), at(35)), unknown);
        assert_eq!(sight.of_absent(Some(false), at(36)), too_long, "nobody waits for ever");
        assert_eq!(sight.of_absent(Some(true), at(37)), too_long, "it is back, and others were not heard yet");
        assert_eq!(sight.of_absent(Some(true), at(42)), There::No);
        assert_eq!(Sight::new(Duration::from_secs(5), begun).of_absent(None, begun), There::No, "there are no others");
    }

    #[test]
    fn what_leaves_together_is_in_one_webhook_for_each_target_and_urgent_ones_go_first() {
        let targets = [("mail".to_owned(), 3), ("push".to_owned(), 5)];
        let handed: Vec<(HandOut, Why)> = (0..1_200).map(|number| (hand_out(number < 2, None), Why::Offline)).collect();
        let mut ids = 0..;
        let jobs = jobs(&handed, &targets, || ids.next().unwrap_or(0).to_string());
        let shape: Vec<(&str, u8, u32, usize)> = jobs
            .iter()
            .map(|job| (job.target.as_str(), job.priority, job.attempts_max, job.notifications.len()))
            .collect();
        let of = |priority, count| [("mail", priority, 3, count), ("push", priority, 5, count)];
        assert_eq!(shape, [of(10, 2), of(5, 500), of(5, 500), of(5, 198)].concat());
        let body: Value = serde_json::from_str(&jobs[0].body).unwrap();
        assert_eq!(
            (&body["version"], &body["kind"], &body["urgent"]),
            (&1.into(), &"notifications".into(), &true.into())
        );
        let first = &body["notifications"][0];
        assert_eq!((&first["user"], &first["why"]), (&"ada".into(), &"offline".into()));
        let told: Notification = serde_json::from_value(first["notification"].clone()).unwrap();
        assert_eq!(told, handed[0].0.notification);
        let ids: Vec<&str> = jobs.iter().filter_map(|job| job.body.split('"').nth(5)).collect();
        assert_eq!(ids, ["0", "0", "1", "1", "2", "2", "3", "3"], "an id names what is said, not to whom");
    }

    #[test]
    fn a_webhook_is_bounded_in_bytes() {
        let handed: Vec<(HandOut, Why)> = (0..500)
            .map(|_| (HandOut { notification: notification(false, 4_096), ..hand_out(false, None) }, Why::Offline))
            .collect();
        let jobs = jobs(&handed, &[("push".to_owned(), 3)], String::new);
        assert!(jobs.iter().all(|job| job.body.len() < JOB_MAX_BYTES + 200), "{}", jobs.len());
        assert_eq!(jobs.iter().map(|job| job.notifications.len()).sum::<usize>(), 500);
        assert_eq!(jobs.len(), 3);
    }
}
