//! Back ends that stop, crash, freeze or lose data.

use anyhow::Result;

use crate::evidence::{Evidence, Recorder};
use crate::harness::{Harness, finish};
use crate::mongo::Mongo;
use crate::stage::Setting;
use crate::time;

pub async fn broker(harness: &mut Harness) -> Result<Evidence> {
    let stage = harness.stage("broker", Setting::default()).await?;
    let (away, rounds) = (harness.seconds(5, 30) * 1_000, harness.seconds(1, 3));
    let seconds = 10 + rounds * (2 * away / 1_000 + 60);
    let seconds = harness.seconds(60, seconds + harness.lull_sec());
    let load = harness.load(&stage, seconds)?;
    for round in 0..rounds {
        if round == 1 {
            harness.lull().await;
        }
        let rocketmq = &mut harness.backends().await?.rocketmq;
        time::sleep(5_000).await;
        let now = time::now_ms();
        rocketmq.stop().await?;
        // 30 s once, also in the short form.
        time::sleep(if round == 0 { 30_000 } else { away }).await;
        rocketmq.restart().await?;
        stage.recorder.fault("the broker is stopped", now, time::now_ms());
        time::sleep(15_000).await;
        let now = time::now_ms();
        rocketmq.kill()?;
        time::sleep(away).await;
        rocketmq.restart().await?;
        stage.recorder.fault("the broker is killed", now, time::now_ms());
    }
    finish(stage, load).await
}

/// A fault ends when a majority acknowledges a write of a new client.
pub async fn mongo(harness: &mut Harness) -> Result<Evidence> {
    let stage = harness.stage("mongo", Setting::default()).await?;
    let rounds = harness.seconds(1, 4);
    let load = harness.load(&stage, rounds * 60 + harness.lull_sec())?;
    for round in 0..rounds {
        if round == 1 {
            harness.lull().await;
        }
        let mongo = &mut harness.backends().await?.mongo;
        time::sleep(5_000).await;
        kill_primary(mongo, &stage.recorder).await?;
        time::sleep(5_000).await;
        step_down_primary(mongo, &stage.recorder).await?;
        time::sleep(5_000).await;
        freeze_primary(mongo, &stage.recorder).await?;
    }
    finish(stage, load).await
}

async fn kill_primary(mongo: &mut Mongo, recorder: &Recorder) -> Result<()> {
    let primary = mongo.until_primary().await?;
    let now = time::now_ms();
    mongo.kill(primary)?;
    mongo.until_writable(60_000).await?;
    record_fault("killed", recorder, now);
    mongo.restart(primary)
}

async fn step_down_primary(mongo: &mut Mongo, recorder: &Recorder) -> Result<()> {
    let primary = mongo.until_primary().await?;
    let now = time::now_ms();
    mongo.step_down(primary).await?;
    mongo.until_writable(60_000).await?;
    record_fault("asked to step down", recorder, now);
    Ok(())
}

async fn freeze_primary(mongo: &mut Mongo, recorder: &Recorder) -> Result<()> {
    let primary = mongo.until_primary().await?;
    let now = time::now_ms();
    mongo.signal(primary, "STOP")?;
    let writable = mongo.until_writable(60_000).await;
    record_fault("frozen", recorder, now);
    time::sleep(3_000).await;
    // Also after an error: the harness cannot stop a frozen process gracefully.
    let thawed = mongo.signal(primary, "CONT");
    let now = time::now_ms();
    recorder.aftermath("the old primary is thawed", now, now);
    writable.and(thawed)
}

fn record_fault(what: &str, recorder: &Recorder, since: i64) {
    let now = time::now_ms();
    println!("   mongo: a majority acknowledged a write {} ms after the primary was {what}", now - since);
    recorder.fault(&format!("the primary is {what}"), since, now);
}

/// Redis only distributes the work: its faults may not delay moments.
pub async fn redis(harness: &mut Harness) -> Result<Evidence> {
    let stage = harness.stage("redis", Setting::default()).await?;
    let (flushes, away) = (harness.seconds(10, 120), harness.seconds(10, 60));
    let load = harness.load(&stage, flushes + away + 8)?;
    let redis = &mut harness.backends().await?.redis;
    for _ in 0..flushes {
        time::sleep(1_000).await;
        redis.send("FLUSHALL").await?;
        let now = time::now_ms();
        stage.recorder.fault_without_delay("Redis is flushed", now, now);
    }
    let now = time::now_ms();
    redis.kill()?;
    time::sleep(away * 1_000).await;
    redis.restart().await?;
    stage.recorder.fault_without_delay(&format!("Redis is killed for {away} s"), now, time::now_ms());
    finish(stage, load).await
}
