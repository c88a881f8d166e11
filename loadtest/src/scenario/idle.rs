//! What a connection costs that does nothing: memory by regression over several numbers of connections, the rate at
//! which they come, what a further room of each costs, and whether coming and going leaves anything behind.

use serde::Serialize;
use serde_json::json;

use super::raw;
use crate::arguments::raw::Idle;
use crate::driver::clock::{SECOND_NS, now_ns};
use crate::driver::crowd::{Common, Crowd, Senders};
use crate::driver::fleet::{Fleet, distribution};
use crate::driver::job::{Connected, Pace, Phase, Verdict};
use crate::progress;
use crate::report::{Outcome, human};
use crate::run::Failure;
use crate::sample::kernel::Kernel;
use crate::sample::process::Watched;
use crate::sample::regression::{Line, line};

/// Memory is read this often while it settles.
const LOOK_EVERY_NS: u64 = SECOND_NS / 4;
/// It has settled when so many readings in a row differ by less than the tolerance.
const SETTLED_READINGS: usize = 6;
/// As a share of itself.
const SETTLED_WITHIN: f64 = 0.001;
/// It is taken as it is after this long.
const SETTLE_MAX_NS: u64 = 20 * SECOND_NS;
/// How long a server may take to notice that everybody left.
const LEAVE_MAX_NS: u64 = 60 * SECOND_NS;
/// Files that a server may have opened for itself meanwhile.
const FILES_SPARE: usize = 16;
/// The last cycle may peak this much above the one before.
const CYCLE_FACTOR: f64 = 1.03;

/// All that a run needs to know; not only Hallway is measured this way.
pub(crate) struct Plan {
    pub(crate) common: Common,
    pub(crate) crowd: Crowd,
    pub(crate) workers: u32,
    /// Connections at each step, rising.
    pub(crate) steps: Vec<usize>,
    pub(crate) cycles: u32,
    pub(crate) watched: Watched,
}

/// One number of connections.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Step {
    pub(crate) connections: usize,
    /// Those that this step added, and how they came.
    pub(crate) arrived: Arrived,
    pub(crate) resident_bytes: Option<u64>,
    pub(crate) peak_bytes: Option<u64>,
    pub(crate) kernel: Kernel,
}

/// How connections came: from the first SYN to the end of the greeting.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Arrived {
    pub(crate) connections: u64,
    pub(crate) per_second: f64,
    pub(crate) p50_us: u64,
    pub(crate) p99_us: u64,
    pub(crate) max_us: u64,
}

/// What one connection costs.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct PerConnection {
    pub(crate) resident: Option<Line>,
    /// Both ends of a connection are on this machine, so the kernel's part is that of two sockets.
    pub(crate) slab: Option<Line>,
    pub(crate) tcp_buffers: Option<Line>,
}

/// What a run gave.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Measured {
    /// Before the first connection.
    pub(crate) resident_before_bytes: Option<u64>,
    pub(crate) steps: Vec<Step>,
    pub(crate) per_connection: PerConnection,
    pub(crate) cycles: Vec<Step>,
    pub(crate) ledger: Verdict,
}

impl Measured {
    /// How far the last cycle peaks above the one before it, where there are two.
    #[expect(clippy::cast_precision_loss, reason = "bytes of memory are below 2^53")]
    pub(crate) fn cycle_growth(&self) -> Option<f64> {
        let [.., before, last] = &*self.cycles else { return None };
        Some(last.peak_bytes? as f64 / before.peak_bytes? as f64)
    }
}

