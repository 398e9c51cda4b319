//! Route that explains a whole schedule: its words, and its next moments with their marks.

use axum::Json;
use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp};
use taskcenter_client::resources::{
    ExcludedMoment, ExplainedMoment, ExplainedSchedule, SchedulePreview, TaskSpec,
};

use super::decode::Body;
use super::error::ApiError;
use super::spec;
use crate::core::calendar::Calendars;
use crate::core::next_moments::ClockMark;
use crate::core::{Moment, Schedule, Task, TaskId, zone};
use crate::engine::service::{Service, ServiceError};
use crate::wire;

const DEFAULT_COUNT: u32 = 5;
const MAX_COUNT: u32 = 100;
/// Maximum number of excluded moments in an answer.
const MAX_EXCLUDED: usize = 100;

/// Explains a whole schedule: words, and the next moments in the zone and in UTC. No task is created.
///
/// The request has the fields of a task that decide when it fires. Marks show moments that a change of the clocks moves or
/// repeats, and the latest time of a moment with jitter. Moments that calendars exclude are listed apart.
#[utoipa::path(post, path = "/v1/schedule/next", operation_id = "explainSchedule", tag = "schedule",
    request_body = SchedulePreview,
    responses((status = 200, body = ExplainedSchedule, description = "The schedule in words, and its next moments.")))]
pub async fn explain(
    service: Service,
    Body(preview): Body<SchedulePreview>,
) -> Result<Json<ExplainedSchedule>, ApiError> {
    let count = preview.count.unwrap_or(DEFAULT_COUNT);
    let wrong = || ApiError::field("count", format!("count should be between 1 and {MAX_COUNT}"));
    let count = (1..=MAX_COUNT).contains(&count).then_some(count).ok_or_else(wrong)?;
    let task = task(&service, preview).await?;
    let default_zone = service.time_zone().to_owned();
    let explained = tokio::task::spawn_blocking(move || explained(&task, &default_zone, count as usize));
    Ok(Json(explained.await.map_err(|error| ApiError::Internal(error.to_string()))?))
}

/// Returns the task that a preview describes.
async fn task(service: &Service, preview: SchedulePreview) -> Result<Task, ApiError> {
    let SchedulePreview { schedule, start_at, end_at, max_fires, jitter_ms, calendars, count: _ } = preview;
    let spec = TaskSpec {
        name: "preview".to_owned(),
        schedule,
        start_at,
        end_at,
        max_fires,
        jitter_ms,
        calendars,
        ..TaskSpec::default()
    };
    let now = service.now();
    let submission = spec::submission(spec, service.time_zone(), now)?;
    let submission = service.preview_definition(submission).await?;
    Ok(submission.accept(TaskId::new(uuid::Uuid::nil()), now).map_err(ServiceError::from)?)
}

fn explained(task: &Task, default_zone: &str, count: usize) -> ExplainedSchedule {
    let zone_name = task.schedule.zone_name().filter(|zone| !zone.is_empty()).unwrap_or(default_zone);
    let zone = zone::find(zone_name).unwrap_or(TimeZone::UTC);
    let rule = task.rule();
    let moments = task.next_moments(count);
    let end = moments.last().copied().unwrap_or(Moment::NEVER);
    let excluded = |(at, calendar): (Moment, String)| ExcludedMoment {
        at: wire::timestamp(at),
        local: local(wire::timestamp(at), &zone),
        calendar,
    };
    let moment = |at: Moment| ExplainedMoment {
        at: wire::timestamp(at),
        local: local(wire::timestamp(at), &zone),
        latest_at: task.timing.jitter_ms.map(|_| wire::timestamp(task.latest(at, &rule))),
        clock: ClockMark::of(at, &zone).map(|mark| mark.as_str().to_owned()),
    };
    ExplainedSchedule {
        words: words(task, zone_name),
        zone: zone_name.to_owned(),
        notes: rule.notes().cloned().collect(),
        moments: moments.into_iter().map(moment).collect(),
        excluded: task.excluded_moments(end, MAX_EXCLUDED).into_iter().map(excluded).collect(),
    }
}

fn local(at: Timestamp, zone: &TimeZone) -> String {
    at.to_zoned(zone.clone()).strftime("%Y-%m-%dT%H:%M:%S%:z").to_string()
}

/// Returns the schedule and its limits in words.
fn words(task: &Task, zone: &str) -> String {
    let mut parts = vec![match &task.schedule {
        Schedule::Once => "once".to_owned(),
        Schedule::Every { period_ms } => format!("every {}", duration(*period_ms)),
        Schedule::Cron { expression, options, .. } => {
            let all: Vec<&str> =
                std::iter::once(expression).chain(&options.also).map(String::as_str).collect();
            format!("cron {} in {zone}", all.join(" or "))
        }
    }];
    parts.extend(task.start_at.map(|at| format!("from {}", wire::timestamp(at))));
    parts.extend(task.end_at.map(|at| format!("until {}", wire::timestamp(at))));
    parts.extend(task.max_fires.map(|most| format!("at most {most} fires")));
    parts.extend(task.timing.calendars.as_ref().map(|calendars| within(calendars)));
    parts.extend(task.timing.jitter_ms.map(|ms| format!("delayed by up to {}", duration(ms))));
    parts.join(", ")
}

/// Returns calendars in words, such as `only within workdays, except holidays`.
fn within(calendars: &Calendars) -> String {
    let (only, exclude) = calendars.names();
    let named = |words: &str, names: Vec<String>| {
        (!names.is_empty()).then(|| format!("{words} {}", names.join(" and ")))
    };
    [named("only within", only), named("except", exclude)]
        .into_iter()
        .flatten()
        .collect::<Vec<_>>()
        .join(", ")
}

fn duration(ms: i64) -> String {
    format!("{:#}", SignedDuration::from_millis(ms))
}
