//! Submissions whose deduplication key a live task has.

use taskcenter_server::core::conflict::OnConflict;
use taskcenter_server::core::submission::{Dedup, Submission};
use taskcenter_server::core::{RunState, Schedule, Task, TaskId, TaskState};
use taskcenter_server::engine::service::{IdempotencyKey, Result, Service, ServiceError, Submitted};
use taskcenter_server::ports::Clock;

use super::interleaving::Pause;
use super::{NOW, Stage};

/// Returns a task of one key that waits for an hour.
fn keyed(data: &str, on_conflict: OnConflict) -> Submission {
    let start_at = Some(NOW.plus_ms(3_600_000));
    Submission { dedup: Dedup::Key("k".into()), on_conflict, start_at, ..Submission::named("order", data) }
}

fn replacing(data: &str) -> Submission {
    keyed(data, OnConflict::Replace)
}

fn key() -> IdempotencyKey {
    IdempotencyKey { key: "k".to_owned(), fingerprint: "f".to_owned() }
}

async fn send(service: &Service, submission: Submission, key: Option<IdempotencyKey>) -> Result<Submitted> {
    service.submit_idempotent(vec![submission], key).await.unwrap().pop().unwrap()
}

/// Returns id, `existing` and `replaced`.
fn marks(answer: Result<Submitted>) -> (TaskId, bool, bool) {
    let answer = answer.unwrap();
    (answer.id, answer.existing, answer.replaced)
}

async fn stored(on: &Stage, id: &TaskId) -> Task {
    on.store.task(id).await.unwrap().unwrap()
}

fn holder(answer: Result<Submitted>) -> TaskId {
    match answer {
        Err(ServiceError::KeyHeld(id)) => id,
        answer => panic!("{answer:?}"),
    }
}

pub async fn a_submission_can_refuse_a_live_task(on: &Stage) {
    let rejecting = || keyed("b", OnConflict::Reject);
    let live = on.submit(rejecting()).await;
    assert_eq!(holder(on.service.submit(rejecting()).await), live);
    assert_eq!(holder(send(&on.service, rejecting(), None).await), live);
    on.service.cancel(&live, None).await.unwrap();
    assert!(!on.service.submit(rejecting()).await.unwrap().existing, "the key is free");
    let unkeyed = Submission { dedup: Dedup::Nothing, ..rejecting() };
    assert!(matches!(on.service.submit(unkeyed).await, Err(ServiceError::Invalid(_))));
}

pub async fn a_refusal_is_repeated_after_the_end_of_the_live_task(on: &Stage) {
    let rejecting = || keyed("b", OnConflict::Reject);
    let live = on.submit(keyed("a", OnConflict::Return)).await;
    assert_eq!(holder(send(&on.service, rejecting(), Some(key())).await), live);
    on.service.cancel(&live, None).await.unwrap();
    assert_eq!(
        holder(send(&on.service, rejecting(), Some(key())).await),
        live,
        "the same request, the same answer"
    );
}

pub async fn a_submission_replaces_the_live_task(on: &Stage) {
    let live = on.submit(replacing("a")).await;
    let sooner = Some(NOW.plus_ms(60_000));
    let answer = on.service.submit(Submission { start_at: sooner, ..replacing("b") }).await.unwrap();
    assert_eq!(answer.stored.as_deref(), Some(&stored(on, &live).await));
    assert_eq!(marks(Ok(answer)), (live.clone(), true, true));
    let task = stored(on, &live).await;
    assert_eq!((task.rev, task.data.as_str(), task.next_due_at), (2, "b", sooner));
    let past = on.store.past_definitions(&live, task.rev, 10).await.unwrap();
    assert_eq!(past.iter().map(|past| past.data.as_str()).collect::<Vec<_>>(), ["a"], "as an edit");
    on.service.pause(&live, None).await.unwrap();
    assert_eq!(marks(on.service.submit(replacing("c")).await), (live.clone(), true, true));
    let task = stored(on, &live).await;
    assert_eq!((task.state, task.data.as_str()), (TaskState::Paused, "c"), "a paused task stays paused");
}

