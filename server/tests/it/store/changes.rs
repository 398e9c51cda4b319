//! Replacement and cancellation of tasks; idempotency records.

use std::sync::Arc;

use futures_util::future::join_all;
use taskcenter_server::core::run::Stretch;
use taskcenter_server::core::task::PastRev;
use taskcenter_server::core::{Run, Task, TaskState};
use taskcenter_server::ports::{Advance, Attached, Page, ReplacedTask, Store, TaskFilter, Tombstone};

use super::samples::{PAST, fire, full_task, keyed, task, unique};
use super::tasks::insert;
use super::{Fixture, samples};

fn paused(task: &Task) -> Task {
    Task { state: TaskState::Paused, ..task.next_revision(&[task.rev]) }
}

pub async fn a_task_is_replaced_at_its_position(on: &dyn Fixture) {
    let old = task();
    insert(&*on.one(), &old).await;
    let new = Task { id: old.id.clone(), rev: 2, ..full_task() };
    assert_eq!(on.one().replace_task(&old, &new, Attached::NONE).await.unwrap(), ReplacedTask::Done);
    assert_eq!(on.two().task(&old.id).await.unwrap(), Some(new));
}

pub async fn a_changed_task_is_not_replaced(on: &dyn Fixture) {
    let old = task();
    insert(&*on.one(), &old).await;
    assert_eq!(on.one().advance_tasks(&[fire(&old)]).await.unwrap(), [true]);
    assert_eq!(
        on.two().replace_task(&old, &paused(&old), Attached::NONE).await.unwrap(),
        ReplacedTask::Moved
    );
    let stored = on.one().task(&old.id).await.unwrap().unwrap();
    assert_eq!((stored.state, stored.rev, stored.fired_count), (TaskState::Active, 1, 1));

    on.one().cancel_tasks(std::slice::from_ref(&old.id), None, false, PAST).await.unwrap();
    assert_eq!(
        on.two().replace_task(&stored, &paused(&stored), Attached::NONE).await.unwrap(),
        ReplacedTask::Moved
    );
    assert_eq!(
        on.two().replace_task(&task(), &task(), Attached::NONE).await.unwrap(),
        ReplacedTask::Moved,
        "the task does not exist"
    );
}

/// Returns `task` as the write `write_id` stores it.
fn written(write_id: &str, task: Task) -> Task {
    Task { write_id: Some(write_id.to_owned()), ..task }
}

pub async fn a_repeated_replacement_is_done(on: &dyn Fixture) {
    let old = keyed("k");
    insert(&*on.one(), &old).await;
    let change = written("a", paused(&old));
    for store in [on.one(), on.two()] {
        assert_eq!(store.replace_task(&old, &change, Attached::NONE).await.unwrap(), ReplacedTask::Done);
    }
    on.two().cancel_tasks(std::slice::from_ref(&old.id), None, true, PAST).await.unwrap();
    assert_eq!(
        on.one().replace_task(&old, &change, Attached::NONE).await.unwrap(),
        ReplacedTask::Done,
        "a cancelled task keeps the id of its last change"
    );
}

pub async fn an_equal_replacement_of_another_write_is_not_done(on: &dyn Fixture) {
    let old = task();
    insert(&*on.one(), &old).await;
    let change = paused(&old);
    assert_eq!(on.one().replace_task(&old, &change, Attached::NONE).await.unwrap(), ReplacedTask::Done);
    for equal in [change.clone(), written("b", change.clone())] {
        assert_eq!(on.two().replace_task(&old, &equal, Attached::NONE).await.unwrap(), ReplacedTask::Moved);
    }
    assert_eq!(on.one().latest_task(&old.id).await.unwrap(), Some(change));
}

