//! Requests with an idempotency key.

use taskcenter_server::core::access::Grant;
use taskcenter_server::core::submission::{Dedup, Submission};
use taskcenter_server::core::task::TaskId;
use taskcenter_server::engine::service::{Caller, IdempotencyKey, Result, Service, ServiceError, Submitted};
use taskcenter_server::ports::IdempotencyRecord;

use super::interleaving::Pause;
use super::{NOW, Stage};
use crate::store::requests::insert_request;

fn plain(data: &str) -> Submission {
    Submission { dedup: Dedup::Nothing, ..Submission::named("once", data) }
}

fn key(key: &str, fingerprint: &str) -> IdempotencyKey {
    IdempotencyKey { key: key.to_owned(), fingerprint: fingerprint.to_owned() }
}

fn ids(answers: Vec<Result<Submitted>>) -> Vec<TaskId> {
    answers.into_iter().map(|answer| answer.unwrap().id).collect()
}

pub async fn a_repeated_request_returns_the_same_tasks(on: &Stage) {
    let send = async |name: Option<IdempotencyKey>| {
        ids(on.service.submit_idempotent(vec![plain("a"), plain("b")], name).await.unwrap())
    };
    let first = send(Some(key("k", "f"))).await;
    assert_eq!(send(Some(key("k", "f"))).await, first);
    assert_ne!(send(Some(key("other", "f"))).await, first);
    assert_ne!(send(None).await, send(None).await);
    assert_eq!(on.store.tasks(&first).await.unwrap().rows.len(), 2);
    on.service.delete(&first).await.unwrap();
    assert_eq!(send(Some(key("k", "f"))).await, first, "the request does not restore deleted tasks");
    assert!(matches!(on.service.task(&first[0]).await, Err(ServiceError::NotFound)));
}

pub async fn an_interrupted_request_is_completed(on: &Stage) {
    // The process died after the ids were stored, and before the second task was stored.
    let recorded =
        [on.submit(plain("a")).await, TaskId::new(uuid::Uuid::from_u128(crate::store::samples::unique()))];
    let record = IdempotencyRecord {
        key: "tasks:node:k".to_owned(),
        fingerprint: "f".to_owned(),
        ids: recorded.iter().map(ToString::to_string).collect(),
        at: NOW,
    };
    assert_eq!(insert_request(&*on.store, &record, &[]).await, Ok(vec![]));
    let answers =
        on.service.submit_idempotent(vec![plain("a"), plain("b")], Some(key("k", "f"))).await.unwrap();
    assert_eq!(ids(answers), recorded);
    assert_eq!(on.store.task(&recorded[1]).await.unwrap().unwrap().data, "b");
}

pub async fn a_key_of_another_request_is_refused(on: &Stage) {
    on.service.submit_idempotent(vec![plain("a")], Some(key("k", "f"))).await.unwrap();
    let refused = on.service.submit_idempotent(vec![plain("b")], Some(key("k", "g"))).await;
    assert!(matches!(refused, Err(ServiceError::KeyReused)), "{refused:?}");
}

pub async fn an_invalid_task_does_not_affect_the_rest_of_its_batch(on: &Stage) {
    let batch = vec![plain("a"), Submission::named(" ", ""), plain("b")];
    let answers = on.service.submit_idempotent(batch, None).await.unwrap();
    let accepted: Vec<bool> = answers.iter().map(Result::is_ok).collect();
    assert_eq!(accepted, [true, false, true]);
    let stored = on.store.task(&answers[2].as_ref().unwrap().id).await.unwrap().unwrap();
    assert_eq!((stored.data.as_str(), stored.queue.as_deref()), ("b", Some("once")));
}

pub async fn a_repeated_request_is_not_validated_again(on: &Stage) {
    let ending = |data: &str| Submission { end_at: Some(NOW.plus_ms(5_000)), ..plain(data) };
    let send = async || {
        on.service.submit_idempotent(vec![ending("a"), ending(" ")], Some(key("k", "f"))).await.unwrap()
    };
    let first = ids(send().await);
    on.clock.set(NOW.plus_ms(60_000));
    assert_eq!(ids(send().await), first, "the end of the tasks passed before the repeat");
    let late = on.service.submit_idempotent(vec![ending("a")], Some(key("other", "f"))).await.unwrap();
    assert!(matches!(late[..], [Err(ServiceError::Invalid(_))]), "{late:?}");
}

