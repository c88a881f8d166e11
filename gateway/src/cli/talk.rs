//! `hallway tail` and `hallway send`: a conversation from two terminals.

use super::arguments::{SendArguments, TailArguments};
use super::{CliError, token};

pub(super) fn tail(arguments: &TailArguments) -> Result<(), CliError> {
    token::secret(&arguments.talk.secret)?;
    Err(CliError::Failed("the client is not part of this build".to_owned()))
}

pub(super) fn send(arguments: &SendArguments) -> Result<(), CliError> {
    token::secret(&arguments.talk.secret)?;
    Err(CliError::Failed("the client is not part of this build".to_owned()))
}