pub async fn a_replacement_and_its_skipped_row_are_one_write(on: &dyn Fixture) {
    let old = task();
    insert(&*on.one(), &old).await;
    let paused_task = written("a", paused(&old));
    assert_eq!(on.one().replace_task(&old, &paused_task, Attached::NONE).await.unwrap(), ReplacedTask::Done);
    let stretch = Stretch { to: PAST, count: 1 };
    let row = Run::skipped(&paused_task, PAST, stretch, "paused".to_owned(), "", PAST);
    let resumed = |write_id| {
        let next_due_at = Some(PAST.plus_ms(60_000));
        let next = paused_task.next_revision(&[]);
        written(write_id, Task { state: TaskState::Active, last_due_at: Some(PAST), next_due_at, ..next })
    };
    let (stale, next) = (resumed("b"), resumed("c"));
    assert_eq!(
        on.two().replace_task(&old, &stale, Attached::skipping(&row)).await.unwrap(),
        ReplacedTask::Moved
    );
    assert_eq!(on.one().run(&row.id).await.unwrap(), None, "the loser leaves no row");

    for store in [on.one(), on.two()] {
        let replaced = store.replace_task(&paused_task, &next, Attached::skipping(&row)).await.unwrap();
        assert_eq!(replaced, ReplacedTask::Done, "also when it is repeated");
    }
    assert_eq!(on.two().run(&row.id).await.unwrap(), Some(row.clone()));
    assert_eq!(on.two().task(&old.id).await.unwrap(), Some(next.clone()));

    let again = written("d", next.next_revision(&[]));
    assert_eq!(
        on.one().replace_task(&next, &again, Attached::skipping(&row)).await.unwrap(),
        ReplacedTask::Moved
    );
    assert_eq!(on.two().task(&old.id).await.unwrap(), Some(next), "the row exists, so nothing changes");
}

pub async fn a_replacement_and_its_answer_are_one_write(on: &dyn Fixture) {
    let live = keyed("k");
    insert(&*on.one(), &live).await;
    let answer = keyed("k").standing_for(live.id.clone());
    let rows = Attached { answer: Some(&answer), ..Attached::NONE };
    let next = written("a", live.next_revision(&[]));
    let stale = Task { rev: live.rev + 7, ..live.clone() };
    assert_eq!(on.two().replace_task(&stale, &next, rows).await.unwrap(), ReplacedTask::Moved);
    assert_eq!(on.one().task(&answer.id).await.unwrap(), None, "the loser leaves no answer");
    for store in [on.one(), on.two()] {
        assert_eq!(
            store.replace_task(&live, &next, rows).await.unwrap(),
            ReplacedTask::Done,
            "also repeated"
        );
    }
    let kept = on.two().task(&answer.id).await.unwrap().unwrap();
    assert_eq!(
        (kept.stands_for.as_ref(), kept.hidden, kept.state),
        (Some(&live.id), true, TaskState::Cancelled)
    );

    let again = written("b", next.next_revision(&[]));
    assert_eq!(on.one().replace_task(&next, &again, rows).await.unwrap(), ReplacedTask::Answered);
    assert_eq!(on.two().task(&live.id).await.unwrap(), Some(next), "the answer exists, so nothing changes");
}

pub async fn one_of_many_calls_ends_a_task(on: &dyn Fixture) {
    for hide in [false, true] {
        for _ in 0..20 {
            let task = task();
            insert(&*on.one(), &task).await;
            let ids = std::slice::from_ref(&task.id);
            let (one, two) = (on.one(), on.two());
            let end = |store: Arc<dyn Store>| async move { store.cancel_tasks(ids, None, hide, PAST).await };
            let answers = join_all((0..6).map(|n| end(if n % 2 == 0 { one.clone() } else { two.clone() })));
            let answers: Vec<Tombstone> = answers.await.into_iter().flat_map(Result::unwrap).collect();
            let new = answers.iter().filter(|tombstone| tombstone.is_new).count();
            assert_eq!((answers.len(), new), (6, 1), "{answers:?}");
        }
    }
}