pub async fn a_replacement_decides_the_due_moments_first(on: &Stage) {
    let every = |period_ms, data| Submission {
        schedule: Schedule::Every { period_ms },
        start_at: None,
        ..replacing(data)
    };
    let live = on.submit(every(60_000, "old")).await;
    on.clock.set(NOW.plus_ms(130_000));
    assert_eq!(marks(on.service.submit(every(7_000, "new")).await), (live.clone(), true, true));
    assert_eq!(on.states(&live).await.len(), 3);
    let task = stored(on, &live).await;
    assert_eq!((task.fired_count, task.last_due_at), (3, Some(NOW.plus_ms(120_000))));

    let due = on.submit(Submission { dedup: Dedup::Key("once".into()), ..replacing("old") }).await;
    on.clock.set(NOW.plus_ms(3_600_000));
    let later = Submission { start_at: Some(NOW.plus_ms(7_200_000)), ..replacing("new") };
    let (new, existing, _) =
        marks(on.service.submit(Submission { dedup: Dedup::Key("once".into()), ..later }).await);
    assert!(!existing && new != due, "the due task has fired, so the submission creates a task");
    on.rescue().await;
    assert_eq!(on.states(&due).await, [RunState::Ready]);
    assert_eq!(
        (stored(on, &due).await.state, stored(on, &due).await.data.as_str()),
        (TaskState::Finished, "old")
    );
}

pub async fn a_replacement_of_a_task_that_ends_creates_a_task(on: &Stage) {
    let live = on.submit(replacing("a")).await;
    let meanwhile = async {
        on.service.cancel(&live, None).await.unwrap();
    };
    let replace = async |service: &Service| send(service, replacing("b"), None).await;
    let (id, existing, _) =
        marks(on.with_interleaved(Pause::Before("replace_task"), replace, meanwhile).await);
    assert!(!existing && id != live);
    assert_eq!((stored(on, &live).await.data.as_str(), stored(on, &id).await.data.as_str()), ("a", "b"));
}

pub async fn a_replacement_beside_an_edit_is_done_after_it(on: &Stage) {
    let live = on.submit(replacing("a")).await;
    let meanwhile = async {
        on.edit(&live, "edited").await;
    };
    let replace = async |service: &Service| send(service, replacing("b"), None).await;
    let answer = Box::pin(on.with_interleaved(Pause::Before("replace_task"), replace, meanwhile)).await;
    assert_eq!(marks(answer), (live.clone(), true, true));
    let task = stored(on, &live).await;
    assert_eq!((task.rev, task.data.as_str()), (3, "b"));
}

pub async fn a_repeated_request_replaces_once(on: &Stage) {
    let live = on.submit(replacing("a")).await;
    let first = marks(send(&on.service, replacing("b"), Some(key())).await);
    assert_eq!(first, (live.clone(), true, true));
    on.edit(&live, "later").await;
    assert_eq!(marks(send(&on.service, replacing("b"), Some(key())).await), first);
    assert_eq!((stored(on, &live).await.rev, stored(on, &live).await.data.as_str()), (3, "later"));
    on.service.cancel(&live, None).await.unwrap();
    assert_eq!(
        marks(send(&on.service, replacing("b"), Some(key())).await),
        first,
        "also after the end of the task"
    );
}

/// The process of the first request dies at any point; a later edit must not be overwritten.
pub async fn an_interrupted_replacement_is_completed_once(on: &Stage) {
    for (n, pause) in [Pause::Before("replace_task"), Pause::After("replace_task")].into_iter().enumerate() {
        let keyed = || Submission { dedup: Dedup::Key(format!("k{n}")), ..replacing("b") };
        let key = || Some(IdempotencyKey { key: format!("k{n}"), fingerprint: "f".to_owned() });
        let live = on.submit(keyed()).await;
        // The first request never continues: the select drops it.
        let replace = async |service: &Service| {
            send(service, keyed(), key()).await.unwrap();
        };
        let interrupted = on.interrupted(pause, replace).await;
        assert!(interrupted, "the request reached the point");
        let edited = on.edit(&live, "edited").await.task.rev;
        assert_eq!(marks(send(&on.service, keyed(), key()).await), (live.clone(), true, true));
        let task = stored(on, &live).await;
        let expected = if n == 0 { (edited + 1, "b") } else { (edited, "edited") };
        assert_eq!((task.rev, task.data.as_str()), expected);
    }
}

