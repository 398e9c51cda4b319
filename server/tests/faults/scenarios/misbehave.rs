//! Defects of handlers and data. They may not affect other tasks: the load has its normal bounds.

use anyhow::Result;

use crate::evidence::{Evidence, ExpectedTask, Rhythm};
use crate::handlers::{SDK_QUEUE, SILENT_QUEUE, behavior};
use crate::harness::{Harness, finish};
use crate::load::Caller;
use crate::stage::{Setting, Stage};
use crate::time;

pub async fn handlers(harness: &mut Harness) -> Result<Evidence> {
    let stage = harness.stage("handlers", Setting::default()).await?;
    let load = harness.load(&stage, harness.seconds(15, 200))?;
    let each = harness.seconds(4, 30);
    for number in 0..each {
        for (name, end_state, queue) in [
            (behavior::SLOW, None, None),
            (behavior::SLOW, None, Some(SDK_QUEUE)),
            (behavior::HANGS, None, None),
            (behavior::PANICS, Some("dead"), None),
            (behavior::PANICS, Some("dead"), Some(SDK_QUEUE)),
            (behavior::FLAKY, None, None),
            (behavior::FLAKY, None, Some(SDK_QUEUE)),
            ("unreported", Some("dead"), Some(SILENT_QUEUE)),
        ] {
            create_task(&stage, number, name, end_state, queue).await?;
        }
    }
    finish(stage, load).await
}

pub async fn poison(harness: &mut Harness) -> Result<Evidence> {
    let stage = harness.stage("poison", Setting::default()).await?;
    let load = harness.load(&stage, harness.seconds(10, 120))?;
    for number in 0..harness.seconds(20, 200) {
        create_task(&stage, number, behavior::POISON, Some("dead"), None).await?;
        create_task(&stage, number, behavior::POISON, Some("dead"), Some(SDK_QUEUE)).await?;
    }
    finish(stage, load).await
}

async fn create_task(
    stage: &Stage,
    number: i64,
    name: &str,
    end_state: Option<&'static str>,
    queue: Option<&str>,
) -> Result<()> {
    let expected = ExpectedTask {
        key: format!("{name}-{number}-{}", queue.unwrap_or("bus")),
        name: name.to_owned(),
        rhythm: Rhythm::Once,
        start_at: time::now_ms() + 1_500,
        end_at: None,
        max_fires: None,
        ack: queue.is_none(),
        queue: queue.map(str::to_owned),
        end_state,
    };
    stage.recorder.isolated_fault(&format!("a task with the handler or data \"{name}\""));
    Caller::new(&stage.server_url, &stage.recorder)?.create(expected).await;
    Ok(())
}