pub async fn one_of_two_concurrent_replacements_wins(on: &dyn Fixture) {
    for _ in 0..20 {
        let old = task();
        insert(&*on.one(), &old).await;
        let change = |data: &str| Task { data: data.to_owned(), ..old.next_revision(&[]) };
        let (one, two, a, b) = (on.one(), on.two(), change("a"), change("b"));
        let answers = tokio::join!(
            one.replace_task(&old, &a, Attached::NONE),
            two.replace_task(&old, &b, Attached::NONE)
        );
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
    assert_eq!(on.two().replace_task(&other, &change, Attached::NONE).await.unwrap(), key_held);
    assert_eq!(on.one().task(&other.id).await.unwrap(), Some(other.clone()));

    on.one().cancel_tasks(std::slice::from_ref(&holder.id), None, true, PAST).await.unwrap();
    assert_eq!(on.two().replace_task(&other, &change, Attached::NONE).await.unwrap(), ReplacedTask::Done);
}

pub async fn a_step_of_an_earlier_revision_does_not_move_the_task(on: &dyn Fixture) {
    let old = task();
    insert(&*on.one(), &old).await;
    assert_eq!(on.one().advance_tasks(&[fire(&old)]).await.unwrap(), [true]);
    let fired = on.one().task(&old.id).await.unwrap().unwrap();
    let revised = fired.next_revision(&[1]);
    assert_eq!(revised.past, [PastRev { rev: 1, last_due_at: PAST }]);
    assert_eq!(on.one().replace_task(&fired, &revised, Attached::NONE).await.unwrap(), ReplacedTask::Done);

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
    let cancelled =
        TaskFilter { name: Some(task.name.clone()), state: Some(TaskState::Cancelled), label: None };
    on.one().cancel_tasks(ids, None, false, PAST).await.unwrap();
    assert!(!on.two().task(&task.id).await.unwrap().unwrap().hidden);
    assert_eq!(on.two().list_tasks(&cancelled, &page).await.unwrap().len(), 1);

    assert_eq!(
        on.one().cancel_tasks(ids, None, true, PAST).await.unwrap(),
        [Tombstone { id: task.id.clone(), is_new: true }],
        "a cancelled task can be hidden"
    );
    assert!(on.two().task(&task.id).await.unwrap().unwrap().hidden);
    assert_eq!(on.two().list_tasks(&cancelled, &page).await.unwrap(), []);
    let again = on.one().cancel_tasks(ids, None, false, PAST).await.unwrap();
    assert_eq!(again, [Tombstone { id: task.id.clone(), is_new: false }]);
    assert!(on.two().task(&task.id).await.unwrap().unwrap().hidden, "a hidden task stays hidden");
}

pub async fn a_task_is_cancelled_only_at_the_given_revision(on: &dyn Fixture) {
    let (task, other) = (task(), task());
    insert(&*on.one(), &task).await;
    insert(&*on.one(), &other).await;
    let second = task.next_revision(&[]);
    assert_eq!(on.one().replace_task(&task, &second, Attached::NONE).await.unwrap(), ReplacedTask::Done);
    let ids = [task.id.clone(), other.id.clone()];
    assert_eq!(on.two().cancel_tasks(&ids[..1], Some(1), true, PAST).await.unwrap(), []);
    assert_eq!(on.one().task(&task.id).await.unwrap(), Some(second));
    for hide in [false, true, true] {
        let tombstones = on.two().cancel_tasks(&ids, Some(2), hide, PAST).await.unwrap();
        assert_eq!(samples::ids(tombstones), ids[..1]);
        let tombstone = on.one().task(&task.id).await.unwrap().unwrap();
        assert_eq!((tombstone.state, tombstone.hidden, tombstone.rev), (TaskState::Cancelled, hide, 2));
    }
    let tombstones = on.two().cancel_tasks(&ids, Some(1), true, PAST).await.unwrap();
    assert_eq!(samples::ids(tombstones), ids[1..]);
}
