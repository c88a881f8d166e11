//! `hallway notification` and `hallway outbox`: what became of what was to be delivered, over the same wire as everybody.

use clap::Subcommand;
use hallway_protocol::command::{Command, NotificationTrace, OutboxDead, OutboxReplay};
use hallway_protocol::notification::{JobTrace, Trace};
use hallway_protocol::{NotificationId, Reply};

use super::CliError;
use super::arguments::TalkArguments;
use super::people::{PAGE_ENTRIES, ask, strange, talking, utc};
use super::talk::show;

#[derive(Debug, Subcommand)]
pub(super) enum NotificationCommand {
    /// Print when it was created, handed to which connection, read and acknowledged, and the webhooks that carry it.
    Show {
        id: NotificationId,
        #[command(flatten)]
        talk: TalkArguments,
    },
}

#[derive(Debug, Subcommand)]
pub(super) enum OutboxCommand {
    /// Print the webhooks that were given up, newest first.
    Dead {
        /// Most to print.
        #[arg(long, value_name = "NUMBER", default_value_t = 100)]
        limit: usize,
        #[command(flatten)]
        talk: TalkArguments,
    },
    /// Try webhooks that were given up again, as if they were new.
    Replay {
        /// Their numbers, at most 100; without any, the oldest 100.
        #[arg(value_name = "JOB")]
        jobs: Vec<u64>,
        #[command(flatten)]
        talk: TalkArguments,
    },
}

pub(super) fn notification(command: &NotificationCommand) -> Result<(), CliError> {
    let NotificationCommand::Show { id, talk } = command;
    talking(talk, async |client| {
        let asked = Command::NotificationTrace(NotificationTrace { id: *id });
        let Reply::NotificationTrace(trace) = ask(client, asked).await? else { return Err(strange()) };
        trace_lines(&trace).iter().for_each(|line| show(line));
        Ok(())
    })
}

pub(super) fn outbox(command: &OutboxCommand) -> Result<(), CliError> {
    match command {
        OutboxCommand::Dead { limit, talk } => talking(talk, async |client| {
            let (mut cursor, mut left) = (None, *limit);
            while left > 0 {
                let limit = u32::try_from(left).ok().filter(|left| *left < PAGE_ENTRIES).or(Some(PAGE_ENTRIES));
                let list = OutboxDead { cursor: cursor.take(), limit };
                let Reply::OutboxDead(page) = ask(client, Command::OutboxDead(list)).await? else {
                    return Err(strange());
                };
                page.jobs.iter().for_each(|job| show(&job_line(job)));
                left = left.saturating_sub(page.jobs.len());
                cursor = page.next;
                if cursor.is_none() {
                    break;
                }
            }
            Ok(())
        }),
        OutboxCommand::Replay { jobs, talk } => talking(talk, async |client| {
            let replay = Command::OutboxReplay(OutboxReplay { jobs: jobs.clone() });
            let Reply::OutboxReplay(replayed) = ask(client, replay).await? else { return Err(strange()) };
            show(&format!("{} webhooks are tried again", replayed.jobs));
            Ok(())
        }),
    }
}

fn trace_lines(trace: &Trace) -> Vec<String> {
    let notification = &trace.notification;
    let urgent = if notification.urgent { " (urgent)" } else { "" };
    let by = notification.by.as_ref().map_or_else(|| "time".to_owned(), ToString::to_string);
    let mut lines = vec![format!(
        "{} created: {}{urgent} for {} by {by}, #{}",
        utc(notification.at_ms),
        notification.kind.as_str(),
        trace.user,
        notification.seq
    )];
    if let Some(room) = &notification.room {
        lines.push(format!("in {room}"));
    }
    for delivery in &trace.deliveries {
        lines.push(format!("{} handed to session {}", utc(delivery.at_ms), delivery.session));
    }
    for (at_ms, what) in [(trace.acknowledged_at_ms, "acknowledged"), (trace.read_at_ms, "read")] {
        lines.extend(at_ms.map(|at_ms| format!("{} {what}", utc(at_ms))));
    }
    if let (Some(by_ms), None) = (notification.acknowledge_by_ms, trace.acknowledged_at_ms) {
        lines.push(format!("to be acknowledged until {}", utc(by_ms)));
    }
    lines.extend(trace.jobs.iter().map(|job| format!("webhook {}", job_line(job))));
    lines
}

fn job_line(job: &JobTrace) -> String {
    let mut line = format!(
        "{} to {} {} after {} attempts, created {}",
        job.job,
        job.target,
        job.state.as_str(),
        job.attempts,
        utc(job.created_at_ms)
    );
    if let Some(at_ms) = job.finished_at_ms {
        line.push_str(&format!(", finished {}", utc(at_ms)));
    }
    if let Some(error) = &job.error {
        line.push_str(&format!(": {error}"));
    }
    line
}
