//! Routes of calendars, and the calendars of a task in the resource API.

use axum::Json;
use axum::http::StatusCode;
use taskcenter_client::resources::{CalendarList, CalendarResource, CalendarSpec, TaskCalendars};

use super::decode::Body;
use super::error::ApiError;
use super::query::Segment;
use crate::core::calendar::{Calendar, Calendars, StoredCalendar};
use crate::engine::service::Service;
use crate::wire::timestamp;

/// Fields of the calendars of a task.
pub const FIELDS: &[&str] = &["only", "exclude"];
/// Maximum number of tasks that an answer names.
const MAX_TASKS: usize = 100;

/// Creates a calendar, or replaces the calendar with the same name.
///
/// The tasks with the calendar get other moments: those that are due are decided first, under the version before. A task
/// without a further moment stays active, and waits for another version.
#[utoipa::path(post, path = "/v1/calendars", operation_id = "putCalendar", tag = "calendars",
    request_body = CalendarSpec,
    responses((status = 201, body = CalendarResource, description = "The stored calendar.")))]
pub async fn put(
    service: Service,
    Body(spec): Body<CalendarSpec>,
) -> Result<(StatusCode, Json<CalendarResource>), ApiError> {
    let (calendar, description) = read(spec, service.time_zone());
    let stored = service.put_calendar(&calendar, &description).await?;
    Ok((StatusCode::CREATED, Json(shown(stored))))
}

/// Lists the calendars, by name.
#[utoipa::path(get, path = "/v1/calendars", operation_id = "listCalendars", tag = "calendars",
    responses((status = 200, body = CalendarList, description = "All calendars.")))]
pub async fn list(service: Service) -> Result<Json<CalendarList>, ApiError> {
    let calendars = service.calendars().await?.into_iter().map(shown).collect();
    Ok(Json(CalendarList { calendars }))
}

/// Shows a calendar, with the tasks that have it.
#[utoipa::path(get, path = "/v1/calendars/{name}", operation_id = "showCalendar", tag = "calendars",
    params(("name" = String, Path, description = "Name of the calendar.")),
    responses(
        (status = 200, body = CalendarResource, description = "The calendar."),
        (status = 404, description = "`not_found`: the calendar does not exist."),
    ))]
pub async fn show(service: Service, Segment(name): Segment) -> Result<Json<CalendarResource>, ApiError> {
    let stored = service.calendar(&name).await?;
    let tasks = service.tasks_of_calendar(&name, MAX_TASKS).await?;
    let tasks = tasks.iter().map(ToString::to_string).collect();
    Ok(Json(CalendarResource { tasks, ..shown(stored) }))
}

/// Deletes a calendar that no active or paused task has.
#[utoipa::path(delete, path = "/v1/calendars/{name}", operation_id = "deleteCalendar", tag = "calendars",
    params(("name" = String, Path, description = "Name of the calendar.")),
    responses(
        (status = 200, body = CalendarResource, description = "The deleted calendar."),
        (status = 404, description = "`not_found`: the calendar does not exist."),
        (status = 409, description = "`calendar_in_use`: active or paused tasks have the calendar; `detail` names some."),
    ))]
pub async fn delete(service: Service, Segment(name): Segment) -> Result<Json<CalendarResource>, ApiError> {
    Ok(Json(shown(service.remove_calendar(&name).await?)))
}

fn read(spec: CalendarSpec, default_zone: &str) -> (Calendar, String) {
    let CalendarSpec { name, description, zone, weekly, include, exclude } = spec;
    let zone = zone.unwrap_or_else(|| default_zone.to_owned());
    (Calendar { name, version: 0, zone, weekly, include, exclude }, description)
}

fn shown(stored: StoredCalendar) -> CalendarResource {
    let StoredCalendar { calendar, description, changed_at, changed_by, is_settled } = stored;
    let Calendar { name, version, zone, weekly, include, exclude } = calendar;
    CalendarResource {
        name,
        description,
        zone,
        weekly,
        include,
        exclude,
        version,
        settled: is_settled,
        changed_at: timestamp(changed_at),
        changed_by,
        tasks: Vec::new(),
    }
}

/// Converts the calendars of a task. The service adds their content.
pub fn of_spec(spec: Option<TaskCalendars>) -> Option<Box<Calendars>> {
    spec.and_then(|TaskCalendars { only, exclude }| Calendars::named(only, exclude))
}

/// Converts the calendars of a task to the API.
pub fn of(calendars: Option<&Calendars>) -> Option<TaskCalendars> {
    let (only, exclude) = calendars?.names();
    Some(TaskCalendars { only, exclude })
}
