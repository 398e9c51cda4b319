//! The ports' implementations: one a back end.

pub mod absent;
pub mod clock;
pub mod entropy;
pub mod fault;
pub mod local;
pub mod memory;
pub mod mongo;
pub mod questions;
pub mod redis;
pub mod rocketmq;
pub mod sqlite;
mod unreadable;
pub mod webhook;
