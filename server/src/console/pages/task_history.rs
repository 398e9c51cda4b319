//! Definitions of a task over time, and the changes between two of them.

use askama::Template;
use axum::response::Response;

use super::super::copy_as;
use super::super::diff::{self, DiffLine};
use super::super::frame::{Frame, Section};
use super::super::html as h;
use super::super::problem::{Problem, Result};
use super::super::schedule_words;
use super::super::visit::{Segment, Visit};
use super::super::words::{Words, fill};
use super::rows::task_href;
use crate::core::revision::{FIRST_REV, MAX_PAST_DEFINITIONS};
use crate::core::submission::Submission;
use crate::core::{Moment, Task, TaskId};
use crate::engine::service::{ServiceError, definition};

/// Definitions of a page.
const ROWS: u32 = 20;
/// Longest payload that is compared, in bytes.
const MAX_COMPARED_BYTES: usize = 256 * 1024;

struct Row {
    rev: u32,
    change: String,
    at: Moment,
    by: String,
    schedule: String,
    /// Page with the changes of this definition. `None`: the one before is not on this page.
    changes_href: Option<String>,
    edit_href: String,
}

/// The changes between two definitions.
struct Changes {
    title: String,
    definition: Vec<DiffLine>,
    payload: Vec<DiffLine>,
    /// Sizes of payloads that are too large to compare.
    large: Option<String>,
}

impl Changes {
    fn are_none(&self) -> bool {
        self.definition.is_empty() && self.payload.is_empty() && self.large.is_none()
    }
}

#[derive(Template)]
#[template(path = "task_history.html")]
struct Page {
    f: Frame,
    hint: String,
    path: String,
    rows: Vec<Row>,
    may_edit: bool,
    /// Revisions that the form selects.
    from: u32,
    to: u32,
    changes: Option<Changes>,
    first: Option<String>,
    next: Option<String>,
}

pub async fn show(visit: Visit, Segment(id): Segment) -> Response {
    super::answer(&visit, page(&visit, &id).await)
}

async fn page(visit: &Visit, id: &str) -> Result<askama::Result<String>> {
    let t = visit.lang.words();
    let id = TaskId::parse(id).ok_or(Problem::NotFound)?;
    let task = visit.service.shown_task(&id).await?;
    let number = |name| visit.param(name, &t.allowed_number, |text| text.parse::<u32>().ok());
    let before = number("before");
    let mut definitions = visit.service.definitions(&id, before, ROWS + 1).await?;
    let has_more = definitions.len() > ROWS as usize;
    definitions.truncate(ROWS as usize);
    let last = definitions.last().map(|task| task.rev);
    let (to, from) = compared(&definitions, number("from"), number("to"));
    let changes = if from < to { Some(changes(visit, &id, from, to).await?) } else { None };
    let path = format!("{}/revisions", task_href(&id));
    let f = Frame::new(visit, Section::Tasks, &t.history).below(&t.tasks, "/console/tasks");
    let page = Page {
        hint: fill(&t.history_hint, &[&MAX_PAST_DEFINITIONS.to_string()]),
        rows: rows(&definitions, &path, t),
        may_edit: f.rights.write && !task.state.has_ended(),
        from,
        to,
        changes,
        first: before.map(|_| path.clone()),
        next: last.filter(|_| has_more).map(|last| format!("{path}?before={last}")),
        f: f.below(&task.name, &task_href(&id)).api(&format!("/v1/tasks/{id}/revisions"), &[]),
        path,
    };
    Ok(page.render())
}

/// Returns the later and the earlier revision to compare: those of the form, or the latest two.
fn compared(definitions: &[Task], from: Option<u32>, to: Option<u32>) -> (u32, u32) {
    let rev = |at: usize| definitions.get(at).map_or(FIRST_REV, |task| task.rev);
    let (one, other) = (to.unwrap_or_else(|| rev(0)), from.unwrap_or_else(|| rev(1)));
    (one.max(other), one.min(other))
}

fn rows(definitions: &[Task], path: &str, t: &Words) -> Vec<Row> {
    let before = definitions.iter().skip(1).map(Some).chain([None]);
    let row = |(task, before): (&Task, Option<&Task>)| Row {
        rev: task.rev,
        change: if task.rev == FIRST_REV { t.history_created.clone() } else { t.history_edited.clone() },
        at: task.defined_at(),
        by: task.author().unwrap_or_default().to_owned(),
        schedule: schedule_words::describe(&task.schedule, t),
        changes_href: before.map(|before| format!("{path}?from={}&to={}", before.rev, task.rev)),
        edit_href: edit_href(&task.id, Some(&task.rev.to_string())),
    };
    definitions.iter().zip(before).map(row).collect()
}

/// Returns the path of the form that edits a task, and begins with the definition of the revision `from`, if any.
pub fn edit_href(id: &TaskId, from: Option<&str>) -> String {
    let mut path = format!("{}/edit", task_href(id));
    if let Some(from) = from {
        let query = form_urlencoded::Serializer::new(String::new()).append_pair("from", from).finish();
        path = format!("{path}?{query}");
    }
    path
}

async fn changes(visit: &Visit, id: &TaskId, from: u32, to: u32) -> Result<Changes> {
    let t = visit.lang.words();
    let one = definition(&visit.service.definition_at(id, from).await?);
    let other = definition(&visit.service.definition_at(id, to).await?);
    let is_large = one.data.len().max(other.data.len()) > MAX_COMPARED_BYTES;
    let large = (is_large && one.data != other.data).then(|| {
        let bytes = |data: &str| fill(&t.bytes, &[&h::count(data.len() as u64)]);
        fill(&t.history_large, &[&bytes(&one.data), &bytes(&other.data)])
    });
    Ok(Changes {
        title: fill(&t.history_changes, &[&from.to_string(), &to.to_string()]),
        definition: diff::lines(&without_payload(&one), &without_payload(&other)),
        payload: if is_large { Vec::new() } else { diff::lines(&one.data, &other.data) },
        large,
    })
}

/// Returns the definition without its payload, which may be a document of its own.
fn without_payload(definition: &Submission) -> String {
    let shown = Submission { data: String::new(), ..definition.clone() };
    let mut spec = copy_as::spec(&shown);
    if let Some(calendars) = &definition.timing.calendars {
        // Another version of a calendar is another definition, also under the same name.
        spec["calendars"] = serde_json::json!(calendars);
    }
    format!("{spec:#}")
}

/// Returns the definition that a form for a task begins with: the one of a revision, or the current one.
pub async fn base_of_form(visit: &Visit, task: &Task) -> std::result::Result<Submission, ServiceError> {
    let from = visit.param("from", &visit.lang.words().allowed_number, |rev| rev.parse().ok());
    match from {
        Some(rev) => Ok(definition(&visit.service.definition_at(&task.id, rev).await?)),
        None => Ok(definition(task)),
    }
}