pub async fn two_equal_requests_replace_once(on: &Stage) {
    let live = on.submit(replacing("a")).await;
    let replace = async |service: &Service| send(service, replacing("b"), Some(key())).await;
    let meanwhile = async {
        assert_eq!(marks(send(&on.service, replacing("b"), Some(key())).await), (live.clone(), true, true));
        on.edit(&live, "later").await;
    };
    let first = Box::pin(on.with_interleaved(Pause::Before("replace_task"), replace, meanwhile)).await;
    assert_eq!(marks(first), (live.clone(), true, true));
    assert_eq!((stored(on, &live).await.rev, stored(on, &live).await.data.as_str()), (3, "later"));
}

pub async fn the_last_submission_of_a_batch_decides(on: &Stage) {
    let batch =
        vec![replacing("a"), Submission::named(" ", ""), replacing("b"), keyed("c", OnConflict::Reject)];
    let mut answers = on.service.submit_idempotent(batch, Some(key())).await.unwrap().into_iter();
    let first = answers.next().unwrap().unwrap();
    assert!(!first.existing && matches!(answers.next(), Some(Err(ServiceError::Invalid(_)))));
    assert_eq!(marks(answers.next().unwrap()), (first.id.clone(), true, true));
    assert_eq!(holder(answers.next().unwrap()), first.id);
    assert_eq!((stored(on, &first.id).await.rev, stored(on, &first.id).await.data.as_str()), (2, "b"));
}

/// Returns a create at the present time that waits 30 s for another one, and 60 s in total.
fn debounced(on: &Stage, data: &str) -> Submission {
    let start_at = Some(Clock::now(&*on.clock).plus_ms(30_000));
    Submission { start_at, ..keyed(data, OnConflict::Debounce { max_ms: 60_000 }) }
}

pub async fn debounced_creates_fire_once_with_the_last_payload(on: &Stage) {
    let first = on.submit(debounced(on, "0")).await;
    let mut moments = vec![stored(on, &first).await.next_due_at.unwrap()];
    for after in [20, 40, 59] {
        on.clock.set(NOW.plus_ms(after * 1_000));
        let answer = on.service.submit(debounced(on, &after.to_string())).await;
        assert_eq!(marks(answer), (first.clone(), true, true));
        moments.push(stored(on, &first).await.next_due_at.unwrap());
    }
    assert_eq!(moments, [30, 50, 60, 60].map(|after| NOW.plus_ms(after * 1_000)));
    on.clock.set(NOW.plus_ms(60_000));
    let run = on.fire(&first).await;
    assert_eq!((run.data.as_str(), on.states(&first).await.len()), ("59", 1));
}

pub async fn a_debounced_create_after_the_fire_starts_a_task(on: &Stage) {
    let first = on.submit(debounced(on, "a")).await;
    on.clock.set(NOW.plus_ms(30_000));
    // The moment is due, and the dispatcher has not fired it.
    let (second, existing, _) = marks(on.service.submit(debounced(on, "b")).await);
    assert!(!existing && second != first);
    let data = async |id: &TaskId| stored(on, id).await.data;
    assert_eq!((data(&first).await.as_str(), on.states(&first).await.len()), ("a", 1), "nothing is lost");
    assert_eq!(
        (data(&second).await.as_str(), stored(on, &second).await.next_due_at),
        ("b", Some(NOW.plus_ms(60_000)))
    );
    on.clock.set(NOW.plus_ms(60_000));
    on.fire(&second).await;
    let third = marks(on.service.submit(debounced(on, "c")).await);
    assert!(!third.1 && third.0 != second);
}
