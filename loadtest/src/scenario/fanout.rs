//! How much processor time a delivery costs, and how long it takes.

use serde::Serialize;
use serde_json::json;

use super::raw;
use crate::arguments::raw::Fanout;
use crate::driver::clock::{SECOND_NS, in_ns, now_ns};
use crate::driver::crowd::{Common, Crowd};
use crate::driver::fleet::{Fleet, distribution};
use crate::driver::job::{Connected, Counts, Pace, Phase, Talked, Verdict};
use crate::progress;
use crate::report::{Outcome, human};
use crate::run::Failure;
use crate::sample::kernel::Kernel;
use crate::sample::metrics;
use crate::sample::process::{Cpu, Memory, Watched};

/// Time between the order and the beginning of a phase: every worker has it by then.
const LEAD_NS: u64 = SECOND_NS / 5;

/// What a node says about the bytes that wait for its clients.
const BACKLOG_METRIC: &str = "hallway_backlog_bytes";
/// What those who do not read may cost the others: this much of p50, and of p99 with a little more.
const P50_FACTOR: f64 = 1.25;
const P99_FACTOR: f64 = 1.2;
const P99_EXTRA_US: f64 = 5_000.0;

/// All that a run needs to know; not only Hallway is measured this way.
pub(crate) struct Plan {
    pub(crate) common: Common,
    pub(crate) crowd: Crowd,
    pub(crate) workers: u32,
    pub(crate) pace: Pace,
    pub(crate) warmup_ns: u64,
    pub(crate) duration_ns: u64,
    pub(crate) watched: Watched,
}

/// What a phase gave.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Measured {
    pub(crate) messages: u64,
    pub(crate) late: u64,
    pub(crate) deliveries: u64,
    pub(crate) seconds: f64,
    pub(crate) deliveries_per_second: f64,
    pub(crate) p50_us: u64,
    pub(crate) p90_us: u64,
    pub(crate) p99_us: u64,
    pub(crate) max_us: u64,
    /// Of the server, where its process is known.
    pub(crate) cpu: Option<Cpu>,
    pub(crate) cpu_s_per_million_deliveries: Option<f64>,
    pub(crate) client_cpu_s: f64,
    pub(crate) memory_before: Option<Memory>,
    pub(crate) memory: Option<Memory>,
    pub(crate) kernel_before: Kernel,
    pub(crate) kernel: Kernel,
    pub(crate) refused: u64,
    pub(crate) first_refusal: Option<String>,
    pub(crate) closed: u64,
    pub(crate) first_closure: Option<String>,
}

/// A run's connections, ready to talk.
pub(crate) struct Run {
    plan: Plan,
    fleet: Fleet,
    pub(crate) connected: Connected,
}

impl Run {
    /// Starts the workers and connects everybody. `token` signs for a user where the server checks one.
    #[expect(clippy::cast_precision_loss, reason = "times of a run are below 2^53")]
    pub(crate) fn start(plan: Plan, token: &dyn Fn(&str) -> Option<String>) -> Result<Self, Failure> {
        let talk_s = (plan.warmup_ns + plan.duration_ns) as f64 / SECOND_NS as f64;
        let mut progress = progress::Raw::new(plan.crowd.seats(), talk_s);
        Self::start_with(plan, token, Box::new(move |counts| progress.tick(counts)))
    }

    /// The same, telling its progress to somebody else.
    pub(crate) fn start_with(
        plan: Plan,
        token: &dyn Fn(&str) -> Option<String>,
        progress: Box<dyn FnMut(Counts)>,
    ) -> Result<Self, Failure> {
        let jobs = plan.crowd.jobs(&plan.common, plan.workers, token);
        let mut fleet = Fleet::start(&jobs, progress)?;
        drop(jobs);
        let connected = fleet.connect_until(plan.crowd.seats())?;
        Ok(Self { plan, fleet, connected })
    }

