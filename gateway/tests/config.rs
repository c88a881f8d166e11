//! The configuration: layers, faults, development mode and secrets; and what the program sets for its allocator.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use hallway_gateway::cli::as_toml;
use hallway_gateway::config::{Config, DEFAULT_TOML, Flags, Limits, Secret, SecretError, StoreUrl, WebhookConfig};

fn environment(pairs: &[(&str, &str)]) -> Vec<(String, String)> {
    let mut all = vec![("HOME".to_owned(), "/home/ada".to_owned())];
    all.extend(pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())));
    all
}

fn file(text: &str) -> (tempfile::TempDir, PathBuf) {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("hallway.toml");
    std::fs::write(&path, text).unwrap();
    (directory, path)
}

fn faults(flags: &Flags, pairs: &[(&str, &str)], path: Option<&Path>) -> String {
    Config::load(flags, environment(pairs), path).unwrap_err().to_string()
}

#[test]
fn the_default_file_is_the_default_configuration() {
    assert_eq!(Config::from_toml(DEFAULT_TOML).unwrap(), Config::default());
}

#[test]
fn the_default_file_holds_every_limit_with_its_unit_range_and_consequence() {
    for row in Limits::TABLE {
        let key = format!(
            "\n# In {}, {} to {}. Reached: {}.\n{} = {}\n",
            row.unit, row.min, row.max, row.reached, row.name, row.default
        );
        assert!(DEFAULT_TOML.contains(&key), "hallway.default.toml misses: {key}");
    }
}

#[test]
fn every_key_of_the_default_file_has_a_comment() {
    let mut commented = false;
    for line in DEFAULT_TOML.lines() {
        if !line.starts_with('#') && line.contains('=') {
            assert!(commented, "no comment above {line}");
        }
        commented = line.starts_with('#');
    }
}

#[test]
fn the_printed_configuration_gives_the_same_again() {
    let pairs = [
        ("HALLWAY__SERVER__ALLOWED_ORIGINS", "https://a.example, https://b.example:8443"),
        ("HALLWAY__LIMITS__PAGE_EVENTS_MAX", "77"),
        ("HALLWAY__AUTH__SECRET_FILE", "/run/a \"quoted\" secret"),
        ("HALLWAY__LOG__FORMAT", "json"),
    ];
    let config = Config::load(&Flags::default(), environment(&pairs), None).unwrap();
    assert_eq!(config.server.allowed_origins, ["https://a.example", "https://b.example:8443"]);
    assert_eq!(Config::from_toml(&as_toml(&config)).unwrap(), config);
}

#[test]
fn flags_win_over_the_environment_and_the_environment_over_the_file() {
    let (_directory, path) = file(
        "[server]\nlisten = \"127.0.0.1:1\"\nadmin_listen = \"127.0.0.1:11\"\nlanes = 3\n[auth]\nsecret_file = \"/s\"\n",
    );
    let flags = Flags { listen: Some("127.0.0.1:3".to_owned()), ..Flags::default() };
    let pairs = [("HALLWAY__SERVER__LISTEN", "127.0.0.1:2"), ("HALLWAY__SERVER__ADMIN_LISTEN", "127.0.0.1:12")];
    let config = Config::load(&flags, environment(&pairs), Some(&path)).unwrap();
    assert_eq!(config.server.listen.port(), 3);
    assert_eq!(config.server.admin_listen.port(), 12);
    assert_eq!(config.server.lanes, 3);
    assert!(!config.server.dev, "a file was given, so development mode is not implied");
}

#[test]
fn without_any_configuration_a_node_is_in_development_mode_on_loopback() {
    let config = Config::load(&Flags::default(), environment(&[]), None).unwrap();
    assert!(config.server.dev);
    assert_eq!(config.server.data_dir, Path::new("/home/ada/.local/share/hallway"));
    assert_eq!(config.server.listen.to_string(), "127.0.0.1:8080");
    let elsewhere = Config::load(&Flags::default(), environment(&[("XDG_DATA_HOME", "/data")]), None).unwrap();
    assert_eq!(elsewhere.server.data_dir, Path::new("/data/hallway"));
}

