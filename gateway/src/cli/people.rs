//! `hallway session`, `user`, `room` and `audit`: acting on people from a terminal, over the same wire as everybody.

use std::time::Duration;

use clap::{Args, Subcommand};
use hallway_protocol::command::{
    AuditList, Command, RoomBan, RoomBans, RoomKick, RoomMute, RoomUnban, RoomUnmute, SessionList, SessionRevoke,
    UserRevoke,
};
use hallway_protocol::model::AuditEntry;
use hallway_protocol::{Reply, RoomId, SessionId, UserId};
use loadtest_client::Client;
use loadtest_client::client::nonce;

use super::arguments::{TalkArguments, parse_duration};
use super::talk::{connect, failed, show};
use super::{CliError, block_on};
use crate::auth::now_ms;

/// Entries that are asked for at once.
pub(super) const PAGE_ENTRIES: u32 = 100;

#[derive(Debug, Subcommand)]
pub(super) enum SessionCommand {
    /// Print a user's connections.
    List {
        /// Whose; the speaker's own when left out.
        of: Option<UserId>,
        #[command(flatten)]
        talk: TalkArguments,
    },
    /// End one connection. Its token stays good: see `user revoke`.
    Revoke {
        /// As `session list` names it.
        session: SessionId,
        /// Whose it is; the speaker's own when left out.
        #[arg(long, value_name = "ID")]
        of: Option<UserId>,
        #[command(flatten)]
        talk: TalkArguments,
    },
}

#[derive(Debug, Subcommand)]
pub(super) enum UserCommand {
    /// End all connections of a user, and refuse every token that was issued before.
    Revoke {
        /// Whom.
        of: UserId,
        /// For the record.
        #[arg(long, value_name = "TEXT")]
        reason: Option<String>,
        #[command(flatten)]
        talk: TalkArguments,
    },
}

/// Whom to act on, where.
#[derive(Debug, Args)]
pub(super) struct Target {
    room: RoomId,
    /// Whom.
    of: UserId,
    #[command(flatten)]
    talk: TalkArguments,
}

#[derive(Debug, Subcommand)]
pub(super) enum RoomCommand {
    /// Remove a member, who may come back.
    Kick {
        #[command(flatten)]
        target: Target,
        /// For the record.
        #[arg(long, value_name = "TEXT")]
        reason: Option<String>,
    },
    /// Remove someone and keep them out.
    Ban {
        #[command(flatten)]
        target: Target,
        /// How long: 30s, 15m, 1h, 7d. Without it until `room unban`.
        #[arg(long = "for", value_name = "TIME", value_parser = parse_duration)]
        lasting: Option<Duration>,
        /// For the record.
        #[arg(long, value_name = "TEXT")]
        reason: Option<String>,
    },
    /// Let someone in again.
    Unban(Target),
    /// Let a member read, and write nothing.
    Mute {
        #[command(flatten)]
        target: Target,
        /// How long: 30s, 15m, 1h, 7d. Without it until `room unmute`.
        #[arg(long = "for", value_name = "TIME", value_parser = parse_duration)]
        lasting: Option<Duration>,
        /// For the record.
        #[arg(long, value_name = "TEXT")]
        reason: Option<String>,
    },
    /// Let a member write again.
    Unmute(Target),
    /// Print who is banned.
    Bans {
        room: RoomId,
        #[command(flatten)]
        talk: TalkArguments,
    },
}

#[derive(Debug, Args)]
pub(super) struct AuditArguments {
    /// Only what was done in this room.
    #[arg(long, value_name = "ID")]
    room: Option<RoomId>,
    /// Only what was done to this user.
    #[arg(long, value_name = "ID")]
    of: Option<UserId>,
    /// Most entries to print.
    #[arg(long, value_name = "NUMBER", default_value_t = 100)]
    limit: usize,
    #[command(flatten)]
    talk: TalkArguments,
}

