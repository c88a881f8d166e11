//! Logs and metrics.
//!
//! Reading order: [`metrics`] (the catalogue: one row per metric), [`instruments`] (what a row can be), [`labels`]
//! (which values a label can take), [`exporter`] (how they are read), [`logs`].
//!
//! **Invariant:** a label's values are a fixed set; never a room, a user or anything a client chose.
//!
//! **Invariant:** no token, message body or personal data is logged.
pub mod exporter;
pub mod instruments;
pub mod labels;
pub mod logs;
pub mod metrics;

pub use exporter::Exporter;
pub use labels::{CloseReason, RefusedReason};
pub use metrics::Metrics;
