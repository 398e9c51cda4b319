//! The consumer on real brokers.

#[path = "consumer/basics.rs"]
mod basics;
#[path = "consumer/bounds.rs"]
mod bounds;
#[path = "consumer/faults.rs"]
mod faults;
#[path = "consumer/group.rs"]
mod group;
#[path = "consumer/harness.rs"]
mod harness;
#[path = "consumer/outage.rs"]
mod outage;
#[path = "consumer/settlement.rs"]
mod settlement;
mod support;
