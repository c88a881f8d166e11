//! Arguments, then [`hallway_gateway::cli`].

use std::process::ExitCode;

#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

fn main() -> ExitCode {
    hallway_gateway::cli::run(std::env::args_os())
}
