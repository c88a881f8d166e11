//! What is wrong with a configuration: every fault at once, each with its value, its source and what to do.

use std::fmt;
use std::path::PathBuf;

/// Where a value came from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Source {
    /// The configuration file, with the line.
    File(PathBuf, usize),
    /// An environment variable.
    Env(String),
    /// A command line flag.
    Flag(&'static str),
    /// Nobody set it.
    Default,
}

impl fmt::Display for Source {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(path, line) => write!(out, "from {}, line {line}", path.display()),
            Self::Env(name) => write!(out, "from env {name}"),
            Self::Flag(name) => write!(out, "from flag {name}"),
            Self::Default => out.write_str("set nowhere"),
        }
    }
}

/// One fault.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fault {
    /// What failed, the value included unless it is secret.
    pub problem: String,
    pub source: Source,
    /// What to do, or an example.
    pub advice: String,
}

impl fmt::Display for Fault {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{} ({}); {}", self.problem, self.source, self.advice)
    }
}

/// All faults of a configuration; never empty.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub struct ConfigErrors(pub Vec<Fault>);

impl fmt::Display for ConfigErrors {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let count = self.0.len();
        write!(out, "the configuration has {count} fault{}:", if count == 1 { "" } else { "s" })?;
        for fault in &self.0 {
            write!(out, "\n  - {fault}")?;
        }
        Ok(())
    }
}
