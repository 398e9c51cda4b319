//! The scenarios.

mod backends_fail;
mod clocks;
mod misbehave;
mod misfires;
mod servers;
mod wires;

use anyhow::{Result, bail};

use crate::check::check;
use crate::harness::Harness;
use crate::verdict::Verdict;

/// Name and description of each scenario.
pub const ALL: [(&str, &str); 18] = [
    ("quiet", "no faults: the reference for all bounds"),
    ("kill", "kill -9 of one of three servers every 0.3 to 1.2 s, with an immediate restart"),
    ("freeze", "SIGSTOP of a server for longer than its leases, SIGCONT, then the next server"),
    ("rolling", "replace old servers by new ones, one after the other, and back"),
    ("broker", "stop the broker for 30 s, then kill it"),
    ("mongo", "kill the primary, step it down, freeze it"),
    ("redis", "flush Redis every second, then kill it for a while"),
    ("wire-mongo", "each connection to MongoDB reset, cut, without answers, slow, closed, frozen"),
    ("wire-redis", "as wire-mongo, for the connections to Redis"),
    ("wire-bus", "as wire-mongo, for the connections to the broker"),
    ("clock-offset", "clock of a server 10 s ahead, then 10 s behind"),
    ("clock-jump", "clock of a server jumps by an hour, and back"),
    ("misfire-fire-all", "downtime over many moments, then all of them fire"),
    ("misfire-fire-last", "downtime over many moments, then the last moment of each task fires"),
    ("misfire-skip", "downtime over many moments, then all but the last are skipped"),
    ("handlers", "slow, hanging, panicking and failing handlers, and a worker that never answers"),
    ("poison", "data that no handler can decode, among valid data"),
    ("embedded-kill", "kill -9 of the embedded node, again and again under load"),
];

/// Plays a scenario.
pub async fn play(name: &str, harness: &mut Harness) -> Result<Verdict> {
    match name {
        "quiet" => Ok(check(&servers::quiet(harness).await?)),
        "kill" => Ok(check(&servers::kill(harness).await?)),
        "freeze" => Ok(check(&servers::freeze(harness).await?)),
        "rolling" => Ok(check(&servers::rolling(harness).await?)),
        "embedded-kill" => Ok(check(&servers::embedded_kill(harness).await?)),
        "broker" => Ok(check(&backends_fail::broker(harness).await?)),
        "mongo" => Ok(check(&backends_fail::mongo(harness).await?)),
        "redis" => Ok(check(&backends_fail::redis(harness).await?)),
        "wire-mongo" => Ok(check(&wires::play(harness, name, wires::End::Mongo).await?)),
        "wire-redis" => Ok(check(&wires::play(harness, name, wires::End::Redis).await?)),
        "wire-bus" => Ok(check(&wires::play(harness, name, wires::End::Bus).await?)),
        "clock-offset" => Ok(check(&clocks::play(harness, name, &["+10", "-10"]).await?)),
        "clock-jump" => Ok(check(&clocks::play(harness, name, &["+3600"]).await?)),
        "misfire-fire-all" => misfires::play(harness, name, misfires::Policy::FireAll).await,
        "misfire-fire-last" => misfires::play(harness, name, misfires::Policy::FireLast).await,
        "misfire-skip" => misfires::play(harness, name, misfires::Policy::Skip).await,
        "handlers" => Ok(check(&misbehave::handlers(harness).await?)),
        "poison" => Ok(check(&misbehave::poison(harness).await?)),
        _ => bail!("unknown scenario {name:?}: --list shows all scenarios"),
    }
}
