//! Implementations of the ports, one per back end.

pub mod absent;
pub mod channels;
pub mod clock;
pub mod entropy;
pub mod fault;
pub mod local;
pub mod memory;
#[cfg(feature = "cluster")]
pub mod mongo;
#[cfg(feature = "cluster")]
pub mod redis;
#[cfg(feature = "cluster")]
pub mod rocketmq;
pub mod sqlite;
mod unreadable;
pub mod webhook;
pub mod zones;
