//! Quotas of tokens: how many tasks the holder of a token has, and how fast it creates them.

use std::sync::Arc;

use futures_util::future::join_all;
use taskcenter_server::adapters::memory::MemoryRecords;
use taskcenter_server::core::access::Grant;
use taskcenter_server::core::conflict::OnConflict;
use taskcenter_server::core::quota::{Quota, QuotaExceeded};
use taskcenter_server::core::submission::{Dedup, Submission};
use taskcenter_server::core::{Moment, TaskId, TaskState};
use taskcenter_server::engine::service::{Caller, IdempotencyKey, Result, Service, ServiceError, Submitted};
use taskcenter_server::ports::Clock as _;

use QuotaExceeded::{Creates, List, LiveTasks};

use super::Stage;
use crate::store::samples::unique;

/// Quota of creates that two nodes share.
const PER_SEC: u32 = 5;

/// Returns the commands for the holder of a token with this quota.
fn holder(service: &Service, token: &str, quota: Quota) -> Service {
    let (id, grant) = (token.to_owned(), Grant::everything());
    service.for_caller(Caller { id, quota, grant, ..Caller::anonymous() })
}

fn with_live_tasks(on: &Stage, max: u32) -> Service {
    holder(&on.service, &unique().to_string(), live(max))
}

fn live(max: u32) -> Quota {
    Quota { max_live_tasks: Some(max), ..Quota::default() }
}

fn creates(max: u32) -> Quota {
    Quota { max_creates_per_sec: Some(max), ..Quota::default() }
}

fn plain(data: &str) -> Submission {
    Submission { dedup: Dedup::Nothing, ..Submission::named("quota", data) }
}

fn keyed(key: &str) -> Submission {
    Submission { dedup: Dedup::Key(key.to_owned()), ..plain("keyed") }
}

fn plains(count: usize) -> Vec<Submission> {
    vec![plain("a"); count]
}

fn exceeded<T: std::fmt::Debug>(answer: Result<T>) -> QuotaExceeded {
    match answer {
        Err(ServiceError::Quota(exceeded)) => exceeded,
        other => panic!("not refused by a quota: {other:?}"),
    }
}

async fn create(service: &Service) -> TaskId {
    service.submit(plain("a")).await.unwrap().id
}

async fn create_list(service: &Service, list: Vec<Submission>) -> Result<Vec<TaskId>> {
    let answers = service.submit_idempotent(list, None).await?;
    Ok(answers.into_iter().map(|answer| answer.unwrap().id).collect())
}

pub async fn a_token_at_its_limit_creates_a_task_after_another_one_ends(on: &Stage) {
    let service = with_live_tasks(on, 3);
    let first = [create(&service).await, create(&service).await, create(&service).await];
    let refused = LiveTasks { limit: 3, live: 3, wanted: 1 };
    assert_eq!(exceeded(service.submit(plain("a")).await), refused);
    let tokens: Vec<_> =
        on.store.tasks(&first).await.unwrap().rows.into_iter().map(|task| task.quota_token).collect();
    assert_eq!(tokens, vec![Some(service.caller().id.clone()); 3]);

    on.service.pause(&first[0], None).await.unwrap();
    assert_eq!(exceeded(service.submit(plain("a")).await), refused, "a paused task is live");
    on.service.cancel(&first[0], None).await.unwrap();
    create(&service).await;
    assert_eq!(exceeded(service.submit(plain("a")).await), refused);
    on.service.delete(&first[1..2]).await.unwrap();
    create(&service).await;
    on.fire(&first[2]).await;
    let finished = on.store.task(&first[2]).await.unwrap().unwrap();
    assert_eq!(finished.state, TaskState::Finished);
    create(&service).await;
    assert_eq!(exceeded(service.submit(plain("a")).await), refused);
}

pub async fn an_edit_by_another_caller_keeps_the_place_of_the_task(on: &Stage) {
    let service = with_live_tasks(on, 1);
    let id = create(&service).await;
    on.edit(&id, "other").await;
    assert_eq!(exceeded(service.submit(plain("a")).await), LiveTasks { limit: 1, live: 1, wanted: 1 });
    let unlimited = create(&on.service).await;
    assert_eq!(on.store.task(&unlimited).await.unwrap().unwrap().quota_token, None);
}

pub async fn a_list_is_created_as_a_whole_or_refused_with_the_number_that_fits(on: &Stage) {
    let service = with_live_tasks(on, 5);
    create_list(&service, plains(3)).await.unwrap();
    let refused = exceeded(create_list(&service, plains(3)).await);
    assert_eq!(refused, LiveTasks { limit: 5, live: 3, wanted: 3 });
    assert!(refused.to_string().contains("so 2 of 3 new tasks fit"), "{refused}");
    let batch = [plains(2), vec![Submission::named(" ", "invalid")]].concat();
    let answers = service.submit_idempotent(batch, None).await.unwrap();
    let accepted: Vec<bool> = answers.iter().map(Result::is_ok).collect();
    assert_eq!(accepted, [true, true, false], "an invalid task needs no place");
}