pub(super) fn session(command: &SessionCommand) -> Result<(), CliError> {
    match command {
        SessionCommand::List { of, talk } => talking(talk, async |client| list_sessions(client, of.clone()).await),
        SessionCommand::Revoke { session, of, talk } => {
            let revoke = SessionRevoke { nonce: nonce(), session: session.clone(), user: of.clone() };
            commit(talk, Command::SessionRevoke(revoke), &format!("session {session} is revoked"))
        }
    }
}

pub(super) fn user(command: &UserCommand) -> Result<(), CliError> {
    let UserCommand::Revoke { of, reason, talk } = command;
    let revoke = UserRevoke { nonce: nonce(), user: of.clone(), reason: reason.clone() };
    commit(talk, Command::UserRevoke(revoke), &format!("{of}'s sessions and tokens are revoked"))
}

pub(super) fn room(command: &RoomCommand) -> Result<(), CliError> {
    let (nonce, place) = (nonce(), |target: &Target| (target.room.clone(), target.of.clone()));
    let (target, command, done) = match command {
        RoomCommand::Kick { target, reason } => {
            let (room, user) = place(target);
            (target, Command::RoomKick(RoomKick { nonce, room, user, reason: reason.clone() }), "is removed from")
        }
        RoomCommand::Ban { target, lasting, reason } => {
            let (room, user) = place(target);
            let ban = RoomBan { nonce, room, user, until_ms: lasting.map(end), reason: reason.clone() };
            (target, Command::RoomBan(ban), "is banned from")
        }
        RoomCommand::Unban(target) => {
            let (room, user) = place(target);
            (target, Command::RoomUnban(RoomUnban { nonce, room, user }), "is not banned any more from")
        }
        RoomCommand::Mute { target, lasting, reason } => {
            let (room, user) = place(target);
            let mute = RoomMute { nonce, room, user, until_ms: lasting.map(end), reason: reason.clone() };
            (target, Command::RoomMute(mute), "is muted in")
        }
        RoomCommand::Unmute(target) => {
            let (room, user) = place(target);
            (target, Command::RoomUnmute(RoomUnmute { nonce, room, user }), "is not muted any more in")
        }
        RoomCommand::Bans { room, talk } => {
            return talking(talk, async |client| list_bans(client, room).await);
        }
    };
    commit(&target.talk, command, &format!("{} {done} {}", target.of, target.room))
}

pub(super) fn audit(arguments: &AuditArguments) -> Result<(), CliError> {
    talking(&arguments.talk, async |client| {
        let (mut cursor, mut left) = (None, arguments.limit);
        while left > 0 {
            let list = AuditList {
                room: arguments.room.clone(),
                user: arguments.of.clone(),
                cursor: cursor.take(),
                limit: u32::try_from(left).ok().filter(|left| *left < PAGE_ENTRIES).or(Some(PAGE_ENTRIES)),
            };
            let Reply::AuditList(page) = ask(client, Command::AuditList(list)).await? else { return Err(strange()) };
            page.entries.iter().for_each(|entry| show(&entry_line(entry)));
            left = left.saturating_sub(page.entries.len());
            cursor = page.next;
            if cursor.is_none() {
                break;
            }
        }
        Ok(())
    })
}

/// Connects, does it, and says goodbye whatever came of it.
pub(super) fn talking(
    talk: &TalkArguments,
    act: impl AsyncFnOnce(&Client) -> Result<(), CliError>,
) -> Result<(), CliError> {
    block_on(async {
        let (client, events) = connect(talk, 1).await?;
        drop(events);
        let done = act(&client).await;
        client.close().await;
        done
    })
}

/// Repeats the command until its outcome is known.
fn commit(talk: &TalkArguments, command: Command, done: &str) -> Result<(), CliError> {
    let name = command.name();
    talking(talk, async |client| {
        client.commit(command).await.map_err(|error| failed(&format!("{name} was not acknowledged"), &error))?;
        show(done);
        Ok(())
    })
}

pub(super) async fn ask(client: &Client, command: Command) -> Result<Reply, CliError> {
    let name = command.name();
    client.request(command).await.map_err(|error| failed(&format!("{name} was not answered"), &error))
}

