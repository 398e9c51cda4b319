//! The scenarios by name.

mod backends_fail;
mod clocks;
mod misbehave;
mod misfires;
mod servers;
mod wires;

use anyhow::{Result, bail};

use crate::check::check;
use crate::house::House;
use crate::verdict::Verdict;

/// Name, and what it does.
pub const ALL: [(&str, &str); 18] = [
    ("quiet", "nothing is broken: what the bounds are measured against"),
    ("kill", "kill -9 of one of three servers every 0.3 to 1.2 s, started again at once"),
    ("freeze", "SIGSTOP of a server for longer than its leases, SIGCONT, the next one"),
    ("rolling", "old servers are replaced by new ones, one after the other, and back"),
    ("broker", "the broker stopped for 30 s, and killed"),
    ("mongo", "the primary killed, stepped down, frozen"),
    ("redis", "Redis flushed every second, and killed for a while"),
    ("wire-mongo", "each connection to MongoDB reset, cut, mute, slow, closed, frozen"),
    ("wire-redis", "as wire-mongo, with the connections to Redis"),
    ("wire-bus", "as wire-mongo, with the connections to the broker"),
    ("clock-offset", "a server's clock 10 s ahead, then 10 s behind"),
    ("clock-jump", "a server's clock jumps by an hour, and back"),
    ("misfire-fire-all", "downtime over many moments, then all of them fire"),
    ("misfire-fire-last", "downtime over many moments, then the last of each task fires"),
    ("misfire-skip", "downtime over many moments, which are skipped"),
    ("handlers", "slow, hanging, panicking, failing handlers, and a worker that goes silent"),
    ("poison", "data that no handler can decode, between data that they can"),
    ("embedded-kill", "kill -9 of the embedded node over and over under load"),
];

/// Plays one of them.
pub async fn play(name: &str, house: &mut House) -> Result<Verdict> {
    match name {
        "quiet" => Ok(check(&servers::quiet(house).await?)),
        "kill" => Ok(check(&servers::kill(house).await?)),
        "freeze" => Ok(check(&servers::freeze(house).await?)),
        "rolling" => Ok(check(&servers::rolling(house).await?)),
        "embedded-kill" => Ok(check(&servers::embedded_kill(house).await?)),
        "broker" => Ok(check(&backends_fail::broker(house).await?)),
        "mongo" => Ok(check(&backends_fail::mongo(house).await?)),
        "redis" => Ok(check(&backends_fail::redis(house).await?)),
        "wire-mongo" => Ok(check(&wires::play(house, name, wires::End::Mongo).await?)),
        "wire-redis" => Ok(check(&wires::play(house, name, wires::End::Redis).await?)),
        "wire-bus" => Ok(check(&wires::play(house, name, wires::End::Bus).await?)),
        "clock-offset" => Ok(check(&clocks::play(house, name, &["+10", "-10"]).await?)),
        "clock-jump" => Ok(check(&clocks::play(house, name, &["+3600"]).await?)),
        "misfire-fire-all" => misfires::play(house, name, misfires::Policy::FireAll).await,
        "misfire-fire-last" => misfires::play(house, name, misfires::Policy::FireLast).await,
        "misfire-skip" => misfires::play(house, name, misfires::Policy::Skip).await,
        "handlers" => Ok(check(&misbehave::handlers(house).await?)),
        "poison" => Ok(check(&misbehave::poison(house).await?)),
        _ => bail!("there is no scenario {name:?}; --list shows them"),
    }
}
