//! Requests that are carried out once.

use taskcenter_server::core::submission::{Dedup, Submission};
use taskcenter_server::core::task::TaskId;
use taskcenter_server::engine::service::{IdempotencyKey, Result, ServiceError, Submitted};
use taskcenter_server::ports::IdempotencyRecord;

use super::{NOW, Stage};

fn plain(data: &str) -> Submission {
    Submission { dedup: Dedup::Nothing, ..Submission::named("once", data) }
}

fn key(key: &str, fingerprint: &str) -> IdempotencyKey {
    IdempotencyKey { key: key.to_owned(), fingerprint: fingerprint.to_owned() }
}

fn ids(answers: Vec<Result<Submitted>>) -> Vec<TaskId> {
    answers.into_iter().map(|answer| answer.unwrap().id).collect()
}

pub async fn a_request_sent_again_names_the_same_tasks(on: &Stage) {
    let send = async |name: Option<IdempotencyKey>| {
        ids(on.service.submit_idempotent(vec![plain("a"), plain("b")], name).await.unwrap())
    };
    let first = send(Some(key("k", "f"))).await;
    assert_eq!(send(Some(key("k", "f"))).await, first);
    assert_ne!(send(Some(key("other", "f"))).await, first);
    assert_ne!(send(None).await, send(None).await);
    assert_eq!(on.store.tasks(&first).await.unwrap().len(), 2);
    on.service.delete(&first).await.unwrap();
    assert_eq!(send(Some(key("k", "f"))).await, first, "it brings nothing back");
    assert!(matches!(on.service.task(&first[0]).await, Err(ServiceError::NotFound)));
}

pub async fn a_request_that_broke_off_is_completed(on: &Stage) {
    // The process died after the ids were written down, and before the second task was stored.
    let promised =
        [on.submit(plain("a")).await, TaskId::new(uuid::Uuid::from_u128(crate::store::samples::unique()))];
    let begun = IdempotencyRecord {
        key: "tasks:k".to_owned(),
        fingerprint: "f".to_owned(),
        ids: promised.iter().map(ToString::to_string).collect(),
        at: NOW,
    };
    on.store.insert_idempotency_record(&begun).await.unwrap();
    let answers =
        on.service.submit_idempotent(vec![plain("a"), plain("b")], Some(key("k", "f"))).await.unwrap();
    assert_eq!(ids(answers), promised);
    assert_eq!(on.store.task(&promised[1]).await.unwrap().unwrap().data, "b");
}

pub async fn a_key_with_another_request_is_refused(on: &Stage) {
    on.service.submit_idempotent(vec![plain("a")], Some(key("k", "f"))).await.unwrap();
    let refused = on.service.submit_idempotent(vec![plain("b")], Some(key("k", "g"))).await;
    assert!(matches!(refused, Err(ServiceError::KeyReused)), "{refused:?}");
}

pub async fn one_bad_task_of_a_batch_is_its_own_business(on: &Stage) {
    let batch = vec![plain("a"), Submission::named(" ", ""), plain("b")];
    let answers = on.service.submit_idempotent(batch, None).await.unwrap();
    let good: Vec<bool> = answers.iter().map(Result::is_ok).collect();
    assert_eq!(good, [true, false, true]);
    let stored = on.store.task(&answers[2].as_ref().unwrap().id).await.unwrap().unwrap();
    assert_eq!((stored.data.as_str(), stored.queue.as_deref()), ("b", Some("once")));
}

pub async fn a_request_sent_again_is_not_judged_again(on: &Stage) {
    let ends = |data: &str| Submission { end_at: Some(NOW.plus_ms(5_000)), ..plain(data) };
    let send =
        async || on.service.submit_idempotent(vec![ends("a"), ends(" ")], Some(key("k", "f"))).await.unwrap();
    let first = ids(send().await);
    on.clock.set(NOW.plus_ms(60_000));
    assert_eq!(ids(send().await), first, "its answer was lost, and then its end came");
    let late = on.service.submit_idempotent(vec![ends("a")], Some(key("other", "f"))).await.unwrap();
    assert!(matches!(late[..], [Err(ServiceError::Invalid(_))]), "{late:?}");
}
