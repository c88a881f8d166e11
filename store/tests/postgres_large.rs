//! What statements cost when the tables are large: 1,000,000 messages and 100,000 tasks.
#![cfg(feature = "conformance")]
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod postgres_kit;
mod postgres_large {
    pub(crate) mod exercises;
    pub(crate) mod fill;
    pub(crate) mod plans;
}

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use hallway_store::Upkeep;
use hallway_store::postgres::{PostgresOptions, PostgresStore, statements};
use loadtest_cluster::TemporaryPostgres;
use postgres_kit::Side;
use postgres_large::exercises::{reads, writes};
use postgres_large::{fill, plans};

/// What each exercise does before its time is taken: statements are prepared, and tables read.
const WARM: u64 = 5;
const MEASURED: u64 = 200;
/// Functions of plpgsql that the exercises do not call: older ones, which nodes of the last release call (they were the
/// newest when this was said of them), one that runs before anything is there, and what stands for later ones.
const NOT_CALLED: &[&str] = &[
    "hallway_accept_v5",
    "hallway_act_one_v1",
    "hallway_act_one_v2",
    "hallway_act_v1",
    "hallway_act_v2",
    "hallway_act_v5",
    "hallway_assign_task_v5",
    "hallway_changed_task_v5",
    "hallway_claim_jobs_v7",
    "hallway_comment_task_v5",
    "hallway_count_task_v5",
    "hallway_create_task_v5",
    "hallway_delete_task_v5",
    "hallway_edit_task_v5",
    "hallway_fan_out_v6",
    "hallway_link_task_v5",
    "hallway_move_task_v5",
    "hallway_notify_v5",
    "hallway_notify_v6",
    "hallway_say_v5",
    "hallway_send_v1",
    "hallway_together_v5",
    "hallway_work_v5",
];

/// As the back end's own connections (`options::for_work`).
const AS_SERVED: &str = "SET plan_cache_mode = force_generic_plan; SET enable_seqscan = off; \
    SET enable_mergejoin = off; SET enable_hashjoin = off; SET jit = off";

async fn filled() -> (TemporaryPostgres, String, Side) {
    let server = TemporaryPostgres::start().unwrap();
    let url = server.database().await.unwrap();
    PostgresStore::open(&url, PostgresOptions::default()).await.unwrap().close().await;
    let side = Side::open(&url).await;
    let began = Instant::now();
    fill::fill(&side).await;
    println!("filled in {:.0} s", began.elapsed().as_secs_f64());
    (server, url, side)
}

/// How a statement would be run whatever its parameters are.
async fn plan_of(side: &Side, sql: &str) -> serde_json::Value {
    let parameters = (1..20).rev().find(|number| sql.contains(&format!("${number}"))).unwrap_or(0);
    let arguments = if parameters == 0 { String::new() } else { format!("({})", vec!["NULL"; parameters].join(", ")) };
    side.run(&format!("PREPARE p AS {sql}")).await;
    let plan = side.text(&format!("EXPLAIN (FORMAT json) EXECUTE p{arguments}")).await;
    side.run("DEALLOCATE p").await;
    serde_json::from_str(&plan).unwrap()
}

