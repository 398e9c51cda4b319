//! What every scenario of one run of the harness shares.

use std::fs::File;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use crate::backends::Backends;
use crate::check::{HEALED_MS, QUIET_MS};
use crate::evidence::Evidence;
use crate::load::{Amount, Load};
use crate::options::Options;
use crate::stage::{Setting, Stage};
use crate::time;

/// More than the thirty seconds after healing, and the five of quiet.
const LULL_MS: i64 = HEALED_MS + QUIET_MS + 10_000;
/// How long a scenario may take to settle after its last fault was mended.
const SETTLE_MS: i64 = 60_000;

/// The house.
pub struct House {
    pub root: PathBuf,
    /// The servers' program.
    pub binary: PathBuf,
    /// An earlier release of it, or itself.
    pub old: PathBuf,
    pub quick: bool,
    pub rng: fastrand::Rng,
    pub backends: Option<Backends>,
    /// How often back ends were started.
    started: usize,
    /// Held while the house stands.
    _lock: File,
}

impl House {
    /// The server's binary is copied: a build that goes on beside must not change it under a running scenario.
    pub fn open(root: &Path, options: &Options) -> Result<Self> {
        let lock = File::create(root.with_extension("lock"))?;
        lock.try_lock().context("another harness is at work in this checkout")?;
        if root.exists() {
            std::fs::remove_dir_all(root)?;
        }
        std::fs::create_dir_all(root)?;
        let binary = root.join("taskcenter");
        std::fs::copy(env!("CARGO_BIN_EXE_taskcenter"), &binary).context("the server is built")?;
        Ok(Self {
            root: root.to_owned(),
            old: options.old.clone().unwrap_or_else(|| binary.clone()),
            binary,
            quick: options.quick,
            rng: fastrand::Rng::with_seed(options.seed),
            backends: None,
            started: 0,
            _lock: lock,
        })
    }

    /// The back ends, started when they are needed first.
    pub async fn backends(&mut self) -> Result<&mut Backends> {
        if self.backends.is_none() {
            println!("starting three MongoDB nodes, Redis, and RocketMQ");
            // Fresh ones each time: those before may have been left half broken.
            self.started += 1;
            let dir = self.root.join(format!("backends-{}", self.started));
            self.backends = Some(Backends::start(&dir).await?);
        }
        self.backends.as_mut().context("they were started")
    }

    /// One length for the short form and one for the long.
    pub fn seconds(&self, quick: i64, long: i64) -> i64 {
        if self.quick { quick } else { long }
    }

    /// Once in the long form, between one fault and the next: longer than a moment has after healing, so that what is late in the middle
    /// of a scenario is not excused by the fault that comes after it.
    pub async fn lull(&self) {
        if !self.quick {
            time::pass(LULL_MS).await;
        }
    }

    /// What that adds to the length of a load, in seconds.
    pub fn lull_sec(&self) -> i64 {
        self.seconds(0, LULL_MS / 1_000)
    }

    /// A stage on the back ends.
    pub async fn stage(&mut self, name: &str, setting: Setting) -> Result<Stage> {
        self.backends().await?;
        Stage::set(&self.root, &self.binary, self.backends.as_ref(), name, setting).await
    }

    pub async fn embedded_stage(&mut self, name: &str) -> Result<Stage> {
        let setting = Setting { nodes: 1, embedded: true, ..Setting::default() };
        Stage::set(&self.root, &self.binary, None, name, setting).await
    }

    /// Starts the usual load.
    pub fn load(&mut self, stage: &Stage, seconds: i64) -> Result<Load> {
        Load::start(stage, Amount::lasting(seconds), &mut self.rng)
    }
}

/// Waits for the end of the load and of everything that it has begun.
pub async fn finish(mut stage: Stage, load: Load) -> Result<Evidence> {
    load.over().await;
    stage.all_ready(60_000).await?;
    stage.strike(SETTLE_MS).await
}
