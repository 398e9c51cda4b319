//! The ports, each held to its contract on every adapter.

mod cli;
mod compat;
mod directions;
mod docs;
mod engine;
mod http;
mod lifecycle;
mod lock;
mod service;
mod store;
