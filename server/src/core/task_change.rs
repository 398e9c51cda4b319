//! Changes that a user makes to a stored task: pause, resume, edit.

use super::calendar::Calendars;
use super::misfire::{Misfire, MisfirePolicy, Step};
use super::run::Stretch;
use super::schedule::on_grid;
use super::submission::{InvalidSubmission, Submission};
use super::{Moment, Schedule, Task, TaskState};

/// Largest number of moments in the row of an edit: a bound on the time of the edit.
const MAX_DROPPED: usize = 10_000;

/// Why a task cannot be changed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CannotChange {
    /// The task is finished or cancelled.
    #[error("the task is {}", .0.as_str())]
    Over(TaskState),
    /// The new definition breaks a rule.
    #[error(transparent)]
    Invalid(#[from] InvalidSubmission),
}

/// Checks that the task is active or paused.
///
/// # Errors
/// [`CannotChange::Over`] for a finished or cancelled task.
pub fn check_changeable(task: &Task) -> Result<(), CannotChange> {
    match task.state {
        TaskState::Active | TaskState::Paused => Ok(()),
        state @ (TaskState::Finished | TaskState::Cancelled) => Err(CannotChange::Over(state)),
    }
}

/// Returns the paused task, which keeps its next moment. `None`: the task is already paused. For
/// `open` see [`Task::next_revision`].
///
/// # Errors
/// [`CannotChange::Over`] for a finished or cancelled task.
pub fn pause(task: &Task, open: &[u32]) -> Result<Option<Task>, CannotChange> {
    check_changeable(task)?;
    let paused = || Task { state: TaskState::Paused, ..task.next_revision(open) };
    Ok((task.state == TaskState::Active).then(paused))
}

/// Returns the active task, and the moments that passed during the pause. `None`: the task is not
/// paused.
///
/// A one-shot task whose moment passed during the pause fires at once, because it has no later
/// moment.
///
/// # Errors
/// [`CannotChange::Over`] for a finished or cancelled task.
pub fn resume(
    task: &Task,
    open: &[u32],
    now: Moment,
) -> Result<Option<(Task, Option<Missed>)>, CannotChange> {
    check_changeable(task)?;
    if task.state == TaskState::Active {
        return Ok(None);
    }
    let missed = missed(task, now);
    let next = Task { state: TaskState::Active, ..task.next_revision(open) };
    let next = missed.map_or_else(|| next.clone(), |missed| continue_after(&next, missed.stretch.to));
    Ok(Some((next, missed)))
}

/// Returns the task with `last` as the last decided moment; its next moment is the first one after
/// `last`.
#[must_use]
pub fn continue_after(task: &Task, last: Moment) -> Task {
    let next = task.due_after(last, task.fired_count);
    Task { last_due_at: Some(last), ..task.clone() }.with_next(next)
}

/// The moments that passed during a pause.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Missed {
    /// First of the moments.
    pub from: Moment,
    /// Last of the moments, and their number.
    pub stretch: Stretch,
}

/// Returns the moments of a paused task that have passed, from its next moment on. At most as many
/// as [`Misfire`] skips in one step: later moments misfire when they are due. `None` if no moment
/// has passed, or if the only such moment must fire.
fn missed(task: &Task, now: Moment) -> Option<Missed> {
    task.next_due_at.filter(|due| *due <= now)?;
    let due = task.nominal_due()?;
    // The last moment must fire: without a later moment, skipping it would finish the task unfired.
    let skip = Misfire { policy: MisfirePolicy::Skip, grace_ms: -1, max: None };
    match skip.step(task, due, now) {
        Step::Skip { from, to, count } => Some(Missed { from, stretch: Stretch { to, count } }),
        Step::Fire { .. } => None,
    }
}

/// Returns the moments of the present definition that have passed, where an edit of the times would drop
/// them: moments during a pause, and those that were not decided one by one. `None`: the edit drops no
/// moment.
pub fn dropped(task: &Task, edited: &Task, now: Moment) -> Option<Missed> {
    task.next_due_at.filter(|due| *due <= now && times(task) != times(edited))?;
    let from = task.nominal_due()?;
    let now = now.plus_ms(-task.jitter_offset_ms()).max(from);
    let rule = task.rule();
    let next = |due: &Moment| task.due_after_by(&rule, *due, task.fired_count);
    let passed = std::iter::successors(Some(from), next).take_while(|due| *due <= now).take(MAX_DROPPED);
    let (count, to) = passed.fold((0, from), |(count, _), due| (count + 1, due));
    Some(Missed { from, stretch: Stretch { to, count } })
}