pub(super) fn strange() -> CliError {
    CliError::Failed("the node answered another command".to_owned())
}

fn end(lasting: Duration) -> u64 {
    now_ms().saturating_add(u64::try_from(lasting.as_millis()).unwrap_or(u64::MAX))
}

async fn list_sessions(client: &Client, of: Option<UserId>) -> Result<(), CliError> {
    let list = Command::SessionList(SessionList { user: of });
    let Reply::SessionList(list) = ask(client, list).await? else { return Err(strange()) };
    for session in &list.sessions {
        let client_name = session.client_name.as_deref().unwrap_or("?");
        let version = session.client_version.as_deref().unwrap_or("?");
        let note = match (session.current, session.away) {
            (true, _) => " (this one)",
            (_, true) => " (away)",
            _ => "",
        };
        let since = utc(session.connected_at_ms);
        show(&format!("{} {} since {since} with {client_name} {version}{note}", session.session, session.user));
    }
    if !list.complete {
        eprintln!("a node did not answer: its sessions are missing");
    }
    Ok(())
}

async fn list_bans(client: &Client, room: &RoomId) -> Result<(), CliError> {
    let mut cursor = None;
    loop {
        let list = RoomBans { room: room.clone(), cursor: cursor.take(), limit: Some(PAGE_ENTRIES) };
        let Reply::RoomBans(page) = ask(client, Command::RoomBans(list)).await? else { return Err(strange()) };
        for ban in &page.bans {
            let until = ban.until_ms.map_or_else(|| "unbanned".to_owned(), utc);
            let reason = ban.reason.as_deref().map_or_else(String::new, |reason| format!(": {reason}"));
            show(&format!("{} until {until}, by {} at {}{reason}", ban.user, ban.by, utc(ban.at_ms)));
        }
        cursor = page.next;
        if cursor.is_none() {
            return Ok(());
        }
    }
}

fn entry_line(entry: &AuditEntry) -> String {
    let mut line = format!("{} {} {}", utc(entry.at_ms), entry.actor, entry.action);
    if let Some(target) = &entry.target {
        line.push_str(&format!(" {target}"));
    }
    if let Some(room) = &entry.room {
        line.push_str(&format!(" in {room}"));
    }
    if let Some(session) = &entry.session {
        line.push_str(&format!(" session {session}"));
    }
    if let Some(until_ms) = entry.until_ms {
        line.push_str(&format!(" until {}", utc(until_ms)));
    }
    if let Some(reason) = &entry.reason {
        line.push_str(&format!(": {reason}"));
    }
    line
}

/// Milliseconds since 1970 as a date and a time, by the Gregorian calendar.
pub(super) fn utc(at_ms: u64) -> String {
    let (days, second) = (at_ms / 86_400_000, at_ms / 1000 % 86_400);
    // Counted from the 1st of March of the year 0: leap days come last.
    let day = days + 719_468;
    let (era, of_era) = (day / 146_097, day % 146_097);
    let year = (of_era - of_era / 1_460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year + year / 4 - year / 100);
    let month = (5 * of_year + 2) / 153;
    let of_month = of_year - (153 * month + 2) / 5 + 1;
    let (year, month) = (era * 400 + year + u64::from(month >= 10), if month < 10 { month + 3 } else { month - 9 });
    format!("{year:04}-{month:02}-{of_month:02} {:02}:{:02}:{:02}Z", second / 3600, second / 60 % 60, second % 60)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_shown_as_the_calendar_has_them() {
        for (at_ms, shown) in [
            (0, "1970-01-01 00:00:00Z"),
            (951_782_399_999, "2000-02-28 23:59:59Z"),
            (951_782_400_000, "2000-02-29 00:00:00Z"),
            (1_709_164_800_000, "2024-02-29 00:00:00Z"),
            (1_735_689_599_000, "2024-12-31 23:59:59Z"),
            (4_107_542_400_000, "2100-03-01 00:00:00Z"),
        ] {
            assert_eq!(utc(at_ms), shown);
        }
    }
}