#[test]
fn development_mode_refuses_to_listen_beyond_loopback() {
    let open = Some("0.0.0.0:8080".to_owned());
    let asked = faults(&Flags { dev: true, listen: open.clone(), ..Flags::default() }, &[], None);
    assert!(asked.contains("server.listen = 0.0.0.0:8080") && asked.contains("flag --dev"), "{asked}");
    let implied = faults(&Flags { listen: open.clone(), ..Flags::default() }, &[], None);
    assert!(implied.contains("from flag --listen") && implied.contains("auth.secret_file"), "{implied}");
    let admin = faults(&Flags { admin_listen: Some("[::]:8081".to_owned()), dev: true, ..Flags::default() }, &[], None);
    assert!(admin.contains("server.admin_listen = [::]:8081"), "{admin}");
    let configured = Flags { listen: open, secret_file: Some("/s".to_owned()), ..Flags::default() };
    assert!(!Config::load(&configured, environment(&[]), None).unwrap().server.dev);
}

#[test]
fn outside_development_mode_there_is_no_default_secret() {
    let told = faults(&Flags { store_url: Some("postgres://db/app".to_owned()), ..Flags::default() }, &[], None);
    assert!(told.contains("auth.secret_file is not set") && told.contains("openssl rand"), "{told}");
    assert!(Config::load(&Flags::default(), environment(&[("HALLWAY__SERVER__DEV", "false")]), None).is_err());
}

#[test]
fn every_fault_is_listed_at_once_with_value_source_and_advice() {
    let (_directory, path) = file(
        "[server]\nlisten = 8080\nlanez = 2\n[log]\nformat = \"xml\"\n[limits]\npage_events_max = 0\n\n[sevrer]\ndev = true\n",
    );
    let flags = Flags { admin_listen: Some("nowhere".to_owned()), ..Flags::default() };
    let pairs = [
        ("HALLWAY__STORE__URL", "mysql://root:hunter2@db/app"),
        ("HALLWAY__SERVR__LANES", "2"),
        ("HALLWAY__LIMITS__RING_EVENTS_MAX", "many"),
    ];
    let told = faults(&flags, &pairs, Some(&path));
    for expected in [
        "server.listen = 8080 is not a string",
        "line 2); put it in quotes",
        "server.lanez is not a configuration key",
        "line 3); did you mean server.lanes?",
        "log.format = \"xml\" is no log format",
        "limits.page_events_max = 0 events is out of range",
        "a whole number of events from 1 to 10000",
        "sevrer.dev is not a configuration key",
        "did you mean server.dev?",
        "store.url is not a postgres URL: it does not begin with postgres:// (from env HALLWAY__STORE__URL)",
        "example: postgres://user@db:5432/app",
        "did you mean HALLWAY__SERVER__LANES?",
        "limits.ring_events_max = \"many\" is not a number",
        "server.admin_listen = \"nowhere\" is not an IP address with a port (from flag --admin-listen)",
        "auth.secret_file is not set",
    ] {
        assert!(told.contains(expected), "missing {expected:?} in:\n{told}");
    }
    assert!(!told.contains("hunter2"), "{told}");
    assert!(told.starts_with("the configuration has 10 faults:"), "{told}");
}

#[test]
fn a_file_that_is_no_toml_or_not_there_is_told() {
    let (_directory, path) = file("[server\nlisten = 1");
    assert!(faults(&Flags::default(), &[], Some(&path)).contains("the file is not TOML"));
    let missing = faults(&Flags::default(), &[], Some(Path::new("/nowhere/hallway.toml")));
    assert!(missing.contains("/nowhere/hallway.toml cannot be read"), "{missing}");
}

#[test]
fn limits_that_contradict_each_other_are_faults() {
    let told = faults(&Flags::default(), &[("HALLWAY__LIMITS__HEARTBEAT_TIMEOUT_MS", "25000")], None);
    assert!(told.contains("limits.heartbeat_timeout_ms = 25000 milliseconds is not above"), "{told}");
}

#[test]
fn the_password_of_a_store_is_never_shown() {
    let flags = Flags {
        store_url: Some("postgres://ada:hunter2@db:5432/app?password=hunter2".to_owned()),
        secret_file: Some("/s".to_owned()),
        ..Flags::default()
    };
    let config = Config::load(&flags, environment(&[]), None).unwrap();
    assert!(config.store.url.as_ref().is_some_and(|url| url.expose().contains("hunter2")));
    let shown = format!("{config:?} {}", as_toml(&config));
    assert!(shown.contains("postgres://ada@db:5432/app") && !shown.contains("hunter2"), "{shown}");
    assert_eq!(StoreUrl::parse("postgres://ada@:5432/app").unwrap_err(), "missing host");
}

