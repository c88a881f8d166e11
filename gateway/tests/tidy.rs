//! Rules of the house that a machine can check: which module may know which, what pure code does not do, and that the
//! tables (limits, metrics, keys) and the documents say the same.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::path::{Path, PathBuf};

use hallway_gateway::config::{DEFAULT_TOML, Limits};
use hallway_gateway::telemetry::metrics::CATALOGUE;

const FILE_MAX_LINES: usize = 500;

/// Modules of the gateway from the ground up. A module may use those of lower floors; neighbours are strangers.
const FLOORS: &[&[&str]] = &[
    &["sabotage"],
    &["config", "node", "tasks", "tls"],
    &["telemetry"],
    &["connection", "admission"],
    &["hub", "bus", "directory", "auth", "outbox"],
    &["service"],
    &["session"],
    &["http"],
    &["server"],
    // Only in tests: the pure cores of all floors.
    &["cli", "simulation"],
];

/// Modules that do not know the store: what they need of it is handed to them.
const WITHOUT_STORE: &[&str] = &[
    "config",
    "node",
    "sabotage",
    "tasks",
    "telemetry",
    "tls",
    "connection",
    "admission",
    "hub",
    "bus",
    "directory",
    "auth",
    "http",
];

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_owned()
}

fn read(path: &str) -> String {
    std::fs::read_to_string(root().join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// Files below a folder, by extension, sorted; paths are relative to the repository.
fn files(folder: &str, extension: &str) -> Vec<String> {
    let mut found = Vec::new();
    let mut folders = vec![root().join(folder)];
    while let Some(folder) = folders.pop() {
        let Ok(entries) = std::fs::read_dir(&folder) else { continue };
        for entry in entries {
            let path = entry.unwrap().path();
            let name = path.file_name().unwrap().to_string_lossy().into_owned();
            if path.is_dir() && name != "target" && name != "node_modules" && !name.starts_with('.') {
                folders.push(path);
            } else if path.extension().is_some_and(|found| found == extension) {
                found.push(path.strip_prefix(root()).unwrap().to_string_lossy().into_owned());
            }
        }
    }
    found.sort();
    found
}

/// A Rust text without its comments; lines keep their numbers.
fn code(text: &str) -> Vec<&str> {
    text.lines().map(|line| line.find("//").map_or(line, |comment| &line[..comment])).collect()
}

/// The first module of a file below `gateway/src`; none for `lib.rs` and `main.rs`.
fn module(path: &str) -> Option<&str> {
    let below = path.strip_prefix("gateway/src/")?;
    let first = below.split('/').next()?;
    (first != "lib.rs" && first != "main.rs").then(|| first.trim_end_matches(".rs"))
}

fn floor(module: &str) -> Option<usize> {
    FLOORS.iter().position(|floor| floor.contains(&module))
}

/// Names that follow a path prefix: `crate::a::b` gives a, `crate::{a::b, c}` gives a and c.
fn names_after(text: &str, prefix: &str) -> Vec<String> {
    let mut names = Vec::new();
    for (at, _) in text.match_indices(prefix) {
        if text[..at].ends_with(|before: char| before.is_alphanumeric() || before == '_' || before == ':') {
            continue;
        }
        let rest = &text[at + prefix.len()..];
        let parts: Vec<&str> = if let Some(group) = rest.strip_prefix('{') {
            let mut depth = 1;
            let end = group
                .char_indices()
                .find(|(_, character)| {
                    depth += i32::from(*character == '{') - i32::from(*character == '}');
                    depth == 0
                })
                .map_or(group.len(), |(end, _)| end);
            let mut depth = 0;
            group[..end]
                .split(|character: char| {
                    depth += i32::from(character == '{') - i32::from(character == '}');
                    character == ',' && depth == 0
                })
                .collect()
        } else {
            vec![rest]
        };
        for part in parts {
            let part = part.trim_start();
            let end = part.find(|letter: char| !letter.is_alphanumeric() && letter != '_').unwrap_or(part.len());
            if end > 0 {
                names.push(part[..end].to_owned());
            }
        }
    }
    names
}

/// How `super` reaches the crate's root from this file.
fn root_by_super(path: &str) -> String {
    let below = path.trim_start_matches("gateway/src/");
    let depth = below.split('/').count() - usize::from(below.ends_with("/mod.rs"));
    "super::".repeat(depth)
}

fn is_capitalised(name: &str) -> bool {
    name.starts_with(|letter: char| letter.is_uppercase())
}

#[test]
fn names_in_paths_and_groups_are_found() {
    let text = "use crate::a::{b, c}; use crate::{d::{e, f}, g, h as i}; x_crate::j; $crate::k";
    assert_eq!(names_after(text, "crate::"), ["a", "d", "g", "h", "k"]);
    assert_eq!(root_by_super("gateway/src/hub/mod.rs"), "super::");
    assert_eq!(root_by_super("gateway/src/tasks.rs"), "super::");
    assert_eq!(root_by_super("gateway/src/hub/ring.rs"), "super::super::");
}

#[test]
fn a_module_uses_only_what_is_below_it() {
    let mut faults = Vec::new();
    for path in files("gateway/src", "rs") {
        let Some(module) = module(&path) else { continue };
        let Some(own) = floor(module) else {
            faults.push(format!("{path}: module {module} has no floor; give it one in {}", file!()));
            continue;
        };
        let text = code(&read(&path)).join("\n");
        let mut used = names_after(&text, "crate::");
        // From `a/b.rs`, `super::super::c` is `crate::c`.
        used.extend(names_after(&text, &root_by_super(&path)).into_iter().filter(|name| floor(name).is_some()));
        for name in used {
            if name == module || is_capitalised(&name) {
                continue;
            }
            match floor(&name) {
                Some(other) if other < own => {}
                Some(_) => faults.push(format!("{path}: {module} must not use {name}, which is not below it")),
                None => faults.push(format!("{path}: crate::{name} has no floor; give it one in {}", file!())),
            }
        }
        if WITHOUT_STORE.contains(&module) && text.contains("hallway_store::") {
            faults.push(format!("{path}: {module} must not know the store"));
        }
    }
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}

#[test]
fn crates_depend_downwards_only() {
    let allowed: &[(&str, &[&str])] = &[
        ("protocol/Cargo.toml", &[]),
        // What tests start (servers, proxies, clusters) is theirs alone: `loadtest-cluster` is nobody's dependency but loadtest's.
        ("store/Cargo.toml", &["hallway-protocol", "loadtest-cluster"]),
        ("loadtest/client/Cargo.toml", &["hallway-protocol"]),
        ("loadtest/cluster/Cargo.toml", &[]),
        ("loadtest/Cargo.toml", &["hallway-protocol", "loadtest-client", "loadtest-cluster"]),
        ("gateway/Cargo.toml", &["hallway-protocol", "hallway-store", "loadtest-client", "loadtest-cluster"]),
    ];
    for (path, allowed) in allowed {
        for (name, _) in dependencies(&read(path)) {
            let ours = name.starts_with("hallway-") || name.starts_with("loadtest");
            assert!(!ours || allowed.contains(&name.as_str()), "{path} must not depend on {name}");
        }
    }
}

/// Lines of every dependency section of a manifest: name and the rest.
fn dependencies(manifest: &str) -> Vec<(String, String)> {
    let mut found = Vec::new();
    let mut inside = false;
    for line in manifest.lines().map(str::trim) {
        if line.starts_with('[') {
            inside = line.trim_matches(['[', ']']).ends_with("dependencies");
        } else if inside && !line.is_empty() && !line.starts_with('#') {
            let (key, value) = line.split_once('=').unwrap();
            let name = key.trim().split('.').next().unwrap().to_owned();
            // A crate may name itself, to switch its own features on for its tests.
            if !manifest.contains(&format!("\nname = \"{name}\"\n")) {
                found.push((name, format!("{}={}", key.trim(), value.trim())));
            }
        }
    }
    found
}

#[test]
fn every_dependency_is_named_once_in_the_workspace() {
    let root_manifest = read("Cargo.toml");
    let workspace: Vec<String> = dependencies(&root_manifest).into_iter().map(|(name, _)| name).collect();
    for name in &workspace {
        assert_eq!(workspace.iter().filter(|other| *other == name).count(), 1, "{name} stands twice in Cargo.toml");
    }
    for path in files(".", "toml").iter().filter(|path| path.ends_with("/Cargo.toml")) {
        for (name, line) in dependencies(&read(path)) {
            assert!(workspace.contains(&name), "{path}: {name} is not in the workspace's Cargo.toml");
            let inherits = line.starts_with(&format!("{name}.workspace=true")) || line.contains("workspace = true");
            assert!(inherits, "{path}: write `{name}.workspace = true`");
        }
    }
}

#[test]
fn pure_files_have_no_async_no_clock_and_no_input_or_output() {
    let banned = [
        "async ",
        ".await",
        "tokio::",
        "Instant::now",
        "SystemTime",
        "std::fs",
        "std::net",
        "std::env",
        "std::thread",
        "println!",
        "rand::",
    ];
    for path in files(".", "rs") {
        let text = read(&path);
        if !text.lines().any(|line| line.starts_with("//! Pure")) {
            continue;
        }
        for (number, line) in code(&text).iter().enumerate() {
            if line.contains("#[cfg(test)]") {
                break;
            }
            for word in banned {
                assert!(!line.contains(word), "{path}:{}: a pure file has `{word}`", number + 1);
            }
        }
    }
}

#[test]
fn no_file_is_longer_than_a_person_reads() {
    for path in files(".", "rs") {
        let lines = read(&path).lines().count();
        assert!(lines <= FILE_MAX_LINES, "{path} has {lines} lines; split it (at most {FILE_MAX_LINES})");
    }
}

#[test]
fn every_folder_begins_with_its_contract_and_none_is_a_drawer() {
    for path in files(".", "rs") {
        if path.ends_with("/mod.rs") || path.ends_with("/lib.rs") {
            assert!(read(&path).starts_with("//!"), "{path} does not begin with its contract (`//! …`)");
        }
        for drawer in ["utils", "util", "common", "helpers", "misc"] {
            assert!(!path.split(['/', '.']).any(|part| part == drawer), "{path}: name it after what it does");
        }
    }
}

#[test]
fn lints_are_expected_with_a_reason_and_never_allowed() {
    // A kit that several test binaries share cannot expect: each of them uses another part.
    for path in files(".", "rs").iter().filter(|path| !path.contains("/tests/")) {
        for (number, line) in code(&read(path)).iter().enumerate() {
            let line = line.trim_start();
            let allows = line.starts_with("#[allow(") || line.starts_with("#![allow(");
            assert!(!allows, "{path}:{}: write #[expect(…, reason = \"…\")]", number + 1);
        }
    }
}

#[test]
fn every_metric_is_documented_as_it_is() {
    let document = read("docs/operations.md");
    for row in CATALOGUE {
        let line = document.lines().find(|line| line.starts_with(&format!("| `{}` |", row.name)));
        let line = line.unwrap_or_else(|| panic!("docs/operations.md misses {}", row.name));
        let cells: Vec<&str> = line.split('|').map(str::trim).collect();
        assert_eq!((cells[2], cells[4], cells[5]), (row.kind, row.unit, row.description), "{}", row.name);
    }
    for line in document.lines().filter(|line| line.starts_with("| `hallway_")) {
        let name = line.split('`').nth(1).unwrap();
        assert!(CATALOGUE.iter().any(|row| row.name == name), "docs/operations.md: there is no metric {name}");
    }
}

#[test]
fn every_limit_is_documented_and_shown_by_a_metric() {
    let document = read("docs/configuration.md");
    for row in Limits::TABLE {
        assert!(CATALOGUE.iter().any(|metric| metric.name == row.metric), "{}: no metric {}", row.name, row.metric);
        assert!(row.min <= row.default && row.default <= row.max, "{}: the default is out of its range", row.name);
        let line = format!(
            "| `{}` | {} | {} to {} | {} | {} | `{}` |",
            row.name, row.default, row.min, row.max, row.unit, row.reached, row.metric
        );
        assert!(document.contains(&line), "docs/configuration.md misses:\n{line}");
    }
}

#[test]
fn every_key_is_documented() {
    let document = read("docs/configuration.md");
    let mut section = "";
    for line in DEFAULT_TOML.lines().filter(|line| !line.starts_with('#')) {
        if let Some(name) = line.strip_prefix('[') {
            section = name.trim_end_matches(']');
        } else if let Some((key, _)) = line.split_once(" = ") {
            let cell = if section == "limits" { format!("| `{key}` |") } else { format!("| `{section}.{key}` |") };
            assert!(document.contains(&cell), "docs/configuration.md misses {section}.{key}");
        }
    }
}

#[test]
fn every_limit_is_proved_by_the_test_that_it_names() {
    let tests: Vec<String> = files("gateway", "rs").iter().map(|path| read(path)).collect();
    for row in Limits::TABLE {
        let (plain, heavy) = (format!("fn {}()", row.test), format!("fn heavy_{}()", row.test));
        let proved = tests.iter().any(|text| text.contains(&plain) || text.contains(&heavy));
        assert!(proved, "{}: there is no test {}", row.name, row.test);
    }
}