pub async fn a_repeated_request_is_not_refused(on: &Stage) {
    let service = with_live_tasks(on, 2);
    let key = |key: &str| Some(IdempotencyKey { key: key.to_owned(), fingerprint: "f".to_owned() });
    let send = async |name: &str| {
        let answers = service.submit_idempotent(plains(2), key(name)).await?;
        answers.into_iter().collect::<Result<Vec<Submitted>>>()
    };
    let ids = |answers: Vec<Submitted>| answers.into_iter().map(|it| it.id).collect::<Vec<_>>();
    let first = ids(send("k").await.unwrap());
    assert_eq!(exceeded(send("other").await), LiveTasks { limit: 2, live: 2, wanted: 2 });
    assert_eq!(ids(send("k").await.unwrap()), first);
    on.service.delete(&first).await.unwrap();
    assert_ne!(ids(send("other").await.unwrap()), first, "a refused request leaves no trace");
}

pub async fn a_task_with_the_key_of_a_live_task_needs_no_place(on: &Stage) {
    let service = with_live_tasks(on, 2);
    let first = service.submit(keyed("k")).await.unwrap().id;
    create(&service).await;
    let again = service.submit(keyed("k")).await.unwrap();
    assert_eq!((again.id, again.existing), (first.clone(), true));
    let replace = Submission { on_conflict: OnConflict::Replace, ..keyed("k") };
    assert!(service.submit(replace).await.unwrap().replaced);
    let refused = exceeded(create_list(&service, vec![keyed("k"), keyed("other"), plain("a")]).await);
    assert_eq!(refused, LiveTasks { limit: 2, live: 2, wanted: 2 });
}

pub async fn concurrent_creates_of_one_node_never_exceed_the_quota(on: &Stage) {
    const MAX: u32 = 40;
    let service = with_live_tasks(on, MAX);
    let answers = join_all((0..60).map(|_| service.submit(plain("a")))).await;
    let created: Vec<TaskId> = answers.into_iter().filter_map(|answer| answer.ok().map(|it| it.id)).collect();
    assert_eq!(created.len(), MAX as usize, "as many as the quota allows");
    on.service.delete(&created[..20]).await.unwrap();
    let answers = join_all((0..30).map(|_| service.submit(plain("a")))).await;
    assert_eq!(answers.iter().filter(|answer| answer.is_ok()).count(), 20);
}

pub async fn the_nodes_share_the_quotas_of_a_token(on: &Stage) {
    let other = Stage::on(Arc::clone(&on.store), Arc::new(MemoryRecords::default()));
    let token = unique().to_string();
    let both = Quota { max_creates_per_sec: Some(1_000), ..live(4) };
    let services = [holder(&on.service, &token, both), holder(&other.service, &token, both)];
    for at in 0..4 {
        create(&services[at % 2]).await;
    }
    for service in &services {
        assert_eq!(exceeded(service.submit(plain("a")).await), LiveTasks { limit: 4, live: 4, wanted: 1 });
    }

    let token = unique().to_string();
    let services = [&on.service, &other.service].map(|service| holder(service, &token, creates(PER_SEC)));
    let begun = on.store.now().await.unwrap();
    let answers = join_all((0..60).map(|at| services[at % 2].submit(plain("a")))).await;
    let created = answers.iter().filter(|answer| answer.is_ok()).count() as i64;
    let seconds = (on.store.now().await.unwrap().since(begun) + 999) / 1_000;
    let most = i64::from(PER_SEC) * (seconds + 1);
    assert!((i64::from(PER_SEC)..=most).contains(&created), "{created} in {seconds} s");
}

/// Sends requests until one is refused by the rate of creates.
async fn exhaust(service: &Service) -> QuotaExceeded {
    loop {
        match service.submit(plain("a")).await {
            Ok(_) => {}
            refused => return exceeded(refused),
        }
    }
}

pub async fn creates_per_second_are_refused_with_the_time_to_wait(on: &Stage) {
    let service = holder(&on.service, &unique().to_string(), creates(4));
    let refused = exhaust(&service).await;
    let Creates { limit: 4, free: 0, wanted: 1, wait_ms } = refused else { panic!("{refused:?}") };
    assert!((1..=250).contains(&wait_ms), "{refused:?}");
    assert_eq!(refused.retry_after_sec(), Some(1));
    let Creates { free: 0, wanted: 3, wait_ms: longer_ms, .. } =
        exceeded(create_list(&service, plains(3)).await)
    else {
        panic!("the node remembers the refusal")
    };
    assert_eq!(longer_ms, wait_ms + 500, "two further permits");
    while create_list(&service, plains(4)).await.is_err() {
        // The node's clock says when the node asks the store again.
        on.clock.set(on.clock.now().plus_ms(50));
    }
    let refused = exceeded(create_list(&service, plains(5)).await);
    assert_eq!(refused, List { limit: 4, wanted: 5 });
}

pub async fn a_repeated_request_takes_no_permit(on: &Stage) {
    let service = holder(&on.service, &unique().to_string(), creates(1));
    let key = || Some(IdempotencyKey { key: "k".to_owned(), fingerprint: "f".to_owned() });
    let send = async || {
        service
            .submit_idempotent(vec![plain("a")], key())
            .await
            .map(|mut answers| answers.remove(0).unwrap().id)
    };
    let first = send().await.unwrap();
    exhaust(&service).await;
    assert_eq!(send().await.unwrap(), first, "although the quota is used");
    let before = next_permit(on, &service).await;
    for _ in 0..3 {
        assert_eq!(send().await.unwrap(), first);
    }
    assert_eq!(next_permit(on, &service).await, before);
}

async fn next_permit(on: &Stage, service: &Service) -> Moment {
    let caller = service.caller();
    on.store.next_permit(&caller.quota.creates(&caller.id).unwrap()).await.unwrap()
}
