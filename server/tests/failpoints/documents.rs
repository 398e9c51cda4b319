//! Documents beside the ledger, and what goes because it ended long ago.

use taskcenter_server::engine::prune;
use taskcenter_server::engine::service::ServiceError;

use crate::stage::{Running, Stage};
use crate::stories::{Consumer, one_shot, queued, submit, wind_up};

const KIND: &str = "failpoint";

pub async fn play(stage: &mut Stage) {
    for _ in 0..4 {
        one_document(stage).await;
    }
}

async fn one_document(stage: &mut Stage) {
    let key = format!("{:x}", stage.lots.u128(..));
    for value in 1..=2_u64 {
        put(stage, &key, value).await;
        if stored(stage, &key).await != Some(value) {
            stage.book.wrong(format!("an acknowledged document is lost: {key} {value}"));
        }
    }
    let remove = async |running: &Running| running.service.remove_record(KIND, &key).await;
    stage.ask(remove).await.expect("the store answers");
    if stored(stage, &key).await.is_some() {
        stage.book.wrong(format!("a removed document is there: {key}"));
    }
    remove_where_it_fits(stage, &key).await;
}

/// A condition that does not hold keeps the document, one that holds removes it.
async fn remove_where_it_fits(stage: &mut Stage, key: &str) {
    put(stage, key, 1).await;
    for (wanted, stays) in [(2, true), (1, false)] {
        let remove = async |running: &Running| {
            running.service.remove_record_if(KIND, key, |value: &u64| *value == wanted).await
        };
        stage.ask(remove).await.expect("the store answers");
        if stored(stage, key).await.is_some() != stays {
            stage.book.wrong(format!("a document that is 1 was to go where it is {wanted}: {key}"));
        }
    }
}

async fn put(stage: &mut Stage, key: &str, value: u64) {
    let put = async |running: &Running| {
        let change = |_: Option<u64>| Ok::<_, ServiceError>((Some((value, None)), ()));
        running.service.change_record(KIND, key, change).await
    };
    stage.ask(put).await.expect("the store answers");
}

async fn stored(stage: &Stage, key: &str) -> Option<u64> {
    let record = stage.back_end.records().record(KIND, key).await.expect("the store answers");
    record.map(|record| record.doc.parse().expect("it is a number"))
}

/// What is open or live stays, whatever its age.
pub async fn prunes(stage: &mut Stage) {
    const HOURS_2_MS: i64 = 7_200_000;
    let (over, open) = (one_shot(stage, "bus"), queued(one_shot(stage, "queue")));
    let over = submit(stage, over, None).await;
    let open = submit(stage, open, Some(1)).await;
    stage.pass(500).await;
    stage.pass(1_000).await;
    stage.clock.advance_ms(HOURS_2_MS);
    for _ in 0..4 {
        let prune = async |running: &Running| prune::run_once(&running.node, running.node.clock.now()).await;
        stage.ask(prune).await.expect("the store answers");
    }
    if !stage.runs(&over).await.is_empty() {
        stage.book.wrong(format!("what ended long ago is there: {over}"));
    }
    stage.book.forget(&over);
    if stage.runs(&open).await.len() != 1 {
        stage.book.wrong(format!("an open run is gone: {open}"));
    }
    wind_up(stage, Consumer::default()).await;
}
