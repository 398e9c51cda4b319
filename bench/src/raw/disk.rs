//! The time of one durable write.

use std::fs::{self, File};
use std::io::Write;
use std::path::Path;
use std::time::Instant;

use anyhow::Result;

use crate::figures::{Figures, percentile};

/// Writes 4 KiB and calls fdatasync, `count` times.
pub fn sync(dir: &Path, count: usize) -> Result<Figures> {
    let path = dir.join("fdatasync");
    let mut file = File::create(&path)?;
    let mut times = Vec::with_capacity(count);
    for _ in 0..count {
        let start = Instant::now();
        file.write_all(&[7; 4096])?;
        file.sync_data()?;
        times.push(start.elapsed().as_secs_f64() * 1e3);
    }
    fs::remove_file(path)?;
    times.sort_by(f64::total_cmp);
    Ok(Figures::default().with("p50_ms", percentile(&times, 0.5)))
}
