//! The ports' implementations: one a back end.

pub mod clock;
pub mod mongo;
pub mod redis;
pub mod rocketmq;
pub mod webhook;