#[test]
fn the_development_secret_is_made_once_for_its_owner_only_and_cannot_be_printed() {
    let directory = tempfile::tempdir().unwrap();
    let flags = Flags { data_dir: Some(directory.path().join("deep").display().to_string()), ..Flags::default() };
    let config = Config::load(&flags, environment(&[]), None).unwrap();
    let first = config.load_secret().unwrap();
    assert_eq!(first.expose().len(), 64);
    assert_eq!(config.load_secret().unwrap(), first);
    assert_eq!(format!("{first:?}"), "[secret]");
    let path = config.secret_file().unwrap();
    assert_eq!(path.metadata().unwrap().permissions().mode() & 0o777, 0o600);
    let names: Vec<_> =
        std::fs::read_dir(path.parent().unwrap()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(names, ["dev-secret"]);
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o644)).unwrap();
    assert!(matches!(config.load_secret(), Err(SecretError::Exposed { mode: 0o644, .. })));
}

#[test]
fn a_short_or_missing_secret_file_says_what_to_do() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("secret");
    let flags = Flags { secret_file: Some(path.display().to_string()), ..Flags::default() };
    let config = Config::load(&flags, environment(&[]), None).unwrap();
    assert!(config.load_secret().unwrap_err().to_string().contains("set auth.secret_file"));
    std::fs::write(&path, "short\n").unwrap();
    assert!(config.load_secret().unwrap_err().to_string().contains("holds 5 bytes"));
    std::fs::write(&path, "0123456789abcdef0123456789abcdef\n").unwrap();
    assert_eq!(config.load_secret().unwrap().expose(), b"0123456789abcdef0123456789abcdef");
}

#[test]
fn only_exact_origins_pass_and_pages_of_this_machine_in_development_mode() {
    let config = Config::load(&Flags::default(), environment(&[]), None).unwrap();
    for origin in ["http://localhost:3000", "http://127.0.0.1", "https://[::1]:8443"] {
        assert!(config.server.origin_allowed(origin), "{origin}");
    }
    for origin in ["null", "https://evil.example", "http://localhost.evil.example", "http://127.0.0.1.evil.example:80"]
    {
        assert!(!config.server.origin_allowed(origin), "{origin}");
    }
    let pairs = [("HALLWAY__SERVER__ALLOWED_ORIGINS", "https://app.example")];
    let listed = Config::load(&Flags::default(), environment(&pairs), None).unwrap();
    assert!(listed.server.origin_allowed("https://app.example"));
    for origin in ["https://app.example.evil", "https://APP.example", "http://app.example", "http://localhost"] {
        assert!(!listed.server.origin_allowed(origin), "{origin}");
    }
    for pattern in ["*", "https://*.example", "https://app.example/", "app.example"] {
        let told = faults(&Flags::default(), &[("HALLWAY__SERVER__ALLOWED_ORIGINS", pattern)], None);
        assert!(told.contains("not an exact origin"), "{told}");
    }
    let closed =
        Config::load(&Flags { secret_file: Some("/s".to_owned()), ..Flags::default() }, environment(&[]), None);
    assert!(
        !closed.unwrap().server.origin_allowed("http://localhost"),
        "only development mode lets this machine's pages in"
    );
}

#[test]
fn a_bus_needs_a_store_that_nodes_share_and_a_secret_of_their_own() {
    let bus = || Flags { bus_url: Some("redis://cache:6379".to_owned()), ..Flags::default() };
    let alone = faults(&bus(), &[], None);
    assert!(alone.contains("bus.url is set without store.url") && alone.contains("flag --bus-url"), "{alone}");
    let shared =
        || Flags { store_url: Some("postgres://db/app".to_owned()), secret_file: Some("/s".to_owned()), ..bus() };
    let told = faults(&shared(), &[], None);
    assert!(told.contains("bus.url is set without cluster.secret_file") && told.contains("openssl rand"), "{told}");
    let whole = Flags { cluster_secret_file: Some("/c".to_owned()), ..shared() };
    let config = Config::load(&whole, environment(&[]), None).unwrap();
    assert_eq!(config.cluster.secret_file.as_deref(), Some(Path::new("/c")));
    // Development mode needs no second file: the secret follows from the first, and is another one.
    let dev = Config::load(&Flags { dev: true, ..shared() }, environment(&[]), None).unwrap();
    let tokens = Secret::new(*b"0123456789abcdef0123456789abcdef");
    let derived = dev.load_cluster_secret(&tokens).unwrap();
    assert!(derived != tokens && derived == dev.load_cluster_secret(&tokens).unwrap());
    let other = faults(&Flags { bus_url: Some("nats://ada:hunter2@cache".to_owned()), ..shared() }, &[], None);
    assert!(other.contains("bus.url is not the URL of a bus") && !other.contains("hunter2"), "{other}");
    let pattern = faults(&whole, &[("HALLWAY__BUS__CHANNEL_PREFIX", "a*b")], None);
    assert!(pattern.contains("bus.channel_prefix = \"a*b\" is no prefix"), "{pattern}");
    let lease = faults(&whole, &[("HALLWAY__LIMITS__NODE_LEASE_MS", "900")], None);
    assert!(lease.contains("limits.node_lease_ms = 900 milliseconds is not above"), "{lease}");
}

