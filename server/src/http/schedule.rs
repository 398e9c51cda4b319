//! Routes of the next moments of a cron expression, and of what an absence would do to them.

use axum::Json;
use jiff::Timestamp;
use taskcenter_client::resources::{AbsenceDecision, AbsencePreview, NextMoments};

use super::error::ApiError;
use super::query::Query;
use crate::core::cron::CronRule;
use crate::core::misfire::{Absence, AfterAbsence, MAX_GRACE_MS, MAX_LATE, MisfirePolicy, MisfireRule, Step};
use crate::core::{Moment, Schedule};
use crate::engine::service::Service;
use crate::wire;

const DEFAULT_COUNT: u32 = 5;
const MAX_COUNT: u32 = 100;
/// Maximum number of decisions in an answer.
const MAX_DECISIONS: usize = 100;
const HOUR_MS: i64 = 3_600_000;

/// Lists the next moments of a cron expression. No task is created.
#[utoipa::path(get, path = "/v1/schedule/next", operation_id = "nextMoments", tag = "schedule",
    params(
        ("cron" = String, Query, min_length = 1, max_length = 1024, pattern = "\\S",
            description = "Cron expression, as in the schedule of a task."),
        ("zone" = Option<String>, Query, pattern = "^[A-Za-z0-9_+/-]*$",
            description = "IANA time zone. Default: `engine.time_zone` of the server."),
        ("count" = Option<u32>, Query, minimum = 1, maximum = 100,
            description = "Maximum number of moments. Bounds: 1 to 100. Default: 5."),
        ("after" = Option<String>, Query, format = "date-time",
            description = "Only moments later than this instant (RFC 3339). Default: now."),
    ),
    responses((status = 200, body = NextMoments, description = "The next moments, earliest first.")))]
pub async fn next(service: Service, query: Query) -> Result<Json<NextMoments>, ApiError> {
    let query = query.only(&["cron", "zone", "count", "after"])?;
    let cron = query.text("cron").ok_or_else(|| ApiError::field("cron", "cron is missing"))?;
    let zone = query.text("zone").unwrap_or(service.time_zone());
    let rule = CronRule::parse(cron, zone).map_err(|why| refused(&why.to_string()))?;
    let count = query.number("count", DEFAULT_COUNT, MAX_COUNT)?;
    let after = query.text("after").map(after).transpose()?.unwrap_or(service.now());
    let notes = rule.notes().to_vec();
    let moments = tokio::task::spawn_blocking(move || moments(&rule, after, count as usize)).await;
    let moments = moments.map_err(|error| ApiError::Internal(error.to_string()))?;
    Ok(Json(NextMoments { moments, notes }))
}

/// Shows what would happen to the moments of a cron expression if no node ran for a while.
///
/// The decisions are those of the server's dispatcher. No task is created.
#[utoipa::path(get, path = "/v1/schedule/absence", operation_id = "previewAbsence", tag = "schedule",
    params(
        ("cron" = String, Query, min_length = 1, max_length = 1024, pattern = "\\S",
            description = "Cron expression, as in the schedule of a task."),
        ("zone" = Option<String>, Query, pattern = "^[A-Za-z0-9_+/-]*$",
            description = "IANA time zone. Default: `engine.time_zone` of the server."),
        ("from" = Option<String>, Query, format = "date-time",
            description = "Begin of the absence (RFC 3339). Default: now."),
        ("to" = Option<String>, Query, format = "date-time",
            description = "When a node runs again (RFC 3339). Default: one hour after `from`."),
        ("policy" = Option<String>, Query, pattern = "^(fire_all|fire_last|skip)?$",
            description = "Misfire policy: `fire_all`, `fire_last` or `skip`. Default: `engine.misfire.policy` of the \
                server."),
        ("grace_ms" = Option<u64>, Query, minimum = 0, maximum = 31_622_400_000_i64,
            description = "Grace period in milliseconds. Bounds: 0 to 31,622,400,000 (366 days). Default: \
                `engine.misfire.grace_ms` of the server."),
        ("max" = Option<u32>, Query, minimum = 1, maximum = 1000,
            description = "Number of late moments that fire under `fire_all`. Bounds: 1 to 1,000. Default: all."),
    ),
    responses((status = 200, body = AbsencePreview, description = "The decisions, earliest first.")))]
