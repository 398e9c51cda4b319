//! The machine before a round: load average, and the time of one durable write.

use std::fs;
use std::process::Command;
use std::thread::available_parallelism;

use anyhow::{Context, Result};
use serde_json::{Value, json};

use crate::bench::figures::parse;
use crate::bench::subject::Session;

/// State of the machine.
pub struct Machine {
    /// Load average of the last minute.
    pub load: f64,
    /// Median time of writing 4 KiB and fdatasync.
    pub fdatasync_ms: f64,
}

impl Machine {
    /// Measures the machine, and prints the state.
    pub fn measure(session: &Session) -> Result<Self> {
        let text = fs::read_to_string("/proc/loadavg")?;
        let load = text.split(' ').next().and_then(|load| load.parse().ok()).context("no load average")?;
        let mut disk = Command::new(&session.programs.load);
        disk.args(["disk", "--count", "200", "--dir"]).arg(&session.dir);
        let fdatasync_ms = parse(&session.interrupt.output(&mut disk)?)?["p50_ms"];
        eprintln!("load average {load:.1}, fdatasync p50 {fdatasync_ms:.2} ms");
        Ok(Self { load, fdatasync_ms })
    }

    /// Returns the state as JSON.
    pub fn to_json(&self) -> Value {
        json!({"load": self.load, "fdatasync_p50_ms": self.fdatasync_ms})
    }
}

/// Returns the number of cores and the name of the processor.
pub fn processor() -> String {
    let cores = available_parallelism().map_or(1, usize::from);
    let info = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let name = info.lines().find(|line| line.starts_with("model name"));
    let name = name.and_then(|line| line.split_once(": ")).map_or("unknown processor", |(_, name)| name);
    format!("{cores} cores ({name})")
}
