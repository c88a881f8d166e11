//! The command line of `hallway`: arguments → configuration → one command → exit code.
//!
//! Exit codes: 0 done, 1 error, 2 wrong arguments or configuration.
//!
//! Reading order: [`arguments`], then one file per command: [`serve`], [`upkeep`] (check-config, print-config, migrate,
//! new-epoch), [`token`], [`talk`] (tail, send), [`people`] (session, user, room, audit),
//! [`operations`] (notification, outbox).

mod arguments;
mod operations;
mod people;
mod print;
mod serve;
mod talk;
mod token;
mod upkeep;

use std::ffi::OsString;
use std::process::ExitCode;

use clap::Parser as _;

use crate::auth::AuthError;
use crate::config::{Config, ConfigErrors, Flags, SecretError};
use arguments::{Arguments, Command};

pub use print::as_toml;

/// Why a command did not do it.
#[derive(Debug, thiserror::Error)]
pub enum CliError {
    #[error(transparent)]
    Config(#[from] ConfigErrors),
    #[error(transparent)]
    Secret(#[from] SecretError),
    #[error(transparent)]
    Auth(#[from] AuthError),
    #[error(transparent)]
    Id(#[from] hallway_protocol::InvalidId),
    #[error(transparent)]
    Logs(#[from] crate::telemetry::logs::LogError),
    #[error("the runtime cannot be started: {0}")]
    Runtime(#[source] std::io::Error),
    /// What failed and what to do, as the layer below said it.
    #[error("{0}")]
    Failed(String),
}

impl CliError {
    fn exit_code(&self) -> u8 {
        match self {
            Self::Config(_) | Self::Id(_) => 2,
            _ => 1,
        }
    }
}

/// Carries out a command line. Prints what went wrong to standard error.
#[must_use]
pub fn run(arguments: impl IntoIterator<Item = OsString>) -> ExitCode {
    let arguments = match Arguments::try_parse_from(arguments) {
        Ok(arguments) => arguments,
        // Help and version are answers, not errors; clap knows the difference.
        Err(error) => {
            let _ = error.print();
            return ExitCode::from(u8::try_from(error.exit_code()).unwrap_or(2));
        }
    };
    match carry_out(arguments) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("hallway: {error}");
            ExitCode::from(error.exit_code())
        }
    }
}

fn carry_out(arguments: Arguments) -> Result<(), CliError> {
    match arguments.command() {
        Command::Serve(flags) => serve::run(config(flags)?),
        Command::CheckConfig(flags) => upkeep::check_config(&config(flags)?),
        Command::PrintConfig(flags) => upkeep::print_config(&config(flags)?),
        Command::Migrate(flags) => upkeep::migrate(&config(flags)?),
        Command::NewEpoch(flags) => upkeep::new_epoch(&config(flags)?),
        Command::Token(arguments) => token::run(&arguments),
        Command::Tail(arguments) => talk::tail(&arguments),
        Command::Send(arguments) => talk::send(&arguments),
        Command::Session(command) => people::session(&command),
        Command::User(command) => people::user(&command),
        Command::Room(command) => people::room(&command),
        Command::Audit(arguments) => people::audit(&arguments),
        Command::Notification(command) => operations::notification(&command),
        Command::Outbox(command) => operations::outbox(&command),
    }
}

fn config(arguments: arguments::ConfigArguments) -> Result<Config, ConfigErrors> {
    Config::from_process(&Flags::from(arguments))
}

/// Runs a future to its end on a runtime of its own.
fn block_on<T>(future: impl Future<Output = Result<T, CliError>>) -> Result<T, CliError> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().map_err(CliError::Runtime)?;
    runtime.block_on(future)
}