/// Returns whether a definition has another schedule, start, end, `max_fires` or calendar than the task.
pub fn moves_times(task: &Task, definition: &Submission) -> bool {
    let Submission { schedule, start_at, end_at, max_fires, timing, .. } = definition;
    times(task) != ((schedule, *start_at, *end_at, *max_fires), timing.calendars.as_deref())
}

/// Returns the task with another definition. If schedule, start, end, `max_fires` and calendars are unchanged, the task
/// keeps its next moment. If only the period of a task that has fired changes, the new period counts from
/// the last moment. If only the calendars change, the schedule continues. Otherwise the schedule starts again, at `start_at` or `now`.
///
/// # Errors
/// [`CannotChange::Over`] for a finished or cancelled task, [`CannotChange::Invalid`] for a
/// definition that breaks a rule.
pub fn edit(task: &Task, definition: Submission, open: &[u32], now: Moment) -> Result<Task, CannotChange> {
    check_changeable(task)?;
    Ok(redefine(task, definition, open, now)?.with_start_of_definition(task, now))
}

fn redefine(
    task: &Task,
    definition: Submission,
    open: &[u32],
    now: Moment,
) -> Result<Task, InvalidSubmission> {
    let fresh = definition.accept(task.id.clone(), now)?;
    let (fresh_times, task_times) = (times(&fresh), times(task));
    let (same_schedule, same_calendars) = (fresh_times.0 == task_times.0, fresh_times.1 == task_times.1);
    // Every field is named: a new one must be added to one of the three groups.
    let Task {
        // Kept.
        id: _,
        created_at: _,
        rev: _,
        state: _,
        last_due_at: _,
        fired_count: _,
        past: _,
        hidden: _,
        stands_for: _,
        write_id: _,
        created_by: _,
        quota_token: _,
        revised: _,
        // Replaced by every edit.
        name,
        data,
        headers,
        labels,
        ack,
        max_runtime_sec,
        start_within_ms,
        queue,
        retry,
        timing,
        dedup_key,
        // Replaced by an edit of the times.
        schedule,
        start_at,
        end_at,
        max_fires,
        anchored_at,
        next_due_at,
        nominal_at,
    } = fresh;
    let revised = task.next_revision(open);
    let next = Task {
        name,
        data,
        headers,
        labels,
        ack,
        max_runtime_sec,
        start_within_ms,
        queue,
        retry,
        timing,
        dedup_key,
        ..revised
    };
    if same_schedule && !same_calendars {
        let next_moment = next.next_open(now);
        if next_moment.is_none() && !next.waits_after(next.last_due_at.unwrap_or(now), next.fired_count) {
            return Err(InvalidSubmission::NeverDue);
        }
        return Ok(next.with_next(next_moment));
    }
    if same_schedule {
        let next_moment = task.nominal_due();
        let same_jitter = next.timing.jitter_ms == task.timing.jitter_ms;
        return Ok(if same_jitter { next } else { next.with_next(next_moment) });
    }
    if max_fires.is_some_and(|max| next.fired_count >= max) {
        return Err(InvalidSubmission::MaxFiresReached(next.fired_count));
    }
    let edited = Task { schedule, start_at, end_at, max_fires, anchored_at, next_due_at, nominal_at, ..next };
    Ok(match new_period(task, &edited) {
        Some((last, period_ms)) => {
            let next = next_of_period(&edited, last, period_ms, now)?;
            edited.with_next(next)
        }
        None => edited,
    })
}

/// Returns the last moment of the task and the new period, where an edit gives a task that has fired another
/// period and leaves its start.
fn new_period(task: &Task, edited: &Task) -> Option<(Moment, i64)> {
    match (&task.schedule, &edited.schedule) {
        (Schedule::Every { .. }, Schedule::Every { period_ms }) if task.start_at == edited.start_at => {
            Some((task.last_due_at?, *period_ms))
        }
        _ => None,
    }
}

fn next_of_period(
    edited: &Task,
    last: Moment,
    period_ms: i64,
    now: Moment,
) -> Result<Option<Moment>, InvalidSubmission> {
    let next = edited.rule().open_from(on_grid(last, period_ms, now.max(last.plus_ms(1))));
    match edited.within_end(next) {
        None if !edited.waits_after(last, edited.fired_count) => Err(InvalidSubmission::NeverDue),
        next => Ok(next),
    }
}

/// Schedule, start, end and `max_fires`; and the calendars.
type Times<'a> = ((&'a Schedule, Option<Moment>, Option<Moment>, Option<u64>), Option<&'a Calendars>);

