//! The Postgres back end.
