//! State that all scenarios of one run of the harness share.

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

/// Longer than the allowed lateness after a fault plus the lateness without faults.
const LULL_MS: i64 = HEALED_MS + QUIET_MS + 10_000;
/// Maximum time from the end of the load to the end of all runs.
const SETTLE_MS: i64 = 60_000;

/// The harness.
pub struct Harness {
    pub root: PathBuf,
    /// Server program.
    pub binary: PathBuf,
    /// Server program of an earlier release, or the current one.
    pub old: PathBuf,
    pub quick: bool,
    pub rng: fastrand::Rng,
    pub backends: Option<Backends>,
    /// Number of starts of the back ends.
    started: usize,
    /// Locks the directory.
    _lock: File,
}

impl Harness {
    /// Prepares the directory and copies the server program: a build must not change it during a
    /// scenario.
    pub fn open(root: &Path, options: &Options) -> Result<Self> {
        let lock = File::create(root.with_extension("lock"))?;
        lock.try_lock().context("another fault harness runs in this checkout: wait for its end")?;
        if root.exists() {
            std::fs::remove_dir_all(root)?;
        }
        std::fs::create_dir_all(root)?;
        let binary = root.join("taskcenter");
        std::fs::copy(env!("CARGO_BIN_EXE_taskcenter"), &binary).context("cannot copy the server program")?;
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

    /// Returns the back ends. Starts them on the first call.
    pub async fn backends(&mut self) -> Result<&mut Backends> {
        if self.backends.is_none() {
            println!("starting three MongoDB nodes, Redis, and RocketMQ");
            // New directories each time: earlier back ends may be broken.
            self.started += 1;
            let dir = self.root.join(format!("backends-{}", self.started));
            self.backends = Some(Backends::start(&dir).await?);
        }
        self.backends.as_mut().context("the back ends are started above")
    }

    /// Returns the first value in the short form, the second in the long form.
    pub fn seconds(&self, quick: i64, long: i64) -> i64 {
        if self.quick { quick } else { long }
    }

    /// Waits in the long form between two faults, longer than the allowed lateness after a fault.
    /// The second fault cannot excuse lateness that the first one caused.
    pub async fn lull(&self) {
        if !self.quick {
            time::sleep(LULL_MS).await;
        }
    }

    /// Returns the time of [`Self::lull`] in seconds.
    pub fn lull_sec(&self) -> i64 {
        self.seconds(0, LULL_MS / 1_000)
    }

    /// Sets up a stage on the back ends.
    pub async fn stage(&mut self, name: &str, setting: Setting) -> Result<Stage> {
        self.backends().await?;
        Stage::set_up(&self.root, &self.binary, self.backends.as_ref(), name, setting).await
    }

    pub async fn embedded_stage(&mut self, name: &str) -> Result<Stage> {
        let setting = Setting { nodes: 1, embedded: true, ..Setting::default() };
        Stage::set_up(&self.root, &self.binary, None, name, setting).await
    }

    /// Starts the default load.
    pub fn load(&mut self, stage: &Stage, seconds: i64) -> Result<Load> {
        Load::start(stage, Amount::lasting(seconds), &mut self.rng)
    }
}

/// Waits for the end of the load and of all its runs, and returns the evidence.
pub async fn finish(mut stage: Stage, load: Load) -> Result<Evidence> {
    load.wait_for_end().await;
    stage.all_ready(60_000).await?;
    stage.take_down(SETTLE_MS).await
}
