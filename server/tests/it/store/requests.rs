//! Requests with an idempotency key: the record and the tasks.

use futures_util::future::join_all;
use taskcenter_server::core::{Task, TaskId};
use taskcenter_server::ports::{IdempotencyRecord, InsertedRequest, InsertedTask, Store};

use super::Fixture;
use super::samples::{PAST, fire, keyed, task, unique};
use super::tasks::insert;

/// Returns the record of a request that creates these tasks.
pub fn record(key: &str, fingerprint: &str, tasks: &[Task]) -> IdempotencyRecord {
    IdempotencyRecord {
        key: key.to_owned(),
        fingerprint: fingerprint.to_owned(),
        ids: tasks.iter().map(|task| task.id.to_string()).collect(),
        at: PAST,
    }
}

/// Inserts a request. Returns the result for each task, or the record of another request.
pub async fn insert_request(
    store: &dyn Store,
    record: &IdempotencyRecord,
    tasks: &[Task],
) -> Result<Vec<InsertedTask>, IdempotencyRecord> {
    match store.insert_request(record, tasks).await.unwrap() {
        InsertedRequest::New(inserted) => Ok(inserted.into_iter().map(|task| task.unwrap()).collect()),
        InsertedRequest::Known(stored) => Err(stored),
    }
}

async fn stored_ids(store: &dyn Store, tasks: &[Task]) -> Vec<TaskId> {
    let ids: Vec<TaskId> = tasks.iter().map(|task| task.id.clone()).collect();
    let mut stored: Vec<TaskId> =
        store.tasks(&ids).await.unwrap().rows.into_iter().map(|task| task.id).collect();
    stored.sort();
    stored
}

pub async fn a_request_stores_its_record_and_its_tasks(on: &dyn Fixture) {
    let key = format!("tasks:$k.{}", unique());
    let tasks = [task(), task()];
    let first = record(&key, "f", &tasks);
    assert_eq!(on.two().idempotency_record(&key).await.unwrap(), None);
    assert_eq!(insert_request(&*on.one(), &first, &tasks).await, Ok(vec![InsertedTask::New; 2]));
    assert_eq!(on.two().idempotency_record(&key).await.unwrap(), Some(first));
    for task in tasks {
        assert_eq!(on.two().task(&task.id).await.unwrap(), Some(task));
    }
    let none = record(&format!("{key}none"), "f", &[task()]);
    assert_eq!(insert_request(&*on.one(), &none, &[]).await, Ok(vec![]), "a request without tasks");
    assert_eq!(on.two().idempotency_record(&none.key).await.unwrap(), Some(none));
}

pub async fn a_second_request_with_a_key_stores_nothing(on: &dyn Fixture) {
    let tasks = [task()];
    let first = record("k", "f", &tasks);
    assert_eq!(insert_request(&*on.one(), &first, &tasks).await, Ok(vec![InsertedTask::New]));
    for fingerprint in ["f", "g"] {
        let other = [task(), keyed("free")];
        let second = record("k", fingerprint, &other);
        assert_eq!(insert_request(&*on.two(), &second, &other).await, Err(first.clone()));
        assert_eq!(stored_ids(&*on.one(), &other).await, []);
    }
    assert_eq!(insert_request(&*on.two(), &record("k", "g", &[]), &[]).await, Err(first.clone()));
    assert_eq!(on.one().idempotency_record("k").await.unwrap(), Some(first));
    assert_eq!(insert(&*on.one(), &keyed("free")).await, InsertedTask::New);
}

/// The answer to the first call was lost, after the record or after some of the tasks were stored.
pub async fn a_repeated_insert_of_a_request_stores_the_missing_tasks(on: &dyn Fixture) {
    for stored in 0..=2 {
        let tasks = [task(), task()];
        let request = record(&format!("k{stored}"), "f", &tasks);
        assert_eq!(insert_request(&*on.one(), &request, &tasks[..stored]).await.unwrap().len(), stored);
        for task in &tasks[..stored] {
            assert_eq!(on.one().advance_tasks(&[fire(task)]).await.unwrap(), [true]);
        }
        for _ in 0..2 {
            assert_eq!(insert_request(&*on.two(), &request, &tasks).await, Ok(vec![InsertedTask::New; 2]));
        }
        for (at, task) in tasks.iter().enumerate() {
            let fires = on.one().task(&task.id).await.unwrap().unwrap().fired_count;
            assert_eq!(fires, u64::from(at < stored), "a stored task does not change");
        }
    }
}

