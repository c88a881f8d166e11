//! What the raw driver's scenarios share: rooms and memberships of a Hallway node, and what is said.

use std::time::Duration;

use hallway_protocol::{Role, RoomId, UserId, Visibility};
use loadtest_client::client::Notice;
use loadtest_client::{Client, ClientSettings, ConnectOptions, Observer, token};
use tokio::task::JoinSet;

use crate::driver::crowd::Crowd;
use crate::driver::job::Verdict;
use crate::report::Outcome;
use crate::run::Failure;

/// Groups that are set up at once.
const GROUPS_MAX_AT_ONCE: usize = 16;
/// Invitations of one group under way at once.
const INVITATIONS_MAX_AT_ONCE: usize = 32;
/// How long tokens are valid.
const TOKEN_LIFE: Duration = Duration::from_secs(24 * 3600);

/// A name that no other run has.
pub(crate) fn run_name() -> String {
    // Rooms and users are named after it, and their names are in every frame: it is no longer than it must be. The last
    // digits are random.
    let unique = hallway_protocol::MessageId::generate().as_uuid().simple().to_string();
    format!("lt{}", &unique[unique.len() - 8..])
}

/// A token for a user, where signing works; without one the node refuses, and that is said.
pub(crate) fn sign(secret: &[u8], user: &str) -> Option<String> {
    token::mint(secret, user, TOKEN_LIFE).ok()
}

/// Sets up what needs whole clients, before the measuring.
pub(crate) fn prepare(target: &str, secret: &[u8], crowd: &Crowd) -> Result<(), Failure> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let mut under_way = JoinSet::new();
        for group in 0..crowd.groups {
            if under_way.len() >= GROUPS_MAX_AT_ONCE
                && let Some(done) = under_way.join_next().await
            {
                done??;
            }
            under_way.spawn(set_up(target.to_owned(), secret.to_vec(), crowd.users(group), crowd.room_names(group)));
        }
        while let Some(done) = under_way.join_next().await {
            done??;
        }
        Ok(())
    })
}

/// Sees nothing.
struct Blind;

impl Observer for Blind {
    fn observe(&mut self, _notice: Notice) {}
}

/// The last user of a group makes its rooms and invites the others, who need not be there for it.
async fn set_up(target: String, secret: Vec<u8>, users: Vec<String>, rooms: Vec<String>) -> Result<(), Failure> {
    let (owner, others) = users.split_last().ok_or("a group without users")?;
    let options = ConnectOptions::new(&*target, token::mint(&secret, owner, TOKEN_LIFE)?);
    let client = Client::connect(ClientSettings::new(options), Blind).await?;
    let mut under_way = JoinSet::new();
    for room in rooms {
        let room = RoomId::new(&room)?;
        client.create_room(&room, Visibility::Public).await?;
        for user in others {
            if under_way.len() >= INVITATIONS_MAX_AT_ONCE
                && let Some(done) = under_way.join_next().await
            {
                done??;
            }
            let (client, room, user) = (client.clone(), room.clone(), UserId::new(user)?);
            under_way.spawn(async move { client.invite(&room, &user, Role::Member).await });
        }
    }
    while let Some(done) = under_way.join_next().await {
        done??;
    }
    client.close().await;
    Ok(())
}

/// Prints what the light ledger found.
pub(crate) fn print_verdict(verdict: &Verdict) {
    println!("ledger: {} published, {} received", verdict.published, verdict.received);
    for example in &verdict.examples {
        println!("  {example}");
    }
    for (invariant, count) in verdict.broken().into_iter().filter(|(_, count)| *count > 0) {
        println!("  {invariant} broken {count} times");
    }
    if verdict.is_clean() {
        println!("ledger: clean");
    }
}

/// How a run ends: the first that applies. `disturbed`: the server refused something or ended connections.
pub(crate) fn outcome(verdict: &Verdict, disturbed: bool, late: u64, sent: u64) -> Outcome {
    // What was refused, or was meant for a connection that was ended, has not been lost.
    let arrived_wrong = Verdict { lost: 0, ..verdict.clone() };
    match () {
        () if disturbed && arrived_wrong.is_clean() => Outcome::Error,
        () if !verdict.is_clean() => Outcome::Ledger,
        () if verdict.received == 0 => Outcome::Invalid,
        () if late * crate::report::LATE_ONE_IN > sent => Outcome::Bottleneck,
        () => Outcome::Pass,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_refused_is_an_error_and_no_loss_and_a_repeat_is_a_lie_all_the_same() {
        let some = Verdict { received: 9, ..Verdict::default() };
        let lost = Verdict { lost: 1, ..some.clone() };
        assert_eq!(outcome(&some, false, 0, 100), Outcome::Pass);
        assert_eq!(outcome(&some, false, 2, 100), Outcome::Bottleneck);
        assert_eq!(outcome(&Verdict::default(), false, 0, 0), Outcome::Invalid);
        assert_eq!(outcome(&lost, false, 0, 100), Outcome::Ledger);
        assert_eq!(outcome(&lost, true, 0, 100), Outcome::Error);
        assert_eq!(outcome(&Verdict { repeated: 1, ..lost }, true, 0, 100), Outcome::Ledger);
    }
}
