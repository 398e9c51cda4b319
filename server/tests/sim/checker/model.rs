//! The checker's own idea of when a task is due, written without a look at the engine's.

use taskcenter_server::core::{Moment, Schedule, Task};

/// More moments than any stretch in a history holds.
const MANY: u64 = 100_000;

/// The seconds of a minute at which an expression fires. The simulator writes no expression that says more than that.
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

/// The first full second from `from_ms` on at which a cron expression fires.
fn cron_from(expression: &str, from_ms: i64) -> Option<Moment> {
    let first = (from_ms + 999).div_euclid(1_000);
    let found = (first..first + 61).find(|second| fires_at(expression, second.rem_euclid(60)));
    found.map(|second| Moment::from_ms(second * 1_000))
}

fn within(task: &Task, moment: Option<Moment>) -> Option<Moment> {
    moment.filter(|moment| task.end_at.is_none_or(|end| moment.ms() <= end.ms()))
}

/// The first moment of a task whose schedule was accepted at `task.anchored_at`.
pub fn first(task: &Task) -> Option<Moment> {
    let begin = task.start_at.map_or(task.anchored_at.ms(), |start| start.ms().max(task.anchored_at.ms()));
    let moment = match &task.schedule {
        Schedule::Once | Schedule::Every { .. } => Some(Moment::from_ms(begin)),
        Schedule::Cron { expression, .. } => match period_ms(expression) {
            Some(period) => Some(Moment::from_ms(begin + period)),
            None => cron_from(expression, begin),
        },
    };
    within(task, moment)
}

/// The moment after `moment`, when so many have fired.
pub fn after(task: &Task, moment: Moment, fired: u64) -> Option<Moment> {
    if task.max_fires.is_some_and(|max| fired >= max) {
        return None;
    }
    let next = match &task.schedule {
        Schedule::Once => None,
        Schedule::Every { period_ms } => Some(Moment::from_ms(moment.ms() + period_ms)),
        Schedule::Cron { expression, .. } => match period_ms(expression) {
            Some(period) => Some(Moment::from_ms(moment.ms() + period)),
            None => cron_from(expression, moment.ms() + 1),
        },
    };
    within(task, next)
}

/// How many moments lie from `from` to `to`; `None` where `to` is none of them.
pub fn count(task: &Task, from: Moment, to: Moment) -> Option<u64> {
    let mut moment = from;
    for count in 1..MANY {
        if moment == to {
            return Some(count);
        }
        moment = after(task, moment, task.fired_count).filter(|next| *next <= to)?;
    }
    None
}
