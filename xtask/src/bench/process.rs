//! A process that lives for one measurement.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Result, bail};

use crate::bench::interrupt::Interrupt;
use crate::process::{Ending, Home};

const READY_WITHIN: Duration = Duration::from_mins(2);

/// A running process. It is stopped when the value is dropped.
pub struct Running {
    home: Home,
    /// Time from the start to the first success of the probe.
    pub started_in: Duration,
}

impl Running {
    /// Starts a process in `dir`, which its command line must name, and waits until `probe` succeeds.
    pub fn start(
        dir: &Path,
        command: &mut Command,
        interrupt: &Interrupt,
        probe: impl Fn() -> bool,
    ) -> Result<Self> {
        let home = Home::new(dir.to_path_buf());
        // A process that a killed benchmark has left.
        home.stop(Ending::Kill)?;
        let start = Instant::now();
        let mut child = home.spawn(command)?;
        let mut running = Self { home, started_in: Duration::ZERO };
        while !probe() {
            interrupt.check()?;
            if child.try_wait()?.is_some() || start.elapsed() > READY_WITHIN {
                bail!("{} does not start:\n{}", command.get_program().display(), running.home.log_tail());
            }
            sleep(Duration::from_millis(5));
        }
        running.started_in = start.elapsed();
        Ok(running)
    }

    /// Returns the highest resident memory of the process so far, in MB.
    pub fn peak_memory_mb(&self) -> Option<f64> {
        let pid = self.home.running()?.as_raw_nonzero();
        let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
        let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
        let kilobytes: f64 = line.trim().trim_end_matches(" kB").parse().ok()?;
        Some(kilobytes / 1024.0)
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if let Err(error) = self.home.stop(Ending::Graceful) {
            eprintln!("cannot stop the process in {}: {error:#}", self.home.dir().display());
        }
    }
}

/// Creates an empty directory.
pub fn empty(dir: &Path) -> Result<()> {
    if dir.is_dir() {
        fs::remove_dir_all(dir)?;
    }
    Ok(fs::create_dir_all(dir)?)
}
