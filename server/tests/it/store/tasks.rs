//! Tasks: insert, read, list, cancel.

use futures_util::future::join_all;
use taskcenter_server::core::task::SHARDS;
use taskcenter_server::core::{Task, TaskId, TaskState};
use taskcenter_server::ports::{
    Advance, Attached, InsertedTask, Order, Page, ReplacedTask, Result, Store, TaskFilter, Tombstone,
};

use super::Fixture;
use super::labels::labelled;
use super::samples::{PAST, due_at, fire, full_task, ids, keyed, task, task_id, unique};

pub async fn insert(store: &dyn Store, task: &Task) -> InsertedTask {
    store.insert_tasks(vec![task.clone()]).await.pop().unwrap().unwrap()
}

fn named(name: &str) -> TaskFilter {
    TaskFilter { name: Some(name.to_owned()), ..TaskFilter::default() }
}

fn unwrap_all(answers: Vec<Result<InsertedTask>>) -> Vec<InsertedTask> {
    answers.into_iter().map(|answer| answer.unwrap()).collect()
}

pub async fn a_task_is_read_back_as_it_was_stored(on: &dyn Fixture) {
    for task in [task(), full_task()] {
        assert_eq!(insert(&*on.one(), &task).await, InsertedTask::New);
        assert_eq!(on.two().task(&task.id).await.unwrap(), Some(task));
    }
    assert_eq!(on.one().task(&task_id()).await.unwrap(), None);
    assert_eq!(on.one().tasks(&[]).await.unwrap().rows, []);
}

pub async fn inserting_a_task_again_changes_nothing(on: &dyn Fixture) {
    let task = keyed("k");
    assert_eq!(insert(&*on.one(), &task).await, InsertedTask::New);
    assert_eq!(on.one().advance_tasks(&[fire(&task)]).await.unwrap(), [true]);
    assert_eq!(insert(&*on.two(), &task).await, InsertedTask::New);
    assert_eq!(on.one().task(&task.id).await.unwrap().unwrap().fired_count, 1);
}

pub async fn a_second_task_with_a_key_gets_the_id_of_the_first(on: &dyn Fixture) {
    let (first, second) = (keyed("k"), keyed("k"));
    assert_eq!(insert(&*on.one(), &first).await, InsertedTask::New);
    assert_eq!(insert(&*on.two(), &second).await, InsertedTask::Existing(first.id));
    assert_eq!(on.one().task(&second.id).await.unwrap(), None);
    // Tasks without a key do not conflict.
    assert_eq!(unwrap_all(on.one().insert_tasks(vec![task(), task()]).await), vec![InsertedTask::New; 2]);
}

/// The numbers of tasks are below, at and above the sizes of shared statements.
pub async fn many_tasks_are_inserted_once(on: &dyn Fixture) {
    let holder = keyed("k");
    assert_eq!(insert(&*on.one(), &holder).await, InsertedTask::New);
    for count in [1, 24, 25, 26, 60] {
        let mut tasks: Vec<Task> = (0..count).map(|_| task()).collect();
        for kind in 0..3 {
            let mut expected = vec![InsertedTask::New; count];
            match kind {
                1 => tasks.push(labelled(&[("team", "pay")])),
                2 => tasks.push(keyed("k")),
                _ => {}
            }
            expected.resize(tasks.len(), InsertedTask::New);
            if kind == 2 {
                expected[tasks.len() - 1] = InsertedTask::Existing(holder.id.clone());
            }
            // The second insert is a repetition.
            for _ in 0..2 {
                assert_eq!(unwrap_all(on.one().insert_tasks(tasks.clone()).await), expected);
            }
            let stored = on.two().tasks(&tasks.iter().map(|task| task.id.clone()).collect::<Vec<_>>()).await;
            tasks.retain(|task| task.dedup_key.is_none());
            assert_eq!(stored.unwrap().rows, tasks);
        }
    }
}

pub async fn two_nodes_that_insert_one_key_agree_on_one_task(on: &dyn Fixture) {
    for round in 0..20 {
        let key = format!("k{round}");
        let (a, b) = (keyed(&key), keyed(&key));
        let (one, two) = (on.one(), on.two());
        let answers = tokio::join!(insert(&*one, &a), insert(&*two, &b));
        match answers {
            (InsertedTask::New, InsertedTask::Existing(id)) => assert_eq!(id, a.id),
            (InsertedTask::Existing(id), InsertedTask::New) => assert_eq!(id, b.id),
            both => panic!("{both:?}"),
        }
    }
}

