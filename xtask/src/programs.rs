//! The programs behind the services: how each kind is started and probed.

use std::process::Command;

use anyhow::Result;

use crate::catalog::{Kind, Service};
use crate::{mongo, redis, rocketmq};

/// Returns the command that runs the service in the foreground. Downloads missing programs.
pub fn command(service: &Service) -> Result<Command> {
    match service.kind {
        Kind::Mongo => mongo::command(service),
        Kind::Redis => redis::command(service),
        Kind::Namesrv(security) => rocketmq::namesrv(service, security),
        Kind::Broker(security, namesrv) => rocketmq::broker(service, security, namesrv),
    }
}

/// Fails if the service does not work, even if it listens.
pub fn probe(service: &Service) -> Result<()> {
    match service.kind {
        Kind::Mongo => mongo::probe(service),
        Kind::Redis => redis::probe(service),
        Kind::Namesrv(security) => rocketmq::probe_namesrv(service, security),
        Kind::Broker(security, namesrv) => rocketmq::probe_broker(service, security, namesrv),
    }
}
