//! The Hallway node as a library. `main` is thin.
pub mod auth;
pub mod cli;
pub mod config;
pub mod telemetry;
