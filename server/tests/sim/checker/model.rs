//! The checker's own model of due moments. It shares no code with the engine.

use taskcenter_server::core::{Moment, Schedule, Task};

/// Upper bound of the skipped moments of one run.
const MAX_MOMENTS: u64 = 100_000;

/// Returns whether an expression fires at a second of a minute. The simulator uses no other
/// expressions.
fn fires_at(expression: &str, second: i64) -> bool {
    let fields: Vec<&str> = expression.split(' ').collect();
    let [seconds, ..] = fields.as_slice() else { return false };
    if fields.len() == 5 {
        return second == 0;
    }
    match seconds.strip_prefix("*/") {
        Some(step) => step.parse::<i64>().is_ok_and(|step| second % step == 0),
        None => *seconds == "*" || seconds.split(',').any(|one| one.parse() == Ok(second)),
    }
}

fn period_ms(expression: &str) -> Option<i64> {
    let seconds = expression.strip_prefix("@every ")?.strip_suffix('s')?;
    seconds.parse::<i64>().ok().map(|seconds| seconds * 1_000)
}

/// Returns the first full second, from `from_ms` on, at which a cron expression fires.
fn cron_from(expression: &str, from_ms: i64) -> Option<Moment> {
    let first = (from_ms + 999).div_euclid(1_000);
    let found = (first..first + 61).find(|second| fires_at(expression, second.rem_euclid(60)));
    found.map(|second| Moment::from_ms(second * 1_000))
}

/// Returns whether the calendar of a task excludes a moment. The simulator only uses calendars that exclude one
/// minute of each day in UTC.
fn is_closed(task: &Task, moment: Moment) -> bool {
    let Some(calendars) = &task.timing.calendars else { return false };
    let minute = moment.ms().div_euclid(60_000).rem_euclid(24 * 60);
    let begin = format!(" {:02}:{:02}-", minute / 60, minute % 60);
    calendars.exclude.iter().any(|calendar| calendar.weekly.iter().any(|entry| entry.contains(&begin)))
}

/// Returns the first moment from `moment` on that no calendar excludes.
fn opened(task: &Task, mut moment: Option<Moment>) -> Option<Moment> {
    while let Some(closed) = moment.filter(|moment| is_closed(task, *moment)) {
        moment = next(task, closed);
    }
    moment
}

fn within(task: &Task, moment: Option<Moment>) -> Option<Moment> {
    moment.filter(|moment| task.end_at.is_none_or(|end| moment.ms() <= end.ms()))
}

/// Returns the first moment from `from` on of the grid through `origin`.
fn grid_from(origin: Moment, period_ms: i64, from: Moment) -> Moment {
    if origin >= from {
        return origin;
    }
    let wait_ms = (origin.ms() - from.ms()).rem_euclid(period_ms);
    Moment::from_ms(from.ms() + wait_ms)
}

/// Returns the nominal moment that a task waits for.
pub fn nominal(task: &Task) -> Option<Moment> {
    task.nominal_at.or(task.next_due_at)
}

/// Returns whether the task waits for this nominal moment, and fires it within its jitter, before the moment
/// after it and before its end.
pub fn waits_for(task: &Task, expected: Option<Moment>) -> bool {
    let Some((moment, due)) = expected.zip(task.next_due_at) else {
        return expected.is_none() && task.next_due_at.is_none() && task.nominal_at.is_none();
    };
    let Some(jitter_ms) = task.timing.jitter_ms else { return due == moment && task.nominal_at.is_none() };
    let is_in_time = after(&Task { max_fires: None, ..task.clone() }, moment, 0)
        .is_none_or(|next| due < next)
        && within(task, Some(due)).is_some();
    task.nominal_at == expected && (moment..=moment.plus_ms(jitter_ms)).contains(&due) && is_in_time
}

/// Returns the first moment of a task whose schedule was accepted at `task.anchored_at`.
pub fn first(task: &Task) -> Option<Moment> {
    let begin = task.start_at.map_or(task.anchored_at.ms(), |start| start.ms().max(task.anchored_at.ms()));
    let moment = match &task.schedule {
        Schedule::Once => Some(Moment::from_ms(begin)),
        Schedule::Every { period_ms } => {
            Some(grid_from(task.start_at.unwrap_or(task.anchored_at), *period_ms, task.anchored_at))
        }
        Schedule::Cron { expression, .. } => match period_ms(expression) {
            Some(period) => Some(Moment::from_ms(begin + period)),
            None => cron_from(expression, begin),
        },
    };
    within(task, opened(task, moment))
}

/// Returns the first moment after an edit of the times. A new period counts from the last moment.
pub fn first_after_edit(before: &Task, after: &Task) -> Option<Moment> {
    match (&before.schedule, &after.schedule, before.last_due_at) {
        (Schedule::Every { .. }, Schedule::Every { period_ms }, Some(last))
            if before.start_at == after.start_at =>
        {
            let from = after.anchored_at.max(last.plus_ms(1));
            within(after, opened(after, Some(grid_from(last, *period_ms, from))))
        }
        _ => first(after),
    }
}

/// Returns the moment after `moment`, if `fired` moments have fired.
pub fn after(task: &Task, moment: Moment, fired: u64) -> Option<Moment> {
    if task.max_fires.is_some_and(|max| fired >= max) {
        return None;
    }
    within(task, opened(task, next(task, moment)))
}

/// Returns whether calendars exclude every moment after `moment` before the end of the task.
pub fn waits(task: &Task, moment: Moment, fired: u64) -> bool {
    let has_fires = task.max_fires.is_none_or(|max| fired < max);
    has_fires && after(task, moment, fired).is_none() && within(task, next(task, moment)).is_some()
}

fn next(task: &Task, moment: Moment) -> Option<Moment> {
    match &task.schedule {
        Schedule::Once => None,
        Schedule::Every { period_ms } => Some(Moment::from_ms(moment.ms() + period_ms)),
        Schedule::Cron { expression, .. } => match period_ms(expression) {
            Some(period) => Some(Moment::from_ms(moment.ms() + period)),
            None => cron_from(expression, moment.ms() + 1),
        },
    }
}

/// Returns the number of moments from `from` to `to`, both included; `None` if `to` is no moment.
pub fn count(task: &Task, from: Moment, to: Moment) -> Option<u64> {
    let mut moment = from;
    for count in 1..MAX_MOMENTS {
        if moment == to {
            return Some(count);
        }
        moment = after(task, moment, task.fired_count).filter(|next| *next <= to)?;
    }
    None
}