pub async fn one_task_per_key_of_a_batch_is_stored(on: &dyn Fixture) {
    let tasks: Vec<Task> = (0..20).map(|n| keyed(if n % 2 == 0 { "even" } else { "odd" })).collect();
    let answers = unwrap_all(on.one().insert_tasks(tasks.clone()).await);
    for parity in [0, 1] {
        let of_key = || tasks.iter().zip(&answers).skip(parity).step_by(2);
        let winners: Vec<&Task> =
            of_key().filter(|(_, answer)| **answer == InsertedTask::New).map(|(task, _)| task).collect();
        assert_eq!(winners.len(), 1, "{answers:?}");
        let existing = InsertedTask::Existing(winners[0].id.clone());
        assert_eq!(of_key().filter(|(_, answer)| **answer == existing).count(), 9, "{answers:?}");
    }
}

pub async fn a_key_is_free_after_its_task_is_cancelled(on: &dyn Fixture) {
    let first = keyed("k");
    insert(&*on.one(), &first).await;
    assert_eq!(
        on.one().cancel_tasks(std::slice::from_ref(&first.id), None, true, PAST).await.unwrap(),
        [Tombstone { id: first.id, is_new: true }]
    );
    assert_eq!(insert(&*on.two(), &keyed("k")).await, InsertedTask::New);
}

pub async fn a_live_task_is_read_by_its_key(on: &dyn Fixture) {
    let live = keyed("k");
    let key = live.dedup_key.clone().unwrap();
    assert_eq!(on.one().task_by_key(&key).await.unwrap(), None);
    insert(&*on.one(), &live).await;
    assert_eq!(on.two().task_by_key(&key).await.unwrap(), Some(live.clone()));
    assert_eq!(on.two().task_by_key("another").await.unwrap(), None);
    let renamed = Task { dedup_key: Some("another".to_owned()), ..live.next_revision(&[]) };
    assert_eq!(on.one().replace_task(&live, &renamed, Attached::NONE).await.unwrap(), ReplacedTask::Done);
    assert_eq!(on.two().task_by_key(&key).await.unwrap(), None);
    assert_eq!(on.two().task_by_key("another").await.unwrap(), Some(renamed));
    on.one().cancel_tasks(std::slice::from_ref(&live.id), None, false, PAST).await.unwrap();
    assert_eq!(on.two().task_by_key("another").await.unwrap(), None, "a tombstone is not live");
}

pub async fn many_concurrent_inserts_are_all_stored(on: &dyn Fixture) {
    let tasks: Vec<Task> = (0..2_500).map(|_| task()).collect();
    let store = on.one();
    let answers = join_all(tasks.iter().map(|task| insert(&*store, task))).await;
    assert!(answers.iter().all(|answer| *answer == InsertedTask::New));
    let ids: Vec<TaskId> = tasks.iter().map(|task| task.id.clone()).collect();
    assert_eq!(on.two().tasks(&ids).await.unwrap().rows.len(), tasks.len());
}

pub async fn a_cancelled_task_stays_as_a_tombstone(on: &dyn Fixture) {
    let task = keyed("k");
    insert(&*on.one(), &task).await;
    on.one().cancel_tasks(std::slice::from_ref(&task.id), None, false, PAST).await.unwrap();
    let tombstone = on.two().task(&task.id).await.unwrap().unwrap();
    let expected = Task { state: TaskState::Cancelled, next_due_at: None, dedup_key: None, ..task.clone() };
    assert_eq!(tombstone, expected);
    let page = Page { limit: 10, before: None };
    assert_eq!(on.one().list_tasks(&named(&task.name), &page).await.unwrap(), []);
    assert_eq!(on.one().due_tasks(&[task.id.shard()], PAST, 10, Order::Earliest).await.unwrap().rows, []);
}