#[test]
fn who_may_vouch_for_a_store_without_a_server_is_a_mistake() {
    let told = faults(&Flags::default(), &[("HALLWAY__STORE__TLS_CA_FILE", "/ca.pem")], None);
    let words = ["store.tls_ca_file is set without store.url", "HALLWAY__STORE__TLS_CA_FILE"];
    assert!(words.iter().all(|words| told.contains(words)), "{told}");
}

/// What `hallway check-config` says with these variables, and whether it is content.
fn check_config(variables: &[(&str, &str)]) -> (bool, String) {
    let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_hallway"));
    let development = [("HOME", "/nowhere"), ("HALLWAY__SERVER__DEV", "true")];
    command.arg("check-config").env_clear().envs(development).envs(variables.iter().copied());
    let output = command.output().unwrap();
    (output.status.success(), String::from_utf8_lossy(&output.stderr).into_owned())
}

#[test]
fn a_check_of_the_configuration_finds_servers_and_files_that_could_never_do() {
    let (store, bus) = (|url| ("HALLWAY__STORE__URL", url), |url| ("HALLWAY__BUS__URL", url));
    let good = store("postgres://ada:hunter2@db/app?sslmode=require");
    let found = check_config(&[good, bus("redis://cache:6379")]);
    assert!(found.0, "{found:?}");
    for (variables, words) in [
        (&[store("postgres://ada:hunter2@db/app?sslmode=all")][..], "sslmode=all in store.url is none of disable"),
        (&[store("postgres://ada:hunter2@db/app?sslrootcert=system")], "set store.tls_ca_file"),
        (&[good, ("HALLWAY__STORE__TLS_CA_FILE", "/nowhere.pem")], "store.tls_ca_file /nowhere.pem"),
        (&[good, bus("redis-sentinel://ada:hunter2@cache")], "bus.url"),
        (&[good, ("HALLWAY__CLUSTER__SECRET_FILE", "/nowhere.key")], "/nowhere.key"),
    ] {
        let (is_good, told) = check_config(variables);
        assert!(!is_good && told.contains(words) && !told.contains("hunter2"), "{variables:?}: {told}");
    }
}

#[test]
fn the_password_of_a_bus_is_never_shown() {
    let flags = Flags {
        store_url: Some("postgres://db/app".to_owned()),
        secret_file: Some("/s".to_owned()),
        cluster_secret_file: Some("/c".to_owned()),
        bus_url: Some("rediss-sentinel://ada:hunter2@cache:6379?sentinelPassword=hunter2".to_owned()),
        ..Flags::default()
    };
    let config = Config::load(&flags, environment(&[]), None).unwrap();
    assert!(config.bus.url.as_ref().is_some_and(|url| url.expose().contains("hunter2") && url.is_tls()));
    let shown = format!("{config:?} {}", as_toml(&config));
    assert!(shown.contains("rediss-sentinel://ada@cache:6379") && !shown.contains("hunter2"), "{shown}");
}