/// Connects step by step, lets all leave and come back, and has everybody hear one message at the end.
pub(crate) fn measure(plan: &Plan, token: &dyn Fn(&str) -> Option<String>) -> Result<Measured, Failure> {
    let jobs = plan.crowd.jobs(&plan.common, plan.workers, token);
    let mut progress = progress::Raw::new(plan.steps.last().copied().unwrap_or(0), 1.0);
    let mut fleet = Fleet::start(&jobs, Box::new(move |counts| progress.tick(counts)))?;
    drop(jobs);
    let (files_before, resident_before_bytes) = (plan.watched.files(), settled(&mut fleet, &plan.watched)?);
    let mut steps = Vec::new();
    for connections in &plan.steps {
        steps.push(step(&mut fleet, plan, *connections)?);
    }
    let last = plan.steps.last().copied().unwrap_or(0);
    let mut cycles = Vec::new();
    for _ in 0..plan.cycles {
        fleet.disconnect()?;
        wait_until_gone(&mut fleet, &plan.watched, files_before)?;
        settled(&mut fleet, &plan.watched)?;
        cycles.push(step(&mut fleet, plan, last)?);
    }
    let ledger = hear_once(&mut fleet)?;
    fleet.disconnect()?;
    wait_until_gone(&mut fleet, &plan.watched, files_before)?;
    let per_connection = per_connection(&steps);
    Ok(Measured { resident_before_bytes, steps, per_connection, cycles, ledger })
}

fn step(fleet: &mut Fleet, plan: &Plan, connections: usize) -> Result<Step, Failure> {
    plan.watched.reset_peaks();
    let arrived = arrived(&fleet.connect_until(connections)?);
    let resident_bytes = settled(fleet, &plan.watched)?;
    let peak_bytes = plan.watched.memory().map(|memory| memory.peak_bytes);
    let step = Step { connections, arrived, resident_bytes, peak_bytes, kernel: Kernel::now() };
    print_step(&step);
    Ok(step)
}

#[expect(clippy::cast_precision_loss, reason = "counts and times of a run are below 2^53")]
fn arrived(connected: &Connected) -> Arrived {
    let latencies = distribution(&connected.latencies);
    Arrived {
        connections: connected.opened,
        per_second: connected.opened as f64 * SECOND_NS as f64 / connected.took_ns.max(1) as f64,
        p50_us: latencies.value_at_quantile(0.5),
        p99_us: latencies.value_at_quantile(0.99),
        max_us: latencies.max(),
    }
}

/// Waits until the server's memory stands still, or long enough. `None`: it cannot be read.
#[expect(clippy::cast_precision_loss, reason = "bytes of memory are below 2^53")]
pub(crate) fn settled(fleet: &mut Fleet, watched: &Watched) -> Result<Option<u64>, Failure> {
    let until = now_ns() + SETTLE_MAX_NS;
    let mut readings: Vec<u64> = Vec::new();
    while let Some(memory) = watched.memory() {
        readings.push(memory.resident_bytes);
        let last = &readings[readings.len().saturating_sub(SETTLED_READINGS)..];
        let (least, most) = (last.iter().min().copied(), last.iter().max().copied());
        if let (SETTLED_READINGS.., Some(least), Some(most)) = (last.len(), least, most)
            && (most - least) as f64 <= most as f64 * SETTLED_WITHIN
        {
            return Ok(Some(most));
        }
        let now = now_ns();
        if now > until {
            println!("the memory did not settle within {} s; taken as it is", SETTLE_MAX_NS / SECOND_NS);
            return Ok(Some(memory.resident_bytes));
        }
        fleet.wait_until(now + LOOK_EVERY_NS)?;
    }
    Ok(None)
}

/// Waits until the server has closed what its clients have left.
fn wait_until_gone(fleet: &mut Fleet, watched: &Watched, files_before: Option<usize>) -> Result<(), Failure> {
    let until = now_ns() + LEAVE_MAX_NS;
    let Some(files_before) = files_before else { return Ok(()) };
    while watched.files().is_some_and(|files| files > files_before + FILES_SPARE) {
        let now = now_ns();
        if now > until {
            return Err(
                format!("the server keeps connections open {} s after all left", LEAVE_MAX_NS / SECOND_NS).into()
            );
        }
        fleet.wait_until(now + LOOK_EVERY_NS)?;
    }
    Ok(())
}