pub async fn cancelling_returns_the_ids_of_tombstones(on: &dyn Fixture) {
    let (cancelled, live) = (task(), task());
    on.one().insert_tasks(vec![cancelled.clone(), live.clone()]).await;
    on.one().cancel_tasks(std::slice::from_ref(&cancelled.id), None, true, PAST).await.unwrap();
    let all = [cancelled.id.clone(), live.id.clone(), task_id()];
    let mut both = [live.id, cancelled.id];
    both.sort();
    for _ in 0..2 {
        let mut tombstones = ids(on.two().cancel_tasks(&all, None, true, PAST).await.unwrap());
        tombstones.sort();
        assert_eq!(tombstones, both, "a repeated call, after a lost answer, returns the same ids");
    }
    assert_eq!(on.two().cancel_tasks(&[], None, true, PAST).await.unwrap(), []);
}

pub async fn tasks_of_a_name_are_listed_in_pages_newest_first(on: &dyn Fixture) {
    let name = format!("name {}", unique());
    let tasks: Vec<Task> = (0..5).map(|_| Task { name: name.clone(), ..task() }).collect();
    on.one().insert_tasks(tasks.clone()).await;
    insert(&*on.one(), &task()).await;
    on.one().cancel_tasks(std::slice::from_ref(&tasks[2].id), None, true, PAST).await.unwrap();
    let finishing = last_step(&tasks[4]);
    assert_eq!(on.one().advance_tasks(&[finishing]).await.unwrap(), [true]);

    let mut expected: Vec<TaskId> = [0, 1, 3, 4].map(|n: usize| tasks[n].id.clone()).to_vec();
    expected.sort();
    expected.reverse();
    let page = |before| Page { limit: 3, before };
    let ids = |tasks: Vec<Task>| tasks.into_iter().map(|task| task.id).collect::<Vec<_>>();
    let first = ids(on.two().list_tasks(&named(&name), &page(None)).await.unwrap());
    assert_eq!(first, expected[..3]);
    let second = ids(on.two().list_tasks(&named(&name), &page(first.last().cloned())).await.unwrap());
    assert_eq!(second, expected[3..]);
    let nothing = Page { limit: 0, before: None };
    assert_eq!(on.two().list_tasks(&named(&name), &nothing).await.unwrap(), []);
}

fn last_step(task: &Task) -> Advance {
    Advance { next_due_at: None, ..fire(task) }
}

pub async fn due_tasks_are_active_tasks_of_the_shards_soonest_first(on: &dyn Fixture) {
    let tasks: Vec<Task> = (0..200).map(|n| due_at(PAST.plus_ms(n * 7 % 200))).collect();
    let paused = Task { state: TaskState::Paused, ..task() };
    on.one().insert_tasks(tasks.iter().cloned().chain([paused]).collect()).await;
    on.one().cancel_tasks(std::slice::from_ref(&tasks[0].id), None, true, PAST).await.unwrap();

    let shards: Vec<u16> = (0..SHARDS).filter(|shard| shard % 3 != 0).collect();
    let until = PAST.plus_ms(150);
    let mut expected: Vec<_> = tasks[1..]
        .iter()
        .filter(|task| shards.contains(&task.id.shard()) && task.next_due_at.unwrap() <= until)
        .map(|task| task.next_due_at.unwrap())
        .collect();
    expected.sort();
    let found = async |limit, order| {
        let tasks = on.two().due_tasks(&shards, until, limit, order).await.unwrap().rows;
        tasks.into_iter().map(|task| task.next_due_at.unwrap()).collect::<Vec<_>>()
    };
    assert_eq!(found(1_000, Order::Earliest).await, expected);
    assert_eq!(found(10, Order::Earliest).await, expected[..10]);
    assert!(found(0, Order::Earliest).await.is_empty());
    let latest: Vec<_> = expected.iter().rev().take(10).copied().collect();
    assert_eq!(found(10, Order::Latest).await, latest);
    assert_eq!(on.two().due_tasks(&[], until, 10, Order::Earliest).await.unwrap().rows, []);
}

/// The stores that do not call [`Task::tombstone`] must have the same result.
pub async fn a_stored_tombstone_equals_the_rule_in_core(on: &dyn Fixture) {
    for hide in [false, true] {
        for task in [task(), full_task()] {
            insert(&*on.one(), &task).await;
            on.one().cancel_tasks(std::slice::from_ref(&task.id), None, hide, PAST).await.unwrap();
            assert_eq!(on.two().task(&task.id).await.unwrap(), Some(task.tombstone(hide)));
        }
    }
}
