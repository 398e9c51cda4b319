//! Legacy v1 API: the contract of the old task center, under both of its prefixes. Its messages do
//! not change, because clients match on them.

use std::collections::HashMap;

use axum::Json;
use axum::extract::{FromRequestParts, State};
use axum::http::HeaderValue;
use axum::http::request::Parts;
use axum::response::Response;
use taskcenter_client::wire::{
    AddTaskReply, DeleteReply, NEXT_CURSOR_HEADER, StatReply, TaskView, task_type,
};

use super::Context;
use super::body::Fields;
use super::error::ApiError;
use super::pages::{self, MAX_LIMIT};
use crate::core::conflict::OnConflict;
use crate::core::cron::has_year_field;
use crate::core::headers::Headers;
use crate::core::labels::Labels;
use crate::core::submission::{Dedup, Submission};
use crate::core::{Moment, Schedule, Task, TaskId};
use crate::engine::service::{Deleted, Service, TaskFilter};

const MAX_DELETES_AT_ONCE: usize = 1_000;

type Reply<T> = Result<Json<T>, ApiError>;

/// `POST task`: adds a task.
pub async fn add(State(context): State<Context>, service: Service, fields: Fields) -> Reply<AddTaskReply> {
    let mut submission = submission(&fields, service.time_zone(), service.now())?;
    // Consumers of the old task center cannot report outcomes.
    submission.ack &= context.legacy_ack;
    let submitted = service.submit(submission).await?;
    if !submitted.existing {
        context.metrics.submitted();
    }
    Ok(Json(AddTaskReply { taskid: submitted.id.to_string(), name: submitted.name }))
}

/// Checks the types of all fields first and then the rules, each in the order of the contract. For
/// every number except `type`, 0 counts as absent.
fn submission(fields: &Fields, zone: &str, now: Moment) -> Result<Submission, ApiError> {
    let name = fields.text("name")?.unwrap_or_default();
    let kind = fields.int("type")?;
    let data = fields.text("data")?;
    let crontab = fields.text("crontab")?.unwrap_or_default();
    let loop_time = fields.int("loop_time")?.unwrap_or_default();
    let loop_count = fields.int("loop_count")?;
    let start_time = fields.int("start_time")?;
    let end_time = fields.int("end_time")?;
    let max_runtime = fields.int("max_runtime")?;
    let ack = fields.flag("ack")?.unwrap_or_default();
    let dedup = fields.text("dedup_key")?.map_or(Dedup::Pair, |key| Dedup::Key(key.to_owned()));

    if name.trim().is_empty() {
        return Err(ApiError::field("name", "name should not be empty"));
    }
    let schedule = schedule(kind, crontab, loop_time, zone)?;
    let data = data.ok_or_else(|| ApiError::field("data", "data is missing"))?;
    Ok(Submission {
        name: name.to_owned(),
        data: data.to_owned(),
        headers: Headers::new(),
        labels: Labels::new(),
        schedule,
        max_fires: count("loop_count", loop_count)?,
        start_at: count("start_time", start_time)?.map(|sec| Moment::from_sec(sec as i64)),
        end_at: end(end_time, now)?,
        ack,
        max_runtime_sec: count("max_runtime", max_runtime)?,
        start_within_ms: None,
        queue: None,
        retry: None,
        timing: crate::core::timing::Timing::default(),
        dedup,
        on_conflict: OnConflict::Return,
    })
}

fn schedule(kind: Option<i64>, crontab: &str, loop_time: i64, zone: &str) -> Result<Schedule, ApiError> {
    match kind.and_then(|kind| i32::try_from(kind).ok()) {
        Some(task_type::ONCE) => Ok(Schedule::Once),
        Some(task_type::EVERY) if loop_time > 0 => {
            Ok(Schedule::Every { period_ms: loop_time.saturating_mul(1_000) })
        }
        Some(task_type::EVERY) => Err(ApiError::field("loop_time", "params loop_time invalid")),
        Some(task_type::CRON) if has_year_field(crontab) => {
            Err(ApiError::field("crontab", "params cron invalid"))
        }
        Some(task_type::CRON) => Ok(Schedule::cron(crontab, zone)),
        _ => Err(ApiError::field("type", "params type error")),
    }
}

