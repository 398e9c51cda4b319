//! MongoDB, Redis and RocketMQ of a cluster, as `cargo xtask services` starts them.

use std::path::Path;

use anyhow::{Context, Result};

use crate::bench::interrupt::Interrupt;
use crate::services::Services;

const NAMES: [&str; 4] = ["mongo", "redis", "namesrv", "broker"];

/// The services. Those that did not run before are stopped when the value is dropped.
pub struct BackEnds {
    services: Services,
    ran_before: Vec<&'static str>,
}

impl BackEnds {
    /// Starts the missing services, if the mode needs any.
    pub fn start(workspace: &Path, needed: bool, interrupt: &Interrupt) -> Result<Self> {
        let services = Services::new(&workspace.join("target/services"));
        let back_ends = Self { ran_before: services.running(), services };
        for name in NAMES.into_iter().filter(|_| needed) {
            back_ends.services.start(name)?;
            interrupt.check()?;
        }
        Ok(back_ends)
    }

    /// Returns the connection string of MongoDB.
    pub fn mongo(&self) -> Result<String> {
        self.address("TASKCENTER_TEST_MONGODB_URI")
    }

    /// Returns the address of Redis.
    pub fn redis(&self) -> Result<String> {
        self.address("TASKCENTER_TEST_REDIS_ADDR")
    }

    /// Returns the address of RocketMQ's name server.
    pub fn namesrv(&self) -> Result<String> {
        self.address("TASKCENTER_TEST_ROCKETMQ_NAMESRV")
    }

    fn address(&self, variable: &str) -> Result<String> {
        self.services.environment().remove(variable).with_context(|| format!("{variable} is unknown"))
    }
}

impl Drop for BackEnds {
    fn drop(&mut self) {
        let mut started = self.services.running();
        started.retain(|name| !self.ran_before.contains(name));
        if let Err(error) = self.services.stop_all(&started, false) {
            eprintln!("cannot stop the services: {error:#}");
        }
    }
}
