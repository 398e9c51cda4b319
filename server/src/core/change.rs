//! What a person can do to a stored task: hold it, let it go on, give it another definition.

use super::misfire::{Misfire, MisfirePolicy, Step};
use super::run::Stretch;
use super::submission::{InvalidSubmission, Submission};
use super::{Moment, Schedule, Task, TaskState};

/// Why a task cannot be changed as asked.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CannotChange {
    /// It is over.
    #[error("the task is {}", match .0 { TaskState::Finished => "finished", _ => "cancelled" })]
    Over(TaskState),
    /// The new definition breaks a rule.
    #[error(transparent)]
    Invalid(#[from] InvalidSubmission),
}

/// Whether a task can be changed at all.
///
/// # Errors
/// When it is over.
pub fn changeable(task: &Task) -> Result<(), CannotChange> {
    match task.state {
        TaskState::Active | TaskState::Paused => Ok(()),
        over => Err(CannotChange::Over(over)),
    }
}

/// The task, held: it keeps its place. `None`: it is held already. `open`: see [`Task::revised`].
///
/// # Errors
/// When it is over.
pub fn paused(task: &Task, open: &[u32]) -> Result<Option<Task>, CannotChange> {
    changeable(task)?;
    let held = || Task { state: TaskState::Paused, ..task.revised(open) };
    Ok((task.state == TaskState::Active).then(held))
}

/// The task, going on, and the stretch of moments that passed while it was held. `None`: it is not held. A one-shot whose moment
/// has passed is due at once, since it has no later one to make up for it.
///
/// # Errors
/// When it is over.
pub fn resumed(
    task: &Task,
    open: &[u32],
    now: Moment,
) -> Result<Option<(Task, Option<Missed>)>, CannotChange> {
    changeable(task)?;
    if task.state == TaskState::Active {
        return Ok(None);
    }
    let missed = missed(task, now);
    let next = Task { state: TaskState::Active, ..task.revised(open) };
    let next = missed.map_or_else(|| next.clone(), |missed| beyond(&next, missed.stretch.to));
    Ok(Some((next, missed)))
}

/// The task, going on after `last`, up to which its moments are decided.
#[must_use]
pub fn beyond(task: &Task, last: Moment) -> Task {
    let next_due_at = task.due_after(last, task.fired_count);
    Task { next_due_at, last_due_at: Some(last), ..task.clone() }
}

/// The moments that passed while a task was held.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Missed {
    /// The first one.
    pub from: Moment,
    /// Up to when, and how many.
    pub stretch: Stretch,
}

/// The longest stretch that [`Misfire`] skips in one step; the rest of a longer one misfires when it is due.
fn missed(task: &Task, now: Moment) -> Option<Missed> {
    let due = task.next_due_at.filter(|due| *due <= now)?;
    // The last moment is left to fire: what has passed without a moment to come would end the task unfired.
    let skip = Misfire { policy: MisfirePolicy::Skip, grace_ms: -1 };
    match skip.step(task, due, now) {
        Step::Skip { from, to, count } => Some(Missed { from, stretch: Stretch { to, count } }),
        Step::Fire { .. } => None,
    }
}

/// The task with another definition. Its place is kept where its times are the same; otherwise its schedule begins anew.
///
/// # Errors
/// When it is over, or the definition breaks a rule.
pub fn edited(task: &Task, definition: Submission, open: &[u32], now: Moment) -> Result<Task, CannotChange> {
    changeable(task)?;
    let fresh = definition.accept(task.id.clone(), now)?;
    let same_times = times(&fresh) == times(task);
    let mut next = task.revised(open);
    next.name = fresh.name;
    next.data = fresh.data;
    next.ack = fresh.ack;
    next.max_runtime_sec = fresh.max_runtime_sec;
    next.queue = fresh.queue;
    next.retry = fresh.retry;
    next.dedup_key = fresh.dedup_key;
    if same_times {
        return Ok(next);
    }
    next.schedule = fresh.schedule;
    next.start_at = fresh.start_at;
    next.end_at = fresh.end_at;
    next.max_fires = fresh.max_fires;
    next.anchored_at = now;
    if next.max_fires.is_some_and(|max| next.fired_count >= max) {
        return Err(InvalidSubmission::MaxFiresReached(next.fired_count).into());
    }
    next.next_due_at = fresh.next_due_at;
    Ok(next)
}