/// One message in each room, and the ledger's word on it.
fn hear_once(fleet: &mut Fleet) -> Result<Verdict, Failure> {
    let now = now_ns();
    fleet.begin(Phase { pace: Pace::Once, from_ns: now, measured_from_ns: now, until_ns: now, mutes: false })?;
    let talked = fleet.end()?;
    let verdict = fleet.judge()?;
    match (&talked.first_refusal, &talked.first_closure) {
        (Some(why), _) => Err(format!("the server refused {} messages: {why}", talked.refused).into()),
        (_, Some(why)) => Err(format!("{} connections ended early: {why}", talked.closed).into()),
        (None, None) => Ok(verdict),
    }
}

#[expect(clippy::cast_precision_loss, reason = "bytes of memory are below 2^53")]
fn per_connection(steps: &[Step]) -> PerConnection {
    let fit = |value: &dyn Fn(&Step) -> Option<u64>| {
        let points: Option<Vec<(f64, f64)>> =
            steps.iter().map(|step| Some((step.connections as f64, value(step)? as f64))).collect();
        line(&points?)
    };
    PerConnection {
        resident: fit(&|step| step.resident_bytes),
        slab: fit(&|step| step.kernel.slab_total_bytes()),
        tcp_buffers: fit(&|step| step.kernel.tcp_bytes),
    }
}

fn kib(bytes: Option<u64>) -> String {
    bytes.map_or_else(|| "unknown".to_owned(), |bytes| format!("{} KiB", bytes / 1024))
}

fn print_step(step: &Step) {
    progress::clear();
    let arrived = &step.arrived;
    println!(
        "{} connections: {} came, {:.0}/s, connect p50 {} p99 {} max {}; RSS {}, peak {}, slab {}, TCP buffers {}",
        step.connections,
        arrived.connections,
        arrived.per_second,
        human(arrived.p50_us),
        human(arrived.p99_us),
        human(arrived.max_us),
        kib(step.resident_bytes),
        kib(step.peak_bytes),
        kib(step.kernel.slab_total_bytes()),
        kib(step.kernel.tcp_bytes),
    );
}

fn print_line(what: &str, unit: &str, line: Option<&Line>) {
    match line {
        Some(line) => println!(
            "{what}: {:.0} bytes per {unit} ({:.2} KiB; worst point {:.0} KiB off, R² {:.4})",
            line.slope,
            line.slope / 1024.0,
            line.residual_max / 1024.0,
            line.r_squared
        ),
        None => println!("{what}: unknown (no --server-pid, or not allowed to look)"),
    }
}

/// Prints what a run gave.
pub(crate) fn print_measured(measured: &Measured) {
    print_line("resident", "connection", measured.per_connection.resident.as_ref());
    print_line("kernel slab, both ends", "connection", measured.per_connection.slab.as_ref());
    print_line("kernel TCP buffers, both ends", "connection", measured.per_connection.tcp_buffers.as_ref());
    if let Some(growth) = measured.cycle_growth() {
        let within = if growth <= CYCLE_FACTOR { "within" } else { "beyond" };
        println!("the last cycle peaked at {:.1} % of the one before: {within} 3 %", growth * 100.0);
    }
}

