//! Back ends of one run of the harness.

use std::path::{Path, PathBuf};

use anyhow::{Result, ensure};

use crate::mongo::Mongo;
use crate::redis::Redis;
use crate::rocketmq::RocketMq;

/// MongoDB, Redis and RocketMQ.
pub struct Backends {
    pub mongo: Mongo,
    pub redis: Redis,
    pub rocketmq: RocketMq,
}

impl Backends {
    /// Starts all back ends below `dir`.
    pub async fn start(dir: &Path) -> Result<Self> {
        let mongod = program("TASKCENTER_FAULTS_MONGOD", "mongod-6.0.5/mongod")?;
        let jars = program("TASKCENTER_FAULTS_ROCKETMQ", "rocketmq-5.5.0/lib")?;
        let redis = Redis::start(dir).await?;
        let (mongo, rocketmq) = tokio::try_join!(Mongo::start(&mongod, dir), RocketMq::start(&jars, dir))?;
        Ok(Self { mongo, redis, rocketmq })
    }
}

/// Returns a program that `cargo xtask` has downloaded.
fn program(variable: &str, below_cache: &str) -> Result<PathBuf> {
    let cache = Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/services/cache");
    let path = std::env::var_os(variable).map_or_else(|| cache.join(below_cache), PathBuf::from);
    ensure!(path.exists(), "{} is missing: run `cargo xtask faults`, which downloads it", path.display());
    Ok(path)
}
