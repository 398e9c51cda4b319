//! The task center: hands each due moment of each task over exactly once in its ledger, and can prove it.

#[macro_use]
pub mod failpoint;

pub mod config;
pub mod adapters;
pub mod core;
pub mod engine;
pub mod http;
pub mod ports;