/// `loadtest idle`.
pub(crate) fn run(arguments: &Idle) -> Result<Outcome, Failure> {
    arguments.check()?;
    let most = arguments.connections.iter().copied().chain([arguments.rooms_connections]).max().unwrap_or(0);
    let (common, secret) = arguments.raw.common(false, most as usize)?;
    let token = |user: &str| raw::sign(&secret, user);
    let members = arguments.members;
    let name = arguments.prepared.clone().unwrap_or_else(raw::run_name);
    let crowd = |connections: u32, rooms: u32| Crowd {
        // Several crowds of one run are told apart by their rooms.
        name: format!("{name}x{rooms}"),
        groups: connections.div_ceil(members),
        members,
        rooms,
        senders: Senders::First,
        mutable: 0,
    };
    let plan = |crowd: Crowd, steps: Vec<usize>, cycles: u32| Plan {
        common: common.clone(),
        workers: arguments.raw.workers(crowd.seats()),
        crowd,
        steps,
        cycles,
        watched: arguments.raw.watched(),
    };
    let plans: Vec<Plan> = if arguments.rooms_steps.is_empty() {
        let steps: Vec<usize> = arguments.connections.iter().map(|step| *step as usize).collect();
        let most = steps.last().copied().unwrap_or(0);
        vec![plan(
            crowd(u32::try_from(most).unwrap_or(u32::MAX), arguments.rooms_per_connection),
            steps,
            arguments.cycles,
        )]
    } else {
        let connections = arguments.rooms_connections;
        arguments
            .rooms_steps
            .iter()
            .map(|rooms| plan(crowd(connections, *rooms), vec![connections as usize], 0))
            .collect()
    };
    println!("loadtest idle on {}", arguments.raw.target());
    // All before the first measurement: making rooms and memberships leaves its own traces in the server's memory.
    if arguments.prepared.is_none() {
        for plan in &plans {
            raw::prepare(arguments.raw.target(), &secret, &plan.crowd)?;
        }
    }
    if arguments.prepare_only {
        println!("prepared: start the node again, and measure with --prepared {name}");
        return Ok(Outcome::Pass);
    }
    let mut measured = Vec::new();
    let mut verdict = if arguments.rooms_steps.is_empty() { Verdict::default() } else { come_once(&plans, &token)? };
    for plan in &plans {
        println!(
            "{} rooms for each of {} connections, after a rest of {:?}",
            plan.crowd.rooms,
            plan.crowd.seats(),
            arguments.rest
        );
        std::thread::sleep(arguments.rest);
        measured.push(measure(plan, &token)?);
    }
    measured.iter().for_each(|one| verdict.add(one.ledger.clone()));
    conclude(arguments, &measured, &verdict)
}

/// What a node keeps of doing everything for the first time is no room's cost, and would stand before the second step.
fn come_once(plans: &[Plan], token: &dyn Fn(&str) -> Option<String>) -> Result<Verdict, Failure> {
    let Some(first) = plans.first() else { return Ok(Verdict::default()) };
    println!("all of the first step come, hear one message and leave; not measured");
    Ok(measure(first, token)?.ledger)
}

/// The cost of a further room, from runs with as many connections in several numbers of rooms.
#[expect(clippy::cast_precision_loss, reason = "bytes of memory are below 2^53")]
fn per_room(arguments: &Idle, measured: &[Measured]) -> Option<Line> {
    let mut points = Vec::new();
    for (rooms, one) in arguments.rooms_steps.iter().zip(measured) {
        let resident_bytes = one.steps.last()?.resident_bytes?;
        points.push((f64::from(*rooms), resident_bytes as f64 / f64::from(arguments.rooms_connections)));
    }
    line(&points)
}

fn conclude(arguments: &Idle, measured: &[Measured], verdict: &Verdict) -> Result<Outcome, Failure> {
    let further_room = per_room(arguments, measured);
    if arguments.rooms_steps.is_empty() {
        measured.iter().for_each(print_measured);
    } else {
        print_line("resident", "further room of a connection", further_room.as_ref());
    }
    raw::print_verdict(verdict);
    let outcome = raw::outcome(verdict, false, 0, 0);
    println!("{}", serde_json::to_string(&outcome)?.trim_matches('"'));
    if let Some(path) = &arguments.raw.json {
        let growth: Vec<Option<f64>> = measured.iter().map(Measured::cycle_growth).collect();
        let report = json!({ "outcome": outcome, "measured": measured, "cycle_growth": growth,
            "rooms_steps": arguments.rooms_steps, "per_further_room": further_room, "ledger": verdict });
        std::fs::write(path, serde_json::to_vec_pretty(&report)?)?;
    }
    Ok(outcome)
}
