//! Servers that die, freeze and are replaced.

use anyhow::Result;

use crate::evidence::Evidence;
use crate::house::{House, finish};
use crate::load::{Amount, Load};
use crate::stage::{RUN_LEASE_MS, Setting};
use crate::time;

pub async fn quiet(house: &mut House) -> Result<Evidence> {
    let stage = house.stage("quiet", Setting::default()).await?;
    let seconds = house.seconds(12, 120);
    let load = house.load(&stage, seconds)?;
    finish(stage, load).await
}

pub async fn kill(house: &mut House) -> Result<Evidence> {
    let mut stage = house.stage("kill", Setting { nodes: 3, ..Setting::default() }).await?;
    let seconds = house.seconds(20, 300);
    let load = house.load(&stage, seconds)?;
    while time::now_ms() < load.ends_at {
        time::pass(house.rng.i64(300..1_200)).await;
        let victim = house.rng.usize(0..stage.nodes.len());
        let now = time::now_ms();
        stage.nodes[victim].kill()?;
        stage.recorder.fault("a server is killed", now, now + RUN_LEASE_MS);
        stage.nodes[victim].start()?;
    }
    finish(stage, load).await
}

pub async fn freeze(house: &mut House) -> Result<Evidence> {
    let mut stage = house.stage("freeze", Setting::default()).await?;
    let seconds = house.seconds(18, 240);
    let load = house.load(&stage, seconds)?;
    time::pass(4_000).await;
    let mut victim = 0;
    while time::now_ms() < load.ends_at {
        let now = time::now_ms();
        stage.nodes[victim].signal("STOP")?;
        stage.recorder.fault("a server is frozen", now, now + RUN_LEASE_MS);
        time::pass(RUN_LEASE_MS + house.rng.i64(500..3_000)).await;
        stage.nodes[victim].signal("CONT")?;
        let now = time::now_ms();
        stage.recorder.aftermath("a server is thawed", now, now);
        time::pass(2_500).await;
        victim = (victim + 1) % stage.nodes.len();
    }
    finish(stage, load).await
}

/// A stop that is asked for may cost nothing: no copy, no lateness. Old servers make way for new ones, new ones for old ones again.
pub async fn rolling(house: &mut House) -> Result<Evidence> {
    let (old, new) = (house.old.clone(), house.binary.clone());
    let setting = Setting { nodes: 3, binary: Some(old.clone()), ..Setting::default() };
    let mut stage = house.stage("rolling", setting).await?;
    let load = house.load(&stage, house.seconds(18, 200))?;
    time::pass(4_000).await;
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
        stage.recorder.harmless_fault(what);
        stage.nodes[place].replace(binary).await?;
        time::pass(1_000).await;
    }
    finish(stage, load).await
}

pub async fn embedded_kill(house: &mut House) -> Result<Evidence> {
    let mut stage = house.embedded_stage("embedded-kill").await?;
    let seconds = house.seconds(20, 300);
    let amount = Amount { bus: false, ..Amount::lasting(seconds) };
    let load = Load::start(&stage, amount, &mut house.rng)?;
    while time::now_ms() < load.ends_at {
        time::pass(house.rng.i64(300..1_500)).await;
        let now = time::now_ms();
        stage.nodes[0].kill()?;
        stage.nodes[0].start()?;
        stage.nodes[0].until(&["ready"], 30_000).await?;
        stage.recorder.fault("the node is killed", now, time::now_ms());
    }
    finish(stage, load).await
}
