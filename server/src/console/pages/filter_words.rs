//! Known words of the filter line of a list, for its completion.

use std::collections::HashMap;

use axum::Json;
use axum::response::{IntoResponse, Response};
use serde_json::{Value, json};

use super::super::problem::Result;
use super::super::visit::{Visit, with_policy};
use super::labels::RUNS;
use super::{dead_letters, run_filter, tasks};
use crate::core::{RunState, TaskState};
use crate::engine::service::Summary;

/// Maximum number of names: those with most runs today.
const MOST_NAMES: usize = 200;
/// Ranges of time that are offered.
const RECENT: [&str; 5] = ["15m", "1h", "6h", "1d", "7d"];

pub async fn show(visit: Visit) -> Response {
    match words(&visit).await {
        Ok(words) => with_policy(Json(words).into_response()),
        Err(problem) => problem.answer(&visit),
    }
}

async fn words(visit: &Visit) -> Result<Value> {
    let names = names(visit).await?;
    let (query, states) = (visit.query(), RunState::ALL.map(RunState::as_str));
    let (keys, values): (&[&str], _) = match query.get("path") {
        Some(tasks::PATH) => {
            let states = TaskState::ALL.map(TaskState::as_str);
            (&tasks::KEYS, json!({"name": names, "state": states}))
        }
        Some(RUNS) => (&run_filter::RUN_KEYS, json!({"tag": names, "state": states, "since": RECENT})),
        Some(dead_letters::PATH) => (&run_filter::DEAD_KEYS, json!({"tag": names, "since": RECENT})),
        _ => (&[], json!({})),
    };
    Ok(json!({"keys": keys, "values": values}))
}

/// Returns the names whose runs wait or have ended today, those with most runs first.
async fn names(visit: &Visit) -> Result<Vec<String>> {
    let Summary { backlog, outcomes, .. } = visit.service.recent_summary().await?;
    let mut runs = HashMap::<String, u64>::new();
    for row in outcomes {
        *runs.entry(row.tag).or_default() += row.runs;
    }
    for row in backlog {
        *runs.entry(row.tag).or_default() += row.due + row.ready + row.unreported;
    }
    let mut names: Vec<(u64, String)> = runs.into_iter().map(|(name, runs)| (runs, name)).collect();
    names.sort_by(|one, other| (other.0, &one.1).cmp(&(one.0, &other.1)));
    Ok(names.into_iter().take(MOST_NAMES).map(|(_, name)| name).collect())
}
