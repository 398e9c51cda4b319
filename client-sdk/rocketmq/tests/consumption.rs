//! The consumer on real brokers.

#[path = "consumption/basics.rs"]
mod basics;
#[path = "consumption/bounds.rs"]
mod bounds;
#[path = "consumption/faults.rs"]
mod faults;
#[path = "consumption/group.rs"]
mod group;
#[path = "consumption/harness.rs"]
mod harness;
#[path = "consumption/outage.rs"]
mod outage;
#[path = "consumption/settlement.rs"]
mod settlement;
mod support;
