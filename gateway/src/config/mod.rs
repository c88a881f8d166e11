//! Configuration: file < environment < flags.

pub mod limits;

pub use limits::Limits;