type Times<'a> = (&'a Schedule, Option<Moment>, Option<Moment>, Option<u64>);

fn times(task: &Task) -> Times<'_> {
    (&task.schedule, task.start_at, task.end_at, task.max_fires)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::task::TaskId;

    const NOW: Moment = Moment::from_sec(1_000);

    fn definition(schedule: Schedule) -> Submission {
        Submission { schedule, ..Submission::named("order.close", "42") }
    }

    fn every_second() -> Task {
        let definition = definition(Schedule::Every { period_ms: 1_000 });
        definition.accept(TaskId::new(uuid::Uuid::nil()), NOW).unwrap()
    }

    #[test]
    fn a_pause_keeps_the_place_and_ends_the_revision() {
        let task = Task { last_due_at: Some(NOW), next_due_at: Some(NOW.plus_ms(1_000)), ..every_second() };
        let held = paused(&task, &[1]).unwrap().unwrap();
        assert_eq!((held.state, held.rev, held.next_due_at), (TaskState::Paused, 2, task.next_due_at));
        assert!(held.has_passed(1, NOW) && !held.has_passed(1, NOW.plus_ms(1_000)));
        assert_eq!(paused(&held, &[]).unwrap(), None, "held already");
        assert!(paused(&task, &[]).unwrap().unwrap().past.is_empty(), "no run of it is open");
    }

    #[test]
    fn what_passed_while_it_was_held_is_one_stretch() {
        let held = paused(&every_second(), &[]).unwrap().unwrap();
        let (next, missed) = resumed(&held, &[], NOW.plus_ms(10_500)).unwrap().unwrap();
        let missed = missed.unwrap();
        assert_eq!((missed.from, missed.stretch.to, missed.stretch.count), (NOW, NOW.plus_ms(10_000), 11));
        assert_eq!(
            (next.state, next.rev, next.next_due_at),
            (TaskState::Active, 3, Some(NOW.plus_ms(11_000)))
        );
        assert_eq!(resumed(&next, &[], NOW).unwrap(), None, "it is not held");
    }

    #[test]
    fn a_one_shot_that_was_held_over_its_moment_is_due_at_once() {
        let task = definition(Schedule::Once).accept(TaskId::new(uuid::Uuid::nil()), NOW).unwrap();
        let held = paused(&task, &[]).unwrap().unwrap();
        let (next, missed) = resumed(&held, &[], NOW.plus_ms(60_000)).unwrap().unwrap();
        assert_eq!((next.next_due_at, missed), (Some(NOW), None));
    }

    #[test]
    fn an_edit_of_the_data_keeps_the_place() {
        let task = Task { next_due_at: Some(NOW.plus_ms(5_000)), fired_count: 5, ..every_second() };
        let definition = Submission { data: "43".into(), ..definition(Schedule::Every { period_ms: 1_000 }) };
        let next = edited(&task, definition, &[], NOW.plus_ms(4_500)).unwrap();
        assert_eq!((next.rev, next.data.as_str(), next.next_due_at), (2, "43", task.next_due_at));
        assert_eq!(next.anchored_at, task.anchored_at);
        assert_ne!(next.dedup_key, task.dedup_key, "the pair is another one");
    }

    #[test]
    fn an_edit_of_the_times_begins_anew_and_counts_on() {
        let task = Task { next_due_at: Some(NOW.plus_ms(5_000)), fired_count: 5, ..every_second() };
        let later = NOW.plus_ms(4_500);
        let every_minute = || definition(Schedule::Every { period_ms: 60_000 });
        let next = edited(&task, every_minute(), &[], later).unwrap();
        assert_eq!((next.next_due_at, next.fired_count), (Some(later), 5));
        let enough = Submission { max_fires: Some(5), ..every_minute() };
        let refused = edited(&task, enough, &[], later).unwrap_err();
        assert_eq!(refused, CannotChange::Invalid(InvalidSubmission::MaxFiresReached(5)));
    }

    #[test]
    fn what_is_over_cannot_be_changed() {
        let over = Task { state: TaskState::Finished, ..every_second() };
        let refused = Err(CannotChange::Over(TaskState::Finished));
        assert_eq!(paused(&over, &[]).map(drop), refused.clone());
        assert_eq!(resumed(&over, &[], NOW).map(drop), refused.clone());
        assert_eq!(edited(&over, definition(Schedule::Once), &[], NOW).map(drop), refused);
    }
}
