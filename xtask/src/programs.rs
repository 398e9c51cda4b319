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
        Kind::Namesrv(setup) => rocketmq::namesrv(service, setup),
        Kind::Broker(setup, namesrv) => rocketmq::broker(service, setup, namesrv),
    }
}

/// Fails if the service does not work, even if it listens.
pub fn probe(service: &Service) -> Result<()> {
    match service.kind {
        Kind::Mongo => mongo::probe(service),
        Kind::Redis => redis::probe(service),
        Kind::Namesrv(setup) => rocketmq::probe_namesrv(service, setup),
        Kind::Broker(setup, namesrv) => rocketmq::probe_broker(service, setup, namesrv),
    }
}
