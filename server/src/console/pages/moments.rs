//! The next moments of a task.

use jiff::tz::TimeZone;

use super::super::problem::{Problem, Result};
use super::super::time::{abbreviation, date_time};
use super::super::visit::Visit;
use super::super::words::{Lang, fill};
use crate::core::{Moment, Task, zone};

/// Next moments of a list.
const MOMENTS: usize = 10;

/// A moment that is to come.
pub struct NextMoment {
    pub instant: Moment,
    /// Date and time in the zone of the schedule.
    pub at: String,
    pub abbreviation: String,
    /// The nominal moment, for a task with jitter.
    pub nominal: String,
    /// Set where the clocks have changed since the moment before.
    pub note: String,
    /// Whether moments before this one are left out.
    pub is_later: bool,
}

/// Returns the next moments of a task. If the clocks do not change between them, the first moment after the next
/// change follows. A note marks moments with another offset than the moment before.
pub async fn of(task: &Task, visit: &Visit) -> Result<Vec<NextMoment>> {
    let (zone, lang) = (zone_of(task, visit), visit.lang);
    let (task, has_jitter) = (task.clone(), task.timing.jitter_ms.is_some());
    // The search for a moment can take milliseconds, so it has a thread of its own.
    let found = tokio::task::spawn_blocking(move || {
        let next = task.next_moments(MOMENTS);
        let later = next.get(MOMENTS - 1).and_then(|last| after_clock_change(&task, *last));
        let rule = task.rule();
        let with_effective = |nominal: Moment| (nominal, task.effective(nominal, &rule));
        (next.into_iter().map(with_effective).collect::<Vec<_>>(), later.map(with_effective))
    });
    let (next, later) = found.await.map_err(|error| Problem::Internal(error.to_string()))?;
    let t = lang.words();
    let mut before = offset(visit.service.now(), &zone);
    let mut moment = |(nominal, instant): (Moment, Moment)| {
        let now = offset(nominal, &zone);
        let note = match now.cmp(&std::mem::replace(&mut before, now)) {
            std::cmp::Ordering::Greater => t.clock_forward.clone(),
            std::cmp::Ordering::Less => t.clock_back.clone(),
            std::cmp::Ordering::Equal => String::new(),
        };
        NextMoment {
            instant,
            at: date_time(instant, &zone, lang).unwrap_or_else(|| instant.to_string()),
            abbreviation: abbreviation(instant, &zone),
            nominal: if has_jitter { nominal_text(nominal, &zone, lang) } else { String::new() },
            note,
            is_later: false,
        }
    };
    let mut moments: Vec<NextMoment> = next.into_iter().map(&mut moment).collect();
    if moments.iter().all(|moment| moment.note.is_empty()) {
        let later = later.map(|instant| NextMoment { is_later: true, ..moment(instant) });
        moments.extend(later.filter(|later| !later.note.is_empty()));
    }
    Ok(moments)
}

fn nominal_text(nominal: Moment, zone: &TimeZone, lang: Lang) -> String {
    let text = date_time(nominal, zone, lang).unwrap_or_else(|| nominal.to_string());
    fill(&lang.words().nominal, &[&text])
}

/// Returns the first moment after the next change of the clocks. `None`: a limit of fires may end the task before.
fn after_clock_change(task: &Task, last: Moment) -> Option<Moment> {
    let found = task.rule().after_clock_change(last)?;
    let is_certain = task.max_fires.is_none() && task.end_at.is_none_or(|end| found <= end);
    is_certain.then_some(found)
}

/// Returns the zone of a cron expression, or else the zone of the server.
pub fn zone_of(task: &Task, visit: &Visit) -> TimeZone {
    let own = task.schedule.zone_name().unwrap_or_default();
    zone::find(own).or_else(|| zone::find(visit.service.time_zone())).unwrap_or(TimeZone::UTC)
}

fn offset(at: Moment, zone: &TimeZone) -> i32 {
    let at = jiff::Timestamp::from_millisecond(at.ms()).unwrap_or(jiff::Timestamp::UNIX_EPOCH);
    zone.to_offset(at).seconds()
}