pub async fn absence(service: Service, query: Query) -> Result<Json<AbsencePreview>, ApiError> {
    let query = query.only(&["cron", "zone", "from", "to", "policy", "grace_ms", "max"])?;
    let cron = query.text("cron").ok_or_else(|| ApiError::field("cron", "cron is missing"))?;
    let zone = query.text("zone").unwrap_or(service.time_zone());
    CronRule::parse(cron, zone).map_err(|why| refused(&why.to_string()))?;
    let from = query.text("from").map(|text| instant("from", text)).transpose()?.unwrap_or(service.now());
    let to = query.text("to").map(|text| instant("to", text)).transpose()?;
    let absence = Absence { from, to: to.unwrap_or(from.plus_ms(HOUR_MS)) };
    let misfire = misfire_rule(&query)?.over(service.misfire());
    let schedule = Schedule::cron(cron, zone);
    let decisions =
        tokio::task::spawn_blocking(move || misfire.after_absence_of(&schedule, absence, MAX_DECISIONS));
    let AfterAbsence { steps, more } =
        decisions.await.map_err(|error| ApiError::Internal(error.to_string()))?;
    let decisions = steps.into_iter().map(|step| decision(step, absence.to)).collect();
    let policy = misfire.policy.to_string();
    Ok(Json(AbsencePreview { policy, grace_ms: misfire.grace_ms, max: misfire.max, decisions, more }))
}

fn misfire_rule(query: &Query) -> Result<MisfireRule, ApiError> {
    let grace_ms = query.unsigned("grace_ms")?.map(|ms| i64::try_from(ms).unwrap_or(i64::MAX));
    if grace_ms.is_some_and(|ms| ms > MAX_GRACE_MS) {
        let why = format!("grace_ms should be between 0 and {MAX_GRACE_MS}");
        return Err(ApiError::field("grace_ms", why));
    }
    let max = match query.text("max") {
        None => None,
        Some(_) => Some(query.number("max", MAX_LATE, MAX_LATE)?),
    };
    Ok(MisfireRule { policy: query.one_of("policy", &MisfirePolicy::ALL)?, grace_ms, max })
}

fn decision(step: Step, back_at: Moment) -> AbsenceDecision {
    let (decision, at, until, count) = match step {
        Step::Fire { at } => ("fires", at, at, 1),
        Step::Skip { from, to, count } => ("skipped", from, to, count),
    };
    AbsenceDecision {
        decision: decision.to_owned(),
        at: wire::timestamp(at),
        until: wire::timestamp(until),
        count,
        late_ms: back_at.since(at),
    }
}

fn refused(why: &str) -> ApiError {
    let field = if why.starts_with("unknown time zone") { "zone" } else { "cron" };
    ApiError::field(field, why.to_owned())
}

fn after(text: &str) -> Result<Moment, ApiError> {
    instant("after", text)
}

fn instant(name: &'static str, text: &str) -> Result<Moment, ApiError> {
    let at: Result<Timestamp, _> = text.parse();
    let invalid =
        |_| ApiError::field(name, format!("{name}: expected an instant such as 2030-01-31T08:00:00Z"));
    at.map(wire::moment).map_err(invalid)
}

fn moments(rule: &CronRule, after: Moment, count: usize) -> Vec<Timestamp> {
    let moments = std::iter::successors(rule.after(after), |moment| rule.after(*moment));
    let within = |at: &Moment| Timestamp::from_millisecond(at.ms()).is_ok();
    moments.take_while(within).take(count).map(wire::timestamp).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn next(cron: &str, after: &str, count: usize) -> Vec<String> {
        let rule = CronRule::parse(cron, "UTC").unwrap();
        moments(&rule, super::after(after).unwrap(), count).iter().map(ToString::to_string).collect()
    }

    #[test]
    fn the_list_ends_with_the_calendar() {
        assert_eq!(next("@every 1h", "9999-12-30T20:30:00Z", 9), ["9999-12-30T21:30:00Z"]);
        assert_eq!(next("0 0 1 1 *", "9999-12-30T00:00:00Z", 9), Vec::<String>::new());
        assert_eq!(next("* * * * * *", "-009999-01-02T01:59:59Z", 1).len(), 1);
    }

    #[test]
    fn the_list_does_not_contain_the_instant_itself() {
        assert_eq!(next("@daily", "2030-01-01T00:00:00Z", 1), ["2030-01-02T00:00:00Z"]);
    }
}
