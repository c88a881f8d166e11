//! `hallway serve`.

use super::{CliError, block_on};
use crate::config::Config;
use crate::server::Node;
use crate::telemetry::logs;

pub(super) fn run(config: Config) -> Result<(), CliError> {
    logs::init(&config.log)?;
    // Before anything listens: a missing or short secret is told at once, and the development secret is made.
    let secret = config.load_secret()?;
    let greeting = config.server.dev.then(|| greeting(&config));
    block_on(async move {
        let started = |_: &Node| eprint!("{}", greeting.unwrap_or_default());
        let served = crate::server::run(config, secret, started).await;
        served.map(|_| ()).map_err(|error| CliError::Failed(error.to_string()))
    })
}

/// Where to connect, how to get a token, what to type in a second terminal.
fn greeting(config: &Config) -> String {
    let server = &config.server;
    let defaults = Config::default().server;
    // The same words as the flags of this node, so that the lines can be pasted.
    let standard = std::env::home_dir().map(|home| home.join(".local/share/hallway"));
    let data_dir = if Some(&server.data_dir) == standard.as_ref() {
        String::new()
    } else {
        format!(" --data-dir {}", server.data_dir.display())
    };
    let target = if server.listen == defaults.listen {
        String::new()
    } else {
        format!(" --target ws://{}/v1/ws", server.listen)
    };
    format!(
        "development mode: loopback only, data in {}\n\
         connect    ws://{}/v1/ws\n\
         token      cargo run -- token --user ada{data_dir}\n\
         try it     cargo run -- tail lobby{target}{data_dir}, and in a third terminal: \
         cargo run -- send lobby \"hello\"{target}{data_dir}\n",
        server.data_dir.display(),
        server.listen,
    )
}
