//! Arguments, then [`hallway_gateway::cli`].

use std::process::ExitCode;

#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

/// jemalloc reads its settings here before `main` begins (jemalloc(3), TUNING): pages that were freed go back to the kernel within a
/// second instead of ten, so that what a burst of connects needed for a moment is not resident for long.
#[expect(unsafe_code, reason = "a symbol of that name: jemalloc takes it for a pointer to a string of C, which it is")]
#[unsafe(export_name = "_rjem_malloc_conf")]
static ALLOCATOR_SETTINGS: &[u8; 20] = b"dirty_decay_ms:1000\0";

fn main() -> ExitCode {
    hallway_gateway::cli::run(std::env::args_os())
}
