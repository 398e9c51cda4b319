//! Replacement and cancellation of tasks; idempotency records.

use taskcenter_server::core::task::PastRev;
use taskcenter_server::core::{Task, TaskState};
use taskcenter_server::ports::{Advance, IdempotencyRecord, Page, ReplacedTask, TaskFilter};

use super::Fixture;
use super::samples::{PAST, fire, full_task, keyed, task, unique};
use super::tasks::insert;

fn paused(task: &Task) -> Task {
    Task { state: TaskState::Paused, ..task.next_revision(&[task.rev]) }
}

pub async fn a_task_is_replaced_at_its_position(on: &dyn Fixture) {
    let old = task();
    insert(&*on.one(), &old).await;
    let new = Task { id: old.id.clone(), rev: 2, ..full_task() };
    assert_eq!(on.one().replace_task(&old, &new).await.unwrap(), ReplacedTask::Done);
    assert_eq!(on.two().task(&old.id).await.unwrap(), Some(new));
}

pub async fn a_changed_task_is_not_replaced(on: &dyn Fixture) {
    let old = task();
    insert(&*on.one(), &old).await;
    assert_eq!(on.one().advance_tasks(&[fire(&old)]).await.unwrap(), [true]);
    assert_eq!(on.two().replace_task(&old, &paused(&old)).await.unwrap(), ReplacedTask::Moved);
    let stored = on.one().task(&old.id).await.unwrap().unwrap();
    assert_eq!((stored.state, stored.rev, stored.fired_count), (TaskState::Active, 1, 1));

    on.one().cancel_tasks(std::slice::from_ref(&old.id), None, false, PAST).await.unwrap();
    assert_eq!(on.two().replace_task(&stored, &paused(&stored)).await.unwrap(), ReplacedTask::Moved);
    assert_eq!(
        on.two().replace_task(&task(), &task()).await.unwrap(),
        ReplacedTask::Moved,
        "the task does not exist"
    );
}

pub async fn a_repeated_replacement_is_done(on: &dyn Fixture) {
    let old = keyed("k");
    insert(&*on.one(), &old).await;
    for store in [on.one(), on.two()] {
        assert_eq!(store.replace_task(&old, &paused(&old)).await.unwrap(), ReplacedTask::Done);
    }
}

pub async fn one_of_two_concurrent_replacements_wins(on: &dyn Fixture) {
    for _ in 0..20 {
        let old = task();
        insert(&*on.one(), &old).await;
        let change = |data: &str| Task { data: data.to_owned(), ..old.next_revision(&[]) };
        let (one, two, a, b) = (on.one(), on.two(), change("a"), change("b"));
        let answers = tokio::join!(one.replace_task(&old, &a), two.replace_task(&old, &b));
        let winner = match (answers.0.unwrap(), answers.1.unwrap()) {
            (ReplacedTask::Done, ReplacedTask::Moved) => a,
            (ReplacedTask::Moved, ReplacedTask::Done) => b,
            both => panic!("{both:?}"),
        };
        assert_eq!(on.one().task(&old.id).await.unwrap(), Some(winner));
    }
}

pub async fn a_replacement_cannot_take_the_key_of_a_live_task(on: &dyn Fixture) {
    let (holder, other) = (keyed("k"), keyed("other"));
    insert(&*on.one(), &holder).await;
    insert(&*on.one(), &other).await;
    let change = Task { dedup_key: Some("k".to_owned()), ..other.next_revision(&[]) };
    let key_held = ReplacedTask::KeyHeld(holder.id.clone());
    assert_eq!(on.two().replace_task(&other, &change).await.unwrap(), key_held);
    assert_eq!(on.one().task(&other.id).await.unwrap(), Some(other.clone()));

    on.one().cancel_tasks(std::slice::from_ref(&holder.id), None, true, PAST).await.unwrap();
    assert_eq!(on.two().replace_task(&other, &change).await.unwrap(), ReplacedTask::Done);
}

pub async fn a_step_of_an_earlier_revision_does_not_move_the_task(on: &dyn Fixture) {
    let old = task();
    insert(&*on.one(), &old).await;
    assert_eq!(on.one().advance_tasks(&[fire(&old)]).await.unwrap(), [true]);
    let fired = on.one().task(&old.id).await.unwrap().unwrap();
    let revised = fired.next_revision(&[1]);
    assert_eq!(revised.past, [PastRev { rev: 1, last_due_at: PAST }]);
    assert_eq!(on.one().replace_task(&fired, &revised).await.unwrap(), ReplacedTask::Done);

    assert_eq!(
        on.two().advance_tasks(&[fire(&old)]).await.unwrap(),
        [true],
        "the moment was decided before the change"
    );
    assert_eq!(
        on.two().advance_tasks(&[fire(&fired)]).await.unwrap(),
        [false],
        "the next moment was not decided before the change"
    );
    let current = Advance { rev: 2, ..fire(&fired) };
    assert_eq!(on.two().advance_tasks(&[current]).await.unwrap(), [true]);
}

