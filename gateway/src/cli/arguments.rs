//! What can be typed.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Parser, Subcommand};
use hallway_protocol::{RoomId, UserId};

use super::{operations, people};
use crate::config::Flags;

/// A real-time messaging gateway that loses, repeats and reorders nothing it acknowledged.
#[derive(Debug, Parser)]
#[command(name = "hallway", version, args_conflicts_with_subcommands = true)]
pub(super) struct Arguments {
    #[command(subcommand)]
    command: Option<Command>,
    #[command(flatten)]
    serve: ConfigArguments,
}

impl Arguments {
    /// The command; without one it is `serve`.
    pub(super) fn command(self) -> Command {
        self.command.unwrap_or(Command::Serve(self.serve))
    }
}

#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// Start a node (the default command).
    Serve(ConfigArguments),
    /// Check the configuration, list every fault.
    CheckConfig(ConfigArguments),
    /// Print the configuration in force, without secrets.
    PrintConfig(ConfigArguments),
    /// Bring the store's schema up to date and exit.
    Migrate(ConfigArguments),
    /// Begin a new epoch, after an older state of the store was put back. Stop the nodes first.
    NewEpoch(ConfigArguments),
    /// Print a token, for development.
    Token(TokenArguments),
    /// Join a room and print what is said in it.
    Tail(TailArguments),
    /// Join a room and say something.
    Send(SendArguments),
    /// List or end the connections of a user.
    #[command(subcommand)]
    Session(people::SessionCommand),
    /// Act on a user wherever they are.
    #[command(subcommand)]
    User(people::UserCommand),
    /// Act on people in a room, as one of its admins.
    #[command(subcommand)]
    Room(people::RoomCommand),
    /// Print the record of acts on people, newest first.
    Audit(people::AuditArguments),
    /// Say what became of a notification.
    #[command(subcommand)]
    Notification(operations::NotificationCommand),
    /// List webhooks that were given up, or try them again.
    #[command(subcommand)]
    Outbox(operations::OutboxCommand),
}

#[derive(Debug, Args)]
pub(super) struct ConfigArguments {
    /// Configuration file; `hallway print-config` shows its form.
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Where clients connect.
    #[arg(long, value_name = "ADDRESS")]
    listen: Option<String>,
    /// Where health and metrics are.
    #[arg(long, value_name = "ADDRESS")]
    admin_listen: Option<String>,
    /// The embedded store and the development secret.
    #[arg(long, value_name = "DIR")]
    data_dir: Option<String>,
    /// postgres://… instead of the embedded store.
    #[arg(long, value_name = "URL")]
    store_url: Option<String>,
    /// File with the shared secret of tokens.
    #[arg(long, value_name = "FILE")]
    secret_file: Option<String>,
    /// redis://… between the nodes of a cluster.
    #[arg(long, value_name = "URL")]
    bus_url: Option<String>,
    /// File with the secret that the nodes of a cluster share.
    #[arg(long, value_name = "FILE")]
    cluster_secret_file: Option<String>,
    /// Development mode: loopback only, with a secret of its own.
    #[arg(long)]
    dev: bool,
}

impl From<ConfigArguments> for Flags {
    fn from(arguments: ConfigArguments) -> Self {
        Self {
            config: arguments.config,
            listen: arguments.listen,
            admin_listen: arguments.admin_listen,
            data_dir: arguments.data_dir,
            store_url: arguments.store_url,
            secret_file: arguments.secret_file,
            bus_url: arguments.bus_url,
            cluster_secret_file: arguments.cluster_secret_file,
            dev: arguments.dev,
        }
    }
}

/// Where the secret of a development token lies.
#[derive(Debug, Args)]
pub(super) struct SecretArguments {
    /// Data directory of a node in development mode.
    #[arg(long, value_name = "DIR", conflicts_with = "secret_file")]
    pub(super) data_dir: Option<String>,
    /// File with the shared secret.
    #[arg(long, value_name = "FILE")]
    pub(super) secret_file: Option<PathBuf>,
}

#[derive(Debug, Args)]
pub(super) struct TokenArguments {
    /// Who the token speaks for.
    #[arg(long, value_name = "ID")]
    pub(super) user: UserId,
    /// How long it is valid: 30s, 15m, 1h, 7d.
    #[arg(long, value_name = "TIME", default_value = "1h", value_parser = parse_duration)]
    pub(super) ttl: Duration,
    #[command(flatten)]
    pub(super) secret: SecretArguments,
}

/// Whom to talk to, and as who.
#[derive(Debug, Args)]
pub(super) struct TalkArguments {
    /// Who speaks.
    #[arg(long, value_name = "ID", default_value = "cli")]
    pub(super) user: UserId,
    /// The node.
    #[arg(long, value_name = "URL", default_value = "ws://127.0.0.1:8080/v1/ws")]
    pub(super) target: String,
    #[command(flatten)]
    pub(super) secret: SecretArguments,
}

#[derive(Debug, Args)]
pub(super) struct TailArguments {
    /// The room; made if it is not there.
    pub(super) room: RoomId,
    #[command(flatten)]
    pub(super) talk: TalkArguments,
}

#[derive(Debug, Args)]
pub(super) struct SendArguments {
    /// The room; made if it is not there.
    pub(super) room: RoomId,
    /// What to say.
    pub(super) text: String,
    #[command(flatten)]
    pub(super) talk: TalkArguments,
}

/// A whole number with a unit: `30s`, `15m`, `1h`, `7d`.
pub(super) fn parse_duration(text: &str) -> Result<Duration, String> {
    let split = text.find(|character: char| !character.is_ascii_digit()).unwrap_or(text.len());
    let (number, unit) = text.split_at(split);
    let seconds_per_unit = match unit {
        "s" => 1,
        "m" => 60,
        "h" => 60 * 60,
        "d" => 24 * 60 * 60,
        _ => return Err("write a whole number and a unit: 30s, 15m, 1h or 7d".to_owned()),
    };
    let number: u64 = number.parse().map_err(|_| "write a whole number and a unit: 30s, 15m, 1h or 7d".to_owned())?;
    match number.checked_mul(seconds_per_unit) {
        Some(seconds) if seconds > 0 => Ok(Duration::from_secs(seconds)),
        _ => Err("is out of range; write at least 1s".to_owned()),
    }
}
