//! Servers that die, freeze and are replaced.

use anyhow::Result;

use crate::evidence::Evidence;
use crate::house::{House, finish};
use crate::load::{Amount, Load};
use crate::stage::{RUN_LEASE_MS, Setting, Stage};
use crate::time;

pub async fn quiet(house: &mut House) -> Result<Evidence> {
    let stage = house.stage("quiet", Setting::default()).await?;
    let seconds = house.seconds(15, 120);
    let load = house.load(&stage, seconds)?;
    finish(stage, load).await
}

pub async fn kill(house: &mut House) -> Result<Evidence> {
    let mut stage = house.stage("kill", Setting { nodes: 3, ..Setting::default() }).await?;
    let seconds = house.seconds(30, 300);
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

/// Where a crash leaves something half done. Random kills hardly ever hit these places.
const PLACES: [&str; 21] = [
    "fire::inserted",
    "fire::advanced",
    "fire::before_publish",
    "fire::before_queue",
    "fire::published",
    "fire::marked",
    "rescue::before_claim",
    "rescue::claimed",
    "rescue::advanced",
    "submit::before_insert",
    "submit::inserted",
    "submit::remembered",
    "record::before_put",
    "record::put",
    "report::before_update",
    "report::updated",
    "lease::before_update",
    "lease::updated",
    "change::before_replace",
    "change::replaced",
    "delete::cancelled",
];

/// The variable that makes a server abort at each place with so many per cent of its visits.
fn crashes(per_cent: f32) -> (String, String) {
    let places: Vec<String> =
        PLACES.iter().map(|place| format!("{place}={per_cent}%return(abort)")).collect();
    ("FAILPOINTS".to_owned(), places.join(";"))
}

pub async fn crash_points(house: &mut House) -> Result<Evidence> {
    let stage = house.stage("crash-points", Setting { nodes: 3, ..Setting::default() }).await?;
    let seconds = house.seconds(35, 300);
    let load = house.load(&stage, seconds)?;
    crash(stage, load, 0.6).await
}

pub async fn embedded_crash_points(house: &mut House) -> Result<Evidence> {
    let stage = house.embedded_stage("embedded-crash-points").await?;
    let seconds = house.seconds(25, 200);
    let load = Load::start(&stage, Amount { bus: false, ..Amount::lasting(seconds) }, &mut house.rng)?;
    crash(stage, load, 0.6).await
}

/// Servers that crash by themselves are started again; in the end they come back without that habit.
async fn crash(mut stage: Stage, load: Load, per_cent: f32) -> Result<Evidence> {
    for node in &mut stage.nodes {
        node.stop().await?;
        node.env = vec![crashes(per_cent)];
        node.start()?;
    }
    let mut turn = time::ticks(50);
    while time::now_ms() < load.ends_at {
        turn.tick().await;
        for node in &mut stage.nodes {
            let now = time::now_ms();
            if node.revive()? {
                stage.recorder.fault("a server aborted", now - 100, now + RUN_LEASE_MS);
            }
        }
    }
    for node in &mut stage.nodes {
        node.env.clear();
        node.revive()?;
        node.stop().await?;
        node.start()?;
    }
    finish(stage, load).await
}

pub async fn freeze(house: &mut House) -> Result<Evidence> {
    let mut stage = house.stage("freeze", Setting::default()).await?;
    let seconds = house.seconds(25, 240);
    let load = house.load(&stage, seconds)?;
    time::pass(4_000).await;
    let mut victim = 0;
    while time::now_ms() < load.ends_at {
        let now = time::now_ms();
        stage.nodes[victim].signal("STOP")?;
        stage.recorder.fault("a server is frozen", now, now + RUN_LEASE_MS);
        time::pass(RUN_LEASE_MS + house.rng.i64(500..3_000)).await;
        stage.nodes[victim].signal("CONT")?;
        stage.recorder.painless_fault("a server is thawed", time::now_ms());
        time::pass(2_500).await;
        victim = (victim + 1) % stage.nodes.len();
    }
    finish(stage, load).await
}

/// A stop that is asked for may cost nothing: no copy, no lateness.
pub async fn rolling(house: &mut House) -> Result<Evidence> {
    let mut stage = house.stage("rolling", Setting { nodes: 3, ..Setting::default() }).await?;
    let seconds = house.seconds(25, 200);
    let load = house.load(&stage, seconds)?;
    time::pass(4_000).await;
    let mut turn = 0;
    while time::now_ms() < load.ends_at {
        let node = &mut stage.nodes[turn];
        node.stop().await?;
        stage.recorder.get().faults += 1;
        node.start()?;
        node.until(&["ready"], 60_000).await?;
        time::pass(1_000).await;
        turn = (turn + 1) % stage.nodes.len();
    }
    finish(stage, load).await
}

pub async fn embedded_kill(house: &mut House) -> Result<Evidence> {
    let mut stage = house.embedded_stage("embedded-kill").await?;
    let seconds = house.seconds(30, 300);
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
