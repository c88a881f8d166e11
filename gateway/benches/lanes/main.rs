//! How much the lanes add to what the kernel asks: a bare loop and Hallway's hub write the same load to the same sockets, in
//! turns within one process run, and the CPU of this process (user and system, all threads) is counted per delivery.
//!
//! Three shapes, each with signals and with durable events (as the store hands them over):
//!
//! - *saturated*: a room of 1,000, 32 messages outstanding. The bare loop writes the 32 frames of a socket in one call.
//! - *steady*: the same room, one message at a time.
//! - *chat*: 200 rooms of 10, a burst of 8 messages in 8 rooms.
//!
//! The next batch begins when the reader, another process (`reader`), has everything. What the bare loop writes was encoded
//! beforehand; the hub's side encodes each message. The last line is the figure to watch: `saturated lanes/bare 1.07x`.
//!
//! `cargo bench -p hallway-gateway --bench lanes [-- --rounds 7]`

mod cost;
#[path = "../crowd/mod.rs"]
mod crowd;
mod reader;
mod table;
mod writers;

use std::time::{Duration, Instant};

use hallway_gateway::tasks::Tasks;

use self::table::Table;
use self::writers::{Load, Stage};

// The server's, with jemalloc's own settings.
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

/// Rounds when nobody says otherwise; a further one before them warms up and is not counted.
const ROUNDS: usize = 7;
/// No round begins later than that, on however slow a machine.
const ROUNDS_WITHIN: Duration = Duration::from_secs(80);
/// How long the whole bench may take.
const WHOLE_WITHIN: Duration = Duration::from_secs(180);

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if let Some(at) = arguments.iter().position(|word| word == reader::WORD) {
        let count = arguments[at + 2].parse().expect("a number of connections");
        reader::run(&arguments[at + 1], count).expect("the writing side can be connected to");
        return;
    }
    let rounds = arguments.iter().position(|word| word == "--rounds").map_or(ROUNDS, |at| {
        arguments.get(at + 1).and_then(|word| word.parse().ok()).expect("--rounds is followed by a number")
    });
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().expect("a runtime");
    let tasks = Tasks::default();
    let table = runtime.block_on(async {
        let (give, take) = tokio::sync::oneshot::channel();
        let bench = tasks.clone();
        // In a task, as sessions are: what a worker's own task wakes is found by that worker.
        tasks.spawn(async move {
            let table = tokio::time::timeout(WHOLE_WITHIN, run(rounds, &bench)).await;
            let _ = give.send(table.expect("the bench ends in time"));
        });
        take.await.expect("the bench did not panic")
    });
    tasks.stop();
    print!("{table}");
}

async fn run(rounds: usize, tasks: &Tasks) -> Table {
    let mut stage = Stage::set(tasks).await;
    let mut table = Table::default();
    let begun = Instant::now();
    for round in 0..=rounds {
        if round > 1 && begun.elapsed() > ROUNDS_WITHIN {
            eprintln!("this machine is slow now: {} rounds instead of {rounds}", round - 1);
            break;
        }
        for load in in_turns(round) {
            let bare = stage.bare(load).await;
            let lanes = stage.lanes(load).await;
            if round > 0 {
                table.add(load, bare, lanes);
            }
        }
    }
    table
}

/// Every other round goes the other way round, so that a drift of the machine favours nobody.
fn in_turns(round: usize) -> Vec<Load> {
    let mut loads = Load::ALL.to_vec();
    if round % 2 == 1 {
        loads.reverse();
    }
    loads
}
