//! A configuration as TOML.

use std::fmt::Write as _;

use crate::config::{Config, LogFormat};

/// The configuration in force, as a file that would give the same. Passwords and secrets are left out.
#[must_use]
pub fn as_toml(config: &Config) -> String {
    let Config { server, store, bus, cluster, auth, retention, log, limits, webhooks } = config;
    // A JSON string or list of strings is a TOML one too.
    let text = |value: &str| serde_json::Value::from(value).to_string();
    let optional = |value: &Option<String>| text(value.as_deref().unwrap_or_default());
    let path = |value: &std::path::Path| text(&value.to_string_lossy());
    let origins = serde_json::Value::from(server.allowed_origins.clone()).to_string();
    let format = match log.format {
        LogFormat::Text => "text",
        LogFormat::Json => "json",
    };
    let sections: [(&str, Vec<(&str, String)>); 8] = [
        (
            "server",
            vec![
                ("listen", text(&server.listen.to_string())),
                ("admin_listen", text(&server.admin_listen.to_string())),
                ("data_dir", path(&server.data_dir)),
                ("dev", server.dev.to_string()),
                ("lanes", server.lanes.to_string()),
                ("allowed_origins", origins),
            ],
        ),
        (
            "store",
            vec![
                ("url", text(&store.url.as_ref().map(ToString::to_string).unwrap_or_default())),
                ("pool_connections", store.pool_connections.to_string()),
                ("tls_ca_file", store.tls_ca_file.as_deref().map_or_else(|| text(""), path)),
            ],
        ),
        (
            "bus",
            vec![
                ("url", text(&bus.url.as_ref().map(ToString::to_string).unwrap_or_default())),
                ("channel_prefix", text(&bus.channel_prefix)),
                ("tls_ca_file", bus.tls_ca_file.as_deref().map_or_else(|| text(""), path)),
            ],
        ),
        ("cluster", vec![("secret_file", cluster.secret_file.as_deref().map_or_else(|| text(""), path))]),
        (
            "auth",
            vec![
                ("secret_file", auth.secret_file.as_deref().map_or_else(|| text(""), path)),
                ("issuer", optional(&auth.issuer)),
                ("audience", optional(&auth.audience)),
                ("clock_leeway_ms", auth.clock_leeway_ms.to_string()),
            ],
        ),
        ("retention", vec![("max_age_hours", retention.max_age_hours.to_string())]),
        ("log", vec![("filter", text(&log.filter)), ("format", text(format))]),
        ("limits", limits.values().into_iter().map(|(row, value)| (row.name, value.to_string())).collect()),
    ];
    let mut out = String::new();
    for (section, keys) in sections {
        let gap = if out.is_empty() { "" } else { "\n" };
        let _ = writeln!(out, "{gap}[{section}]");
        for (key, value) in keys {
            let _ = writeln!(out, "{key} = {value}");
        }
    }
    for (name, target) in webhooks {
        let url = target.url.as_ref().map(ToString::to_string).unwrap_or_default();
        let file = |file: &Option<std::path::PathBuf>| file.as_deref().map_or_else(|| text(""), path);
        let _ = writeln!(out, "\n[webhooks.{name}]\nurl = {}", text(&url));
        // A secret that stands in the configuration is not printed.
        let _ = writeln!(out, "secret = \"\"\nsecret_file = {}", file(&target.secret_file));
        let _ = writeln!(out, "allow_private = {}\nattempts_max = {}", target.allow_private, target.attempts_max);
        let _ = writeln!(out, "timeout_ms = {}\ntls_ca_file = {}", target.timeout_ms, file(&target.tls_ca_file));
    }
    out
}
