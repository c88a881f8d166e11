//! Arguments, then [`hallway_gateway::cli`].

use std::process::ExitCode;

fn main() -> ExitCode {
    hallway_gateway::cli::run(std::env::args_os())
}
