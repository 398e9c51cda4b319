//! Pages of tasks and runs.

use std::time::Instant;

use anyhow::Result;
use taskcenter_client::{Error, RunQuery, TaskCenter, TaskQuery};

use crate::figures::Figures;

/// Pages of 100 after which the list of tasks starts again.
const DEPTH: usize = 20;

/// Reads `count` pages of tasks, and as many of runs.
pub async fn pages(client: &TaskCenter, count: usize) -> Result<Figures> {
    let (mut tasks, mut runs) = (Vec::new(), Vec::new());
    let mut cursor = None;
    for page in 0..count {
        let query = TaskQuery { cursor: cursor.take(), limit: Some(100), ..TaskQuery::default() };
        let answer = timed(&mut tasks, client.list_tasks(&query)).await?;
        cursor = answer.next_cursor.filter(|_| page % DEPTH + 1 < DEPTH);
        timed(&mut runs, client.list_runs(&RunQuery { limit: Some(100), ..RunQuery::default() })).await?;
    }
    Ok(Figures::default().with_percentiles("tasks_", &mut tasks).with_percentiles("runs_", &mut runs))
}

async fn timed<T>(times: &mut Vec<f64>, call: impl Future<Output = Result<T, Error>>) -> Result<T> {
    let start = Instant::now();
    let answer = call.await?;
    times.push(start.elapsed().as_secs_f64() * 1e3);
    Ok(answer)
}
