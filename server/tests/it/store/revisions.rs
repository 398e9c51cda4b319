//! Earlier definitions of tasks.

use taskcenter_server::core::revision::MAX_PAST_DEFINITIONS;
use taskcenter_server::core::submission::Submission;
use taskcenter_server::core::{Moment, Task};
use taskcenter_server::ports::{Attached, ReplacedTask, Store};

use super::Fixture;
use super::samples::{PAST, full_task, task};
use super::tasks::insert;

/// Gives a task other data. The edit has an id, so that the write can be repeated.
async fn edit(store: &dyn Store, read: &Task, data: &str) -> Task {
    let next = edited(read, data);
    assert_eq!(store.replace_task(read, &next, Attached::NONE).await.unwrap(), ReplacedTask::Done);
    next
}

fn edited(read: &Task, data: &str) -> Task {
    let next =
        Task { data: data.to_owned(), write_id: Some(format!("write {data}")), ..read.next_revision(&[]) };
    next.with_start_of_definition(read, PAST.plus_ms(i64::from(read.rev))).defined_by("ann")
}

async fn past(store: &dyn Store, task: &Task) -> Vec<Task> {
    store.past_definitions(&task.id, task.defined_at_rev(), 1_000).await.unwrap()
}

pub async fn an_edit_keeps_the_definition_before(on: &dyn Fixture) {
    let first = Task { rev: 1, revised: None, past: Vec::new(), stands_for: None, ..full_task() };
    insert(&*on.one(), &first).await;
    assert_eq!(past(&*on.one(), &first).await, [], "a new task has no past definition");
    let second = edit(&*on.one(), &first, "two").await;
    assert_eq!(on.two().task(&first.id).await.unwrap().as_ref(), Some(&second));
    let third = edit(&*on.two(), &second, "three").await;
    let expected = [second.as_defined(), first.as_defined()];
    assert_eq!(past(&*on.one(), &third).await, expected);
    assert_eq!(on.one().past_definitions(&first.id, second.rev, 10).await.unwrap(), [first.as_defined()]);
    assert_eq!(on.one().past_definitions(&first.id, third.rev, 1).await.unwrap(), [second.as_defined()]);
    assert_eq!(on.one().past_definitions(&first.id, first.rev, 10).await.unwrap(), []);
}

pub async fn a_change_of_the_state_keeps_no_definition(on: &dyn Fixture) {
    let first = task();
    insert(&*on.one(), &first).await;
    let paused = Task { write_id: Some("pause".to_owned()), ..first.next_revision(&[]) };
    assert_eq!(on.one().replace_task(&first, &paused, Attached::NONE).await.unwrap(), ReplacedTask::Done);
    assert_eq!(on.one().past_definitions(&first.id, u32::MAX, 10).await.unwrap(), []);
    let next = edit(&*on.two(), &paused, "two").await;
    assert_eq!(past(&*on.one(), &next).await, [first.as_defined()]);
}

pub async fn a_repeated_or_refused_edit_adds_no_definition(on: &dyn Fixture) {
    let first = task();
    insert(&*on.one(), &first).await;
    let next = edit(&*on.one(), &first, "two").await;
    assert_eq!(
        on.two().replace_task(&first, &next, Attached::NONE).await.unwrap(),
        ReplacedTask::Done,
        "repeated"
    );
    let late = edited(&first, "late");
    assert_eq!(on.two().replace_task(&first, &late, Attached::NONE).await.unwrap(), ReplacedTask::Moved);
    assert_eq!(past(&*on.one(), &next).await, [first.as_defined()]);
}

pub async fn the_oldest_definitions_are_removed(on: &dyn Fixture) {
    let mut task = task();
    insert(&*on.one(), &task).await;
    for at in 0..MAX_PAST_DEFINITIONS + 3 {
        task = edit(&*on.one(), &task, &at.to_string()).await;
    }
    let past = past(&*on.one(), &task).await;
    assert_eq!(past.len(), MAX_PAST_DEFINITIONS as usize);
    assert_eq!((past[0].rev, past.last().unwrap().rev), (task.rev - 1, task.rev - MAX_PAST_DEFINITIONS));
}

pub async fn definitions_are_removed_with_their_task(on: &dyn Fixture) {
    let (first, other) = (task(), task());
    for task in [&first, &other] {
        insert(&*on.one(), task).await;
        edit(&*on.one(), task, "two").await;
    }
    on.one().cancel_tasks(std::slice::from_ref(&first.id), None, true, PAST).await.unwrap();
    assert_eq!(on.one().prune(Moment::NEVER, Moment::from_ms(0), 100).await.unwrap(), 1);
    assert_eq!(on.one().past_definitions(&first.id, u32::MAX, 10).await.unwrap(), []);
    assert_eq!(on.one().past_definitions(&other.id, u32::MAX, 10).await.unwrap(), [other.as_defined()]);
}

pub async fn the_definition_is_read_from_the_task_that_defines_it(on: &dyn Fixture) {
    let first = task();
    insert(&*on.one(), &first).await;
    let second = edit(&*on.one(), &first, "two").await;
    assert_ne!(Submission::of(&second), Submission::of(&first));
    let stored = on.two().task(&first.id).await.unwrap().unwrap();
    let revised = stored.revised.as_deref().unwrap();
    assert_eq!((revised.rev, revised.by.as_deref(), revised.at), (2, Some("ann"), PAST.plus_ms(1)));
}