    /// Talks for the warm-up and the duration, and measures the latter.
    pub(crate) fn talk(&mut self, mutes: bool) -> Result<Measured, Failure> {
        let from_ns = now_ns() + LEAD_NS;
        let measured_from_ns = from_ns + self.plan.warmup_ns;
        let until_ns = measured_from_ns + self.plan.duration_ns;
        let (watched, pace) = (&self.plan.watched, self.plan.pace);
        watched.reset_peaks();
        self.fleet.begin(Phase { pace, from_ns, measured_from_ns, until_ns, mutes })?;
        let (memory_before, kernel_before) = (watched.memory(), Kernel::now());
        self.fleet.wait_until(measured_from_ns)?;
        let (cpu_before, began_ns) = (watched.cpu(), now_ns());
        self.fleet.wait_until(until_ns)?;
        let (cpu_after, ended_ns) = (watched.cpu(), now_ns());
        let (memory, kernel) = (watched.memory(), Kernel::now());
        let talked = self.fleet.end()?;
        let cpu = cpu_after.zip(cpu_before).map(|(after, before)| after.since(before));
        let mut measured = measured(talked, began_ns, ended_ns, cpu);
        (measured.memory_before, measured.kernel_before) = (memory_before, kernel_before);
        (measured.memory, measured.kernel) = (memory, kernel);
        Ok(measured)
    }

    /// What the light ledger found in all phases.
    pub(crate) fn judge(&mut self) -> Result<Verdict, Failure> {
        self.fleet.judge()
    }

    pub(crate) fn workers(&self) -> usize {
        self.fleet.workers()
    }
}

#[expect(clippy::cast_precision_loss, reason = "counts and times of a run are below 2^53")]
fn measured(talked: Talked, began_ns: u64, ended_ns: u64, cpu: Option<Cpu>) -> Measured {
    let latencies = distribution(&talked.latencies);
    let seconds = (ended_ns - began_ns) as f64 / SECOND_NS as f64;
    let deliveries = talked.delivered as f64;
    Measured {
        messages: talked.sent,
        late: talked.late,
        deliveries: talked.delivered,
        seconds,
        deliveries_per_second: deliveries / seconds,
        p50_us: latencies.value_at_quantile(0.5),
        p90_us: latencies.value_at_quantile(0.9),
        p99_us: latencies.value_at_quantile(0.99),
        max_us: latencies.max(),
        cpu,
        cpu_s_per_million_deliveries: cpu.filter(|_| talked.delivered > 0).map(|cpu| cpu.total_s / deliveries * 1e6),
        client_cpu_s: talked.client_cpu_ns as f64 / SECOND_NS as f64,
        memory_before: None,
        memory: None,
        kernel_before: Kernel::default(),
        kernel: Kernel::default(),
        refused: talked.refused,
        first_refusal: talked.first_refusal,
        closed: talked.closed,
        first_closure: talked.first_closure,
    }
}

/// `loadtest fanout`.
pub(crate) fn run(arguments: &Fanout) -> Result<Outcome, Failure> {
    let mutable = arguments.mutable()?;
    let crowd = Crowd {
        name: raw::run_name(),
        groups: arguments.rooms,
        members: arguments.members,
        rooms: 1,
        senders: arguments.senders(),
        mutable,
    };
    let (common, secret) = arguments.raw.common(arguments.durable, crowd.seats())?;
    let plan = Plan {
        workers: arguments.raw.workers(crowd.seats()),
        pace: arguments.pace()?,
        warmup_ns: in_ns(arguments.warmup),
        duration_ns: in_ns(arguments.duration),
        watched: arguments.raw.watched(),
        common,
        crowd,
    };
    println!(
        "loadtest fanout on {}: {} rooms, {} members, {:?}, {}, {:?}",
        arguments.raw.target(),
        arguments.rooms,
        arguments.members,
        plan.pace,
        if arguments.durable { "message.send" } else { "signal" },
        arguments.duration,
    );
    raw::prepare(arguments.raw.target(), &secret, &plan.crowd)?;
    let mut run = Run::start(plan, &|user| raw::sign(&secret, user))?;
    println!("{} connections in {} workers", run.connected.opened, run.workers());
    let backlog = || arguments.raw.admin.as_deref().and_then(|admin| metrics::value(admin, BACKLOG_METRIC));
    let (backlog_before, mut backlog_after) = (backlog(), None);
    let mut phases = vec![run.talk(false)?];
    if mutable > 0 {
        println!("{mutable} of {} members of each room stop reading", arguments.members);
        phases.push(run.talk(true)?);
        backlog_after = backlog();
    }
    let verdict = run.judge()?;
    progress::clear();
    phases.iter().for_each(print_measured);
    let neighbours = if let [without, with] = &*phases { Some(compare(without, with)) } else { None };
    if let (Some(before), Some(after)) = (backlog_before, backlog_after) {
        println!("backlogs {before:.0} bytes before, {after:.0} after");
    }
    raw::print_verdict(&verdict);
    let disturbed = phases.iter().any(|phase| phase.refused + phase.closed > 0);
    let (late, sent) = phases.iter().fold((0, 0), |(late, sent), phase| (late + phase.late, sent + phase.messages));
    let outcome = raw::outcome(&verdict, disturbed, late, sent);
    println!("{}", serde_json::to_string(&outcome)?.trim_matches('"'));
    if let Some(path) = &arguments.raw.json {
        let settings = json!({ "target": arguments.raw.target(), "rooms": arguments.rooms, "members": arguments.members,
            "pace": arguments.pace()?, "durable": arguments.durable, "never_read": arguments.never_read });
        let report = json!({ "outcome": outcome, "settings": settings, "connected": run.connected.opened, "measured": phases.first(), "with_never_read": phases.get(1),
            "neighbours_within_bounds": neighbours, "backlog_bytes": [backlog_before, backlog_after], "ledger": verdict });
        std::fs::write(path, serde_json::to_vec_pretty(&report)?)?;
    }
    Ok(outcome)
}