fn count(field: &'static str, value: Option<i64>) -> Result<Option<u64>, ApiError> {
    let value = u64::try_from(value.unwrap_or_default());
    let value = value.map_err(|_| ApiError::field(field, format!("{field} should not be negative")))?;
    Ok(Some(value).filter(|value| *value > 0))
}

fn end(value: Option<i64>, now: Moment) -> Result<Option<Moment>, ApiError> {
    match value.unwrap_or_default() {
        0 => Ok(None),
        // The contract counts whole seconds, so the current second has not passed.
        sec if sec < now.sec() => {
            Err(ApiError::field("end_time", "end_time should large than current timestamp"))
        }
        sec => Ok(Some(Moment::from_sec(sec))),
    }
}

/// `POST delete-task`: deletes tasks by id.
pub async fn delete(service: Service, fields: Fields) -> Reply<DeleteReply> {
    let ids = fields.texts("ids")?;
    if ids.is_empty() {
        return Err(ApiError::field("ids", "id should not by empty"));
    }
    // A malformed id counts as unknown, and the answer omits unknown ids.
    let ids: Vec<_> = ids.into_iter().filter_map(TaskId::parse).collect();
    let mut deleted = Vec::new();
    for ids in ids.chunks(MAX_DELETES_AT_ONCE) {
        deleted.extend(service.delete(ids).await?);
    }
    Ok(Json(deleted_ids(&deleted)))
}

/// `POST delete-task-by-name`: deletes all tasks with a name, or says that there are more.
pub async fn delete_by_name(service: Service, fields: Fields) -> Reply<DeleteReply> {
    let name = present(fields.text("name")?)?;
    let (deleted, more) = service.delete_by_name(name).await?;
    Ok(Json(DeleteReply { more, ..deleted_ids(&deleted) }))
}

fn deleted_ids(deleted: &[Deleted]) -> DeleteReply {
    DeleteReply { suc_ids: deleted.iter().map(|deleted| deleted.id.to_string()).collect(), more: false }
}

fn present(name: Option<&str>) -> Result<&str, ApiError> {
    let name = name.filter(|name| !name.trim().is_empty());
    name.ok_or_else(|| ApiError::field("name", "name should not be empty"))
}

/// Parameters of the query string.
pub struct Params(HashMap<String, String>);

impl<S: Send + Sync> FromRequestParts<S> for Params {
    type Rejection = ApiError;

    #[allow(clippy::disallowed_types, reason = "the rejection becomes an error of the API")]
    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, ApiError> {
        let query = axum::extract::Query::from_request_parts(parts, state).await;
        let axum::extract::Query(params) =
            query.map_err(|error| ApiError::format("query", error.body_text()))?;
        Ok(Self(params))
    }
}

impl Params {
    fn get(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(String::as_str)
    }
}

/// `GET query-task-by-id`: shows a task.
pub async fn by_id(service: Service, params: Params) -> Reply<TaskView> {
    let id = params.get("taskid").filter(|id| !id.trim().is_empty());
    let id = id.ok_or_else(|| ApiError::field("taskid", "taskid is empty"))?;
    let id = TaskId::parse(id).ok_or_else(|| ApiError::field("taskid", "taskid is malformed"))?;
    Ok(Json(view(service.task(&id).await?)))
}

/// `GET query-task-by-name`: lists the tasks with a name, newest first. `limit`: 1 to 1,000,
/// default 1,000. If more tasks follow, the header `x-next-cursor` has the `cursor` of the next
/// page. A page of large tasks may have fewer than `limit`.
pub async fn by_name(service: Service, params: Params) -> Result<Response, ApiError> {
    let name = present(params.get("name"))?;
    let limit = limit(params.get("limit"))?;
    let before = cursor(params.get("cursor"))?;
    let filter = TaskFilter { name: Some(name.to_owned()), ..TaskFilter::default() };
    let page = pages::tasks(&service, &filter.into(), limit, before, view).await?;
    let next = page.next.clone();
    let mut response = page.into_array();
    let next = next.and_then(|id| HeaderValue::from_str(id.as_str()).ok());
    if let Some(next) = next {
        response.headers_mut().insert(NEXT_CURSOR_HEADER, next);
    }
    Ok(response)
}

fn limit(text: Option<&str>) -> Result<u32, ApiError> {
    let limit = text.map_or(Ok(MAX_LIMIT), str::parse).ok().filter(|limit| (1..=MAX_LIMIT).contains(limit));
    limit.ok_or_else(|| ApiError::field("limit", format!("limit should be between 1 and {MAX_LIMIT}")))
}