pub async fn callers_do_not_share_keys(on: &Stage) {
    let caller = |id: &str| {
        on.service.for_caller(Caller { id: id.to_owned(), grant: Grant::everything(), ..Caller::anonymous() })
    };
    let (one, other) = (caller("one"), caller("other"));
    let first = ids(one.submit_idempotent(vec![plain("a")], Some(key("k", "f"))).await.unwrap());
    let second = ids(other.submit_idempotent(vec![plain("b")], Some(key("k", "g"))).await.unwrap());
    assert_ne!(first, second);
    assert_eq!(ids(one.submit_idempotent(vec![plain("a")], Some(key("k", "f"))).await.unwrap()), first);
    let shared = ids(one.submit_once(vec![plain("c")], key("k", "h")).await.unwrap());
    assert_eq!(ids(other.submit_once(vec![plain("c")], key("k", "h")).await.unwrap()), shared);
}

pub async fn a_refused_request_leaves_nothing(on: &Stage) {
    let invalid = || vec![Submission::named(" ", "")];
    for n in 0..100 {
        let refused =
            on.service.submit_idempotent(invalid(), Some(key(&format!("k{n}"), "f"))).await.unwrap();
        assert!(matches!(refused[..], [Err(ServiceError::Invalid(_))]), "{refused:?}");
        assert_eq!(on.store.idempotency_record(&format!("tasks:node:k{n}")).await.unwrap(), None);
    }
    let corrected = on.service.submit_idempotent(vec![plain("a")], Some(key("k0", "g"))).await.unwrap();
    assert_eq!(on.store.tasks(&ids(corrected)).await.unwrap().rows.len(), 1);

    let task = on.submit(plain("b")).await;
    on.service.cancel(&task, None).await.unwrap();
    let refused = on.service.trigger(&task, Some(key("t", "f"))).await;
    assert!(matches!(refused, Err(ServiceError::Over(_))), "{refused:?}");
    let unknown = TaskId::new(uuid::Uuid::from_u128(crate::store::samples::unique()));
    let refused = on.service.trigger(&unknown, Some(key("t", "g"))).await;
    assert!(matches!(refused, Err(ServiceError::NotFound)), "{refused:?}");
    assert_eq!(on.store.idempotency_record("trigger:node:t").await.unwrap(), None);
}

fn existing(answers: Vec<Result<Submitted>>) -> Vec<(TaskId, bool)> {
    answers.into_iter().map(|answer| answer.unwrap()).map(|answer| (answer.id, answer.existing)).collect()
}

pub async fn an_answer_with_an_existing_task_is_repeated_after_its_end(on: &Stage) {
    let pair = || Submission::named("pair", "data");
    let holder = on.submit(pair()).await;
    let send = async || {
        let batch = vec![plain("a"), pair(), pair()];
        existing(on.service.submit_idempotent(batch, Some(key("k", "f"))).await.unwrap())
    };
    let first = send().await;
    assert_eq!(first[1..], [(holder.clone(), true), (holder.clone(), true)]);
    on.service.delete(std::slice::from_ref(&holder)).await.unwrap();
    assert_eq!(send().await, first, "nothing is created");
    assert!(!existing(vec![on.service.submit(pair()).await])[0].1, "the key is free");
    assert_eq!(send().await, first);
}

pub async fn two_equal_requests_get_one_answer_while_the_existing_task_ends(on: &Stage) {
    let pair = || Submission::named("pair", "data");
    let send = async |service: &Service| {
        existing(service.submit_idempotent(vec![pair()], Some(key("k", "f"))).await.unwrap())
    };
    let holder = on.submit(pair()).await;
    // The first request finds the task and stops before it keeps the answer. The second one creates a task.
    let meanwhile = async {
        on.service.delete(std::slice::from_ref(&holder)).await.unwrap();
        assert_ne!(send(&on.service).await, [(holder.clone(), true)]);
    };
    let first = on.with_interleaved(Pause::After("insert_request"), send, meanwhile).await;
    assert_eq!(send(&on.service).await, first, "both requests have the answer that was stored first");
    assert!(!first[0].1, "{first:?}");
}
