//! Conformance suites of the ports, and tests of the server on its ports.

#[macro_use]
mod on_every_store;

mod access;
mod alerts;
mod allocations;
mod bad_rows;
mod bus;
mod circles;
mod cli;
mod clock;
mod clocks;
mod compat;
mod console;
mod cron;
mod directions;
mod dispatch;
mod docs;
#[cfg(feature = "cluster")]
mod engine;
mod fuzz;
mod hostile;
mod http;
mod lifecycle;
mod lock;
mod neighbours;
mod service;
mod store;
mod workers;
