//! Back ends that die, freeze, forget and come back.

use anyhow::Result;

use crate::evidence::{Evidence, Recorder};
use crate::house::{House, finish};
use crate::mongo::Mongo;
use crate::stage::Setting;
use crate::time;

pub async fn broker(house: &mut House) -> Result<Evidence> {
    let stage = house.stage("broker", Setting::default()).await?;
    let (away, rounds) = (house.seconds(5, 30) * 1_000, house.seconds(1, 3));
    let seconds = 10 + rounds * (2 * away / 1_000 + 60);
    let seconds = house.seconds(60, seconds + house.lull_sec());
    let load = house.load(&stage, seconds)?;
    for round in 0..rounds {
        if round == 1 {
            house.lull().await;
        }
        let rocketmq = &mut house.backends().await?.rocketmq;
        time::pass(5_000).await;
        let now = time::now_ms();
        rocketmq.stop().await?;
        // The full half minute once in the short form, too.
        time::pass(if round == 0 { 30_000 } else { away }).await;
        rocketmq.restart().await?;
        stage.recorder.fault("the broker is stopped", now, time::now_ms());
        time::pass(15_000).await;
        let now = time::now_ms();
        rocketmq.kill()?;
        time::pass(away).await;
        rocketmq.restart().await?;
        stage.recorder.fault("the broker is killed", now, time::now_ms());
    }
    finish(stage, load).await
}

/// The set is mended when a client that had nothing to do with the fault gets a write acknowledged by a majority.
pub async fn mongo(house: &mut House) -> Result<Evidence> {
    let stage = house.stage("mongo", Setting::default()).await?;
    let rounds = house.seconds(1, 4);
    let load = house.load(&stage, rounds * 60 + house.lull_sec())?;
    for round in 0..rounds {
        if round == 1 {
            house.lull().await;
        }
        let mongo = &mut house.backends().await?.mongo;
        time::pass(5_000).await;
        killed(mongo, &stage.recorder).await?;
        time::pass(5_000).await;
        unseated(mongo, &stage.recorder).await?;
        time::pass(5_000).await;
        frozen(mongo, &stage.recorder).await?;
    }
    finish(stage, load).await
}

async fn killed(mongo: &mut Mongo, recorder: &Recorder) -> Result<()> {
    let primary = mongo.until_primary().await?;
    let now = time::now_ms();
    mongo.kill(primary)?;
    mongo.until_writable(60_000).await?;
    told("killed", recorder, now);
    mongo.restart(primary)
}

async fn unseated(mongo: &mut Mongo, recorder: &Recorder) -> Result<()> {
    let primary = mongo.until_primary().await?;
    let now = time::now_ms();
    mongo.step_down(primary).await?;
    mongo.until_writable(60_000).await?;
    told("asked to step down", recorder, now);
    Ok(())
}

async fn frozen(mongo: &mut Mongo, recorder: &Recorder) -> Result<()> {
    let primary = mongo.until_primary().await?;
    let now = time::now_ms();
    mongo.signal(primary, "STOP")?;
    let writable = mongo.until_writable(60_000).await;
    told("frozen", recorder, now);
    time::pass(3_000).await;
    // Thawed in any case: a frozen process would outlive the harness' patience, not the harness.
    let thawed = mongo.signal(primary, "CONT");
    let now = time::now_ms();
    recorder.aftermath("the old primary is thawed", now, now);
    writable.and(thawed)
}

fn told(what: &str, recorder: &Recorder, since: i64) {
    let now = time::now_ms();
    println!("   mongo: a majority took a write again {} ms after the primary was {what}", now - since);
    recorder.fault(&format!("the primary is {what}"), since, now);
}

/// Redis only spreads the work: nothing that happens to it may hold anything up.
pub async fn redis(house: &mut House) -> Result<Evidence> {
    let stage = house.stage("redis", Setting::default()).await?;
    let (flushes, away) = (house.seconds(10, 120), house.seconds(10, 60));
    let load = house.load(&stage, flushes + away + 8)?;
    let redis = &mut house.backends().await?.redis;
    for _ in 0..flushes {
        time::pass(1_000).await;
        redis.say("FLUSHALL").await?;
        let now = time::now_ms();
        stage.recorder.painless_fault("Redis is flushed", now, now);
    }
    let now = time::now_ms();
    redis.kill()?;
    time::pass(away * 1_000).await;
    redis.restart().await?;
    stage.recorder.painless_fault(&format!("Redis is killed for {away} s"), now, time::now_ms());
    finish(stage, load).await
}
