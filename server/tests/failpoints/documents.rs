//! Stories: records beside the ledger, and the removal of old tasks and runs.

use taskcenter_server::core::submission::Submission;
use taskcenter_server::core::{Moment, TaskId};
use taskcenter_server::engine::prune;
use taskcenter_server::engine::service::{RecordKind, ServiceError};

use crate::logs;
use crate::stage::{Running, Stage};
use crate::stories::{Consumer, one_shot, queued, submit, wind_up};

const KIND: RecordKind = RecordKind::internal("failpoint");

pub async fn play(stage: &mut Stage) {
    for _ in 0..4 {
        one_document(stage).await;
    }
}

async fn one_document(stage: &mut Stage) {
    let key = format!("{:x}", stage.rng.u128(..));
    for value in 1..=2_u64 {
        put(stage, &key, value).await;
        if stored(stage, &key).await != Some(value) {
            stage.book.violation(format!("an acknowledged document is lost: {key} {value}"));
        }
    }
    let remove = async |running: &Running| running.service.remove_record(KIND, &key).await;
    stage.call(remove).await.expect("the store answers");
    if stored(stage, &key).await.is_some() {
        stage.book.violation(format!("a removed document still exists: {key}"));
    }
    remove_conditionally(stage, &key).await;
}

/// A conditional remove keeps the document if the condition is false, and removes it otherwise.
async fn remove_conditionally(stage: &mut Stage, key: &str) {
    put(stage, key, 1).await;
    for (condition, stays) in [(2, true), (1, false)] {
        let remove = async |running: &Running| {
            running.service.remove_record_if(KIND, key, |value: &u64| *value == condition).await
        };
        stage.call(remove).await.expect("the store answers");
        if stored(stage, key).await.is_some() != stays {
            stage.book.violation(format!(
                "wrong result of a conditional remove: value 1, condition {condition}, key {key}"
            ));
        }
    }
}

async fn put(stage: &mut Stage, key: &str, value: u64) {
    let put = async |running: &Running| {
        let change = |_: Option<u64>| Ok::<_, ServiceError>((Some((value, None)), ()));
        running.service.change_record(KIND, key, change).await
    };
    stage.call(put).await.expect("the store answers");
}

async fn stored(stage: &Stage, key: &str) -> Option<u64> {
    let record = stage.back_end.records().record(KIND.name(), key).await.expect("the store answers");
    record.map(|record| record.doc.parse().expect("the document is a number"))
}

/// Open runs and live tasks stay, even if they are old.
pub async fn prunes(stage: &mut Stage) {
    const HOURS_2_MS: i64 = 7_200_000;
    let (ended, open) = (one_shot(stage, "bus"), queued(one_shot(stage, "queue")));
    let ended = submit(stage, ended, None).await;
    let open = submit(stage, open, Some(1)).await;
    stage.pass(500).await;
    stage.pass(1_000).await;
    let message = stage.broker.sent().first().cloned();
    let message = message.expect("the run of the bus was published");
    logs::write(stage, &message.run, message.attempt, &message.token).await;
    let cancelled = cancelled(stage).await;
    stage.clock.advance_ms(HOURS_2_MS);
    for _ in 0..4 {
        let prune = async |running: &Running| prune::run_once(&running.node, running.node.clock.now()).await;
        stage.call(prune).await.expect("the store answers");
    }
    if !stage.runs(&ended).await.is_empty() {
        stage.book.violation(format!("an old run still exists: {ended}"));
    }
    if !logs::texts(&*stage.back_end.store(), &message.run).await.is_empty() {
        stage.book.violation(format!("the log of an old run still exists: {}", message.run));
    }
    if stage.back_end.store().task(&cancelled).await.expect("the store answers").is_some() {
        stage.book.violation(format!("an old task still exists: {cancelled}"));
    }
    stage.book.forget(&ended);
    stage.book.forget(&cancelled);
    if stage.runs(&open).await.len() != 1 {
        stage.book.violation(format!("an open run is gone: {open}"));
    }
    wind_up(stage, Consumer::default()).await;
}

/// A task that was cancelled before its moment. Its end is a moment of the node's clock; the end of a task that has
/// fired is in MongoDB a moment of MongoDB's clock, which the tests cannot advance.
async fn cancelled(stage: &mut Stage) -> TaskId {
    let later = Submission { start_at: Some(Moment::from_sec(4_000_000_000)), ..one_shot(stage, "later") };
    let id = submit(stage, later, None).await;
    stage.call(async |running| running.service.cancel(&id, None).await).await.expect("the task is cancelled");
    id
}