/// Covers every statement of `statements::all()` by EXPLAIN of its generic plan, which is the one that the back end runs; and,
/// of each statement inside the stored functions that the exercises reach, the plan with which it was run, which `auto_explain`
/// writes into the server's log. `track_functions` says which functions those are: none may be left out unnamed.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn heavy_no_statement_scans_a_growing_table_of_a_million_messages() {
    let (_server, url, side) = filled().await;
    side.run(AS_SERVED).await;
    // What must be noticed.
    for sql in [
        "SELECT * FROM messages WHERE text = $1::text",
        "SELECT count(*) FROM tasks",
        "SELECT (SELECT max(seq) FROM task_comments WHERE sender = $1::text)",
    ] {
        let found = plans::scans(sql, &plan_of(&side, sql).await);
        assert_eq!(found.len(), 1, "{sql} reads a whole table, and nobody noticed");
    }
    let mut faults = BTreeSet::new();
    for (name, sql) in statements::all() {
        let found = plans::scans(sql, &plan_of(&side, sql).await);
        faults.extend(found.into_iter().map(|scan| format!("{name}: {scan}")));
    }
    let log = format!("{}/../log", side.text("SHOW data_directory").await);
    let length = format!("SELECT size FROM pg_stat_file('{log}')");
    let before = side.number(&length).await;
    let options = "-c session_preload_libraries=auto_explain -c auto_explain.log_min_duration=0 \
        -c auto_explain.log_nested_statements=on -c auto_explain.log_format=json -c track_functions=pl";
    let options = options.replace(' ', "%20").replace('=', "%3D");
    let patient = PostgresOptions { statement_timeout: Duration::from_secs(60), ..PostgresOptions::default() };
    let store = PostgresStore::open(&format!("{url}?options={options}"), patient).await.unwrap();
    for (name, work) in reads().into_iter().chain(writes()) {
        println!("{name}");
        for number in 0..2 {
            work(store.clone(), number).await;
        }
    }
    drop(store);
    let alone = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database()";
    side.until(alone, 1).await;
    let text = side.text(&format!("SELECT pg_read_file('{log}', {before}, 1000000000)")).await;
    let logged = plans::logged(&text);
    assert!(logged.len() > 500, "{} plans", logged.len());
    for (query, plan) in &logged {
        faults.extend(plans::scans(query, plan).into_iter().map(|scan| format!("{query}: {scan}")));
    }
    assert!(faults.is_empty(), "{}", Vec::from_iter(faults).join("\n"));
    // Nothing is left out unnamed.
    let missed = side
        .text(
            "SELECT p.proname FROM pg_proc p JOIN pg_language l ON l.oid = p.prolang \
             LEFT JOIN pg_stat_user_functions f ON f.funcid = p.oid \
             WHERE p.proname LIKE 'hallway%' AND l.lanname = 'plpgsql' AND coalesce(f.calls, 0) = 0 ORDER BY 1",
        )
        .await;
    let missed: BTreeSet<&str> = missed.lines().collect();
    assert_eq!(missed, NOT_CALLED.iter().copied().collect(), "functions that no exercise reaches");
    let queries: Vec<&str> = logged.iter().map(|(query, _)| query.as_str()).collect();
    for (name, sql) in statements::all() {
        // It is asked only when somebody holds a lock for half a second.
        assert!(name == "LOCKED_ROOMS" || queries.contains(&sql), "no exercise runs {name}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "a measurement, not a promise: cargo test -p hallway-store --features conformance --test postgres_large -- --ignored --nocapture"]
async fn heavy_times_of_statements_on_a_million_messages() {
    let (_server, url, _side) = filled().await;
    let store = PostgresStore::open(&url, PostgresOptions::default()).await.unwrap();
    println!("{:<28} {:>9} {:>9} {:>9}   ms, {MEASURED} runs, one at a time", "statement", "p50", "p99", "max");
    let mut slowest = (Duration::ZERO, "");
    for (name, work) in reads().into_iter().chain(writes()) {
        let mut times = Vec::new();
        for number in 0..WARM + MEASURED {
            let began = Instant::now();
            work(store.clone(), number).await;
            if number >= WARM {
                times.push(began.elapsed());
            }
        }
        times.sort_unstable();
        let at = |share: usize| times[(times.len() * share / 100).min(times.len() - 1)];
        let shown = |time: Duration| format!("{:.2}", time.as_secs_f64() * 1000.0);
        println!("{name:<28} {:>9} {:>9} {:>9}", shown(at(50)), shown(at(99)), shown(at(100)));
        slowest = slowest.max((at(99), name));
    }
    println!("slowest: {} with p99 {:.2} ms", slowest.1, slowest.0.as_secs_f64() * 1000.0);
}
