//! The ports, each held to its contract on every adapter.

mod cli;
mod http;
mod lock;
mod store;
