//! Commands with equal bodies at the same time: their answers have a legal order.

use std::collections::BTreeSet;

use futures_util::future::join_all;
use futures_util::{StreamExt as _, stream};
use taskcenter_server::core::submission::Submission;
use taskcenter_server::core::{RunId, RunState, Schedule, Task, TaskId, TaskState};
use taskcenter_server::engine::service::{Changed, Result, Service, ServiceError, definition};

use super::interleaving::Pause;
use super::{NOW, Stage};
use crate::store::samples::unique;

/// Equal requests at the same time.
const EQUAL: usize = 6;
/// Tasks that change at the same time.
const AT_ONCE: usize = 8;

async fn every_second(on: &Stage) -> TaskId {
    let schedule = Schedule::Every { period_ms: 1_000 };
    on.submit(Submission { schedule, ..Submission::named("race", unique().to_string()) }).await
}

/// Sends [`EQUAL`] equal requests at the same time, each from a thread of the runtime.
async fn send_equal<T, F>(on: &Stage, request: impl Fn(Service) -> F) -> Vec<T>
where
    T: Send + 'static,
    F: Future<Output = T> + Send + 'static,
{
    let sent = (0..EQUAL).map(|_| tokio::spawn(request(on.service.clone())));
    join_all(sent).await.into_iter().map(|answer| answer.unwrap()).collect()
}

/// Checks that one request made the change of revision `rev`, and that the others were refused
/// because of that change. Returns the task after the change.
fn one_winner(answers: Vec<Result<Changed>>, rev: u32) -> Task {
    let mut winners = Vec::new();
    for answer in answers {
        match answer {
            Ok(changed) => winners.push(changed.task),
            Err(ServiceError::RevisionMoved(now)) => assert_eq!(now, rev + 1),
            Err(error) => panic!("{error:?}"),
        }
    }
    assert_eq!(winners.len(), 1, "revision {rev} was acknowledged {} times", winners.len());
    let winner = winners.remove(0);
    assert_eq!(winner.rev, rev + 1);
    winner
}

pub async fn one_of_equal_edits_wins(on: &Stage) {
    let edit_one_task = async |_| {
        let id = every_second(on).await;
        for rev in 1..=10 {
            let task = on.service.shown_task(&id).await.unwrap();
            let same = Submission { data: format!("{id} {rev}"), ..definition(&task) };
            let edit = |service: Service| {
                let (id, same) = (id.clone(), same.clone());
                async move { service.edit(&id, rev, same).await }
            };
            assert_eq!(one_winner(send_equal(on, edit).await, rev).data, same.data);
        }
    };
    stream::iter(0..50).for_each_concurrent(AT_ONCE, edit_one_task).await;
}

pub async fn a_counter_loses_no_update(on: &Stage) {
    const INCREMENTS: usize = 250;
    let id = on.submit(Submission::named("counter", "0")).await;
    let increment = |service: Service| {
        let id = id.clone();
        async move {
            loop {
                let task = service.shown_task(&id).await.unwrap();
                let next = task.data.parse::<u64>().unwrap() + 1;
                let next = Submission { data: next.to_string(), ..definition(&task) };
                match service.edit(&id, task.rev, next).await {
                    Ok(changed) => return changed.task.rev,
                    Err(ServiceError::RevisionMoved(_)) => {}
                    Err(error) => panic!("{error:?}"),
                }
            }
        }
    };
    let increments = (0..INCREMENTS).map(|_| tokio::spawn(increment(on.service.clone())));
    let revs = stream::iter(increments).buffer_unordered(AT_ONCE);
    let revs: BTreeSet<u32> = revs.map(|rev| rev.unwrap()).collect().await;
    assert_eq!(revs.len(), INCREMENTS, "each revision is acknowledged once");
    let task = on.store.task(&id).await.unwrap().unwrap();
    assert_eq!((task.data, task.rev as usize), (INCREMENTS.to_string(), INCREMENTS + 1));
}

pub async fn each_change_is_acknowledged_once(on: &Stage) {
    stream::iter(0..120).for_each_concurrent(AT_ONCE, async |_| change_one_task(on).await).await;
}

async fn change_one_task(on: &Stage) {
    let id = every_second(on).await;
    let pause = |service: Service, rev| {
        let id = id.clone();
        async move { service.pause(&id, rev).await }
    };
    let resume = |service: Service| {
        let id = id.clone();
        async move { service.resume(&id, Some(2)).await }
    };
    let trigger = |service: Service| {
        let id = id.clone();
        async move { service.trigger(&id, None).await.unwrap().id }
    };
    let cancel = |service: Service| {
        let id = id.clone();
        async move { service.cancel(&id, Some(4)).await.unwrap().task }
    };
    let delete = |service: Service| {
        let id = id.clone();
        async move { service.delete_one(&id, None).await }
    };
    assert_eq!(
        one_winner(send_equal(on, |service| pause(service, Some(1))).await, 1).state,
        TaskState::Paused
    );
    assert_eq!(one_winner(send_equal(on, resume).await, 2).state, TaskState::Active);
    for paused in send_equal(on, |service| pause(service, None)).await {
        let task = paused.unwrap().task;
        assert_eq!((task.rev, task.state), (4, TaskState::Paused), "only the first pause changes the task");
    }
    let triggered: BTreeSet<RunId> = send_equal(on, trigger).await.into_iter().collect();
    assert_eq!(triggered.len(), EQUAL, "each trigger has its own run");
    for task in send_equal(on, cancel).await {
        assert_eq!((task.rev, task.state), (4, TaskState::Cancelled));
    }
    let deleted: Vec<bool> = send_equal(on, delete).await.iter().map(Result::is_ok).collect();
    assert_eq!(deleted.iter().filter(|is_ok| **is_ok).count(), 1, "one delete finds the task: {deleted:?}");
    let states = on.states(&id).await;
    assert_eq!(states.iter().filter(|state| **state == RunState::Firing).count(), EQUAL, "{states:?}");
}

pub async fn a_pause_that_changes_nothing_reads_the_latest_task(on: &Stage) {
    let id = every_second(on).await;
    on.service.pause(&id, None).await.unwrap();
    // The pause reads a paused task, as from a server that was replaced: another one has resumed it.
    let pause = async |service: &Service| service.pause(&id, None).await.unwrap().task;
    let resume = async { drop(on.service.resume(&id, None).await.unwrap()) };
    let paused = Box::pin(on.with_interleaved(Pause::Before("latest_task"), pause, resume)).await;
    assert_eq!((paused.rev, paused.state), (4, TaskState::Paused));
    assert_eq!(on.store.task(&id).await.unwrap(), Some(paused));
}

pub async fn a_resume_that_loses_a_race_leaves_no_row(on: &Stage) {
    let id = every_second(on).await;
    on.service.pause(&id, None).await.unwrap();
    on.clock.set(NOW.plus_ms(5_500));
    let resume = async |service: &Service| service.resume(&id, Some(2)).await;
    let edit = async { drop(on.edit(&id, "new").await) };
    let refused = Box::pin(on.with_interleaved(Pause::Before("replace_task"), resume, edit)).await;
    assert!(matches!(refused, Err(ServiceError::RevisionMoved(3))), "{refused:?}");
    assert_eq!(on.states(&id).await, [], "no row says that moments of the edited task were skipped");
    on.service.resume(&id, None).await.unwrap();
    assert_eq!(on.states(&id).await, [RunState::Skipped]);
}
