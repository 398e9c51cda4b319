//! Calendars: the tasks of a changed calendar get other moments.

use taskcenter_server::core::calendar::{Calendar, Calendars};
use taskcenter_server::core::submission::{Dedup, InvalidSubmission, Submission};
use taskcenter_server::core::timing::Timing;
use taskcenter_server::core::{Moment, RunState, Schedule, Task, TaskId, TaskState};
use taskcenter_server::engine::service::{ServiceError, definition};

use super::{NOW, Stage};
use crate::store::samples::unique;

// NOW is Sunday, 2001-09-09T01:46:40Z.
const HOUR_MS: i64 = 3_600_000;
const DAY_MS: i64 = 24 * HOUR_MS;

fn calendar(name: &str, weekly: &[&str]) -> Calendar {
    let weekly = weekly.iter().map(ToString::to_string).collect();
    Calendar { zone: "UTC".to_owned(), weekly, ..Calendar::named(name) }
}

fn name(what: &str) -> String {
    format!("{what}-{}", unique())
}

/// A task that is due at the beginning of each day from 2001-09-10 on, only within a calendar.
fn daily(calendar: &str) -> Submission {
    let calendars = Calendars::named(vec![calendar.to_owned()], Vec::new());
    let timing = Timing { calendars, ..Timing::default() };
    Submission {
        schedule: Schedule::cron("@daily", "UTC"),
        timing,
        ..Submission::named("report", name("data"))
    }
}

async fn stored(on: &Stage, id: &TaskId) -> Task {
    on.store.task(id).await.unwrap().unwrap()
}

/// Returns days from 2001-09-09.
fn day(days: i64) -> Moment {
    Moment::from_ms(NOW.ms() / DAY_MS * DAY_MS + days * DAY_MS)
}

pub async fn a_task_has_the_content_of_its_calendars(on: &Stage) {
    let workdays = name("workdays");
    let refused = on.service.submit(daily(&workdays)).await.unwrap_err();
    assert!(matches!(refused, ServiceError::Invalid(InvalidSubmission::Calendars(_))), "{refused}");
    let put = on.service.put_calendar(&calendar(&workdays, &["tue-fri"]), "no mondays").await.unwrap();
    assert_eq!((put.calendar.version, put.description.as_str()), (1, "no mondays"));
    let id = on.submit(daily(&workdays)).await;
    let task = stored(on, &id).await;
    assert_eq!(task.next_due_at, Some(day(2)));
    assert_eq!(task.timing.calendars.unwrap().only, [put.calendar]);
    let never = calendar(&workdays, &["mon 00:01-24:00"]);
    on.service.put_calendar(&never, "").await.unwrap();
    let waiting = Submission { dedup: Dedup::Key("k".to_owned()), ..daily(&workdays) };
    let id = on.submit(waiting.clone()).await;
    assert!(stored(on, &id).await.waits_for_calendar());
    let again = on.service.submit(waiting).await.unwrap();
    assert_eq!((again.id, again.existing), (id.clone(), true), "a deployment creates its tasks again");
    on.service.put_calendar(&calendar(&workdays, &["tue-fri"]), "").await.unwrap();
    assert_eq!(stored(on, &id).await.next_due_at, Some(day(2)));
}

pub async fn another_version_gives_its_tasks_other_moments(on: &Stage) {
    let (workdays, other) = (name("workdays"), name("other"));
    on.service.put_calendar(&calendar(&workdays, &["mon-fri"]), "").await.unwrap();
    on.service.put_calendar(&calendar(&other, &["mon-sun"]), "").await.unwrap();
    let (id, unrelated) = (on.submit(daily(&workdays)).await, on.submit(daily(&other)).await);
    let paused = on.submit(daily(&workdays)).await;
    on.service.pause(&paused, None).await.unwrap();
    on.clock.set(day(1).plus_ms(-1));
    let put = on.service.put_calendar(&calendar(&workdays, &["tue-fri"]), "").await.unwrap();
    assert_eq!((put.calendar.version, put.is_settled), (2, false));
    let task = stored(on, &id).await;
    assert_eq!((task.rev, task.next_due_at, task.state), (2, Some(day(2)), TaskState::Active));
    let task = stored(on, &paused).await;
    assert_eq!((task.rev, task.next_due_at, task.state), (3, Some(day(2)), TaskState::Paused));
    assert_eq!(stored(on, &unrelated).await.rev, 1);
    let same = on.service.put_calendar(&calendar(&workdays, &["tue-fri"]), "text").await.unwrap();
    assert_eq!((same.calendar.version, same.description.as_str()), (2, "text"));
    assert_eq!(stored(on, &id).await.rev, 2, "the content is the same");
}

