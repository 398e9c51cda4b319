//! Steps of tasks past a moment: the linearization point of a fire.

use taskcenter_server::core::{Moment, Schedule, Task, TaskState};
use taskcenter_server::ports::{Advance, InsertedTask, Store};

use super::Fixture;
use super::samples::{PAST, due_at, fire, full_task, keyed, task};
use super::tasks::insert;

async fn stored(store: &dyn Store, task: &Task) -> Task {
    store.task(&task.id).await.unwrap().unwrap()
}

async fn step(store: &dyn Store, advance: &Advance) -> bool {
    let answers = store.advance_tasks(std::slice::from_ref(advance)).await.unwrap();
    assert_eq!(answers.len(), 1);
    answers[0]
}

pub async fn a_step_moves_the_task_and_counts_the_fire(on: &dyn Fixture) {
    let task = keyed("k");
    insert(&*on.one(), &task).await;
    assert!(step(&*on.one(), &fire(&task)).await);
    let moved = Task {
        last_due_at: Some(PAST),
        next_due_at: Some(PAST.plus_ms(60_000)),
        fired_count: 1,
        ..task.clone()
    };
    assert_eq!(stored(&*on.two(), &task).await, moved);
}

pub async fn a_skip_moves_the_task_without_counting_a_fire(on: &dyn Fixture) {
    let task = task();
    insert(&*on.one(), &task).await;
    let to = PAST.plus_ms(600_000);
    let skip =
        Advance { last_due_at: to, next_due_at: Some(to.plus_ms(60_000)), fires: false, ..fire(&task) };
    assert!(step(&*on.one(), &skip).await);
    let moved = stored(&*on.two(), &task).await;
    assert_eq!((moved.last_due_at, moved.next_due_at, moved.fired_count), (Some(to), skip.next_due_at, 0));
}

pub async fn the_last_step_finishes_the_task_and_frees_its_key(on: &dyn Fixture) {
    let task = Task { schedule: Schedule::Once, ..keyed("k") };
    insert(&*on.one(), &task).await;
    assert!(step(&*on.one(), &Advance { next_due_at: None, ..fire(&task) }).await);
    let finished = Task {
        state: TaskState::Finished,
        next_due_at: None,
        last_due_at: Some(PAST),
        fired_count: 1,
        dedup_key: None,
        ..task.clone()
    };
    assert_eq!(stored(&*on.two(), &task).await, finished);
    assert_eq!(insert(&*on.two(), &keyed("k")).await, InsertedTask::New);
}

pub async fn a_repeated_step_is_true_and_counts_once(on: &dyn Fixture) {
    let task = task();
    insert(&*on.one(), &task).await;
    for _ in 0..3 {
        assert!(step(&*on.one(), &fire(&task)).await);
    }
    assert_eq!(stored(&*on.one(), &task).await.fired_count, 1);
}

pub async fn two_concurrent_steps_are_both_true(on: &dyn Fixture) {
    let mut task = task();
    insert(&*on.one(), &task).await;
    for round in 1..=20 {
        let (one, two, advance) = (on.one(), on.two(), fire(&task));
        assert_eq!(tokio::join!(step(&*one, &advance), step(&*two, &advance)), (true, true));
        task = stored(&*on.one(), &task).await;
        assert_eq!(task.fired_count, round);
    }
}

pub async fn a_step_past_an_earlier_moment_is_true(on: &dyn Fixture) {
    let task = task();
    insert(&*on.one(), &task).await;
    let late = fire(&task);
    assert!(step(&*on.one(), &late).await);
    assert!(step(&*on.one(), &fire(&stored(&*on.one(), &task).await)).await);
    assert!(step(&*on.two(), &late).await);
    assert_eq!(stored(&*on.one(), &task).await.fired_count, 2);
}

pub async fn a_step_of_another_revision_is_false(on: &dyn Fixture) {
    let task = Task { rev: 2, ..task() };
    insert(&*on.one(), &task).await;
    assert!(!step(&*on.one(), &Advance { rev: 1, ..fire(&task) }).await);
    assert!(step(&*on.one(), &fire(&task)).await);
    assert!(!step(&*on.one(), &Advance { rev: 1, ..fire(&task) }).await);
}

pub async fn a_step_past_a_future_moment_is_false(on: &dyn Fixture) {
    let now: Moment = on.one().now().await.unwrap();
    let task = due_at(now.plus_ms(60_000));
    insert(&*on.one(), &task).await;
    assert!(!step(&*on.one(), &fire(&task)).await);
    assert_eq!(stored(&*on.one(), &task).await, task);
    let reached = due_at(now);
    insert(&*on.one(), &reached).await;
    assert!(step(&*on.one(), &fire(&reached)).await);
}

pub async fn a_step_of_a_cancelled_task_is_false(on: &dyn Fixture) {
    let task = task();
    insert(&*on.one(), &task).await;
    on.one().cancel_tasks(std::slice::from_ref(&task.id), None, true, PAST).await.unwrap();
    assert!(!step(&*on.two(), &fire(&task)).await);
    let tombstone = stored(&*on.one(), &task).await;
    assert_eq!((tombstone.state, tombstone.fired_count), (TaskState::Cancelled, 0));
}

pub async fn a_step_of_an_unknown_task_is_false(on: &dyn Fixture) {
    assert!(!step(&*on.one(), &fire(&task())).await);
    assert_eq!(on.one().advance_tasks(&[]).await.unwrap(), [] as [bool; 0]);
}

pub async fn the_results_of_many_steps_are_in_order(on: &dyn Fixture) {
    let tasks: Vec<Task> = (0..2_300).map(|n| Task { rev: 1 + n % 2, ..task() }).collect();
    on.one().insert_tasks(tasks.clone()).await;
    let advances: Vec<Advance> = tasks.iter().map(|task| Advance { rev: 1, ..fire(task) }).collect();
    let answers = on.one().advance_tasks(&advances).await.unwrap();
    let expected: Vec<bool> = tasks.iter().map(|task| task.rev == 1).collect();
    assert_eq!(answers, expected);
}

/// The stores that do not call [`Task::stepped`] must have the same result.
pub async fn a_stored_step_equals_the_rule_in_core(on: &dyn Fixture) {
    let full = || Task { state: TaskState::Active, next_due_at: Some(PAST), ..full_task() };
    for fires in [true, false] {
        for (next_due_at, waits) in [(Some(PAST.plus_ms(60_000)), false), (None, false), (None, true)] {
            for task in [task(), full()] {
                insert(&*on.one(), &task).await;
                let nominal_at = next_due_at.and(task.nominal_at).map(|at| at.plus_ms(60_000));
                let last_due_at = PAST.plus_ms(9);
                let advance = Advance { last_due_at, next_due_at, nominal_at, fires, waits, ..fire(&task) };
                assert!(step(&*on.one(), &advance).await);
                assert_eq!(stored(&*on.two(), &task).await, task.stepped(&advance), "{advance:?}");
            }
        }
    }
}
