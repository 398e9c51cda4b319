//! The next moments of a task.

use jiff::tz::TimeZone;

use super::super::problem::{Problem, Result};
use super::super::time::{abbreviation, date_time};
use super::super::visit::Visit;
use crate::core::{Moment, Schedule, Task, zone};

/// Next moments of a list.
const MOMENTS: usize = 10;

/// A moment that is to come.
pub struct NextMoment {
    pub instant: Moment,
    /// Date and time in the zone of the schedule.
    pub at: String,
    pub abbreviation: String,
    /// Set where the clocks have changed since the moment before.
    pub note: String,
}

/// Returns the next moments of a task. A note marks those with another offset than the moment before.
pub async fn of(task: &Task, visit: &Visit) -> Result<Vec<NextMoment>> {
    let Some(first) = task.next_due_at.filter(|_| !task.state.has_ended()) else { return Ok(Vec::new()) };
    let (zone, lang) = (zone_of(task, visit), visit.lang);
    let task = task.clone();
    // The search for a moment can take milliseconds, so it has a thread of its own.
    let instants = tokio::task::spawn_blocking(move || search(&task, first));
    let instants = instants.await.map_err(|error| Problem::Internal(error.to_string()))?;
    let t = lang.words();
    let mut before = offset(visit.service.now(), &zone);
    let moment = |instant: Moment| {
        let now = offset(instant, &zone);
        let note = match now.cmp(&std::mem::replace(&mut before, now)) {
            std::cmp::Ordering::Greater => t.clock_forward.clone(),
            std::cmp::Ordering::Less => t.clock_back.clone(),
            std::cmp::Ordering::Equal => String::new(),
        };
        NextMoment {
            instant,
            at: date_time(instant, &zone, lang).unwrap_or_else(|| instant.to_string()),
            abbreviation: abbreviation(instant, &zone),
            note,
        }
    };
    Ok(instants.into_iter().map(moment).collect())
}

fn search(task: &Task, first: Moment) -> Vec<Moment> {
    let rule = task.schedule.rule();
    let mut fired = task.fired_count;
    let next = |due: &Moment| {
        fired += 1;
        task.due_after_by(&rule, *due, fired)
    };
    std::iter::successors(Some(first), next).take(MOMENTS).collect()
}

/// Returns the zone of a cron expression, or else the zone of the server.
fn zone_of(task: &Task, visit: &Visit) -> TimeZone {
    let own = match &task.schedule {
        Schedule::Cron { expression, zone } => {
            let prefixed =
                expression.trim().strip_prefix("CRON_TZ=").or(expression.trim().strip_prefix("TZ="));
            prefixed.and_then(|rest| rest.split_whitespace().next()).unwrap_or(zone)
        }
        _ => "",
    };
    zone::find(own).or_else(|| zone::find(visit.service.time_zone())).unwrap_or(TimeZone::UTC)
}

fn offset(at: Moment, zone: &TimeZone) -> i32 {
    let at = jiff::Timestamp::from_millisecond(at.ms()).unwrap_or(jiff::Timestamp::UNIX_EPOCH);
    zone.to_offset(at).seconds()
}
