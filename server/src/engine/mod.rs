//! The moving parts: one loop a file, each a thin ticker around a `run_once(now)`, and the commands in `service`.

pub mod ids;
pub mod service;
pub mod settings;
