//! Tasks and runs for the command palette.

use askama::Template;
use axum::http::StatusCode;
use axum::response::Response;

use super::super::filter::href;
use super::super::filter_line;
use super::super::problem::{Problem, Result};
use super::super::schedule_words;
use super::super::visit::Visit;
use super::super::words::{Words, fill};
use super::labels::RUNS;
use super::rows::{run_href, task_href};
use super::tasks;
use crate::core::{Run, RunId, Task, TaskId};
use crate::engine::service::{Page, ServiceError, TaskFilter};

/// Longest text that is searched for, in bytes: no id and no name is longer.
const MAX_TEXT_BYTES: usize = 256;
/// Tasks of a name that are listed.
const TASKS: u32 = 5;

/// A place that the palette leads to.
struct Found {
    href: String,
    label: String,
    kind: String,
}

/// The part of the list that the script replaces while a person types.
#[derive(Template)]
#[template(path = "palette_found.html")]
struct Fragment {
    found: Vec<Found>,
}

pub async fn show(visit: Visit) -> Response {
    let query = visit.query();
    let text = query.get("q").filter(|text| text.len() <= MAX_TEXT_BYTES).unwrap_or_default();
    match find(&visit, text).await {
        Ok(found) => visit.answer(StatusCode::OK, Fragment { found }.render()),
        Err(problem) => problem.answer(&visit),
    }
}

/// Returns the run or task with this id, tasks with this name, and the lists with this filter. Each is a search by
/// an index.
async fn find(visit: &Visit, text: &str) -> Result<Vec<Found>> {
    if text.is_empty() {
        return Ok(Vec::new());
    }
    let t = visit.lang.words();
    if let Some(id) = TaskId::parse(text) {
        let task = existing(visit.service.shown_task(&id).await)?;
        return Ok(task.map(|task| of_task(&task, t)).into_iter().collect());
    }
    let run = existing(visit.service.run(&RunId::from_text(text)).await)?;
    let mut found: Vec<Found> = run.iter().map(|run| of_run(run, t)).collect();
    let named = TaskFilter { name: Some(text.to_owned()), ..TaskFilter::default() };
    let tasks = visit.service.list_tasks(&named, &Page { limit: TASKS, before: None }).await?;
    found.extend(tasks.iter().map(|task| of_task(task, t)));
    // A name with spaces is more likely words of a title.
    if !text.contains(char::is_whitespace) {
        found.push(list(tasks::PATH, "name", text, &t.palette_tasks_named, &t.tasks));
        found.push(list(RUNS, "tag", text, &t.palette_runs_tagged, &t.runs));
    }
    Ok(found)
}

/// Returns what a command has found, if the reader may see it.
fn existing<T>(answer: std::result::Result<T, ServiceError>) -> Result<Option<T>> {
    match answer {
        Ok(found) => Ok(Some(found)),
        Err(ServiceError::NotFound) => Ok(None),
        Err(error) => Err(Problem::from(error)),
    }
}

fn of_task(task: &Task, t: &Words) -> Found {
    let label = format!("{} · {}", task.name, schedule_words::describe(&task.schedule, t));
    Found { href: task_href(&task.id), label, kind: t.task.clone() }
}

fn of_run(run: &Run, t: &Words) -> Found {
    Found { href: run_href(run), label: format!("{} · {}", run.tag, run.id), kind: t.run.clone() }
}

fn list(path: &str, key: &str, text: &str, words: &str, kind: &str) -> Found {
    let href = href(path, &filter_line::write(key, text), None);
    Found { href, label: fill(words, &[text]), kind: kind.to_owned() }
}
