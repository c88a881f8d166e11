//! Logs to standard error.

use tracing_subscriber::EnvFilter;

use crate::config::{LogConfig, LogFormat};

/// Logs could not be set up.
#[derive(Debug, thiserror::Error)]
pub enum LogError {
    #[error("log.filter = {filter:?} is not a log filter: {cause}; example: info,hallway_gateway=debug")]
    Filter {
        filter: String,
        #[source]
        cause: tracing_subscriber::filter::ParseError,
    },
    #[error("logs were set up twice in this process: {0}")]
    Twice(String),
}

/// Sends this process's logs to standard error, as configured. Once per process.
///
/// # Errors
/// [`LogError`] when the filter does not parse or logs are set up already.
pub fn init(config: &LogConfig) -> Result<(), LogError> {
    let filter = EnvFilter::try_new(&config.filter)
        .map_err(|cause| LogError::Filter { filter: config.filter.clone(), cause })?;
    let builder = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    let result = match config.format {
        LogFormat::Text => builder.with_ansi(std::io::IsTerminal::is_terminal(&std::io::stderr())).try_init(),
        LogFormat::Json => builder.json().flatten_event(true).try_init(),
    };
    result.map_err(|error| LogError::Twice(error.to_string()))
}
