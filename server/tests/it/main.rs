//! The ports, each held to its contract on every adapter.

mod lock;
mod store;
