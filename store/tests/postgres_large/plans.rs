//! What Postgres says about how it runs a statement, and what in it would not do on large tables.

use serde_json::Value;

/// Tables that hold one row, or one for each migration.
const SMALL: &[&str] = &["meta", "refinery_schema_history"];

/// Reads that go over a whole table of the store: sequential scans, and scans of an index without a bound, unless they stop
/// after so many rows.
pub(crate) fn scans(plan: &Value) -> Vec<String> {
    let mut found = Vec::new();
    walk(plan, false, &mut found);
    found
}

fn walk(node: &Value, stops: bool, found: &mut Vec<String>) {
    match node {
        Value::Array(nodes) => nodes.iter().for_each(|node| walk(node, stops, found)),
        Value::Object(fields) => {
            let text = |name: &str| fields.get(name).and_then(Value::as_str);
            let kind = text("Node Type").unwrap_or_default();
            let name = text("Relation Name").or(text("Index Name")).unwrap_or_default();
            let is_bounded = fields.contains_key("Index Cond") || stops;
            let scans = match kind {
                "Seq Scan" => !SMALL.contains(&name),
                "Index Scan" | "Index Only Scan" | "Bitmap Index Scan" => !is_bounded && !SMALL.contains(&name),
                _ => false,
            };
            if scans {
                found.push(format!("{kind} on {name}"));
            }
            let stops = kind == "Limit" || (stops && kind != "Sort" && kind != "Aggregate");
            for inner in ["Plan", "Plans"] {
                fields.get(inner).into_iter().for_each(|node| walk(node, stops, found));
            }
        }
        _ => {}
    }
}

/// Query and plan of each statement that `auto_explain` wrote into a server's log.
pub(crate) fn logged(log: &str) -> Vec<(String, Value)> {
    let mut plans = Vec::new();
    for entry in log.split("plan:\n").skip(1) {
        let lines = entry.lines().take_while(|line| line.starts_with('\t'));
        let text = lines.collect::<Vec<_>>().join("\n");
        let plan: Value = serde_json::from_str(&text).unwrap();
        let query = plan["Query Text"].as_str().unwrap_or_default().to_owned();
        plans.push((query, plan));
    }
    plans
}
