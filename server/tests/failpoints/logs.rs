//! Lines of workers, during the stories of runs.

use taskcenter_server::core::run_log::{LogBatch, LogLevel, LogLine};
use taskcenter_server::core::{Moment, Run, RunId};
use taskcenter_server::engine::service::ServiceError;
use taskcenter_server::ports::Store;

use crate::stage::{Running, Stage};

/// Writes a line to the log of an attempt.
pub async fn append(stage: &mut Stage, run: &Run) {
    write(stage, &run.id, run.attempt, &run.token).await;
}

/// Writes a line with the token of an attempt.
pub async fn write(stage: &mut Stage, id: &RunId, attempt: u32, token: &str) {
    let text = format!("{:x}", stage.rng.u128(..));
    let line = LogLine { at: Moment::from_sec(0), level: LogLevel::Info, text: text.clone() };
    let batch = LogBatch { run_id: id.clone(), attempt, batch_id: text.clone(), lines: vec![line] };
    let append = async |running: &Running| running.service.append_log(&batch, token).await;
    match stage.call(append).await {
        Ok(_) => stage.book.logged(id, text),
        // During the repeated calls, the attempt has ended.
        Err(ServiceError::Stale(_)) => {}
        Err(error) => stage.book.violation(format!("a line of {id} was refused: {error}")),
    }
}

/// Returns the texts of the log of a run.
pub async fn texts(store: &dyn Store, id: &RunId) -> Vec<String> {
    let part = store.log(id, 0).await.expect("the store answers");
    let lines = part.chunks.into_iter().flat_map(|chunk| chunk.batch.lines);
    lines.map(|line| line.text).collect()
}
