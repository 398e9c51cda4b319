//! The whole product as its users run it: the built binary on the real MongoDB, Redis and RocketMQ, driven by the SDK.
//!
//! `cargo xtask services up` starts what they need. Without it they fail.

mod alerts;
mod board;
mod cluster;
mod crash;
mod defects;
mod embedded;
mod everything;
mod examples;
mod fronts;
mod inbox;
mod ledger;
mod log;
mod outage;
mod proxy;
mod wait;
mod workers;