pub async fn one_of_two_concurrent_requests_with_a_key_wins(on: &dyn Fixture) {
    for round in 0..20 {
        let key = format!("k{round}");
        let (a, b) = ([task(), task()], [task(), task()]);
        let (of_a, of_b) = (record(&key, "f", &a), record(&key, "f", &b));
        let (one, two) = (on.one(), on.two());
        let answers = tokio::join!(insert_request(&*one, &of_a, &a), insert_request(&*two, &of_b, &b));
        let ((winner, inserted), (loser, known)) = match &answers {
            (Ok(inserted), Err(known)) => ((&a, inserted), (&b, known)),
            (Err(known), Ok(inserted)) => ((&b, inserted), (&a, known)),
            both => panic!("{both:?}"),
        };
        assert_eq!((inserted.len(), known), (2, &record(&key, "f", winner)));
        assert_eq!(stored_ids(&*one, winner).await.len(), 2);
        assert_eq!(stored_ids(&*one, loser).await, []);
    }
}

pub async fn a_task_of_a_request_can_have_the_dedup_key_of_another_task(on: &dyn Fixture) {
    let holder = keyed("k");
    assert_eq!(insert(&*on.one(), &holder).await, InsertedTask::New);
    let tasks = [keyed("k"), task(), keyed("other"), keyed("other")];
    let request = record("request", "f", &tasks);
    let inserted = insert_request(&*on.two(), &request, &tasks).await.unwrap();
    assert_eq!(inserted[..2], [InsertedTask::Existing(holder.id), InsertedTask::New]);
    let [live] = &*stored_ids(&*on.one(), &tasks[2..]).await else { panic!("{inserted:?}") };
    let expected = |task: &Task| {
        if task.id == *live { InsertedTask::New } else { InsertedTask::Existing(live.clone()) }
    };
    assert_eq!(inserted[2..], [expected(&tasks[2]), expected(&tasks[3])]);
    assert_eq!(stored_ids(&*on.one(), &tasks[..2]).await, [tasks[1].id.clone()]);
    assert_eq!(on.one().idempotency_record("request").await.unwrap(), Some(request));
}

pub async fn many_concurrent_requests_are_all_stored(on: &dyn Fixture) {
    let store = on.one();
    let tasks: Vec<[Task; 1]> = (0..500).map(|_| [task()]).collect();
    let records: Vec<IdempotencyRecord> =
        tasks.iter().zip(0..).map(|(task, n)| record(&format!("k{}", n % 400), "f", task)).collect();
    let inserts = records.iter().zip(&tasks).map(|(record, task)| insert_request(&*store, record, task));
    let answers = join_all(inserts).await;
    for ((answer, record), task) in answers.iter().zip(&records).zip(&tasks) {
        let first = on.two().idempotency_record(&record.key).await.unwrap().unwrap();
        match answer {
            Ok(inserted) => assert_eq!((inserted.as_slice(), &first), (&[InsertedTask::New][..], record)),
            Err(known) => assert_eq!(known, &first),
        }
        assert_eq!(stored_ids(&*on.two(), task).await.len(), usize::from(answer.is_ok()));
    }
    assert_eq!(answers.iter().filter(|answer| answer.is_ok()).count(), 400);
}

pub async fn old_idempotency_records_are_pruned(on: &dyn Fixture) {
    let (first, later) = (record("k", "f", &[task()]), record("k", "f", &[task()]));
    assert_eq!(insert_request(&*on.one(), &first, &[]).await, Ok(vec![]));
    on.one().prune(PAST, PAST, 100).await.unwrap();
    let known = insert_request(&*on.two(), &later, &[]).await;
    assert_eq!(known, Err(first), "the record is not old enough");
    on.one().prune(PAST, PAST.plus_ms(1), 100).await.unwrap();
    assert_eq!(insert_request(&*on.two(), &later, &[]).await, Ok(vec![]));
}
