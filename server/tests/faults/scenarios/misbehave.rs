//! Handlers and data that are the user's fault. Nobody else may feel it: the usual load beside them has its usual bounds.

use anyhow::Result;

use crate::evidence::{Evidence, Rhythm, Wanted};
use crate::handlers::{SDK_QUEUE, SILENT_QUEUE, mood};
use crate::house::{House, finish};
use crate::load::Caller;
use crate::stage::{Setting, Stage};
use crate::time;

pub async fn handlers(house: &mut House) -> Result<Evidence> {
    let stage = house.stage("handlers", Setting::default()).await?;
    let load = house.load(&stage, house.seconds(15, 200))?;
    let each = house.seconds(4, 30);
    for number in 0..each {
        for (name, ends, queue) in [
            (mood::SLOW, None, None),
            (mood::SLOW, None, Some(SDK_QUEUE)),
            (mood::HANGS, None, None),
            (mood::PANICS, Some("dead"), None),
            (mood::PANICS, Some("dead"), Some(SDK_QUEUE)),
            (mood::FLAKY, None, None),
            (mood::FLAKY, None, Some(SDK_QUEUE)),
            ("unheard", Some("dead"), Some(SILENT_QUEUE)),
        ] {
            one(&stage, number, name, ends, queue).await?;
        }
    }
    finish(stage, load).await
}

pub async fn poison(house: &mut House) -> Result<Evidence> {
    let stage = house.stage("poison", Setting::default()).await?;
    let load = house.load(&stage, house.seconds(10, 120))?;
    for number in 0..house.seconds(20, 200) {
        one(&stage, number, mood::POISON, Some("dead"), None).await?;
        one(&stage, number, mood::POISON, Some("dead"), Some(SDK_QUEUE)).await?;
    }
    finish(stage, load).await
}

async fn one(
    stage: &Stage,
    number: i64,
    name: &str,
    ends: Option<&'static str>,
    queue: Option<&str>,
) -> Result<()> {
    let wanted = Wanted {
        key: format!("{name}-{number}-{}", queue.unwrap_or("bus")),
        name: name.to_owned(),
        rhythm: Rhythm::Once,
        start_at: time::now_ms() + 1_500,
        end_at: None,
        max_fires: None,
        ack: queue.is_none(),
        queue: queue.map(str::to_owned),
        ends,
    };
    stage.recorder.harmless_fault(&format!("a task with the handler or data \"{name}\""));
    Caller::new(&stage.front, &stage.recorder)?.create(wanted).await;
    Ok(())
}
