//! Servers that crash, freeze or are replaced.

use anyhow::Result;

use crate::evidence::Evidence;
use crate::harness::{Harness, finish};
use crate::load::{Amount, Load};
use crate::stage::{RUN_LEASE_MS, Setting};
use crate::time;

pub async fn quiet(harness: &mut Harness) -> Result<Evidence> {
    let stage = harness.stage("quiet", Setting::default()).await?;
    let seconds = harness.seconds(12, 120);
    let load = harness.load(&stage, seconds)?;
    finish(stage, load).await
}

pub async fn kill(harness: &mut Harness) -> Result<Evidence> {
    let mut stage = harness.stage("kill", Setting { nodes: 3, ..Setting::default() }).await?;
    let seconds = harness.seconds(20, 300);
    let load = harness.load(&stage, seconds)?;
    while time::now_ms() < load.ends_at {
        time::sleep(harness.rng.i64(300..1_200)).await;
        let victim = harness.rng.usize(0..stage.nodes.len());
        let now = time::now_ms();
        stage.nodes[victim].kill()?;
        stage.recorder.fault("a server is killed", now, now + RUN_LEASE_MS);
        stage.nodes[victim].start()?;
    }
    finish(stage, load).await
}

pub async fn freeze(harness: &mut Harness) -> Result<Evidence> {
    let mut stage = harness.stage("freeze", Setting::default()).await?;
    let seconds = harness.seconds(18, 240);
    let load = harness.load(&stage, seconds)?;
    time::sleep(4_000).await;
    let mut victim = 0;
    while time::now_ms() < load.ends_at {
        let now = time::now_ms();
        stage.nodes[victim].signal("STOP")?;
        stage.recorder.fault("a server is frozen", now, now + RUN_LEASE_MS);
        time::sleep(RUN_LEASE_MS + harness.rng.i64(500..3_000)).await;
        stage.nodes[victim].signal("CONT")?;
        let now = time::now_ms();
        stage.recorder.aftermath("a server is thawed", now, now);
        time::sleep(2_500).await;
        victim = (victim + 1) % stage.nodes.len();
    }
    finish(stage, load).await
}

/// Replaces old servers by new ones, and new ones by old ones. A graceful stop may not cause
/// duplicates or lateness.
pub async fn rolling(harness: &mut Harness) -> Result<Evidence> {
    let (old, new) = (harness.old.clone(), harness.binary.clone());
    let setting = Setting { nodes: 3, binary: Some(old.clone()), ..Setting::default() };
    let mut stage = harness.stage("rolling", setting).await?;
    let load = harness.load(&stage, harness.seconds(18, 200))?;
    time::sleep(4_000).await;
    for turn in 0.. {
        let (round, place) = (turn / stage.nodes.len(), turn % stage.nodes.len());
        if time::now_ms() >= load.ends_at {
            break;
        }
        let (binary, what) = if round.is_multiple_of(2) {
            (&new, "an old server is replaced by a new one")
        } else {
            (&old, "a new server is replaced by an old one")
        };
        stage.recorder.isolated_fault(what);
        stage.nodes[place].replace(binary).await?;
        time::sleep(1_000).await;
    }
    finish(stage, load).await
}

pub async fn embedded_kill(harness: &mut Harness) -> Result<Evidence> {
    let mut stage = harness.embedded_stage("embedded-kill").await?;
    let seconds = harness.seconds(20, 300);
    let amount = Amount { bus: false, ..Amount::lasting(seconds) };
    let load = Load::start(&stage, amount, &mut harness.rng)?;
    while time::now_ms() < load.ends_at {
        time::sleep(harness.rng.i64(300..1_500)).await;
        let now = time::now_ms();
        stage.nodes[0].kill()?;
        stage.nodes[0].start()?;
        stage.nodes[0].until(&["ready"], 30_000).await?;
        stage.recorder.fault("the node is killed", now, time::now_ms());
    }
    finish(stage, load).await
}