/// Whether those who read pay more than they should for those who do not.
#[expect(clippy::cast_precision_loss, reason = "latencies and bytes of a run are below 2^53")]
fn compare(without: &Measured, with: &Measured) -> bool {
    let within = with.p50_us as f64 <= without.p50_us as f64 * P50_FACTOR
        && with.p99_us as f64 <= without.p99_us as f64 * P99_FACTOR + P99_EXTRA_US;
    println!(
        "those who read: p50 {} without, {} with; p99 {} without, {} with: {}",
        human(without.p50_us),
        human(with.p50_us),
        human(without.p99_us),
        human(with.p99_us),
        if within { "within the bounds" } else { "beyond the bounds (p50 x 1.25, p99 x 1.2 + 5 ms)" },
    );
    let growth = |before: Option<u64>, after: Option<u64>| match before.zip(after) {
        Some((before, after)) => format!("{} KiB", (after as f64 - before as f64) as i64 / 1024),
        None => "unknown".to_owned(),
    };
    let resident = |memory: Option<Memory>| memory.map(|memory| memory.resident_bytes);
    println!(
        "growth while some did not read: RSS {}, TCP buffers of the kernel {}, slab {}",
        growth(resident(with.memory_before), resident(with.memory)),
        growth(with.kernel_before.tcp_bytes, with.kernel.tcp_bytes),
        growth(with.kernel_before.slab_total_bytes(), with.kernel.slab_total_bytes()),
    );
    within
}

/// Prints a phase.
pub(crate) fn print_measured(measured: &Measured) {
    println!(
        "{} messages, {} deliveries in {:.2} s: {:.0}/s, {} late",
        measured.messages, measured.deliveries, measured.seconds, measured.deliveries_per_second, measured.late,
    );
    println!(
        "latency p50 {}  p90 {}  p99 {}  max {}",
        human(measured.p50_us),
        human(measured.p90_us),
        human(measured.p99_us),
        human(measured.max_us),
    );
    if let (Some(cpu), Some(each)) = (measured.cpu, measured.cpu_s_per_million_deliveries) {
        println!(
            "server {:.2} CPU-s ({:.2} user, {:.2} system): {each:.3} CPU-s per million deliveries",
            cpu.total_s, cpu.user_s, cpu.system_s
        );
    }
    println!("client {:.2} CPU-s", measured.client_cpu_s);
    if let Some(memory) = measured.memory {
        println!("server RSS {} KiB, peak {} KiB", memory.resident_bytes / 1024, memory.peak_bytes / 1024);
    }
    print_disturbances(measured);
}

/// Prints what the server refused and whom it sent away: what these would have got is missing in the ledger.
pub(crate) fn print_disturbances(measured: &Measured) {
    if measured.refused > 0 {
        println!("the server refused {}: {}", measured.refused, measured.first_refusal.as_deref().unwrap_or_default());
    }
    if measured.closed > 0 {
        let first = measured.first_closure.as_deref().unwrap_or_default();
        println!("{} connections ended early: {first}", measured.closed);
    }
}
