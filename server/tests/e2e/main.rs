//! End-to-end tests: the built binary on real MongoDB, Redis and RocketMQ, driven by the SDK.
//!
//! `cargo xtask services up` starts the back ends. Without them the tests fail.

mod alerts;
mod board;
mod cluster;
mod crash;
mod defects;
mod embedded;
mod everything;
mod examples;
mod inbox;
mod ledger;
mod legacy_apis;
mod log;
mod outage;
mod proxy;
mod wait;
mod workers;