pub async fn moments_that_are_due_are_decided_under_the_version_before(on: &Stage) {
    let workdays = name("workdays");
    on.service.put_calendar(&calendar(&workdays, &["mon-fri"]), "").await.unwrap();
    let id = on.submit(daily(&workdays)).await;
    on.clock.set(day(1).plus_ms(60_000));
    on.service.put_calendar(&calendar(&workdays, &["wed"]), "").await.unwrap();
    let task = stored(on, &id).await;
    assert_eq!((task.rev, task.last_due_at, task.next_due_at), (2, Some(day(1)), Some(day(3))));
    on.rescue().await;
    assert_eq!(on.states(&id).await, [RunState::Ready]);
}

pub async fn a_task_without_a_moment_waits_for_another_version(on: &Stage) {
    let workdays = name("workdays");
    on.service.put_calendar(&calendar(&workdays, &["mon-fri"]), "").await.unwrap();
    let id = on.submit(daily(&workdays)).await;
    let closed =
        Calendar { exclude: vec!["2001-01-01/9999-12-31".to_owned()], ..calendar(&workdays, &["mon-fri"]) };
    on.service.put_calendar(&closed, "").await.unwrap();
    let task = stored(on, &id).await;
    assert_eq!((task.state, task.next_due_at, task.waits_for_calendar()), (TaskState::Active, None, true));
    on.clock.set(day(3));
    on.service.put_calendar(&calendar(&workdays, &["fri"]), "").await.unwrap();
    assert_eq!(stored(on, &id).await.next_due_at, Some(day(5)));
}

pub async fn the_last_moment_of_a_calendar_does_not_finish_the_task(on: &Stage) {
    let dates = name("dates");
    let one = Calendar { include: vec!["2001-09-10".to_owned()], ..calendar(&dates, &[]) };
    on.service.put_calendar(&one, "").await.unwrap();
    let id = on.submit(daily(&dates)).await;
    on.clock.set(day(1).plus_ms(1));
    let closed = Calendar { include: vec!["2001-09-10".to_owned(), "2001-09-09".to_owned()], ..one };
    on.service.put_calendar(&closed, "").await.unwrap();
    let task = stored(on, &id).await;
    assert_eq!((task.state, task.fired_count, task.next_due_at), (TaskState::Active, 1, None));
    let more = Calendar { include: vec!["2001-09-20".to_owned()], ..closed };
    on.service.put_calendar(&more, "").await.unwrap();
    assert_eq!(stored(on, &id).await.next_due_at, Some(day(11)));
}

pub async fn the_leading_node_gives_the_version_to_tasks_that_were_missed(on: &Stage) {
    let workdays = name("workdays");
    on.service.put_calendar(&calendar(&workdays, &["mon-fri"]), "").await.unwrap();
    // A create has read the first version, and stores its task after the change.
    let late = on.service.preview_definition(daily(&workdays)).await.unwrap();
    on.service.put_calendar(&calendar(&workdays, &["tue"]), "").await.unwrap();
    let task = late.accept(TaskId::new(uuid::Uuid::from_u128(unique())), NOW).unwrap();
    on.store.insert_tasks(vec![task.clone()]).await;
    on.service.settle_calendars().await.unwrap();
    assert_eq!(stored(on, &task.id).await.next_due_at, Some(day(2)));
    assert!(!on.service.calendar(&workdays).await.unwrap().is_settled);
    on.clock.advance_ms(600_000);
    on.service.settle_calendars().await.unwrap();
    assert!(on.service.calendar(&workdays).await.unwrap().is_settled);
}

pub async fn a_calendar_in_use_is_not_deleted(on: &Stage) {
    let workdays = name("workdays");
    on.service.put_calendar(&calendar(&workdays, &["mon-fri"]), "").await.unwrap();
    let id = on.submit(daily(&workdays)).await;
    let refused = on.service.remove_calendar(&workdays).await.unwrap_err();
    assert!(matches!(refused, ServiceError::CalendarInUse { .. }), "{refused}");
    assert!(refused.to_string().contains(id.as_str()), "{refused}");
    on.service.cancel(&id, None).await.unwrap();
    on.service.remove_calendar(&workdays).await.unwrap();
    let missing = on.service.calendar(&workdays).await.unwrap_err();
    assert!(matches!(missing, ServiceError::NotFound), "{missing}");
}

pub async fn an_edit_of_the_calendars_continues_the_schedule(on: &Stage) {
    let workdays = name("workdays");
    on.service.put_calendar(&calendar(&workdays, &["mon"]), "").await.unwrap();
    let id = on
        .submit(Submission { schedule: Schedule::Every { period_ms: 7 * HOUR_MS }, ..daily(&workdays) })
        .await;
    let task = stored(on, &id).await;
    assert_eq!(task.next_due_at, Some(NOW.plus_ms(28 * HOUR_MS)));
    on.clock.advance_ms(HOUR_MS);
    let all = Submission { timing: Timing::default(), ..definition(&task) };
    let edited = on.service.edit(&id, 1, all).await.unwrap().task;
    assert_eq!(edited.next_due_at, Some(NOW.plus_ms(7 * HOUR_MS)));
}