fn times(task: &Task) -> Times<'_> {
    let Task { schedule, start_at, end_at, max_fires, timing, .. } = task;
    ((schedule, *start_at, *end_at, *max_fires), timing.calendars.as_deref())
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
    fn another_period_counts_from_the_last_moment() {
        let fired = Task { last_due_at: Some(NOW), next_due_at: Some(NOW.plus_ms(1_000)), ..every_second() };
        let edit_at = |after_ms, period_ms| {
            let definition = definition(Schedule::Every { period_ms });
            edit(&fired, definition, &[], NOW.plus_ms(after_ms)).unwrap().next_due_at
        };
        assert_eq!(edit_at(300, 2_000), Some(NOW.plus_ms(2_000)));
        assert_eq!(edit_at(900, 200), Some(NOW.plus_ms(1_000)), "moments in the past do not fire");
        let unfired =
            edit(&every_second(), definition(Schedule::Every { period_ms: 5 }), &[], NOW.plus_ms(3));
        assert_eq!(unfired.unwrap().next_due_at, Some(NOW.plus_ms(3)), "a new schedule starts now");
    }

    #[test]
    fn a_pause_keeps_the_next_moment_and_ends_the_revision() {
        let task = Task { last_due_at: Some(NOW), next_due_at: Some(NOW.plus_ms(1_000)), ..every_second() };
        let paused = pause(&task, &[1]).unwrap().unwrap();
        assert_eq!((paused.state, paused.rev, paused.next_due_at), (TaskState::Paused, 2, task.next_due_at));
        assert!(paused.has_passed(1, NOW) && !paused.has_passed(1, NOW.plus_ms(1_000)));
        assert_eq!(pause(&paused, &[]).unwrap(), None, "the task is already paused");
        assert!(pause(&task, &[]).unwrap().unwrap().past.is_empty(), "no run of revision 1 is open");
    }

    #[test]
    fn moments_that_pass_during_a_pause_are_one_stretch() {
        let paused = pause(&every_second(), &[]).unwrap().unwrap();
        let (next, missed) = resume(&paused, &[], NOW.plus_ms(10_500)).unwrap().unwrap();
        let missed = missed.unwrap();
        assert_eq!((missed.from, missed.stretch.to, missed.stretch.count), (NOW, NOW.plus_ms(10_000), 11));
        assert_eq!(
            (next.state, next.rev, next.next_due_at),
            (TaskState::Active, 3, Some(NOW.plus_ms(11_000)))
        );
        assert_eq!(resume(&next, &[], NOW).unwrap(), None, "the task is not paused");
    }

    #[test]
    fn a_one_shot_whose_moment_passes_during_a_pause_is_due_at_once() {
        let task = definition(Schedule::Once).accept(TaskId::new(uuid::Uuid::nil()), NOW).unwrap();
        let paused = pause(&task, &[]).unwrap().unwrap();
        let (next, missed) = resume(&paused, &[], NOW.plus_ms(60_000)).unwrap().unwrap();
        assert_eq!((next.next_due_at, missed), (Some(NOW), None));
    }

    #[test]
    fn an_edit_of_the_data_keeps_the_next_moment() {
        let task = Task { next_due_at: Some(NOW.plus_ms(5_000)), fired_count: 5, ..every_second() };
        let definition = Submission { data: "43".into(), ..definition(Schedule::Every { period_ms: 1_000 }) };
        let next = edit(&task, definition, &[], NOW.plus_ms(4_500)).unwrap();
        assert_eq!((next.rev, next.data.as_str(), next.next_due_at), (2, "43", task.next_due_at));
        assert_eq!(next.anchored_at, task.anchored_at);
        assert_ne!(next.dedup_key, task.dedup_key, "the key is derived from name and data");
    }

    #[test]
    fn an_edit_of_the_times_restarts_the_schedule_and_keeps_the_count() {
        let task = Task { next_due_at: Some(NOW.plus_ms(5_000)), fired_count: 5, ..every_second() };
        let later = NOW.plus_ms(4_500);
        let every_minute = || definition(Schedule::Every { period_ms: 60_000 });
        let next = edit(&task, every_minute(), &[], later).unwrap();
        assert_eq!((next.next_due_at, next.fired_count), (Some(later), 5));
        let enough = Submission { max_fires: Some(5), ..every_minute() };
        let refused = edit(&task, enough, &[], later).unwrap_err();
        assert_eq!(refused, CannotChange::Invalid(InvalidSubmission::MaxFiresReached(5)));
    }

    #[test]
    fn a_finished_task_cannot_be_changed() {
        let over = Task { state: TaskState::Finished, ..every_second() };
        let refused = Err(CannotChange::Over(TaskState::Finished));
        assert_eq!(pause(&over, &[]).map(drop), refused.clone());
        assert_eq!(resume(&over, &[], NOW).map(drop), refused.clone());
        assert_eq!(edit(&over, definition(Schedule::Once), &[], NOW).map(drop), refused);
    }
}