fn cursor(text: Option<&str>) -> Result<Option<TaskId>, ApiError> {
    let parse = |text| TaskId::parse(text).ok_or_else(|| ApiError::field("cursor", "cursor is malformed"));
    text.filter(|text| !text.is_empty()).map(parse).transpose()
}

/// `GET task/stat`: number of fires in the current minute by tag, and their sum under `total`. A
/// tag that is itself `total`, or begins with `tag:`, gets the prefix `tag:`, so that no two keys
/// are equal.
pub async fn stat(service: Service) -> Reply<StatReply> {
    let fires = service.fires_this_minute().await?;
    let total: u64 = fires.iter().map(|(_, fires)| fires).sum();
    let mut reply: StatReply =
        fires.into_iter().map(|(tag, fires)| (stat_key(tag), fires.to_string())).collect();
    reply.insert("total".to_owned(), total.to_string());
    Ok(Json(reply))
}

fn stat_key(tag: String) -> String {
    if tag == "total" || tag.starts_with("tag:") { format!("tag:{tag}") } else { tag }
}

fn view(task: Task) -> TaskView {
    let (task_type, loop_time, crontab) = match task.schedule {
        Schedule::Once => (task_type::ONCE, 0, String::new()),
        Schedule::Every { period_ms } => (task_type::EVERY, period_ms / 1_000, String::new()),
        Schedule::Cron { expression, .. } => (task_type::CRON, 0, expression),
    };
    let seconds = |at: Option<Moment>| at.map_or(0, Moment::sec);
    let number = |value: Option<u64>| value.map_or(0, |value| i64::try_from(value).unwrap_or(i64::MAX));
    TaskView {
        id: task.id.to_string(),
        name: task.name,
        task_type,
        data: task.data,
        crontab,
        loop_time,
        loop_count: number(task.max_fires),
        start_time: seconds(task.start_at),
        end_time: seconds(task.end_at),
        max_runtime: number(task.max_runtime_sec),
        ack: task.ack,
        created_at: task.created_at.sec(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Moment = Moment::from_ms(1_000_500);

    fn read(json: &serde_json::Value) -> Result<Submission, ApiError> {
        let fields = Fields::decode(json.to_string().as_bytes())?;
        submission(&fields, "UTC", NOW)
    }

    #[test]
    fn zero_counts_as_absent() {
        let submission = read(&serde_json::json!({
            "name": "n", "type": 2, "data": "", "loop_time": 7, "loop_count": 0, "start_time": 0,
            "end_time": 0, "max_runtime": 0, "crontab": null, "unknown": [1]
        }))
        .unwrap();
        let absent =
            (submission.max_fires, submission.start_at, submission.end_at, submission.max_runtime_sec);
        assert_eq!(absent, (None, None, None, None));
        assert_eq!(submission.schedule, Schedule::Every { period_ms: 7_000 });
    }

    #[test]
    fn loop_time_and_loop_count_are_not_swapped() {
        let json = serde_json::json!({"name": "n", "type": 2, "data": "d", "loop_time": 7, "loop_count": 3});
        let task = read(&json).unwrap().accept(TaskId::new(uuid::Uuid::nil()), NOW).unwrap();
        let view = view(task);
        assert_eq!((view.loop_time, view.loop_count, view.created_at), (7, 3, 1_000));
    }

    #[test]
    fn the_legacy_grammar_has_no_years() {
        let json =
            |crontab: &str| serde_json::json!({"name": "n", "type": 3, "data": "d", "crontab": crontab});
        assert!(read(&json("* * * * * *")).is_ok());
        assert!(read(&json("* * * * * * *")).is_err());
    }

    #[test]
    fn the_current_second_has_not_passed() {
        assert_eq!(end(Some(1_000), NOW).unwrap(), Some(Moment::from_sec(1_000)));
        assert!(end(Some(999), NOW).is_err() && end(Some(-1), NOW).is_err());
    }

    #[test]
    fn no_tag_has_the_same_key_as_the_total() {
        let keys: Vec<_> =
            ["total", "tag:total", "tag:tag:total", "a"].map(|tag| stat_key(tag.into())).into();
        assert_eq!(keys, ["tag:total", "tag:tag:total", "tag:tag:tag:total", "a"]);
    }
}
