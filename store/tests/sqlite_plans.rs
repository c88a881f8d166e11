//! Every statement on a growing table finds its rows by an index.
#![expect(clippy::unwrap_used, reason = "tests")]

use rusqlite::Connection;

const SOURCES: [&str; 22] = [
    include_str!("../src/sqlite/audiences.rs"),
    include_str!("../src/sqlite/batch.rs"),
    include_str!("../src/sqlite/commit.rs"),
    include_str!("../src/sqlite/events.rs"),
    include_str!("../src/sqlite/messages.rs"),
    include_str!("../src/sqlite/notes/acts.rs"),
    include_str!("../src/sqlite/notes/due.rs"),
    include_str!("../src/sqlite/notes/fan_out.rs"),
    include_str!("../src/sqlite/notes/hand_outs.rs"),
    include_str!("../src/sqlite/notes/mod.rs"),
    include_str!("../src/sqlite/notes/reads.rs"),
    include_str!("../src/sqlite/notes/rows.rs"),
    include_str!("../src/sqlite/outbox.rs"),
    include_str!("../src/sqlite/people.rs"),
    include_str!("../src/sqlite/reads.rs"),
    include_str!("../src/sqlite/resolve.rs"),
    include_str!("../src/sqlite/tables.rs"),
    include_str!("../src/sqlite/tasks/reads.rs"),
    include_str!("../src/sqlite/tasks/rows.rs"),
    include_str!("../src/sqlite/tasks/write.rs"),
    include_str!("../src/sqlite/upkeep.rs"),
    include_str!("../src/sqlite/words.rs"),
    // Lists of tasks are put together as they are asked for: their own test looks at them.
];

/// What is no table: what an inner statement found by an index. And rooms that are older than the words of their names.
const SMALL: [&str; 7] = [
    "SCAN found",
    "SCAN wanted",
    "SCAN said",
    "SCAN mine",
    "SCAN CONSTANT ROW",
    "SCAN rooms USING INDEX rooms_not_worded",
    "SCAN rooms USING COVERING INDEX rooms_not_worded",
];

/// What stands for the columns that a macro names.
const COLUMNS: [(&str, &str); 5] = [
    ("room_columns", "r.number"),
    ("message_columns", "m.seq"),
    ("notification_columns", "n.seq"),
    ("task_columns", "t.seq"),
    ("comment_columns", "c.seq"),
];

/// The string literals of a source, with those that `concat!` joins put together around the column macros.
fn statements(source: &str) -> Vec<String> {
    let mut source = source.to_owned();
    for (columns, one) in COLUMNS {
        source = source.replace(&format!("{columns}!(),"), &format!("\"{one}\","));
    }
    let mut literals = Vec::new();
    let mut rest = source.as_str();
    while let Some(start) = rest.find('"') {
        let body = &rest[start + 1..];
        let end = body.find('"').unwrap();
        let follows = literals.last_mut().filter(|last: &&mut String| {
            let between = rest[..start].trim();
            between == "," && (last.trim_end().ends_with("SELECT") || last.trim_end().ends_with(',') || is_column(last))
        });
        match follows {
            Some(last) => last.push_str(&body[..end]),
            None => literals.push(body[..end].to_owned()),
        }
        rest = &body[end + 1..];
    }
    let verbs = ["SELECT ", "UPDATE ", "DELETE ", "INSERT "];
    literals.retain(|text| verbs.iter().any(|verb| text.starts_with(verb)));
    literals
}

fn is_column(text: &str) -> bool {
    COLUMNS.iter().any(|(_, one)| text.ends_with(one))
}

#[test]
fn no_statement_scans_a_growing_table() {
    let connection = Connection::open_in_memory().unwrap();
    connection.execute_batch(include_str!("../migrations/sqlite/V1__rooms_and_messages.sql")).unwrap();
    connection.execute_batch(include_str!("../migrations/sqlite/V2__acts_on_people.sql")).unwrap();
    connection.execute_batch(include_str!("../migrations/sqlite/V3__tasks.sql")).unwrap();
    connection.execute_batch(include_str!("../migrations/sqlite/V4__notifications.sql")).unwrap();
    connection.execute_batch(include_str!("../migrations/sqlite/V5__delivery_ranges.sql")).unwrap();
    let mut seen = 0;
    for statement in SOURCES.iter().flat_map(|source| statements(source)) {
        let mut explain = connection.prepare(&format!("EXPLAIN QUERY PLAN {statement}")).unwrap();
        let count = explain.parameter_count();
        let values = vec![rusqlite::types::Value::Null; count];
        let plan: Vec<String> = explain
            .query_map(rusqlite::params_from_iter(values), |row| row.get(3))
            .unwrap()
            .collect::<Result<_, _>>()
            .unwrap();
        for line in plan {
            // The whole of a result made by an inner statement; and the oldest nonces and entries, which are the first rows.
            let first_rows =
                ["SCAN dedupe", "SCAN audit"].contains(&line.as_str()) && statement.contains("BY number LIMIT");
            let harmless =
                SMALL.contains(&line.as_str()) || line.contains("SUBQUERY") || line.contains("(subquery") || first_rows;
            assert!(harmless || !line.starts_with("SCAN"), "{line} in {statement}");
            assert!(!line.contains("TEMP B-TREE") || statement.contains("UNION ALL"), "{line} in {statement}");
        }
        seen += 1;
    }
    assert!(seen > 30, "only {seen} statements were found in the sources");
}
