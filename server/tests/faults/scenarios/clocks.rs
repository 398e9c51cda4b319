//! Servers with wrong clocks, by libfaketime.

use std::path::Path;

use anyhow::{Context, Result};

use crate::evidence::Evidence;
use crate::harness::{Harness, finish};
use crate::stage::{RUN_LEASE_MS, Setting};
use crate::time;

/// Paths of the library in the Debian package `faketime`.
const LIBRARIES: [&str; 2] = [
    "/usr/lib/x86_64-linux-gnu/faketime/libfaketimeMT.so.1",
    "/usr/lib/aarch64-linux-gnu/faketime/libfaketimeMT.so.1",
];

/// Sets the clock of one of two running servers to each of `offsets` in turn, and to the true time
/// in between.
pub async fn play(harness: &mut Harness, name: &str, offsets: &[&str]) -> Result<Evidence> {
    let mut stage = harness.stage(name, Setting::default()).await?;
    let library = LIBRARIES.into_iter().find(|path| Path::new(path).exists());
    let library = library.context("libfaketime is missing: run `apt-get install faketime`")?;
    let file = stage.dir.join("offset");
    std::fs::write(&file, "+0\n")?;
    let node = &mut stage.nodes[1];
    node.stop().await?;
    node.env = vec![
        ("LD_PRELOAD".to_owned(), library.to_owned()),
        ("FAKETIME_TIMESTAMP_FILE".to_owned(), file.display().to_string()),
        ("FAKETIME_NO_CACHE".to_owned(), "1".to_owned()),
        ("FAKETIME_DONT_FAKE_MONOTONIC".to_owned(), "1".to_owned()),
    ];
    node.start()?;
    node.until(&["ready"], 60_000).await?;
    let off = harness.seconds(8, 60);
    let load = harness.load(&stage, (off + 6) * offsets.len() as i64 + 6)?;
    time::sleep(6_000).await;
    for offset in offsets {
        let now = time::now_ms();
        std::fs::write(&file, format!("{offset}\n"))?;
        // Other servers take over the work of this server, as after a crash. The fault ends for
        // them with the leases.
        stage.recorder.fault(
            &format!("a server's clock is set by {offset} s and later corrected"),
            now,
            now + RUN_LEASE_MS,
        );
        time::sleep(off * 1_000).await;
        std::fs::write(&file, "+0\n")?;
        let now = time::now_ms();
        stage.recorder.heal("a server's clock is set right", now, now + RUN_LEASE_MS);
        time::sleep(6_000).await;
    }
    finish(stage, load).await
}