#[test]
fn targets_of_webhooks_are_read_checked_and_printed_without_their_secrets() {
    let secret = "0123456789abcdef0123456789abcdef";
    let (_directory, path) = file(
        "[auth]\nsecret_file = \"/s\"\n[webhooks.push]\nurl = \"https://push.example/in?key=hunter2\"\nsecret_file = \"/p\"\n\
         attempts_max = 5\n",
    );
    let pairs = [
        ("HALLWAY__WEBHOOKS__IN_HOUSE__URL", "http://[fd00::1]:8000"),
        ("HALLWAY__WEBHOOKS__IN_HOUSE__SECRET", secret),
        ("HALLWAY__WEBHOOKS__IN_HOUSE__ALLOW_PRIVATE", "true"),
    ];
    let config = Config::load(&Flags::default(), environment(&pairs), Some(&path)).unwrap();
    let (push, in_house) = (&config.webhooks["push"], &config.webhooks["in_house"]);
    let url = push.url.as_ref().unwrap();
    assert_eq!((url.host(), url.port(), url.path_and_query()), ("push.example", 443, "/in?key=hunter2"));
    assert_eq!((push.attempts_max, push.timeout_ms, push.allow_private), (5, 10_000, false));
    let url = in_house.url.as_ref().unwrap();
    assert_eq!((url.host(), url.port(), url.path_and_query()), ("fd00::1", 8000, "/"));
    assert!(in_house.allow_private && in_house.load_secret("in_house").is_ok());
    let printed = format!("{}{config:?}", as_toml(&config));
    assert!(printed.contains("[webhooks.in_house]") && printed.contains("https://push.example/in"), "{printed}");
    assert!(!printed.contains("hunter2") && !printed.contains(secret), "{printed}");
}

#[test]
fn wrong_targets_of_webhooks_are_told_with_what_to_do_and_without_their_secrets() {
    let (_directory, path) = file(
        "[auth]\nsecret_file = \"/s\"\n[webhooks.plain]\nurl = \"http://push.example/\"\n\
         [webhooks.short]\nurl = \"https://push.example/\"\nsecret = \"hunter2\"\n\
         [webhooks.known]\nurl = \"https://ada:hunter2@push.example/\"\nsecret_file = \"/p\"\n\
         [webhooks.many]\nurl = \"https://push.example/\"\nsecret_file = \"/p\"\nattempts_max = 21\nulr = \"hunter2\"\n\
         [webhooks.Loud]\nurl = \"https://push.example/\"\n",
    );
    let told = faults(&Flags::default(), &[], Some(&path));
    for words in [
        "webhooks.plain.url begins with http://",
        "allow_private = true",
        "webhooks.plain.secret_file is not set, and there is no default secret",
        "webhooks.short.secret is shorter than 32 bytes",
        "openssl rand -hex 32",
        "webhooks.known.url is no URL for webhooks: it holds a user or password",
        "webhooks.many.attempts_max = 21 attempts is out of range",
        "webhooks.many.ulr is not a configuration key",
        "did you mean webhooks.many.url?",
        "webhooks.Loud.url belongs to a target whose name is none",
        "hallway.toml, line",
    ] {
        assert!(told.contains(words), "{words} in:\n{told}");
    }
    assert!(!told.contains("hunter2"), "{told}");
    assert_eq!(told.matches("webhooks.known").count(), 1, "{told}");
}

#[test]
fn every_key_of_a_target_is_documented() {
    let document = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/configuration.md")).unwrap();
    let mut config = Config::default();
    config.webhooks.insert("push".to_owned(), WebhookConfig::default());
    let printed = as_toml(&config);
    let keys: Vec<&str> = printed
        .lines()
        .skip_while(|line| *line != "[webhooks.push]")
        .filter_map(|line| Some(line.split_once(" = ")?.0))
        .collect();
    assert_eq!(keys.len(), 7, "{printed}");
    for key in keys {
        assert!(document.contains(&format!("| `webhooks.NAME.{key}` |")), "docs/configuration.md misses {key}");
        assert!(
            DEFAULT_TOML.contains(&format!("\n# {key} = ")) || key == "secret",
            "hallway.default.toml misses {key}"
        );
    }
}

#[test]
fn what_was_freed_goes_back_to_the_kernel_within_a_second() {
    // The allocator prints its settings when the program ends, if it is asked to (jemalloc(3), `opt.stats_print`).
    let asked = std::process::Command::new(env!("CARGO_BIN_EXE_hallway"))
        .arg("--version")
        .env("_RJEM_MALLOC_CONF", "stats_print:true")
        .output()
        .unwrap();
    let printed = String::from_utf8_lossy(&asked.stderr);
    for setting in ["opt.dirty_decay_ms: 1000 ", "opt.background_thread: true "] {
        assert!(printed.contains(setting), "not {setting}: {printed}");
    }
}
