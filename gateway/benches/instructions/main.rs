//! What the hot paths cost in instructions, which do not depend on the machine's mood: this program runs itself under
//! valgrind's callgrind once per path, and callgrind counts while [`measured`] runs.
//!
//! *Publish* is what a request costs from its bytes to its reply, *delivery* what one more recipient costs. Everything
//! happens on one thread; sockets are replaced by something that takes every byte, so what the kernel does is not in it.
//!
//! `cargo bench -p hallway-gateway --bench instructions`

#[path = "../crowd/mod.rs"]
mod crowd;
mod paths;

use std::path::Path;
use std::process::{Command, ExitCode, Stdio};

use self::paths::{PATHS, Step};

/// The word on the command line that makes this program run one path.
const WORD: &str = "--path";
/// How often a path runs before it is counted.
const WARM_UPS: usize = 2;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if let Some(at) = arguments.iter().position(|word| word == WORD) {
        run(&arguments[at + 1]);
        return ExitCode::SUCCESS;
    }
    if Command::new("valgrind").arg("--version").stdout(Stdio::null()).status().is_err() {
        eprintln!("valgrind counts the instructions and is not here; this line installs it: apt-get install valgrind");
        return ExitCode::FAILURE;
    }
    let directory = tempfile::tempdir().expect("a temporary directory");
    println!("| path | instructions per operation |");
    println!("|---|---|");
    for (name, _) in PATHS {
        println!("| {name} | {:.0} |", count(name, directory.path()));
    }
    ExitCode::SUCCESS
}

/// Runs one path under callgrind; the child says how many operations it did.
fn count(name: &str, directory: &Path) -> f64 {
    let counts = directory.join("callgrind.out");
    let output = Command::new("valgrind")
        .args(["--tool=callgrind", "--collect-atstart=no", "--toggle-collect=*measured*", "--quiet"])
        .arg(format!("--callgrind-out-file={}", counts.display()))
        .arg(std::env::current_exe().expect("this program has a path"))
        .args([WORD, name])
        .stdin(Stdio::null())
        .output()
        .expect("valgrind runs");
    let said = String::from_utf8_lossy(&output.stdout);
    let operations: Option<f64> = said.lines().find_map(|line| line.strip_prefix("operations ")?.parse().ok());
    let operations = operations
        .unwrap_or_else(|| panic!("{name} under valgrind: {}\n{}", said, String::from_utf8_lossy(&output.stderr)));
    let text = std::fs::read_to_string(&counts).expect("callgrind writes down what it counted");
    // `summary:` while it was counting, `totals:` at the end.
    let sum = |key: &str| -> f64 {
        let lines = text.lines().filter_map(|line| line.strip_prefix(key)?.trim().parse::<f64>().ok());
        lines.sum()
    };
    let instructions = sum("totals:").max(sum("summary:"));
    assert!(instructions > 0.0, "{name}: callgrind counted nothing; does it know the function's name?");
    instructions / operations
}

/// One path, in this process.
fn run(name: &str) {
    let (_, prepare) = PATHS.iter().find(|(other, _)| *other == name).expect("a path of the table");
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    let Step { operations, mut work } = runtime.block_on(prepare());
    let mut work = || work(&runtime);
    (0..WARM_UPS).for_each(|_| work());
    measured(&mut work);
    println!("operations {operations}");
}

/// Callgrind counts from its beginning to its end.
#[inline(never)]
fn measured(work: &mut dyn FnMut()) {
    work();
    // Something comes after the call, so that it is no jump out of this function.
    std::hint::black_box(());
}