pub async fn a_hidden_task_is_not_listed(on: &dyn Fixture) {
    let task = Task { name: format!("n{}", unique()), ..task() };
    insert(&*on.one(), &task).await;
    let ids = std::slice::from_ref(&task.id);
    let page = Page { limit: 10, before: None };
    let cancelled = TaskFilter { name: Some(task.name.clone()), state: Some(TaskState::Cancelled) };
    on.one().cancel_tasks(ids, None, false, PAST).await.unwrap();
    assert!(!on.two().task(&task.id).await.unwrap().unwrap().hidden);
    assert_eq!(on.two().list_tasks(&cancelled, &page).await.unwrap().len(), 1);

    assert_eq!(
        on.one().cancel_tasks(ids, None, true, PAST).await.unwrap(),
        ids,
        "a cancelled task can be hidden"
    );
    assert!(on.two().task(&task.id).await.unwrap().unwrap().hidden);
    assert_eq!(on.two().list_tasks(&cancelled, &page).await.unwrap(), []);
    assert_eq!(on.one().cancel_tasks(ids, None, false, PAST).await.unwrap(), ids);
    assert!(on.two().task(&task.id).await.unwrap().unwrap().hidden, "a hidden task stays hidden");
}

pub async fn a_task_is_cancelled_only_at_the_given_revision(on: &dyn Fixture) {
    let (task, other) = (task(), task());
    insert(&*on.one(), &task).await;
    insert(&*on.one(), &other).await;
    let second = task.next_revision(&[]);
    assert_eq!(on.one().replace_task(&task, &second).await.unwrap(), ReplacedTask::Done);
    let ids = [task.id.clone(), other.id.clone()];
    assert_eq!(on.two().cancel_tasks(&ids[..1], Some(1), true, PAST).await.unwrap(), []);
    assert_eq!(on.one().task(&task.id).await.unwrap(), Some(second));
    for hide in [false, true, true] {
        assert_eq!(on.two().cancel_tasks(&ids, Some(2), hide, PAST).await.unwrap(), ids[..1]);
        let tombstone = on.one().task(&task.id).await.unwrap().unwrap();
        assert_eq!((tombstone.state, tombstone.hidden, tombstone.rev), (TaskState::Cancelled, hide, 2));
    }
    assert_eq!(on.two().cancel_tasks(&ids, Some(1), true, PAST).await.unwrap(), ids[1..]);
}

pub async fn the_first_idempotency_record_of_a_key_is_kept(on: &dyn Fixture) {
    let key = format!("tasks:$k.{}", unique());
    let record = |fingerprint: &str, ids: &[&str]| IdempotencyRecord {
        key: key.clone(),
        fingerprint: fingerprint.to_owned(),
        ids: ids.iter().map(ToString::to_string).collect(),
        at: PAST,
    };
    let first = record("f", &["a", "b"]);
    assert_eq!(on.one().insert_idempotency_record(&first).await.unwrap(), first);
    assert_eq!(on.two().insert_idempotency_record(&record("f", &["c", "d"])).await.unwrap(), first);
    assert_eq!(on.two().insert_idempotency_record(&record("g", &[])).await.unwrap(), first);
    for round in 0..20 {
        let key = format!("{key}{round}");
        let record =
            |id: &str| IdempotencyRecord { key: key.clone(), ids: vec![id.to_owned()], ..first.clone() };
        let (one, two, a, b) = (on.one(), on.two(), record("a"), record("b"));
        let (one, two) = tokio::join!(one.insert_idempotency_record(&a), two.insert_idempotency_record(&b));
        assert_eq!(one.unwrap(), two.unwrap(), "both nodes get the same record");
    }
}

pub async fn old_idempotency_records_are_pruned(on: &dyn Fixture) {
    let first = IdempotencyRecord {
        key: "k".to_owned(),
        fingerprint: "f".to_owned(),
        ids: vec!["a".to_owned()],
        at: PAST,
    };
    let later = IdempotencyRecord { ids: vec!["b".to_owned()], ..first.clone() };
    on.one().insert_idempotency_record(&first).await.unwrap();
    on.one().prune(PAST, PAST, 100).await.unwrap();
    assert_eq!(
        on.two().insert_idempotency_record(&later).await.unwrap(),
        first,
        "the record is not old enough"
    );
    on.one().prune(PAST, PAST.plus_ms(1), 100).await.unwrap();
    assert_eq!(on.two().insert_idempotency_record(&later).await.unwrap(), later);
}
